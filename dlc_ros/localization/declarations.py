"""
Every parameter of the localizer, declared once, as pydantic models.

Nested groups become dotted names: ``frames.map``, ``registration.threads``.
"""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from dlc_ros.registration.options import RegistrationOptions, setting
from dlc_ros.registration.units import LARGEST_UNIT, LEAST_UNIT


class _Group(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)


def topic_part(name):
    """Part of a topic's name for an object's; frame names allow what topic names do not."""
    part = re.sub(r'[^A-Za-z0-9_]', '_', name)
    return f'_{part}' if part[:1].isdigit() else part


class Topics(_Group):
    """Topic names, relative, so that namespaces and remapping apply."""

    points: str = setting('points', 'Point clouds in (sensor_msgs/PointCloud2).')
    initial_pose: str = setting(
        'initialpose', 'Pose from an operator (geometry_msgs/PoseWithCovarianceStamped).'
    )


class Frames(_Group):
    """Names of coordinate frames (REP-105)."""

    map: str = setting('map', 'Map mode: frame of the reference.')
    odom: str = setting('odom', 'Map mode: frame of the odometry; empty when there is none.')
    base: str = setting('base_link', 'Map mode: frame of the robot.')
    cloud: str = setting(
        '', 'The only frame in which clouds are accepted; empty accepts every frame.'
    )
    sensor: str = setting(
        '',
        'Frame from whose origin the clouds were seen: a pose is wrong that puts the reference '
        "where the sensor looked through. Empty is the cloud's frame.",
    )
    parent: str = setting(
        '', "Object mode: frame in which objects are published; empty is the cloud's frame."
    )

    @field_validator('*')
    @classmethod
    def _no_slash(cls, name):
        return name.lstrip('/')

    @model_validator(mode='after')
    def _named(self):
        if not self.map or not self.base:
            raise ValueError('frames.map and frames.base must not be empty')
        if len({self.map, self.odom, self.base}) < 3:
            raise ValueError('frames.map, frames.odom and frames.base must differ')
        return self


class Objects(_Group):
    """Object mode: what is looked for."""

    names: tuple[str, ...] = setting((), 'Frame name of each object.')
    references: tuple[str, ...] = setting(
        (),
        'Point cloud or mesh file of each object, in the order of objects.names and in the unit '
        'of reference_unit.',
    )
    free_space: bool = setting(
        True,
        'Whether a pose is wrong that puts an object where the sensor looked through, and what '
        'it cannot have seen is not matched, see frames.sensor; false for clouds that were not '
        'seen from one point.',
    )
    fixed_frame: str = setting(
        '',
        'Frame in which the objects rest; when set, the last pose is carried to the next cloud '
        "by the sensor's motion in it. Empty: the sensor's motion is not known.",
    )
    search_budget: float = setting(
        1.0,
        'After a rejected tracking attempt the same cloud is searched globally when the last '
        'global search took less than this; 0 waits until the object counts as lost.',
        's',
        ge=0.0,
        le=60.0,
    )

    @field_validator('names', 'references')
    @classmethod
    def _without_blanks(cls, values):
        # An empty list has no type in ROS; [''] is how people write "none" there.
        return tuple(value for value in values if value)

    @field_validator('names')
    @classmethod
    def _no_slashes(cls, names):
        return tuple(name.lstrip('/') for name in names)

    @field_validator('fixed_frame')
    @classmethod
    def _no_slash(cls, name):
        return name.lstrip('/')

    @model_validator(mode='after')
    def _paired(self):
        if len(self.names) != len(self.references):
            raise ValueError(
                f'objects.names has {len(self.names)} entries and objects.references '
                f'{len(self.references)}; give one file for each name'
            )
        if len(set(map(topic_part, self.names))) != len(self.names):
            raise ValueError('objects.names must differ in letters and digits: they name topics')
        if '' in (name.strip('/') for name in self.names):
            raise ValueError('objects.names must be frame names')
        return self


class Segmentation(_Group):
    """Object mode: what is cut from a cloud before it is registered."""

    min_range: float = setting(
        0.0, 'Points nearer to the sensor are dropped.', 'm', ge=0.0, le=1000.0
    )
    max_range: float = setting(
        0.0,
        'Points farther from the sensor are dropped; 0 keeps all.',
        'm',
        ge=0.0,
        le=1000.0,
    )
    remove_plane: bool = setting(
        True, 'Drop the dominant plane (a table, the floor) and what lies behind it.'
    )
    plane_distance: float = setting(
        0.0,
        "Points this near to the plane belong to it; 0 picks it from the references' size.",
        'm',
        ge=0.0,
        le=1.0,
    )
    plane_share: float = setting(
        0.3,
        'A plane is removed only when it holds at least this share of the points.',
        '',
        ge=0.2,
        le=1.0,
    )
    crop_to_prior: bool = setting(
        True, 'While an object is tracked, drop what lies farther away than it can be.'
    )


class Deskew(_Group):
    """Undoing the motion within a sweep, where clouds tell when each point was measured."""

    enabled: bool = setting(
        True,
        'Move points to where they would have been measured at the stamp, by the motion in '
        'frames.odom or objects.fixed_frame.',
    )
    stamp: Literal['auto', 'start', 'end'] = setting(
        'auto',
        "What the stamp is of the sweep; auto takes the points' times as the driver wrote them: "
        'relative ones count from the stamp.',
    )
    unit: Literal['auto', 's', 'us', 'ns'] = setting(
        'auto', "Unit of the points' times; auto tells it by the length of the sweep."
    )


class Tracking(_Group):
    """When a pose counts as known."""

    lost_after: int = setting(
        5, 'Clouds without an accepted pose, in a row, until it counts as lost.', ge=1, le=1000
    )
    cloud_timeout: float = setting(
        2.0,
        'Without a cloud for this long the state is WAITING, in map mode not before hold_timeout; '
        'the last pose is kept as the place to look first.',
        's',
        ge=0.1,
        le=3600.0,
    )
    time_jump: float = setting(
        1.0,
        'A stamp older than the last by more than this is a restart of time; by less, the cloud '
        'is late and dropped.',
        's',
        ge=0.0,
        le=3600.0,
    )


class PriorGrowth(_Group):
    """How the uncertainty of the last pose grows until the next cloud (standard deviations)."""

    min_translation: float = setting(
        0.02, 'Least uncertainty of a position.', 'm', ge=1e-6, le=10.0
    )
    min_rotation: float = setting(0.02, 'Least uncertainty of an angle.', 'rad', ge=1e-6, le=3.15)
    linear_speed: float = setting(
        0.5, 'Without odometry: speed that is allowed for.', 'm/s', ge=0.0, le=100.0
    )
    angular_speed: float = setting(
        0.5, 'Without odometry: rate of turn that is allowed for.', 'rad/s', ge=0.0, le=100.0
    )
    linear_drift: float = setting(
        0.1, 'With odometry: drift of the position.', 'm/s', ge=0.0, le=100.0
    )
    angular_drift: float = setting(
        0.05, 'With odometry: drift of the angle.', 'rad/s', ge=0.0, le=100.0
    )
    max_linear_speed: float = setting(
        20.0,
        'Odometry that moves faster has jumped: it is not believed, and nothing is published '
        'until a cloud is accepted.',
        'm/s',
        ge=0.1,
        le=1000.0,
    )
    max_angular_speed: float = setting(
        10.0, 'Odometry that turns faster has jumped.', 'rad/s', ge=0.1, le=1000.0
    )
    initial_translation: float = setting(
        0.5, 'Of an initial pose that comes without one.', 'm', ge=1e-6, le=1000.0
    )
    initial_rotation: float = setting(
        0.3, 'Of an initial pose that comes without one.', 'rad', ge=1e-6, le=3.15
    )
    max_rotation: float = setting(
        1.0,
        'A prior that is less certain than this about every axis is not used: the search is '
        'global.',
        'rad',
        ge=0.01,
        le=3.15,
    )


class InitialPose(_Group):
    """Map mode: where the robot is when the node starts, as at a charging station."""

    set: bool = setting(
        False,
        'Map mode: begin the search of the first reference at this pose of frames.base in '
        'frames.map, with the uncertainty of prior.initial_*. A pose from saved_pose.file is '
        'preferred, a pose on topics.initial_pose replaces it.',
    )
    x: float = setting(0.0, 'Position.', 'm', ge=-1e7, le=1e7)
    y: float = setting(0.0, 'Position.', 'm', ge=-1e7, le=1e7)
    z: float = setting(0.0, 'Position.', 'm', ge=-1e7, le=1e7)
    roll: float = setting(0.0, 'Turn about the fixed x axis, first.', 'rad', ge=-6.3, le=6.3)
    pitch: float = setting(0.0, 'Turn about the fixed y axis, second.', 'rad', ge=-6.3, le=6.3)
    yaw: float = setting(0.0, 'Turn about the fixed z axis, third.', 'rad', ge=-6.3, le=6.3)


class SavedPose(_Group):
    """The last accepted pose on disk, to start from after a restart."""

    file: str = setting(
        '',
        'Where the last accepted pose is kept; a pose of the same reference found there at the '
        'start is where the search begins. Empty keeps none.',
    )
    period: float = setting(
        10.0,
        'How often it is written while tracking; 0 writes it at shutdown and on ~/save_pose only.',
        's',
        ge=0.0,
        le=86400.0,
    )


class Dds(_Group):
    """The embedded node's own middleware; rclpy ignores these."""

    domain_id: int = setting(
        -1, 'DDS domain; -1 takes ROS_DOMAIN_ID from the environment, else 0.', ge=-1, le=232
    )
    network_interface: str = setting(
        '', 'Network interface, e.g. lo or eth0; empty lets Cyclone DDS choose.'
    )


class NodeRegistration(RegistrationOptions):
    """Options of the registration; a base_link is upright unless the robot climbs or flies."""

    upright: bool = setting(
        True,
        'Map mode: z of frames.base and of the map point up, to a few degrees, so that a search '
        'tries every place and yaw; false for a robot that tilts. Not used in object mode.',
    )


class Parameters(_Group):
    """All parameters of the localizer."""

    mode: Literal['map', 'object'] = setting(
        'map', 'map: where the robot is in the reference; object: where the references are.'
    )
    reference: str = setting(
        '',
        'Map mode: point cloud file of the map, in the unit of reference_unit; empty waits for '
        'one to be loaded.',
    )
    reference_unit: float = setting(
        1.0,
        'Length of the unit that reference, objects.references and files sent to '
        '~/load_reference are in: 0.001 for CAD models in millimetres.',
        'm',
        ge=LEAST_UNIT,
        le=LARGEST_UNIT,
    )
    weights: str = setting('', 'Weights of the predictor; empty takes the ones in the package.')
    publish_tf: bool = setting(
        True,
        'Publish transforms; false publishes poses alone, for a filter (such as '
        "robot_localization's) that takes them in and publishes map -> odom itself.",
    )
    publish_map_to_base: bool = setting(
        False,
        'Map mode without odometry: publish map -> base_link. Refused when frames.odom is set '
        'or somebody else gives base_link a parent.',
    )
    transform_tolerance: float = setting(
        0.1,
        'Map mode: the published transform is dated this far into the future.',
        's',
        ge=0.0,
        le=10.0,
    )
    hold_timeout: float = setting(
        2.0,
        'Map mode: the last accepted transform is repeated until it is this old.',
        's',
        ge=0.0,
        le=3600.0,
    )
    lookup_timeout: float = setting(
        0.1, 'How long to wait for a transform at the stamp of a cloud.', 's', ge=0.0, le=10.0
    )
    publish_rate: float = setting(
        20.0, 'Map mode: how often the transform is repeated.', 'Hz', ge=0.1, le=1000.0
    )
    diagnostics_rate: float = setting(
        1.0, 'How often diagnostics are published.', 'Hz', ge=0.01, le=100.0
    )
    topics: Topics = Topics()
    frames: Frames = Frames()
    objects: Objects = Objects()
    segmentation: Segmentation = Segmentation()
    deskew: Deskew = Deskew()
    tracking: Tracking = Tracking()
    prior: PriorGrowth = PriorGrowth()
    initial_pose: InitialPose = InitialPose()
    saved_pose: SavedPose = SavedPose()
    dds: Dds = Dds()
    registration: NodeRegistration = NodeRegistration()

    @model_validator(mode='after')
    def _one_parent(self):
        if self.publish_map_to_base and self.frames.odom:
            raise ValueError(
                'publish_map_to_base needs frames.odom empty: with odometry the transform is '
                'map -> odom (REP-105)'
            )
        return self

    @model_validator(mode='after')
    def _distinct_frames(self):
        for name, frame in self._frames_beside_objects().items():
            if frame and frame in self.objects.names:
                raise ValueError(f'{name} {frame!r} is also in objects.names')
        return self

    @model_validator(mode='after')
    def _one_mode(self):
        if self.mode == 'map' and self.objects.names:
            raise ValueError('objects.names are looked for in mode: object; it is map')
        if self.mode == 'object' and self.reference:
            raise ValueError(
                'reference is for mode: map; in mode: object give objects.names and '
                'objects.references'
            )
        if self.mode == 'object' and self.initial_pose.set:
            raise ValueError(
                "initial_pose is the robot's, in mode: map; send an object's to "
                '~/<object>/initialpose'
            )
        return self

    @property
    def frames_beside_objects(self):
        """Frames that no object may be called by, in object mode."""
        return set(self._frames_beside_objects().values()) - {''}

    def _frames_beside_objects(self):
        return {
            'frames.parent': self.frames.parent,
            'frames.cloud': self.frames.cloud,
            'objects.fixed_frame': self.objects.fixed_frame,
        }
