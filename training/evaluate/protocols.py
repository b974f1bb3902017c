"""The named protocols: which pairs they draw, and when a pair counts as solved."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from dlc_ros.errors import ParameterError
from dlc_training.evaluate import ambiguity
from dlc_training.evaluate.crops import SO3_BINS, rpmnet_crop_pair, self_pair, so3_crop_pair
from dlc_training.evaluate.metrics import STRICT, SUCCESS
from dlc_training.evaluate.partial_view import FOREIGN_BINS, partial_view_pair
from dlc_training.evaluate.scan_to_map import YAW_BINS, Maps, scan_to_map_pair
from dlc_training.evaluate.shapes import open_shapes
from dlc_training.evaluate.view_ambiguity import is_ambiguous_view


@dataclass(frozen=True)
class Protocol:
    """
    A named way to draw pairs.

    :param summary: one line for people.
    :param draw: function (shapes, index, seed, pairs_per_bin) -> :class:`Pair`.
    :param drawn_bins: number of bins that are drawn, ``pairs_per_bin`` pairs each.
    :param bin_label: what the bins are, for people.
    :param with_chamfer: published tables give the modified chamfer distance.
    :param success: rotation [deg] and translation error below which a pair is solved.
    :param strict: the same for the second, stricter rate.
    :param length_unit: of translations, for people; empty for radii of the shape.
    :param shapes: opens what is registered: (text of ``--shapes``, seed) -> shapes.
    :param is_ambiguous: function (pair, symmetry group) -> bool, or None where every truth is
        taken to be clear and no shape to be symmetric.
    :param unit: length that the peers' options take for the radius of an object.
    :param upright: source and target share the direction of gravity, their z axes.
    """

    summary: str
    draw: Callable
    drawn_bins: int
    bin_label: str
    with_chamfer: bool = False
    success: tuple = SUCCESS
    strict: tuple = STRICT
    length_unit: str = ''
    shapes: Callable = open_shapes
    is_ambiguous: Callable | None = ambiguity.is_ambiguous
    unit: float = 1.0
    upright: bool = False

    def limit_label(self, limits):
        """``5 deg, 0.1`` and the like, for people."""
        return f'{limits[0]:g} deg, {limits[1]:g} {self.length_unit}'.strip()

    def pairs(self, shapes, pairs_per_bin, seed):
        """All pairs, one after another; the same arguments give the same pairs."""
        for index in range(self.drawn_bins * pairs_per_bin):
            yield self.draw(shapes, index, seed, pairs_per_bin)


def _maps(text, seed):
    if text != 'generated':
        raise ParameterError(f'--shapes {text}: scan-to-map is of generated places alone')
    return Maps(seed)


_INITIAL = 'initial rotation [deg]'
PROTOCOLS = {
    'so3-crop': Protocol(
        'Two samplings, each cropped to 70 %: any rotation, nothing known beforehand.',
        so3_crop_pair,
        len(SO3_BINS),
        _INITIAL,
    ),
    'rpmnet-crop': Protocol(
        'Crops to 70 % with rotations within 45 deg, comparable with published tables.',
        rpmnet_crop_pair,
        1,
        'initial rotation from [deg]',
        with_chamfer=True,
    ),
    'rpmnet-crop-50': Protocol(
        'The same with crops to 50 %.',
        partial(rpmnet_crop_pair, keep=0.5),
        1,
        'initial rotation from [deg]',
        with_chamfer=True,
    ),
    'partial-view': Protocol(
        'A whole model, and one view of it by a depth camera or LiDAR, with clutter.',
        partial_view_pair,
        len(FOREIGN_BINS),
        'foreign points [%]',
        is_ambiguous=is_ambiguous_view,
    ),
    'scan-to-map': Protocol(
        'One LiDAR scan in a map of another pass, from bad starts and from none.',
        scan_to_map_pair,
        len(YAW_BINS),
        'yaw error of the start [deg]; inf: no start',
        success=(1.0, 0.2),
        strict=(0.5, 0.05),
        length_unit='m',
        shapes=_maps,
        is_ambiguous=None,
        unit=5.0,
        upright=True,
    ),
    'self': Protocol(
        'A cloud against itself, rotated at random.', self_pair, len(SO3_BINS), _INITIAL
    ),
}
