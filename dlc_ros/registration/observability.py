"""Along which directions two clouds do not determine the pose: planes, corridors, spheres."""

import numpy as np
from scipy.linalg import eigh

from dlc_ros.registration.se3 import (
    compose,
    exp_se3,
    inverse,
    log_se3,
    make_transform,
    transform_points,
)
from dlc_ros.registration.surface import sample

# Directions of which the planes resist a smaller share than this are tried; noise of half a
# pitch makes a sphere seem to resist a tenth of a turn.
_SUSPECT = 0.2
# A motion of which the source's own normals see a smaller share than this is not seen by it: a
# cloud whose heights were lost lies within its plane wherever the edges of a room pull it.
_BLIND = 1e-4
# Where all normals see no more than the first, flat patches are asked, which must see the second.
# A patch of neighbours that is thicker than so many pitches, beyond so many times the cloud's
# roughness, lies across an edge, and its normal leans as chance has it.
_DOUBTED = 0.05
_FAINT = 1e-3
_THICK = 0.05
_ROUGH = 3.0
# Share of a motion that is as good as none.
_NOTHING = 1e-9
# Mean square of the normals' parts across their main direction, below which a surface is a plane.
_FLAT = 0.02
_STANDARD_ERRORS = 3.0
# Length of a slide in fine correspondence distances: well beyond noise and pitch.
_SLIDE = 2.0
# Of so many near points the plane that fits best counts: past an edge, or on noisy normals, the
# nearest point's alone rises without any motion.
_PLANES = 8
# Points that slide: a few where they already tell, many where the few points that hold a
# direction would drown in chance.
_SAMPLES = (500, 2_500)
# How many times as much as is asked for tells already.
_CLEARLY = 2.0
# Share of the points that certainly holds a direction. On clean clouds fewer do: what lifts the
# mean square distance to so many times what it is at the pose, which the refinement made small.
_CERTAIN = 0.003
_LIFT = 4.0
# No cloud is more exact than this, in slides.
_EXACT = 1e-3


def free_directions(target, source, found, support=0.0):
    """
    Small motions of the source that leave the two surfaces on each other.

    The Hessian names the suspects: motions of which the planes resist a small share. Noisy
    normals lend each some resistance that is not there, so every suspect is tried: the source
    slides a finite way along it, and it is free if the distances to the best of the planes near
    the points *there* do not rise: their mean square by less than ``support`` times the square
    of the slide, or than noise explains, beyond chance. What the source's own normals do not see
    at all is free without a trial: a surface resists along its normals alone. What only those at
    its edges see is free if one way of sliding is: a surface resists both ways, but a floor that
    ends at a wall that the source does not have resists one.

    :param target: :class:`Surface`.
    :param source: :class:`Surface`, its origin at its centroid.
    :param found: :class:`Agreement` at the pose.
    :param support: share of the points that must hold a direction, 0..1; 0 asks for as few as
        stand out from the noise.
    :returns: (6, k) columns, screws ``v w`` about the source's origin along target axes, each
        moving the inliers by 1 m root mean square and orthogonal to the others in that sense;
        k is 6 without enough inliers.
    """
    factor = np.linalg.inv(_whitening(found)).T
    if found.inliers < 6:
        return factor
    trial = _Trial(target, source, found)
    seen, screws = _principal(factor, _seen_by(source, found.transform))
    unseen, factor = screws[:, seen < _BLIND], screws[:, seen >= _BLIND]
    if seen[0] < _DOUBTED and factor.size:
        seen, screws = _principal(factor, _seen_by(source, found.transform, flat=True))
        leaning = [
            seen[i] < _FAINT and trial.slides(screws[:, i], support, one_way=True)
            for i in range(len(seen))
        ]
        unseen, factor = np.hstack([unseen, screws[:, leaning]]), screws[:, ~np.array(leaning)]
    resistance, screws = _principal(factor, found.hessian / found.inliers)
    free = [i for i in range(len(resistance)) if resistance[i] < _SUSPECT]
    free = [i for i in free if trial.slides(screws[:, i], support)]
    return np.hstack([unseen, screws[:, free]])


def is_plane(surface):
    """Whether nearly all normals of a :class:`Surface` are parallel."""
    normals = surface.normals[sample(len(surface), _SAMPLES[-1])]
    return bool(np.linalg.eigvalsh(normals.T @ normals / len(normals))[1] < _FLAT)


def _principal(factor, form):
    """Values (k,) of a quadratic form on the columns' span, ascending, and its axes (6, k)."""
    values, vectors = np.linalg.eigh(factor.T @ form @ factor)
    return values, factor @ vectors


def _seen_by(source, transform, flat=False):
    """
    Mean over points of the square of a screw's motion along the source's own normals.

    :param flat: normals that lie across edges see nothing.
    :returns: (6, 6).
    """
    some = sample(len(source), _SAMPLES[-1])
    normals = source.normals[some] @ transform[:3, :3].T
    levers = source.points[some] @ transform[:3, :3].T
    jacobian = np.hstack([normals, np.cross(levers, normals)])
    if flat:
        thick = _ROUGH * source.roughness + _THICK * source.pitch
        jacobian[source.thickness(some) > thick] = 0.0
    return jacobian.T @ jacobian / len(jacobian)


def _whitening(found):
    """Lower (6, 6) L with ``|L^T x|`` the root mean square motion of the inliers for screw x."""
    motion = found.motion / max(found.inliers, 1.0)
    lengths = np.sqrt(np.maximum(np.diag(motion), found.distance**2 * 1e-6))
    # Points on a thin rod hardly move when it turns about itself: a floor keeps that invertible.
    return np.linalg.cholesky(motion + 1e-9 * np.diag(lengths**2))


class _Trial:
    """A source at its pose, to be slid along screws."""

    def __init__(self, target, source, found):
        self._target, self._source, self._found = target, source, found
        self._step = _SLIDE * found.distance
        self._here = {}  # what :meth:`_at_rest` found, by how many points were asked

    def slides(self, screw, support, one_way=False):
        """Whether a screw (1 m) leaves the source on the target, both ways or one way."""
        source, step = self._source, self._step
        for count in _SAMPLES:
            points, here = self._at_rest(count)
            if not len(points):
                slides = True  # nothing holds it
                continue
            ways = (_moved(self._found.transform, way * step * screw) for way in (1.0, -1.0))
            rises = [(self._costs(points, transform) - here) / step**2 for transform in ways]
            rise = min(rises, key=np.mean) if one_way else np.concatenate(rises)
            noise = max(here.mean(), (_EXACT * step) ** 2)
            enough = max(support, min(_CERTAIN, _LIFT * noise / step**2))
            chance = _STANDARD_ERRORS * rise.std() / np.sqrt(len(rise))
            slides = bool(rise.mean() < enough + chance)
            if len(source) <= count or rise.mean() > _CLEARLY * (enough + chance):
                break
        return slides

    def _at_rest(self, count):
        """Of so many points those on the target at the pose that was found, and their costs."""
        if count not in self._here:
            found, points = self._found, self._source.points[sample(len(self._source), count)]
            moved = transform_points(found.transform, points)
            points = points[self._target.nearest(moved, found.distance)[1] < found.distance]
            costs = self._costs(points, found.transform) if len(points) else np.zeros(0)
            self._here[count] = points, costs
        return self._here[count]

    def _costs(self, points, transform):
        """Squared distances (N,) of points to the best of the target's planes near them, cut."""
        target, points = self._target, transform_points(transform, points)
        indices, _ = target.tree.batch_knn_search(points, min(_PLANES, len(target)))
        indices = indices.astype(np.int64)
        gaps = points[:, None] - target.points[indices]
        planes = np.abs(np.einsum('nkj,nkj->nk', gaps, target.normals[indices])).min(axis=1)
        return np.minimum(planes, self._step) ** 2


def _moved(transform, screw):
    """Pose after a screw motion along target axes about the source's origin."""
    here = make_transform(translation=transform[:3, 3])
    return compose(here, exp_se3(screw), inverse(here), transform)


def unexplained_motion(found, other, free):
    """
    Root mean square motion of the inliers between two poses, beyond the free directions.

    :param found: :class:`Agreement` at the first pose.
    :param other: (4, 4) second pose ``T_target_source``.
    :param free: (6, k) of :func:`free_directions` at the first pose.
    :returns: float [m]; 0 if sliding along free directions alone leads from one to the other.
    """
    here = make_transform(translation=found.transform[:3, 3])
    screw = log_se3(compose(inverse(here), other, inverse(found.transform), here))
    whitening = _whitening(found).T
    motion, basis = whitening @ screw, whitening @ free
    return float(np.linalg.norm(motion - basis @ (basis.T @ motion)))


def resisted(found, free, source):
    """
    Hessian of an agreement without the information that noise and edges feign.

    Along free directions there is none. Along others there is no more than the source's own
    normals see: those of a sparse target lean at its edges, and seem to hold a source that has
    no surface there.

    :param found: :class:`Agreement`.
    :param free: (6, k) of :func:`free_directions`.
    :param source: :class:`Surface`.
    :returns: (6, 6) symmetric, zero along the free directions.
    """
    if found.inliers < 6:
        return np.zeros((6, 6))
    whitening = _whitening(found)
    unwhitening = np.linalg.inv(whitening)
    information = unwhitening @ found.hessian @ unwhitening.T / found.inliers
    seen = unwhitening @ _seen_by(source, found.transform) @ unwhitening.T
    basis = whitening.T @ free
    keep = np.eye(6) - basis @ basis.T
    information = keep @ _lesser(information, seen) @ keep
    return found.inliers * (whitening @ information @ whitening.T)


def _lesser(first, second):
    """Of two positive semidefinite matrices the smaller along each axis that they share."""
    first = first + _NOTHING * np.eye(len(first))
    shares, axes = eigh(second, first)  # axes.T @ first @ axes is the identity
    back = np.linalg.inv(axes)
    return back.T @ (np.clip(shares, 0.0, 1.0)[:, None] * back)
