"""The clouds of a run that the picture shows."""

import textwrap

import numpy as np

from dlc_ros.demo.camera import POINTS_TOPIC
from dlc_ros.demo.metrics import Limits, is_right, sights
from dlc_ros.demo.picture import Moment
from dlc_ros.demo.scenario import View
from dlc_ros.localization.segmentation import segment
from dlc_ros.node.bag import Bag


def find_moments(recording, log, diameter, settings, refusal):
    """
    The story of the interruption: a cloud that is rejected, the part lost, the part found.

    :param recording: path of the recording.
    :param log: :class:`RunLog`.
    :param diameter: of the part [m].
    :param settings: the node's ``segmentation`` parameters.
    :param refusal: what the node said of the first rejected cloud.
    :returns: list of three :class:`~dlc_ros.demo.picture.Moment`; empty if the part was not found
        again.
    """
    frames = [log.frames[stamp] for stamp in sorted(log.frames)]
    sight = next((sight for sight in sights(frames) if sight.after_blind), None)
    if sight is None:
        return []
    again = sight.frames[0].stamp_ns
    right = [e for e in log.estimates if is_right(e, log.frames.get(e.stamp_ns), Limits())]
    before = [e.matrix for e in right if e.stamp_ns < again]
    seen = {frame.stamp_ns for frame in sight.frames}
    found = {e.stamp_ns: e.matrix for e in right if e.stamp_ns in seen}
    clouds = recorded_clouds(recording, log, found)
    if not before or clouds is None:
        return []
    last, (covered, (stamp_ns, points)) = before[-1], clouds
    kept = set(map(bytes, segment(points, diameter, settings)))
    on_object = np.array([bytes(point) in kept for point in points])
    title = f'{1e-9 * (stamp_ns - again):.1f} s after it sees again, from another side:\n'
    after = found[stamp_ns]
    return [
        Moment(
            covered,
            np.ones(len(covered), bool),
            last,
            last,
            'the camera is blinded, its clouds are rejected:\n'
            + textwrap.shorten(refusal, 60, placeholder=' ...'),
        ),
        Moment(points, on_object, last, after, f'{title}scan placed by the last pose before'),
        Moment(points, on_object, after, after, f'{title}scan placed by the pose that was found'),
    ]


def recorded_clouds(recording, log, found):
    """
    Points of a cloud of the covered camera, stamp and points of the first that is found.

    :param found: stamps in question.
    :returns: (N, 3) float64, (stamp [ns], (M, 3) float64), all finite; None if none is there.
    """
    covered = np.zeros((0, 3))
    with Bag(recording) as bag:
        for stamp_ns, _, cloud in bag.clouds(POINTS_TOPIC):
            points = cloud[np.isfinite(cloud).all(axis=1)].astype(np.float64)
            frame = log.frames.get(stamp_ns)
            if frame is not None and frame.view is View.COVER:
                covered = points
            if stamp_ns in found:
                return covered, (stamp_ns, points)
    return None
