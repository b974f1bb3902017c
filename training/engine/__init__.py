"""The training engine: one run in one folder, continued wherever it stopped."""

from dlc_training.engine.checkpoint import CHECKPOINT
from dlc_training.engine.reporting import LOG
from dlc_training.engine.trainer import Interrupted, Trainer, TrainingStopped
from dlc_training.engine.update import schedule

__all__ = ['CHECKPOINT', 'LOG', 'Interrupted', 'Trainer', 'TrainingStopped', 'schedule']
