"""The typed configuration of a training run; every value is described where it is declared."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from dlc_ros.errors import ParameterError
from dlc_ros.registration.descriptor import NetOptions
from dlc_training.data.batches import RECORDED
from dlc_training.data.pairs import FEWEST_POINTS, KINDS
from dlc_training.objective import OBJECTIVES, ObjectiveOptions
from dlc_training.objective.mistakes import first_mistake

Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Angle = Annotated[float, Field(gt=0, le=180)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


class NetConfig(_Section):
    """Architecture of the network."""

    width: int = Field(NetOptions.width, description='Channels of a keypoint.')
    heads: int = Field(NetOptions.heads, description='Attention heads.')
    layers: int = Field(
        NetOptions.layers, description='Blocks of attention within and across clouds.'
    )
    keypoints: int = Field(
        NetOptions.keypoints, le=FEWEST_POINTS, description='Keypoints per cloud.'
    )
    neighbours: int = Field(NetOptions.neighbours, description='Points of each neighbourhood.')
    affinity_width: int = Field(
        NetOptions.affinity_width, description='Channels in which keypoints are compared.'
    )

    @model_validator(mode='after')
    def _is_an_architecture(self):
        NetOptions(**self.model_dump())
        return self


class DataConfig(_Section):
    """Pairs: generated ones and, beside them, recorded ones."""

    kinds: dict[str, Share] = Field(
        {'crop': 0.55, 'view': 0.13, 'fragment': 0.14, 'room': 0.1, 'scan': 0.08},
        description='Share of each kind of generated pair, and of recorded pairs.',
    )
    recordings: tuple[str, ...] = Field(
        (), description='Folders of pairs that dlc-retrain made, for the kind "recorded".'
    )
    keep: str = Field(
        '', description='Folder in which batches are kept for other runs; empty: nowhere.'
    )
    workers: int = Field(1, ge=0, description='Processes that generate pairs; 0 for none.')

    @field_validator('kinds')
    @classmethod
    def _has_a_kind(cls, kinds):
        known = (*KINDS, RECORDED)
        unknown = next((name for name in kinds if name not in known), None)
        if unknown is not None:
            raise ValueError(f'unknown kind {unknown!r}; known are {", ".join(known)}')
        if not any(kinds.values()):
            raise ValueError('no kind has a share above 0')
        return kinds

    @model_validator(mode='after')
    def _has_what_it_mixes(self):
        if bool(self.kinds.get(RECORDED)) != bool(self.recordings):
            raise ValueError(
                'recorded pairs need both: recordings, and a share of kind "recorded"'
            )
        return self


class ObjectiveConfig(ObjectiveOptions):
    """What is minimised; beside this the options of each objective, see there."""

    name: Literal[OBJECTIVES] = Field('dlc', description='Which landscape shaping.')
    warm_up: int = Field(2500, ge=0, description='Steps without it; they start from features.')
    ramp: int = Field(1000, ge=1, description='Steps over which it grows after the warm-up.')
    radii_deg: tuple[Angle, Angle, Angle, Angle] = Field(
        (180.0, 90.0, 45.0, 20.0), description='Radius of the bowl asked for, per beta [deg].'
    )
    radii_length: tuple[Length, Length, Length, Length] = Field(
        (0.5, 0.3, 0.15, 0.08), description='The same in translation [network units].'
    )
    mined: int = Field(2, ge=0, description='Wrong minima of the descent to push up, per pair.')
    pose_weight: float = Field(0.5, ge=0, description='Weight of the unrolled pose error.')


class OptimiserConfig(_Section):
    """AdamW and its schedule."""

    steps: int = Field(7000, ge=1, description='Optimiser steps.')
    batch: int = Field(8, ge=1, description='Pairs per step.')
    rate: float = Field(7e-4, gt=0, description='Peak learning rate.')
    rise: int = Field(100, ge=1, description='Steps of linear rise to the peak.')
    decay_share: float = Field(
        0.35, ge=0, le=1, description='Last share of steps that decays to 0.'
    )
    weight_decay: float = Field(1e-3, ge=0, description='AdamW weight decay.')
    clip: float = Field(1.0, gt=0, description='Largest norm of the gradient.')
    average: float = Field(0.995, ge=0, lt=1, description='Decay of the running mean of weights.')


class TrainingConfig(_Section):
    """One training run."""

    initial_weights: str = Field('', description='Weights file to start from; empty: random.')
    seed: int = Field(
        0, ge=0, lt=1 << 31, description='Of initial weights, data and perturbations.'
    )
    device: Literal['auto', 'cpu', 'cuda'] = Field('auto', description='Where the network runs.')
    threads: int = Field(1, ge=1, description='CPU threads of the network.')
    half: bool = Field(True, description='bfloat16 for the network (not for the energy).')
    compile: bool = Field(False, description='Compile the network with torch.compile.')
    save_every: int = Field(100, ge=1, description='Steps between checkpoints.')
    log_every: int = Field(20, ge=1, description='Steps between lines of the log.')
    tensorboard: bool = Field(True, description='Write curves for TensorBoard beside the log.')
    one_batch: bool = Field(False, description='The first batch again and again, to overfit it.')
    net: NetConfig = NetConfig()
    data: DataConfig = DataConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimiser: OptimiserConfig = OptimiserConfig()

    @property
    def idle(self):
        """Why the objective never acts, as a sentence; empty where it does, and for ``none``."""
        steps, warm_up = self.optimiser.steps, self.objective.warm_up
        if self.objective.name == 'none' or warm_up + 1 < steps:
            return ''
        return (
            f'objective {self.objective.name} does nothing in {steps} steps, since '
            f'objective.warm_up is {warm_up}; lower it or raise optimiser.steps'
        )


def load_config(path=None, overrides=()):
    """
    Read a configuration and apply ``section.key=value`` overrides.

    :param path: YAML file, or the name of one that ships (``default``, ``smoke``); None for the
        defaults.
    :param overrides: strings such as ``optimiser.steps=100``; values are YAML.
    :raises ParameterError: for an unreadable file, an unknown key or a value out of range.
    """
    values = {} if path is None else _mapping(path)
    for override in overrides:
        key, equals, text = override.partition('=')
        if not equals:
            raise ParameterError(f"override '{override}' has no '='; write section.key=value")
        *sections, last = key.split('.')
        place = values
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        place[last] = _yaml(text, f"override '{override}'")
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        mistake = first_mistake(error, TrainingConfig)
        raise ParameterError(f'{path or "configuration"}: {mistake}') from None


def _mapping(path):
    """Content of a YAML file, or of the one of this name in ``configs/``."""
    folder = Path(__file__).resolve().parent / 'configs'
    shipped, path = folder / f'{path}.yaml', Path(path)
    try:
        text = (shipped if shipped.is_file() and not path.is_file() else path).read_text()
    except OSError as error:
        names = ', '.join(sorted(file.stem for file in folder.glob('*.yaml')))
        raise ParameterError(
            f'cannot read {path}: {error.strerror}; give a YAML file, or one of {names}'
        ) from None
    except UnicodeDecodeError:
        raise ParameterError(f'{path} is no text; give a YAML file') from None
    values = _yaml(text, path)
    if not isinstance(values, dict | None):
        raise ParameterError(f'{path}: expected settings as key: value, got {str(values)[:40]!r}')
    return values or {}


def _yaml(text, origin):
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParameterError(f'{origin} is no YAML: {" ".join(str(error).split())}') from None
