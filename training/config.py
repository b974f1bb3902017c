"""The typed configuration of a training run; every value is described where it is declared."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dlc_ros.errors import ParameterError
from dlc_training.objective.dlc import DlcOptions


class _Section(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)


class NetConfig(_Section):
    """Architecture of the network."""

    width: int = Field(96, ge=8, description='Channels of a keypoint.')
    heads: int = Field(4, ge=1, description='Attention heads.')
    layers: int = Field(3, ge=1, description='Blocks of attention within and across clouds.')
    keypoints: int = Field(160, ge=16, description='Keypoints per cloud.')
    neighbours: int = Field(32, ge=4, description='Points of each neighbourhood.')
    affinity_width: int = Field(64, ge=4, description='Channels in which keypoints are compared.')


class DataConfig(_Section):
    """Generated pairs."""

    kinds: dict[Literal['crop', 'view', 'room'], float] = Field(
        {'crop': 0.6, 'view': 0.22, 'room': 0.18}, description='Share of each kind of pair.'
    )
    workers: int = Field(1, ge=0, description='Processes that generate pairs; 0 for none.')


class ObjectiveConfig(_Section):
    """What is minimised."""

    name: Literal['none', 'dlc'] = Field('dlc', description='Which landscape shaping.')
    dlc: DlcOptions = Field(DlcOptions(), description='Hinges of Deep Loss Convexification.')
    warm_up: int = Field(2500, ge=0, description='Steps without hinges; they start from features.')
    ramp: int = Field(1000, ge=1, description='Steps over which rho grows after the warm-up.')
    radii_deg: tuple[float, float, float, float] = Field(
        (180.0, 90.0, 45.0, 20.0), description='Radius of the bowl asked for, per beta [deg].'
    )
    radii_length: tuple[float, float, float, float] = Field(
        (0.5, 0.3, 0.15, 0.08), description='The same in translation [network units].'
    )
    mined: int = Field(2, ge=0, description='Wrong minima of the descent to push up, per pair.')
    pose_weight: float = Field(0.5, ge=0, description='Weight of the unrolled pose error.')


class OptimiserConfig(_Section):
    """AdamW and its schedule."""

    steps: int = Field(10500, ge=1, description='Optimiser steps.')
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
    seed: int = Field(0, ge=0, description='Of initial weights, data and perturbations.')
    device: Literal['auto', 'cpu', 'cuda'] = Field('auto', description='Where the network runs.')
    threads: int = Field(1, ge=1, description='CPU threads of the network.')
    half: bool = Field(True, description='bfloat16 for the network (not for the energy).')
    save_every: int = Field(100, ge=1, description='Steps between checkpoints.')
    net: NetConfig = NetConfig()
    data: DataConfig = DataConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimiser: OptimiserConfig = OptimiserConfig()


def load_config(path=None, overrides=()):
    """
    Read a configuration file and apply ``section.key=value`` overrides.

    :param path: YAML file; None for the defaults.
    :param overrides: strings such as ``optimiser.steps=100``; values are YAML.
    :raises ParameterError: for an unreadable file, an unknown key or a value out of range.
    """
    values = {}
    if path is not None:
        try:
            values = yaml.safe_load(Path(path).read_text()) or {}
        except OSError as error:
            raise ParameterError(f'cannot read {path}: {error.strerror}') from None
        except yaml.YAMLError as error:
            raise ParameterError(f'{path} is no YAML: {" ".join(str(error).split())}') from None
    for override in overrides:
        key, equals, text = override.partition('=')
        if not equals:
            raise ParameterError(f"override '{override}' has no '='; write section.key=value")
        *sections, last = key.split('.')
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = yaml.safe_load(text)
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = '.'.join(str(part) for part in first['loc'])
        raise ParameterError(f'{path or "configuration"}: {where}: {first["msg"]}') from None
