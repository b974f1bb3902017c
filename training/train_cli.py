"""``dlc-train``: a configuration in, weights with their model card out."""

import sys

from dlc_ros.command_line import INTERRUPTED
from dlc_training.command_line import end_process


def main(arguments=None):
    """Run the command; returns the exit code (0 done, 2 a user's mistake, 130 interrupted)."""
    try:
        from dlc_training import train_command  # torch: seconds in which Ctrl-C may come
    except KeyboardInterrupt:
        print('interrupted; nothing had begun', file=sys.stderr)
        return INTERRUPTED
    return train_command.main(arguments)


if __name__ == '__main__':
    end_process(main())
