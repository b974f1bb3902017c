"""A large reference in windows, so that a cloud is compared with as much as it can see of it."""

from collections import OrderedDict
from threading import Lock

import numpy as np

from dlc_ros.errors import CloudError, ParameterError
from dlc_ros.registration.pyramid import Excerpt, Pyramid
from dlc_ros.registration.refine import Refiner
from dlc_ros.registration.windows import window_radius

# Windows lie on a grid of this share of their radius and have radii in steps of this factor, so
# that the clouds of a drive share them.
_GRID = 1.0 / 3.0
_STEP = 1.25
# Windows that are kept: those of a search, and a few of a drive.
_KEPT = 16
# Radius of a reference in radii of a cloud from which it is shown in windows.
_LARGE = 1.6


class Site:
    """
    What a cloud is registered to: a whole reference, or a window of a large one.

    :ivar refiner: :class:`~dlc_ros.registration.refine.Refiner` onto it.
    """

    def __init__(self, refiner, host, whole=False):
        """
        Take what is registered to.

        :param refiner: see above.
        :param host: :class:`~dlc_ros.registration.host.Host`; None without a predictor.
        :param whole: whether it is the reference that the host has described.
        """
        self.refiner, self._host, self._whole = refiner, host, whole
        self._described = {}

    def landscape(self, source):
        """
        The predictor's energy over poses of a source.

        :param source: :class:`~dlc_ros.registration.refine.Source`.
        :returns: :class:`~dlc_ros.registration.predictor.Landscape`; None without a predictor.
        """
        if self._host is None:
            return None
        predictor, reference = self._host.predictor, self._reference()
        return predictor.landscape(
            predictor.describe(source.full.points, reference.scale), reference
        )

    def _reference(self):
        if self._whole:
            return self._host.reference
        predictor = self._host.predictor
        if predictor not in self._described:  # another one once the device has failed
            points = self.refiner.coarse_target.points
            self._described = {predictor: predictor.describe(points)}
        return self._described[predictor]


class Atlas:
    """Windows of one reference, made when they are looked at; the latest are kept."""

    def __init__(self, points, host, options):
        """
        Take the reference.

        :param points: (M, 3) all its points in its local frame [m].
        :param host: :class:`~dlc_ros.registration.host.Host`; None without a predictor.
        :param options: :class:`~dlc_ros.registration.options.RegistrationOptions`.
        """
        self._pyramid, self._host, self._options = Pyramid(points, options), host, options
        self._sites, self._lock = OrderedDict(), Lock()

    @staticmethod
    def is_for(source, target):
        """Whether a target :class:`Surface` is so large beside a source's that windows serve."""
        return target.radius > _LARGE * source.radius

    def sites(self, source, proposals):
        """
        Windows for a source at several poses.

        :param source: :class:`~dlc_ros.registration.surface.Surface`, its origin at its centroid.
        :param proposals: list of :class:`~dlc_ros.registration.correlative.Proposal`.
        :returns: dict of :class:`Site` -> list of those proposals, in their order; those about
            which there is too little of the reference are left out.
        """
        level = int(np.ceil(np.log(window_radius(source.points)) / np.log(_STEP)))
        grid = _GRID * _STEP**level
        found = {}
        for proposal in proposals:
            place = tuple(np.rint(proposal.transform[:3, 3] / grid).astype(int).tolist())
            site = self._site(level, place, grid)
            if site is not None:
                found.setdefault(site, []).append(proposal)
        return found

    def _site(self, level, place, grid):
        key = (level, *place)
        with self._lock:
            known, site = key in self._sites, self._sites.get(key)
        if not known:
            # Wherever in its cell of the grid a cloud lies, its own window is held.
            radius = _STEP**level + 0.5 * np.sqrt(3.0) * grid
            site = self._make(Excerpt(self._pyramid, grid * np.array(place), radius))
        with self._lock:
            self._sites[key] = site
            self._sites.move_to_end(key)
            if len(self._sites) > _KEPT:
                self._sites.popitem(last=False)
        return site

    def _make(self, excerpt):
        """:class:`Site` of an :class:`Excerpt`; None where that shows no surface."""
        if len(excerpt) < self._options.min_points:
            return None
        try:
            return Site(Refiner(excerpt, self._options), self._host)
        except (CloudError, ParameterError):
            return None
