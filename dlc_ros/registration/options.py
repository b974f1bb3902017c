"""Every knob of a registration, once: default, unit, range, description."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


def setting(default, description, unit='', **limits):
    """Field of an options model: ``limits`` are pydantic's ge, gt, le, lt; ``unit`` for people."""
    return Field(default, description=description, json_schema_extra={'unit': unit}, **limits)


class RegistrationOptions(BaseModel):
    """Options of :class:`dlc_ros.Registrar`; lengths in metres unless they are relative."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    device: Literal['auto', 'cpu', 'cuda'] = setting(
        'auto', 'Device of the predictor; auto takes CUDA when present, else the CPU.'
    )
    threads: int = setting(
        1, 'CPU threads of the refinement; a node holds torch to as many.', ge=1, le=64
    )
    use_predictor: bool = setting(
        True,
        'Run the learned predictor; false starts the refinement from init or aligned centroids.',
    )
    voxel_size: float = setting(
        0.0,
        'Voxel edge of the clouds that are refined; 0 picks it from the reference.',
        'm',
        ge=0.0,
        le=100.0,
    )
    refiner: Literal['small_gicp', 'open3d'] = setting(
        'small_gicp',
        'Library that brings a predicted pose near; symmetric ICP does the last steps.',
    )
    refine_method: Literal['GICP', 'PLANE_ICP', 'ICP'] = setting(
        'GICP', 'ICP variant that brings a predicted pose near.'
    )
    upright: bool = setting(
        False,
        'Cloud and reference have their z axes up, to a few degrees, and the cloud was seen from'
        ' near its origin: every place and yaw is searched. The node sets it in map mode.',
    )
    max_correspondence_distance: float = setting(
        0.0,
        'Finest correspondence distance of the refinement; 0 picks it from the reference.',
        'm',
        ge=0.0,
        le=100.0,
    )
    max_iterations: int = setting(30, 'Iterations of each refinement level.', ge=1, le=1000)
    hypotheses: int = setting(
        4, 'Predicted poses that are refined before the best is chosen.', ge=1, le=64
    )
    min_confidence: float = setting(
        0.5,
        'Registrations with a lower confidence are REJECTED: the one threshold for an operator.',
        '',
        ge=0.0,
        le=1.0,
    )
    min_support: float = setting(
        0.0,
        'Registering from an initial pose leaves to it what a smaller share of the points holds'
        ' in place (DEGENERATE); 0 leaves to it what does not stand out from the noise.',
        '',
        ge=0.0,
        le=0.5,
    )
    min_points: int = setting(30, 'Clouds with fewer finite points are refused.', ge=10, le=100000)
