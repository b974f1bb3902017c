"""What happens in the demo and when: the camera's path, when it is blind, where it jumps to."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from dlc_ros.demo.depth_camera import look_at
from dlc_ros.demo.scene import T_WORLD_PART
from dlc_ros.errors import DlcError
from dlc_ros.registration.se3 import inverse

CAMERA_FRAME = 'camera_depth_optical_frame'
PART_FRAME = 'part'
SHORTEST, LONGEST = 10.0, 3600.0  # s
RECOVERY_LIMIT = 3.0  # s


class View(Enum):
    """What a cloud of the camera shows."""

    PART = 'part'
    COVER = 'cover'  # something lies on the lens: plenty of points, none of them of the part
    NAN = 'nan'  # an image without a single return
    EMPTY = 'empty'  # a message without points


@dataclass(frozen=True)
class Scenario:
    """
    One run in three acts.

    The camera circles the part. It is blinded (a covered lens, then images without a return, then
    messages without a point), and when it sees again it stands on another side of the part. After
    a while it begins to jump from side to side, and stays nowhere for long.

    :param duration: of the whole run [s], 10 to 3600.
    :param rate: clouds a second [Hz].
    :param blind_after: when the camera is blinded, as a share of the duration.
    :param blind_for: how long it is blind, as a share of the duration.
    :param jumping_after: when it begins to jump, as a share of the duration.
    :param stay: time between two jumps [s].
    :param teleport: angle [deg] around the part of every jump.
    :param seed: of the noise, and of where the path starts.
    :raises DlcError: if the run is too short to show anything.
    """

    duration: float = 60.0
    rate: float = 5.0
    blind_after: float = 0.35
    blind_for: float = 0.1
    jumping_after: float = 0.65
    stay: float = 1.6
    teleport: float = 150.0
    seed: int = 0

    def __post_init__(self):
        if not SHORTEST <= self.duration <= LONGEST:
            raise DlcError(
                f'duration is {self.duration:g} s; the demo runs {SHORTEST:g} to {LONGEST:g} s'
            )
        if not 0.5 <= self.rate <= 30.0:
            raise DlcError(f'rate is {self.rate:g} Hz; the camera does 0.5 to 30')

    @property
    def frames(self):
        """How many clouds are published."""
        return int(self.duration * self.rate)

    @property
    def blind_from(self):
        """When the camera is blinded [s]."""
        return self.blind_after * self.duration

    @property
    def sees_again(self):
        """When it sees again, from another side [s]."""
        return (self.blind_after + self.blind_for) * self.duration

    def view(self, t):
        """What the cloud taken ``t`` seconds after the start shows, as a :class:`View`."""
        if not self.blind_from <= t < self.sees_again:
            return View.PART
        third = int(3.0 * (t - self.blind_from) / (self.sees_again - self.blind_from))
        return (View.COVER, View.NAN, View.EMPTY)[min(third, 2)]

    def jumps(self, t):
        """How often the camera has jumped within the first ``t`` seconds."""
        since = t - self.jumping_after * self.duration
        if since >= 0.0:
            # A cloud that is taken at the very moment of a jump is taken after it; from the last
            # place, too, it sees the part for as long as from the others.
            stays = int((1.0 - self.jumping_after) * self.duration / self.stay + 1e-9)
            return 2 + min(int(since / self.stay + 1e-9), stays - 1)
        return 1 if t >= self.sees_again else 0

    def camera_pose(self, t):
        """
        Where the camera is: a circle around the part that breathes and sways like a hand.

        :param t: seconds since the start.
        :returns: (4, 4) ``T_world_camera`` of the optical frame.
        """
        # It circles only while it sees: the jump is what separates the last view from the next.
        circling = t - np.clip(t - self.blind_from, 0.0, self.sees_again - self.blind_from)
        start = 360.0 * np.random.default_rng(self.seed).random()
        turn = np.radians(start + 12.0 * circling + self.teleport * self.jumps(t))
        elevation = np.radians(44.0 + 8.0 * np.sin(2.0 * np.pi * t / 17.0))
        distance = 0.52 + 0.06 * np.sin(2.0 * np.pi * t / 11.0)
        middle = T_WORLD_PART[:3, 3] + [0.0, 0.0, 0.03]
        sway = 0.012 * np.sin(2.0 * np.pi * t / np.array([3.1, 4.3, 5.7]))
        direction = np.array(
            [
                np.cos(elevation) * np.cos(turn),
                np.cos(elevation) * np.sin(turn),
                np.sin(elevation),
            ]
        )
        roll = np.radians(5.0) * np.sin(2.0 * np.pi * t / 7.3)
        return look_at(middle + distance * direction, middle + sway, roll)

    def truth(self, t):
        """Where the part is in the camera's frame, (4, 4) ``T_camera_part``, at ``t`` seconds."""
        return inverse(self.camera_pose(t)) @ T_WORLD_PART
