"""Simulated sensors: depth camera, spinning and solid-state LiDAR, in a :class:`Scene`."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp


@dataclass(frozen=True)
class Scan:
    """
    One scan of a sensor, raw.

    :param points: (N, 3) float64 [m], each in the sensor's frame at its own time.
    :param times: (N,) float64 [s] since the scan began.
    :param parts: (N,) int64, index of the solid in the scene that returned it.
    """

    points: np.ndarray
    times: np.ndarray
    parts: np.ndarray

    def __len__(self):
        return len(self.points)


@dataclass(frozen=True)
class DepthCamera:
    """
    A depth camera; frame: x right, y down, z along the optical axis.

    :param width: pixels in a row.
    :param height: rows.
    :param field_deg: horizontal field of view [deg]; pixels are square.
    :param near: smallest depth [m].
    :param far: largest depth [m].
    :param noise: standard deviation of the depth at 1 m [m]; grows with the depth squared, as it
        does where depth comes from disparity.
    :param disparity_step: depths are multiples of it in 1/m; 0: not rounded.
    :param bleeding: share of the pixels beside a jump in depth that lie between its two sides.
    :param dropout: share of pixels lost at random.
    :param grazing_deg: surfaces seen under a smaller angle than this are lost [deg].
    """

    width: int = 160
    height: int = 120
    field_deg: float = 70.0
    near: float = 0.3
    far: float = 5.0
    noise: float = 0.0015
    disparity_step: float = 0.003
    bleeding: float = 0.2
    dropout: float = 0.02
    grazing_deg: float = 8.0

    def rays(self, rng=None):
        """
        Directions (height, width, 3) through the pixels, depth 1; with ``rng`` the whole grid is
        shifted by a share of a pixel, so that no two images of a still camera are alike.
        """
        across, down = (0.5, 0.5) if rng is None else rng.uniform(0, 1, 2)
        focal = self.width / 2 / np.tan(np.radians(self.field_deg) / 2)
        u = (np.arange(self.width) + across - self.width / 2) / focal
        v = (np.arange(self.height) + down - self.height / 2) / focal
        rays = np.ones((self.height, self.width, 3))
        rays[..., 0], rays[..., 1] = u, v[:, None]
        return rays

    def scan(self, scene, pose, rng):
        """
        Take one image.

        :param scene: :class:`dlc_training.data.scene.Scene`.
        :param pose: (4, 4) ``T_scene_sensor``.
        :param rng: numpy Generator of noise and loss.
        :return: :class:`Scan`; all its times are 0.
        """
        pose = np.asarray(pose, float)
        rays = self.rays(rng)
        length = np.linalg.norm(rays, axis=2)
        shape = length.shape
        heading = (rays / length[..., None]).reshape(-1, 3) @ pose[:3, :3].T
        ranges, cosine, parts = _met(scene, pose[:3, 3], heading, self.far * length.max())
        depth = (ranges.reshape(shape) / length).astype(float)
        seen = (depth > self.near) & (depth < self.far)
        seen &= cosine.reshape(shape) > np.sin(np.radians(self.grazing_deg))
        seen &= rng.uniform(size=shape) >= self.dropout
        depth[~np.isfinite(depth)] = self.far
        depth = self._bled(depth, rng)
        depth += rng.normal(size=shape) * self.noise * depth**2
        if self.disparity_step > 0:
            steps = np.maximum(np.rint(1 / (np.maximum(depth, 1e-3) * self.disparity_step)), 1)
            depth = 1 / (steps * self.disparity_step)
        points = (rays * depth[..., None])[seen]
        return Scan(points, np.zeros(len(points)), parts.reshape(shape)[seen])

    def _bled(self, depth, rng):
        """Depths of pixels beside a jump, drawn towards the other side of it."""
        step, axis = rng.choice((-1, 1)), rng.integers(2)
        other = np.roll(depth, step, axis)
        border = (slice(None),) * axis + (0 if step > 0 else -1,)
        other[border] = depth[border]  # no neighbour there
        jump = np.abs(other - depth) > 0.06 * depth
        mixed = jump & (rng.uniform(size=depth.shape) < self.bleeding)
        return np.where(mixed, depth + rng.uniform(size=depth.shape) * (other - depth), depth)


@dataclass(frozen=True)
class _Lidar:
    """
    What both LiDARs share.

    :param near: smallest range [m].
    :param far: largest range [m].
    :param noise: standard deviation of a range [m].
    :param reach: range at which a surface met head on returns half of the pulses [m]; a slant one
        returns less, by the cosine.
    :param dropout: share of pulses lost whatever they meet.
    :param period: duration of a scan [s].
    """

    near: float = 0.5
    far: float = 100.0
    noise: float = 0.02
    reach: float = 120.0
    dropout: float = 0.01
    period: float = 0.1

    def scan(self, scene, pose, rng, end_pose=None, share=1.0):
        """
        Take one scan.

        :param scene: :class:`dlc_training.data.scene.Scene`, still during the scan.
        :param pose: (4, 4) ``T_scene_sensor`` when the scan begins.
        :param rng: numpy Generator of noise and loss.
        :param end_pose: (4, 4) when it ends, if the sensor moves: at constant speeds in between.
        :param share: of the pulses that are computed, drawn at random: a thinned scan for less.
        :return: :class:`Scan`, not corrected for the motion.
        """
        rays, times = self.rays(rng)
        if share < 1:
            kept = np.sort(rng.choice(len(rays), int(share * len(rays)), replace=False))
            rays, times = rays[kept], times[kept]
        origins, heading = _moved(rays, times / self.period, pose, end_pose)
        ranges, cosine, parts = _met(scene, origins, heading, self.far)
        seen = (ranges > self.near) & (ranges < self.far)
        strength = cosine * (self.reach / np.maximum(ranges, self.near)) ** 2
        returned = (1 - self.dropout) * (1 - 0.5**strength)
        seen &= rng.uniform(size=len(ranges)) < returned
        measured = ranges[seen] + self.noise * rng.normal(size=seen.sum())
        return Scan(rays[seen] * measured[:, None], times[seen], parts[seen])


@dataclass(frozen=True)
class SpinningLidar(_Lidar):
    """
    A LiDAR that turns about its z axis, counter-clockwise from -x; frame: x forward, z up.

    Further parameters are those of the base class.

    :param rings: lasers.
    :param columns: firings per turn.
    :param lowest_deg: elevation of the lowest ring [deg].
    :param highest_deg: elevation of the highest ring [deg].
    """

    rings: int = 16
    columns: int = 1024
    lowest_deg: float = -15.0
    highest_deg: float = 15.0

    def rays(self, rng=None):
        """Unit directions (columns * rings, 3), column by column, and their times [s]."""
        phase = 0.0 if rng is None else rng.uniform()
        turn = 2 * np.pi * (np.arange(self.columns) + phase) / self.columns - np.pi
        tilt = np.radians(np.linspace(self.lowest_deg, self.highest_deg, self.rings))
        rays = np.empty((self.columns, self.rings, 3))
        rays[..., 0] = np.cos(turn)[:, None] * np.cos(tilt)
        rays[..., 1] = np.sin(turn)[:, None] * np.cos(tilt)
        rays[..., 2] = np.sin(tilt)
        times = np.repeat(np.arange(self.columns) * self.period / self.columns, self.rings)
        return rays.reshape(-1, 3), times


@dataclass(frozen=True)
class SolidStateLidar(_Lidar):
    """
    A LiDAR that draws a rosette in a cone about x, never twice the same; frame: x forward, z up.

    Further parameters are those of the base class.

    :param pulses: per scan.
    :param field_deg: full opening of the cone [deg].
    """

    pulses: int = 20_000
    field_deg: float = 70.0

    def rays(self, rng=None):
        """Unit directions (pulses, 3) in the order of firing, and their times [s]."""
        first, second = (0.0, 0.0) if rng is None else rng.uniform(0, 2 * np.pi, 2)
        time = np.arange(self.pulses) / self.pulses
        # Two prisms that turn at rates without a common period: petals that slowly turn.
        petal, turn = first + 2 * np.pi * 61.803 * time, second + 2 * np.pi * 13.09 * time
        angle = np.radians(self.field_deg / 2) * np.abs(np.cos(petal))
        rays = np.stack(
            [np.cos(angle), np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn)], 1
        )
        return rays, time * self.period


def _met(scene, origins, heading, limit):
    """Ranges, cosines of incidence and solids that rays meet, as numpy arrays."""
    hits = scene.cast(origins, heading, limit)
    normals = hits.normals.cpu().numpy()
    cosine = np.maximum(-np.einsum('ri,ri->r', normals, heading), 0.0)
    return hits.ranges.cpu().numpy().astype(float), cosine, hits.parts.cpu().numpy()


def _moved(rays, share, pose, end_pose):
    """Origins and directions in the scene of rays fired at ``share`` of the motion."""
    pose = np.asarray(pose, float)
    if end_pose is None:
        return pose[:3, 3], rays @ pose[:3, :3].T
    end_pose = np.asarray(end_pose, float)
    turns = Slerp([0, 1], Rotation.from_matrix([pose[:3, :3], end_pose[:3, :3]]))(share)
    origins = pose[:3, 3] + share[:, None] * (end_pose[:3, 3] - pose[:3, 3])
    return origins, turns.apply(rays)


def looking_at(eye, target, roll=0.0):
    """
    Pose of a camera.

    :param eye: (3,) where it is.
    :param target: (3,) what its axis points at.
    :param roll: turn about that axis [rad]; 0 keeps the image upright for z up.
    :return: (4, 4) ``T_scene_sensor`` for :class:`DepthCamera`.
    """
    z = np.asarray(target, float) - eye
    z /= np.linalg.norm(z)
    x = np.cross(z, (0.0, 0.0, 1.0)) if abs(z[2]) < 0.999 else np.array([1.0, 0.0, 0.0])
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * x + np.sin(roll) * y
    pose[:3, 1] = -np.sin(roll) * x + np.cos(roll) * y
    pose[:3, 2], pose[:3, 3] = z, eye
    return pose
