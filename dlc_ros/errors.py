"""One exception family: each message says in one line what is wrong, where, what to do."""


class DlcError(Exception):
    """A user's mistake or a bad input; the CLI prints it and exits with 2, the node reports it."""


class CloudError(DlcError):
    """A point cloud that cannot be registered (empty, not (N, 3), no finite points, ...)."""


class FileError(DlcError):
    """A point cloud, transform, reference or recording file that cannot be read or written."""


class WeightsError(DlcError):
    """A weights file that is missing, damaged, foreign or made by a newer version."""


class ParameterError(DlcError):
    """
    An unknown parameter or a value outside its range.

    :param message: what is wrong.
    :ivar parameter: name of the parameter that is wrong by itself; None if none is.
    """

    def __init__(self, message, parameter=None):
        super().__init__(message)
        self.parameter = parameter


class TransformUnavailable(DlcError):
    """A transform between two frames is not known at the asked time."""


class TransformRefused(DlcError):
    """A transform that would break the tree of frames: a loop, a second parent, not rigid."""


def missing_package(error, extras):
    """
    What a command says of a package that is not installed, as one line.

    :param error: the ModuleNotFoundError.
    :param extras: extras of this distribution that bring the package, e.g. ``dds,eval``; None for
        a package that no extra brings.
    :raises ModuleNotFoundError: ``error`` itself, of a module of this project: no user's mistake.
    """
    package = (error.name or 'a module').split('.')[0]
    if package in ('dlc_ros', 'dlc_training'):
        raise error
    what = f'dlc_ros[{extras}]' if extras else package
    return f'the Python package {package!r} is missing; install it: pip install "{what}"'
