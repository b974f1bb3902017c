"""Arguments of the demo's commands; apart from the camera, so that ``--help`` needs no DDS."""

from dlc_ros.demo.scenario import Scenario


def add_scenario_arguments(parser):
    """What both the camera and the whole demo are asked on the command line."""
    defaults = Scenario()
    parser.add_argument(
        '--duration', type=float, default=defaults.duration, help='of the run [s] (%(default)g)'
    )
    parser.add_argument(
        '--rate', type=float, default=defaults.rate, help='of the clouds [Hz] (%(default)g)'
    )
    parser.add_argument(
        '--seed', type=int, default=defaults.seed, help='of noise and path (%(default)s)'
    )
    parser.add_argument(
        '--domain', type=int, help='DDS domain (ROS_DOMAIN_ID, else one that is likely free)'
    )
    parser.add_argument(
        '--interface', default='lo', help="network interface; '' is any (%(default)s)"
    )
