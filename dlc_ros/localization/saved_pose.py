"""The last accepted poses on disk, bound to the references they are poses in."""

import errno
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlc_ros.errors import FileError
from dlc_ros.localization.tracker import KnownPose
from dlc_ros.registration.se3 import is_rigid, nearest_rigid

# Raised when the content changes meaning; a file with another number is not used.
_FORMAT = 1
# Bytes; a file of a hundred objects stays far below.
_LARGEST = 1 << 20


@dataclass(frozen=True)
class SavedPose:
    """
    One accepted pose.

    :param name: the map's frame or the object's name.
    :param reference_sha256: of the reference's file; the pose means nothing in another one.
    :param source_frame: the robot's base in map mode, else the sensor's frame.
    :param stamp_ns: of the cloud that gave it.
    :param transform: (4, 4) ``T_reference_source``.
    :param covariance: (6, 6) of it, order x y z [m] roll pitch yaw [rad], axes of the reference.
    :param reference_unit: length of the unit that the file was read in [m].
    """

    name: str
    reference_sha256: str
    source_frame: str
    stamp_ns: int
    transform: np.ndarray
    covariance: np.ndarray
    reference_unit: float = 1.0


class PoseFile:
    """
    The file that poses are kept in; may be used from several threads.

    :param settings: :class:`~dlc_ros.localization.declarations.SavedPose`.
    :ivar problem: why it was not read or written, or ''.
    :ivar written: when it was last written, in words, or ''.
    """

    def __init__(self, settings):
        self._settings = settings
        self._one_at_a_time = threading.Lock()
        self._poses = {}
        self._last = time.monotonic()
        self.problem = ''
        self.written = ''
        if settings.file:
            try:
                self._poses = read_poses(settings.file)
                make_folder(settings.file)
            except FileError as error:
                self.problem = str(error)

    def pose_in(self, cloud, growth):
        """
        The saved pose in a reference, as a place to look first.

        :param cloud: :class:`~dlc_ros.localization.references.ReferenceCloud`.
        :param growth: :class:`~dlc_ros.localization.declarations.PriorGrowth`.
        :returns: :class:`~dlc_ros.localization.tracker.KnownPose`, or None; :attr:`problem` tells
            of one in another reference.
        """
        saved = self._poses.get(cloud.name)
        if saved is None:
            return None
        if (saved.reference_sha256, saved.reference_unit) != (cloud.sha256, cloud.unit):
            self.problem = (
                f'the pose of {cloud.name} in {self._settings.file} is of another reference '
                f'(sha256 {saved.reference_sha256[:12]}, reference_unit '
                f'{saved.reference_unit:g}), not of {cloud.path} in {cloud.unit:g}: not used'
            )
            return None
        # It may have been moved a little while the node was away.
        moved = np.repeat([growth.initial_translation, growth.initial_rotation], 3) ** 2
        covariance = saved.covariance + np.diag(moved)
        return KnownPose(
            saved.transform, covariance, None, saved.source_frame, None, accepted=False
        )

    def take_turn(self):
        """Whether it is time to write again; the next period begins then."""
        period, now = self._settings.period, time.monotonic()
        if not (self._settings.file and period) or now - self._last < period:
            return False
        if self._one_at_a_time.locked():  # a disk that hangs gathers no threads
            return False
        self._last = now
        return True

    def save(self, confirmed):
        """
        Write poses; those of other names stay.

        :param confirmed: pairs of a :class:`~dlc_ros.localization.references.ReferenceCloud` and
            the accepted :class:`~dlc_ros.localization.tracker.KnownPose` in it.
        :raises FileError: it cannot be written, or no file is configured.
        """
        if not self._settings.file:
            raise FileError('no file for the pose; set saved_pose.file')
        with self._one_at_a_time:
            self._last = time.monotonic()
            for cloud, pose in confirmed:
                self._poses[cloud.name] = SavedPose(
                    cloud.name,
                    cloud.sha256,
                    pose.source_frame,
                    pose.stamp_ns,
                    pose.transform,
                    pose.covariance,
                    cloud.unit,
                )
            try:
                write_poses(self._settings.file, self._poses.values())
            except FileError as error:
                self.problem = str(error)
                raise
            self.problem = ''
            self.written = f'{self._settings.file}, {time.strftime("%Y-%m-%d %H:%M:%S")}'


def make_folder(path):
    """
    Make the folder of a file of poses, so that a wrong one is known before the first pose is.

    :param path: see :func:`write_poses`.
    :raises FileError: it cannot be made or written to.
    """
    file = Path(path).expanduser()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(file.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(file, error) from None


def write_poses(path, poses):
    """
    Write poses; the file appears whole or not at all, also when the power is cut.

    :param path: file; ``~`` is the home folder, missing folders are made.
    :param poses: iterable of :class:`SavedPose`.
    :raises FileError: it cannot be written.
    """
    file = Path(path).expanduser()
    partial = file.with_name(f'{file.name}.{os.getpid()}.partial')
    document = {
        'format': _FORMAT,
        'poses': [
            {
                'name': pose.name,
                'reference_sha256': pose.reference_sha256,
                'reference_unit': pose.reference_unit,
                'source_frame': pose.source_frame,
                'stamp_ns': pose.stamp_ns,
                'T_reference_source': pose.transform.tolist(),
                'covariance': pose.covariance.tolist(),
            }
            for pose in poses
        ],
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open('w', encoding='utf-8') as stream:
                json.dump(document, stream, indent=1)
                stream.flush()
                os.fsync(stream.fileno())  # else the new name may come to the disk first
            partial.replace(file)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(file, error) from None


def _unwritable(file, error):
    return FileError(
        f'cannot write the pose to {file}: {error.strerror}; choose another saved_pose.file'
    )


def read_poses(path):
    """
    Read what :func:`write_poses` wrote.

    :param path: file.
    :returns: dict name -> :class:`SavedPose`; empty if there is no such file yet.
    :raises FileError: it cannot be read or holds something else.
    """
    file = Path(path).expanduser()
    try:
        if not file.exists():
            return {}
        if not file.is_file() or file.stat().st_size > _LARGEST:
            raise ValueError('it is not a file of poses')
        document = json.loads(file.read_text(encoding='utf-8'))
        if document['format'] != _FORMAT:
            raise ValueError(f'its format is {document["format"]!r}, not {_FORMAT}')
        poses = [_pose(entry) for entry in document['poses']]
    except OSError as error:
        raise FileError(f'cannot read the saved pose {file}: {error.strerror}') from None
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        reason = ' '.join(str(error).split())[:120]
        raise FileError(f'{file} is no saved pose ({reason}); delete it') from None
    return {pose.name: pose for pose in poses}


def _pose(entry):
    transform = np.array(entry['T_reference_source'], dtype=np.float64)
    covariance = np.array(entry['covariance'], dtype=np.float64)
    if transform.shape != (4, 4) or not is_rigid(transform):
        raise ValueError('a transform is not rigid')
    if covariance.shape != (6, 6) or not np.isfinite(covariance).all():
        raise ValueError('a covariance is not a finite 6x6 matrix')
    if np.linalg.eigvalsh(covariance)[0] <= 0.0 or not np.allclose(covariance, covariance.T):
        raise ValueError('a covariance is not positive definite')
    texts = [entry[key] for key in ('name', 'reference_sha256', 'source_frame')]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError('a name is not a string')
    unit = float(entry.get('reference_unit', 1.0))  # there was no other one before
    return SavedPose(*texts, int(entry['stamp_ns']), nearest_rigid(transform), covariance, unit)
