"""
Peers: classical registration from xyz alone, each ended by the same GICP refinement.

Every baseline is a function ``(source, target, prior) -> T_target_source``: two (n, 3) clouds, a
:class:`~dlc_training.evaluate.pair.Prior` or None, a (4, 4) float64 pose. The options are the
best of the sweeps in ``tuning.py``, made on shapes that no result is reported for; lengths are in
units of the shape's bounding radius.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

FEWEST_POINTS = 20  # small_gicp and kiss_matcher take the process down on empty and tiny clouds


@dataclass(frozen=True)
class GicpOptions:
    """Options of the GICP that every baseline ends with; where :func:`gicp` starts."""

    neighbours: int = 20
    coarse: tuple = (0.5, 0.2, 0.08)
    fine: tuple = (0.2, 0.08)
    iterations: int = 30
    from_prior: bool = False


@dataclass(frozen=True)
class FpfhOptions:
    """Normals and features for open3d's FPFH."""

    normal_radius: float = 0.25
    orientation: str = 'away'
    feature_radius: float = 0.5
    normal_neighbours: int = 20
    feature_neighbours: int = 200
    mutual: bool = False


@dataclass(frozen=True)
class FgrOptions:
    """Fast global registration on FPFH matches."""

    distance: float = 0.05
    tuples: int = 1000
    fpfh: FpfhOptions = FpfhOptions()


@dataclass(frozen=True)
class RansacOptions:
    """RANSAC on FPFH matches."""

    distance: float = 0.05
    iterations: int = 100_000
    edge_similarity: float = 0.9
    fpfh: FpfhOptions = FpfhOptions()


@dataclass(frozen=True)
class KissOptions:
    """KISS-Matcher."""

    voxel_size: float = 0.05
    normal_gain: float = 4.0
    feature_gain: float = 5.0


@dataclass(frozen=True)
class StartsOptions:
    """Many rotations, a short GICP from each; the best inlier score wins."""

    points: int = 1500
    distances: tuple = (0.3, 0.1)
    iterations: int = 10
    inlier_distance: float = 0.05


def aligned_centroids(source, target, rotation=None):
    """The pose with this rotation (default none) that puts the centroids upon each other."""
    T = np.eye(4)
    if rotation is not None:
        T[:3, :3] = rotation
    T[:3, 3] = target.mean(0) - T[:3, :3] @ source.mean(0)
    return T


class PreparedGicp:
    """Two clouds prepared once for GICP from any number of starts."""

    def __init__(self, source, target, options):
        import small_gicp

        self._align = small_gicp.align
        self._options = options
        self.source = small_gicp.PointCloud(np.asarray(source, float))
        self.target = small_gicp.PointCloud(np.asarray(target, float))
        self.tree = small_gicp.KdTree(self.target)
        small_gicp.estimate_covariances(self.target, self.tree, options.neighbours)
        small_gicp.estimate_covariances(self.source, num_neighbors=options.neighbours)

    def align(self, T, distance, iterations=None):
        """One run from ``T`` (4, 4) at one correspondence distance; small_gicp's result."""
        return self._align(
            self.target,
            self.source,
            self.tree,
            T,
            registration_type='GICP',
            max_correspondence_distance=distance,
            max_iterations=iterations or self._options.iterations,
        )

    def refine(self, T, distances):
        """Refine ``T`` with ever shorter correspondence distances."""
        for distance in distances:
            T = self.align(T, distance).T_target_source
        return T


def _too_small(source, target):
    return min(len(source), len(target)) < FEWEST_POINTS


def gicp(source, target, prior=None, options=GicpOptions()):
    """GICP, coarse to fine, from aligned centroids (and the prior's rotation) or the prior."""
    rotation = None if prior is None else prior.transform[:3, :3]
    start = aligned_centroids(source, target, rotation)
    if options.from_prior and prior is not None:
        start = prior.transform
    if _too_small(source, target):
        return start
    return PreparedGicp(source, target, options).refine(start, options.coarse)


def fgr(source, target, prior=None, options=FgrOptions()):
    """FPFH, fast global registration (Zhou et al., ECCV 2016), GICP."""
    if _too_small(source, target):
        return aligned_centroids(source, target)
    import open3d

    open3d.utility.random.seed(0)
    registration = open3d.pipelines.registration
    a, b, matches = fpfh_matches(source, target, options.fpfh)
    if len(matches) < 3:
        return _refined(source, target, aligned_centroids(source, target))
    result = registration.registration_fgr_based_on_correspondence(
        a,
        b,
        matches,
        registration.FastGlobalRegistrationOption(
            maximum_correspondence_distance=options.distance,
            maximum_tuple_count=options.tuples,
            decrease_mu=True,
            use_absolute_scale=True,
        ),
    )
    return _refined(source, target, result.transformation)


def ransac(source, target, prior=None, options=RansacOptions()):
    """FPFH, RANSAC on matched features (open3d), GICP."""
    if _too_small(source, target):
        return aligned_centroids(source, target)
    import open3d

    open3d.utility.random.seed(0)
    registration = open3d.pipelines.registration
    a, features_a = _fpfh(source, options.fpfh)
    b, features_b = _fpfh(target, options.fpfh)
    result = registration.registration_ransac_based_on_feature_matching(
        a,
        b,
        features_a,
        features_b,
        options.fpfh.mutual,
        options.distance,
        registration.TransformationEstimationPointToPoint(False),
        3,
        [
            registration.CorrespondenceCheckerBasedOnEdgeLength(options.edge_similarity),
            registration.CorrespondenceCheckerBasedOnDistance(options.distance),
        ],
        registration.RANSACConvergenceCriteria(options.iterations, 0.999),
    )
    return _refined(source, target, result.transformation)


def kiss(source, target, prior=None, options=KissOptions()):
    """KISS-Matcher (Lim et al., ICRA 2025), GICP."""
    if _too_small(source, target):
        return aligned_centroids(source, target)
    import kiss_matcher

    config = kiss_matcher.KISSMatcherConfig(
        options.voxel_size,
        normal_r_gain=options.normal_gain,
        fpfh_r_gain=options.feature_gain,
    )
    matcher = kiss_matcher.KISSMatcher(config)
    solution = matcher.estimate(
        list(np.asarray(source, np.float32)), list(np.asarray(target, np.float32))
    )
    T = np.eye(4)
    T[:3, :3] = solution.rotation
    T[:3, 3] = np.ravel(solution.translation)
    # Two inliers are 'valid' to it, and without a match it returns the identity.
    if matcher.get_num_final_inliers() < 3 or not np.isfinite(T).all():
        T = aligned_centroids(source, target)
    return _refined(source, target, T)


def starts(source, target, prior=None, options=StartsOptions()):
    """
    GICP from the 24 rotations of the cube, the best inlier score, GICP.

    With a prior the starts are 27 instead: its rotation turned by -1, 0 and 1 standard deviation
    about each axis.
    """
    if _too_small(source, target):
        return aligned_centroids(source, target)
    from scipy.spatial import cKDTree

    few = source[:: max(1, len(source) // options.points)]
    pair = PreparedGicp(few, target, GicpOptions(iterations=options.iterations))
    tree = cKDTree(target)
    best, most = None, -1.0
    for rotation in start_rotations(prior):
        start = aligned_centroids(source, target, rotation)
        T = pair.refine(start, options.distances)
        distance, _ = tree.query(few @ T[:3, :3].T + T[:3, 3])
        score = np.mean(np.maximum(0.0, 1.0 - (distance / options.inlier_distance) ** 2))
        if score > most:
            best, most = T, score
    return _refined(source, target, best)


def start_rotations(prior=None):
    """The rotations that :func:`starts` begins from, (3, 3) each."""
    if prior is None:
        return Rotation.create_group('O').as_matrix()
    deviation = np.sqrt(np.diag(prior.covariance)[3:])
    turns = Rotation.from_rotvec([deviation * s for s in product((-1, 0, 1), repeat=3)])
    return turns.as_matrix() @ prior.transform[:3, :3]


def _refined(source, target, T, options=GicpOptions()):
    return PreparedGicp(source, target, options).refine(np.asarray(T, float), options.fine)


def fpfh_matches(source, target, options):
    """Both clouds as open3d's, and an (m, 2) index vector of points with like features."""
    import open3d

    a, features_a = _fpfh(source, options)
    b, features_b = _fpfh(target, options)
    match = open3d.pipelines.registration.correspondences_from_features
    return a, b, match(features_a, features_b, options.mutual)


def _fpfh(points, options):
    import open3d

    # Few mutual matches are reported as a warning per pair; then all matches are used.
    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
    cloud = open3d.geometry.PointCloud(
        open3d.utility.Vector3dVector(np.asarray(points, np.float64))
    )
    neighbours = open3d.geometry.KDTreeSearchParamHybrid(
        options.normal_radius, options.normal_neighbours
    )
    cloud.estimate_normals(neighbours)
    _orient(cloud, options.orientation)
    features = open3d.pipelines.registration.compute_fpfh_feature(
        cloud,
        open3d.geometry.KDTreeSearchParamHybrid(
            options.feature_radius, options.feature_neighbours
        ),
    )
    return cloud, features


def _orient(cloud, how):
    """
    Give the normals one side: the features depend on it.

    :param how: ``away`` from the centroid, each for itself; ``tangent-plane``: along a spanning
        tree, then as a whole away from the centroid; ``none``.
    """
    if how == 'none':
        return
    centroid = cloud.get_center()
    if how == 'away':
        cloud.orient_normals_towards_camera_location(centroid)
        cloud.normals = type(cloud.normals)(-np.asarray(cloud.normals))
        return
    try:
        cloud.orient_normals_consistent_tangent_plane(15)
    except RuntimeError:  # exactly flat: qhull finds no spanning tree, and there is no inside
        return
    normals, points = np.asarray(cloud.normals), np.asarray(cloud.points)
    if np.einsum('ij,ij->', normals, points - centroid) < 0:
        cloud.normals = type(cloud.normals)(-normals)
