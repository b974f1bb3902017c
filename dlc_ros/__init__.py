"""Where is the robot, or the thing in front of it: point cloud in, pose with a confidence out."""

from importlib import import_module

__version__ = '0.1.0'

# Public name -> module that defines it. Loaded on first use, so that importing the
# package costs neither torch nor open3d.
_PUBLIC = {
    'register': 'dlc_ros.registration.registrar',
    'Registrar': 'dlc_ros.registration.registrar',
    'Registration': 'dlc_ros.registration.result',
    'RegistrationOptions': 'dlc_ros.registration.options',
    'Status': 'dlc_ros.registration.result',
    'read_cloud': 'dlc_ros.files',
    'DlcError': 'dlc_ros.errors',
    'CloudError': 'dlc_ros.errors',
    'FileError': 'dlc_ros.errors',
    'ParameterError': 'dlc_ros.errors',
    'WeightsError': 'dlc_ros.errors',
}

__all__ = ['__version__', *_PUBLIC]


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__():
    return sorted(__all__)
