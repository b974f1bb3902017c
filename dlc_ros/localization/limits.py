"""Limits of diagnostic values: whether a value is beyond one, and the limit in words."""

from dataclasses import dataclass

OK, WARN, ERROR, STALE = 0, 1, 2, 3  # diagnostic_msgs/DiagnosticStatus


@dataclass(frozen=True)
class Above:
    """Broken by a number above a bound (a value or a parameter's name), not by an empty text."""

    bound: float | str

    def broken(self, value, flat):
        bound = flat[self.bound] if isinstance(self.bound, str) else self.bound
        return value != '' and value > bound

    def __str__(self):
        return f'> {_bound(self.bound)}'


@dataclass(frozen=True)
class Beyond:
    """Broken by a number farther from zero than the value of a parameter."""

    bound: str

    def broken(self, value, flat):
        return abs(value) > flat[self.bound]

    def __str__(self):
        return f'beyond ± {_bound(self.bound)}'


@dataclass(frozen=True)
class Below:
    """Broken by a number below a bound (a value or a parameter's name), not by an empty text."""

    bound: float | str

    def broken(self, value, flat):
        bound = flat[self.bound] if isinstance(self.bound, str) else self.bound
        return value != '' and value < bound

    def __str__(self):
        return f'< {_bound(self.bound)}'


@dataclass(frozen=True)
class OneOf:
    """Broken by one of some texts."""

    texts: tuple

    def broken(self, value, _flat):
        return value in self.texts

    def __str__(self):
        return ', '.join(self.texts)


@dataclass(frozen=True)
class Filled:
    """Broken by any text but the empty one."""

    def broken(self, value, _flat):
        return bool(value)

    def __str__(self):
        return 'not empty'


@dataclass(frozen=True)
class LastCloud:
    """Broken while the last cloud had a problem of this kind; the value counts them all."""

    kind: str

    def __str__(self):
        return 'at the last cloud'


def _bound(bound):
    return f'`{bound}`' if isinstance(bound, str) else f'{bound:g}'
