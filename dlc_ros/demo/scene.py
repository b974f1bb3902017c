"""The demo's world: the part on a table, with other things lying about."""

import numpy as np

from dlc_ros.demo.part import build_part, circle, extrude, rectangle
from dlc_ros.registration.se3 import make_transform, matrix_from_rpy

# Where the part lies: the world's origin is in the middle of the table top, z up.
T_WORLD_PART = make_transform(matrix_from_rpy([0.0, 0.0, np.deg2rad(25.0)]), [0.03, -0.02, 0.0])
TABLE_SIZE = (1.3, 1.1, 0.03)


def build_scene():
    """
    Everything that the camera can hit, in the world's frame.

    :returns: open3d.t.geometry.RaycastingScene.
    """
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    for mesh in build_part():
        scene.add_triangles(mesh.transform(T_WORLD_PART))
    for mesh in [build_table(), *build_clutter()]:
        scene.add_triangles(mesh)
    return scene


def build_table():
    """The table: a slab whose top is z = 0."""
    import open3d as o3d

    low = -np.array([0.5 * TABLE_SIZE[0], 0.5 * TABLE_SIZE[1], TABLE_SIZE[2]])
    return o3d.t.geometry.TriangleMesh.create_box(*TABLE_SIZE).translate(low)


def build_clutter():
    """Things that are not the part: a carton, a tin and a flat washer beside it."""
    carton = extrude(rectangle((0.0, 0.0), (0.055, 0.035)), [], (-1e-3, 0.028))
    carton = carton.transform(
        make_transform(matrix_from_rpy([0.0, 0.0, 0.6]), [-0.235, -0.09, 0.0])
    )
    tin = extrude(circle((0.115, 0.190), 0.021), [], (-1e-3, 0.034))
    washer = extrude(
        circle((0.215, -0.145), 0.018), [circle((0.215, -0.145), 0.008)], (-1e-3, 0.008)
    )
    return [carton, tin, washer]
