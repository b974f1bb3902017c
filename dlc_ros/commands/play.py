"""``dlc-ros play``: a recording on ROS 2 topics."""

import logging
import signal
import sys

from dlc_ros.command_line import DONE, INTERRUPTED
from dlc_ros.commands.stopping import until_signal


def add(commands):
    """Add the command to the parsers of ``dlc-ros``."""
    command = commands.add_parser(
        'play',
        help='publish a recording on ROS 2 topics',
        description='Publish a rosbag2 folder, .mcap, .db3 or ROS 1 .bag file, as recorded.',
    )
    command.add_argument('bag', metavar='BAG', help='recording')
    command.add_argument('--rate', type=float, default=1.0, help='speed (default: %(default)g)')
    command.add_argument(
        '--topic',
        metavar='TOPIC',
        action='append',
        help='play this one; may be repeated (default: all)',
    )
    command.add_argument('--loop', action='store_true', help='begin again at the end')
    command.add_argument(
        '--clock',
        action='store_true',
        help="publish the bag's time on /clock, for a node with use_sim_time",
    )
    command.add_argument(
        '--drop-parent',
        default='',
        metavar='FRAME',
        help='leave out transforms with this parent: "map" plays a recording without its own '
        'map -> odom',
    )
    command.add_argument(
        '--wait',
        type=float,
        default=10.0,
        metavar='SECONDS',
        help='how long to wait for a subscriber before playing (default: %(default)g)',
    )
    command.add_argument(
        '--domain', type=int, metavar='ID', help='DDS domain (default: ROS_DOMAIN_ID, else 0)'
    )
    command.add_argument(
        '--interface',
        default='',
        metavar='NAME',
        help='network interface, e.g. lo (default: what Cyclone DDS chooses)',
    )
    command.set_defaults(command=run)


def run(options):
    """Play the recording until it ends or is told to; gives the exit code."""
    from dlc_ros.node.bag import Bag
    from dlc_ros.node.dds.participant import Participant
    from dlc_ros.node.play import Player

    logging.basicConfig(format='[%(levelname)s] [%(name)s]: %(message)s')
    with until_signal() as stopped, Bag(options.bag) as bag:
        participant = Participant(
            'dlc_ros_player', domain_id=options.domain, interface=options.interface
        )
        with participant:
            player = Player(
                bag,
                participant,
                options.topic,
                options.rate,
                options.clock,
                options.drop_parent,
            )
            _say(
                f'{bag.duration_ns * 1e-9:.1f} s of {", ".join(player.topics) or "nothing"} '
                f'at rate {options.rate:g}'
            )
            if not player.wait_for_subscribers(options.wait, stopped) and not stopped.is_set():
                _say(f'nobody subscribed within {options.wait:g} s; playing all the same')
            while not stopped.is_set():
                sent = player.play(stopped)
                _say(f'{sent} messages sent')
                if not options.loop or not sent:
                    break
    return INTERRUPTED if stopped.signal == signal.SIGINT else DONE


def _say(text):
    print(f'dlc-ros play: {text}', file=sys.stderr, flush=True)
