"""A simulated depth camera: rays into a scene of triangles, and the faults of a real sensor."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Intrinsics:
    """
    Pinhole camera without distortion.

    :param width, height: pixels.
    :param focal: focal length [px], the same in both directions; the principal point is the
        middle of the image.
    """

    width: int = 320
    height: int = 240
    focal: float = 420.0

    def directions(self):
        """
        Ray of every pixel's centre in the optical frame (z forward, x right, y down).

        :returns: (height, width, 3) float64 with z = 1, so that depth times ray is the point.
        """
        u = (np.arange(self.width) + 0.5 - 0.5 * self.width) / self.focal
        v = (np.arange(self.height) + 0.5 - 0.5 * self.height) / self.focal
        rays = np.ones((self.height, self.width, 3))
        rays[..., 0], rays[..., 1] = u[None, :], v[:, None]
        return rays


@dataclass(frozen=True)
class SensorNoise:
    """
    What a triangulating depth camera gets wrong.

    The error of the depth grows with its square and at grazing incidence (C. Nguyen et al.,
    "Modeling Kinect sensor noise for improved 3D reconstruction and tracking", 3DIMPVT 2012);
    there, returns are lost too.

    :param at_one_metre: standard deviation of the depth [m] at 1 m, facing the surface.
    :param dropout: share of pixels lost at random.
    :param grazing_cosine: cosine of the incidence below which a return is surely lost; above, the
        chance to lose it falls to none at three times this cosine.
    :param nearest, farthest: range of the sensor [m].
    """

    at_one_metre: float = 0.005
    dropout: float = 0.02
    grazing_cosine: float = 0.08
    nearest: float = 0.15
    farthest: float = 1.2


NO_NOISE = SensorNoise(0.0, 0.0, 0.0, 0.0, np.inf)


class DepthCamera:
    """
    Casts one ray a pixel into a scene.

    :param scene: open3d.t.geometry.RaycastingScene in the world's frame.
    :param intrinsics: :class:`Intrinsics`.
    :param noise: :class:`SensorNoise`.
    """

    def __init__(self, scene, intrinsics=Intrinsics(), noise=SensorNoise()):  # noqa: B008
        self.scene = scene
        self.intrinsics = intrinsics
        self.noise = noise
        self._directions = intrinsics.directions()

    def capture(self, T_world_camera, rng):
        """
        One organised cloud.

        :param T_world_camera: (4, 4) pose of the optical frame.
        :param rng: numpy.random.Generator.
        :returns: (height, width, 3) float32 points in the optical frame [m]; a pixel without a
            return is NaN.
        """
        depth, cosine = self.cast(T_world_camera)
        noise = self.noise
        seen = np.isfinite(depth) & (depth >= noise.nearest) & (depth <= noise.farthest)
        seen &= rng.random(depth.shape) >= noise.dropout
        if noise.grazing_cosine > 0.0:
            chance = (cosine / noise.grazing_cosine - 1.0) / 2.0
            seen &= rng.random(depth.shape) < chance
        depth = np.where(seen, depth, np.nan)
        deviation = noise.at_one_metre * depth**2 / np.sqrt(np.maximum(cosine, 0.05))
        depth = depth + deviation * rng.standard_normal(depth.shape)
        return (self._directions * depth[..., None]).astype(np.float32)

    def cast(self, T_world_camera):
        """
        Noise-free depth.

        :param T_world_camera: (4, 4) pose of the optical frame.
        :returns: depth (height, width) float64 [m] along the optical axis, inf without a hit, and
            cosine of the incidence (height, width), 1 when the ray meets the surface head-on.
        """
        import open3d as o3d

        directions = self._directions @ T_world_camera[:3, :3].T
        rays = np.empty(directions.shape[:2] + (6,), dtype=np.float32)
        rays[..., :3] = T_world_camera[:3, 3]
        rays[..., 3:] = directions
        hits = self.scene.cast_rays(o3d.core.Tensor(rays), nthreads=1)
        normals = hits['primitive_normals'].numpy()
        length = np.linalg.norm(directions, axis=-1)
        cosine = np.abs(np.einsum('hwd,hwd->hw', normals, directions)) / length
        return hits['t_hit'].numpy().astype(np.float64), cosine


def look_at(eye, target, roll=0.0):
    """
    Pose of an optical frame that looks from one point at another, the world's z upwards.

    :param eye, target: (3,) in the world [m]; not one above the other.
    :param roll: turn about the optical axis [rad].
    :returns: (4, 4) ``T_world_camera``.
    """
    forward = np.asarray(target, dtype=np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    pose[:3, 1] = np.cos(roll) * down - np.sin(roll) * right
    pose[:3, 2], pose[:3, 3] = forward, eye
    return pose
