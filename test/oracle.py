"""A predictor for tests: it proposes what the test says, so that the rest can be seen at work."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlc_ros.registration.confidence import Model
from dlc_ros.registration.predictor import Hypothesis, Predictor
from dlc_ros.registration.se3 import compose, make_transform

# What the registrar asks of a weights file.
LOADED = SimpleNamespace(
    path='weights',
    sha256='0',
    trained_on='',
    # Close to those of the shipped card.
    confidence=Model(
        3.2,
        {
            'log_typical': -1.2,
            'log_systematic': -1.0,
            'hovering': -15.5,
            'log_hold': 0.56,
            'log_support': 1.5,
        },
    ),
)


class Oracle(Predictor):
    """A predictor that proposes given poses of the given frames, all equally supported."""

    poses = ()

    @classmethod
    def load(cls, path=None, device='cpu'):
        return cls(LOADED, device)

    def describe(self, points, scale=None):
        return type('Described', (), {'scale': 1.0})()

    def landscape(self, source, target):
        return self

    def propose(self, prior=None, keep=4):
        return [Hypothesis(pose, float(i)) for i, pose in enumerate(self.poses)][:keep]

    def energies(self, transforms):
        return np.zeros(len(transforms))

    def support(self, transforms):
        return np.full(len(transforms), 0.4)


@pytest.fixture
def propose(monkeypatch):
    """Function that makes the predictor propose poses ``T_target_source`` of a pair of clouds."""

    def arrange(source, target, *poses):
        there = make_transform(translation=-target.mean(axis=0))
        here = make_transform(translation=source.mean(axis=0))
        monkeypatch.setattr(Oracle, 'poses', [compose(there, pose, here) for pose in poses])
        monkeypatch.setattr('dlc_ros.registration.predictor.Predictor', Oracle)

    return arrange
