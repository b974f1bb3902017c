"""Objectives that shape an energy landscape during training; see ``docs/objective.md``."""

from dlc_training.objective.adversarial import AscentOptions, worst_perturbations
from dlc_training.objective.dlc import (
    HINGES,
    DlcOptions,
    convexification_loss,
    hinge_terms,
    violations,
)
from dlc_training.objective.manifolds import Euclidean, RigidTransforms
from dlc_training.objective.perturbations import (
    draw_perturbations,
    mined_perturbations,
    with_random_length,
)
from dlc_training.objective.registry import (
    OBJECTIVES,
    Objective,
    ObjectiveOptions,
    make_objective,
)
from dlc_training.objective.sharpness import AwpOptions, SamOptions

__all__ = [
    'HINGES',
    'OBJECTIVES',
    'AscentOptions',
    'AwpOptions',
    'DlcOptions',
    'Euclidean',
    'Objective',
    'ObjectiveOptions',
    'RigidTransforms',
    'SamOptions',
    'convexification_loss',
    'draw_perturbations',
    'hinge_terms',
    'make_objective',
    'mined_perturbations',
    'violations',
    'with_random_length',
    'worst_perturbations',
]
