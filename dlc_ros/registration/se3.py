"""
Rotations and rigid transforms in numpy.

A transform ``T_target_source`` is a (4, 4) float64 matrix that maps source points into the target
frame. Formulas: J. Sola et al., "A micro Lie theory for state estimation in robotics", arXiv
1812.01537.
"""

import numpy as np


def skew(vector):
    """
    Matrix of the cross product: ``skew(a) @ b == cross(a, b)``.

    :param vector: (..., 3) float.
    :returns: (..., 3, 3) float64.
    """
    vector = np.asarray(vector, dtype=np.float64)
    matrix = np.zeros(vector.shape[:-1] + (3, 3))
    matrix[..., 0, 1], matrix[..., 0, 2] = -vector[..., 2], vector[..., 1]
    matrix[..., 1, 0], matrix[..., 1, 2] = vector[..., 2], -vector[..., 0]
    matrix[..., 2, 0], matrix[..., 2, 1] = -vector[..., 1], vector[..., 0]
    return matrix


def exp_so3(vector):
    """
    Rotation matrix of a rotation vector (Rodrigues).

    :param vector: (..., 3) axis times angle [rad].
    :returns: (..., 3, 3) float64.
    """
    vector = np.asarray(vector, dtype=np.float64)
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    hat = skew(vector)
    # np.sinc(x) is sin(pi x) / (pi x), exact at 0; the half angle keeps 1 - cos free of
    # cancellation.
    sine = np.sinc(angle / np.pi)
    versine = 0.5 * np.sinc(0.5 * angle / np.pi) ** 2
    return np.eye(3) + sine * hat + versine * (hat @ hat)


def log_so3(rotation):
    """
    Rotation vector of a rotation matrix, stable at 0 and at pi.

    :param rotation: (3, 3) rotation matrix.
    :returns: (3,) axis times angle [rad], angle in [0, pi].
    """
    x, y, z, w = quaternion_from_matrix(rotation)
    vector = np.array([x, y, z])
    length = np.linalg.norm(vector)
    if length < 1e-12:
        return 2.0 * vector
    return vector * (2.0 * np.arctan2(length, w) / length)


def quaternion_from_matrix(rotation):
    """
    Unit quaternion x y z w of a rotation matrix, with w >= 0.

    :param rotation: (3, 3) rotation matrix, or (4, 4) transform of which the rotation is taken.
    :returns: (4,) float64.

    Starts from the largest component, so it is accurate at every angle (S. Shepperd, "Quaternion
    from rotation matrix", 1978).
    """
    r = np.asarray(rotation, dtype=np.float64)[:3, :3]
    trace = np.trace(r)
    candidates = np.append(np.diag(r), trace)
    i = int(np.argmax(candidates))
    if i == 3:
        q = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], 1.0 + trace])
    else:
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.empty(4)
        q[i] = 1.0 - trace + 2.0 * r[i, i]
        q[j] = r[j, i] + r[i, j]
        q[k] = r[k, i] + r[i, k]
        q[3] = r[k, j] - r[j, k]
    q /= np.linalg.norm(q)
    return -q if q[3] < 0.0 else q


def matrix_from_quaternion(quaternion):
    """
    Rotation matrix of a quaternion x y z w; it is normalised first.

    :param quaternion: (4,) float, not zero.
    :returns: (3, 3) float64.
    :raises ValueError: if the quaternion is zero or not finite.
    """
    q = np.asarray(quaternion, dtype=np.float64)
    length = np.linalg.norm(q)
    if not np.isfinite(length) or length < 1e-12:
        raise ValueError(f'not a rotation quaternion: {q.tolist()}')
    q = q / length
    hat = skew(q[:3])
    return np.eye(3) + 2.0 * q[3] * hat + 2.0 * (hat @ hat)


def matrix_from_rpy(rpy):
    """
    Rotation of fixed-axis roll, pitch, yaw: ``Rz(yaw) Ry(pitch) Rx(roll)`` (REP-103).

    :param rpy: (3,) [rad].
    :returns: (3, 3) float64.
    """
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rpy_from_matrix(rotation):
    """
    Fixed-axis roll, pitch, yaw of a rotation; at pitch = +-90 deg roll is set to 0.

    :param rotation: (3, 3) rotation matrix, or (4, 4) transform of which the rotation is taken.
    :returns: (3,) [rad], pitch in [-pi/2, pi/2].
    """
    r = np.asarray(rotation, dtype=np.float64)[:3, :3]
    cosine = np.hypot(r[0, 0], r[1, 0])
    pitch = np.arctan2(-r[2, 0], cosine)
    if cosine < 1e-9:
        return np.array([0.0, pitch, np.arctan2(-r[0, 1], r[1, 1])])
    return np.array([np.arctan2(r[2, 1], r[2, 2]), pitch, np.arctan2(r[1, 0], r[0, 0])])


def make_transform(rotation=None, translation=None):
    """
    Transform of a rotation and a translation; either may be left out.

    :param rotation: (3, 3) rotation matrix.
    :param translation: (3,) [m].
    :returns: (4, 4) float64.
    """
    transform = np.eye(4)
    if rotation is not None:
        transform[:3, :3] = rotation
    if translation is not None:
        transform[:3, 3] = translation
    return transform


def compose(*transforms):
    """
    Product of transforms: ``compose(T_a_b, T_b_c) == T_a_c``.

    :param transforms: (4, 4) each; none gives the identity.
    :returns: (4, 4) float64.
    """
    product = np.eye(4)
    for transform in transforms:
        product = product @ transform
    return product


def inverse(transform):
    """
    Inverse of a rigid transform, without a matrix inversion.

    :param transform: (4, 4) ``T_a_b``.
    :returns: (4, 4) ``T_b_a``.
    """
    transform = np.asarray(transform, dtype=np.float64)
    transposed = transform[:3, :3].T
    return make_transform(transposed, -transposed @ transform[:3, 3])


def exp_se3(twist):
    """
    Rigid motion of a constant screw: ``v`` is the velocity of the point at the origin.

    :param twist: (6,) ``v`` [m] then ``w`` [rad].
    :returns: (4, 4) float64.
    """
    twist = np.asarray(twist, dtype=np.float64)
    return make_transform(exp_so3(twist[3:]), _left_jacobian(twist[3:]) @ twist[:3])


def log_se3(transform):
    """
    Screw that moves by a rigid transform in unit time; the inverse of :func:`exp_se3`.

    :param transform: (4, 4).
    :returns: (6,) ``v`` [m] then ``w`` [rad], angle in [0, pi].
    """
    rotation_vector = log_so3(transform)
    velocity = np.linalg.solve(_left_jacobian(rotation_vector), np.asarray(transform)[:3, 3])
    return np.concatenate([velocity, rotation_vector])


def _left_jacobian(rotation_vector):
    """(3, 3) mean of ``exp(s w)`` over s in [0, 1] (Sola et al., equation 145)."""
    angle = np.linalg.norm(rotation_vector)
    hat = skew(rotation_vector)
    versine = 0.5 * np.sinc(0.5 * angle / np.pi) ** 2
    # (angle - sin) / angle^3; its series where the difference would cancel.
    if angle < 1e-2:
        cubic = 1.0 / 6.0 - angle**2 / 120.0
    else:
        cubic = (angle - np.sin(angle)) / angle**3
    return np.eye(3) + versine * hat + cubic * (hat @ hat)


def transform_points(transform, points):
    """
    Points moved by a transform.

    :param transform: (4, 4) ``T_target_source``.
    :param points: (N, 3) in the source frame.
    :returns: (N, 3) in the target frame, dtype of the computation.
    """
    return points @ transform[:3, :3].T + transform[:3, 3]


def is_rigid(transform, tolerance=1e-3):
    """
    Whether a matrix is a rigid transform: finite, (4, 4), orthonormal, no mirror.

    :param transform: anything.
    :param tolerance: largest deviation of ``R R^T`` from the identity and of the last row; wide
        enough for matrices that people type with four digits.
    """
    transform = numbers(transform, (4, 4))
    if not np.isfinite(transform).all():
        return False
    rotation = transform[:3, :3]
    return bool(
        np.abs(transform[3] - [0.0, 0.0, 0.0, 1.0]).max() < tolerance
        and np.abs(rotation @ rotation.T - np.eye(3)).max() < tolerance
        and np.linalg.det(rotation) > 0.0
    )


def nearest_rigid(transform):
    """
    The rigid transform whose rotation is nearest (Frobenius norm) to a nearly rigid matrix.

    :param transform: (4, 4) for which :func:`is_rigid` holds.
    :returns: (4, 4) float64, orthonormal to rounding.
    """
    transform = np.asarray(transform, dtype=np.float64)
    u, _, vt = np.linalg.svd(transform[:3, :3])
    return make_transform(u @ vt, transform[:3, 3])


def rotation_angle_deg(rotation, other=None):
    """
    Angle of a rotation, or between two, in degrees, accurate down to rounding.

    :param rotation: (3, 3) rotation matrix or (4, 4) transform.
    :param other: the same; default the identity.
    :returns: float in [0, 180].
    """
    r = np.asarray(rotation, dtype=np.float64)[:3, :3]
    if other is not None:
        r = np.asarray(other, dtype=np.float64)[:3, :3].T @ r
    return float(np.degrees(np.linalg.norm(log_so3(r))))


def numbers(value, shape):
    """
    What somebody passed as an array of numbers.

    :param value: anything.
    :param shape: that it must have.
    :returns: float64 array of that shape; all NaN where the value is no such thing.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):  # the last one of torch's tensors
        array = np.empty(0)
    return array if array.shape == shape else np.full(shape, np.nan)
