"""What the commands share: how they tell a mistake, and the exit codes of that and of Ctrl-C."""

import argparse

MISTAKE, INTERRUPTED = 2, 130


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the usage, which ``--help`` shows."""

    def error(self, message):
        """Exit with code 2 and one line."""
        self.exit(MISTAKE, f'{self.prog}: {message}; see {self.prog} --help\n')
