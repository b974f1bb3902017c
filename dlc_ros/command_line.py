"""What the commands share: exit codes, how a mistake is told, numbers with their range."""

import argparse
import math

DONE, MISTAKE, INTERRUPTED = 0, 2, 130


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the usage, which ``--help`` shows."""

    def error(self, message):
        """Exit with code 2 and one line."""
        self.exit(MISTAKE, f'{self.prog}: {message}; see {self.prog} --help\n')


def number(least, most, said):
    """Argument type: a finite number from ``least`` to ``most``; ``said`` names what is asked."""

    def parse(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least <= value <= most and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f'{text!r} is no {said}')
        return value

    return parse
