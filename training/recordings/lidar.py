"""A simulated spinning LiDAR: rays against a mesh, while the sensor moves and people walk by."""

from dataclasses import dataclass

import numpy as np

from dlc_ros.registration.se3 import make_transform

# What a wire's PointCloud2 has of each point: the layout of a common driver, unaligned on purpose.
POINT = np.dtype(
    {
        'names': ['x', 'y', 'z', 'intensity', 'ring', 'time'],
        'formats': ['<f4', '<f4', '<f4', '<f4', '<u2', '<f4'],
        'offsets': [0, 4, 8, 12, 16, 18],
        'itemsize': 22,
    }
)
PERSON_RADIUS, PERSON_HEIGHT = 0.22, 1.75


@dataclass(frozen=True)
class Lidar:
    """
    A spinning LiDAR.

    :param beams: number of beams, spread over ``elevation`` (2,) [deg].
    :param columns: firings of a turn.
    :param period: seconds of a turn.
    :param noise: standard deviation of a range [m].
    :param dropout: share of returns that get lost; flat incidence loses more.
    :param reach: nearest and farthest range [m].
    """

    beams: int = 16
    elevation: tuple = (-25.0, 15.0)
    columns: int = 720
    period: float = 0.1
    noise: float = 0.015
    dropout: float = 0.02
    reach: tuple = (0.1, 30.0)

    @property
    def times(self):
        """Seconds from the start of a turn to each column (C,)."""
        return np.arange(self.columns) * (self.period / self.columns)

    def scan(self, mesh, poses, people, rng):
        """
        One turn.

        :param mesh: :class:`Mesh`.
        :param poses: (C, 4, 4) ``T_map_lidar`` at each column.
        :param people: (P, 2) where people stand during the turn [m], map frame.
        :param rng: numpy Generator.
        :return: structured array (N,) of :data:`POINT`; coordinates in the lidar's frame at the
            time of each point, as a driver without motion compensation gives them.
        """
        azimuth = -2 * np.pi * np.arange(self.columns) / self.columns
        elevation = np.radians(np.linspace(*self.elevation, self.beams))
        az, el = np.meshgrid(azimuth, elevation, indexing='ij')
        rays = np.stack([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)], -1)
        directions = np.einsum('cij,cbj->cbi', poses[:, :3, :3], rays)
        origins = np.broadcast_to(poses[:, None, :3, 3], directions.shape)
        origins, directions = origins.reshape(-1, 3), directions.reshape(-1, 3)
        ranges, cosine = mesh.cast(origins, directions)
        for person in people:
            ranges = np.minimum(ranges, _range_to_person(origins, directions, person))
        seen = (ranges > self.reach[0]) & (ranges < self.reach[1])
        seen &= rng.uniform(size=len(ranges)) > self.dropout + 0.5 * (cosine < 0.08)
        ranges = ranges + self.noise * rng.normal(size=len(ranges))
        out = np.zeros(int(seen.sum()), POINT)
        points = rays.reshape(-1, 3)[seen] * ranges[seen, None]
        for axis, name in enumerate('xyz'):
            out[name] = points[:, axis]
        out['intensity'] = 100 * cosine[seen]
        out['ring'] = np.tile(np.arange(self.beams), self.columns)[seen]
        out['time'] = np.repeat(self.times, self.beams)[seen]
        return out


class Mesh:
    """
    A surface for rays; needs open3d.

    :param vertices: (V, 3) [m]; ``triangles`` (T, 3).
    """

    def __init__(self, vertices, triangles):
        import open3d

        self._open3d = open3d
        self._scene = open3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(vertices.astype(np.float32), triangles.astype(np.uint32))

    def cast(self, origins, directions):
        """Ranges (N,) [m], infinite without a hit, and cosines (N,) of incidence, 0..1."""
        rays = np.concatenate([origins, directions], 1).astype(np.float32)
        hit = self._scene.cast_rays(self._open3d.core.Tensor(rays), nthreads=1)
        normals = hit['primitive_normals'].numpy()
        cosine = np.abs(np.einsum('ij,ij->i', normals, directions))
        return hit['t_hit'].numpy().astype(float), cosine


def body_points(lidar, rng, count=220):
    """
    What the lidar sees of the robot itself, a mast behind it: array of :data:`POINT`.

    :param lidar: :class:`Lidar`.
    """
    angle = np.pi + rng.uniform(-0.12, 0.12, count)
    out = np.zeros(count, POINT)
    out['x'], out['y'] = 0.31 * np.cos(angle), 0.31 * np.sin(angle)
    out['z'] = rng.uniform(-0.12, 0.08, count)
    out['time'] = (0.5 + rng.uniform(-0.02, 0.02, count)) * lidar.period
    return out


def planar_pose(x, y, yaw):
    """(4, 4) of a pose on the floor."""
    c, s = np.cos(yaw), np.sin(yaw)
    return make_transform([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], [x, y, 0.0])


def _range_to_person(origins, directions, person):
    """Range along each ray to an upright cylinder on the floor, infinite without a hit."""
    offset = origins[:, :2] - person
    a = (directions[:, :2] ** 2).sum(1)
    b = (offset * directions[:, :2]).sum(1)
    c = (offset**2).sum(1) - PERSON_RADIUS**2
    root = b**2 - a * c
    with np.errstate(invalid='ignore', divide='ignore'):
        near = (-b - np.sqrt(root)) / a
    z = origins[:, 2] + near * directions[:, 2]
    return np.where((root > 0) & (near > 0.15) & (z > 0) & (z < PERSON_HEIGHT), near, np.inf)
