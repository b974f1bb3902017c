"""Objectives that shape an energy landscape during training."""

from dlc_training.objective.dlc import (
    HINGES,
    DlcOptions,
    convexification_loss,
    draw_perturbations,
    hinge_terms,
)
from dlc_training.objective.manifolds import Euclidean, RigidTransforms

__all__ = [
    'HINGES',
    'DlcOptions',
    'Euclidean',
    'RigidTransforms',
    'convexification_loss',
    'draw_perturbations',
    'hinge_terms',
]
