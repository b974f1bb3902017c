"""Build and installation; the version's one home is ``dlc_ros/__init__.py``."""

import re
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'dlc_ros'
HERE = Path(__file__).resolve().parent

# open3d and open3d-cpu are the same module and overwrite each other: a platform takes one. The
# CPU build is 600 MB smaller and exists for x86-64 Linux alone.
OPEN3D = [
    'open3d-cpu>=0.19; sys_platform == "linux" and platform_machine == "x86_64"',
    'open3d>=0.19; sys_platform != "linux" or platform_machine != "x86_64"',
]
DDS = ['cyclonedds>=11.0.1', 'rosbags>=0.11']
PICTURES = ['matplotlib>=3.7']
# What a robot with ROS 2 needs and no more: everything else is an extra.
RUNTIME = [
    'numpy>=1.24',
    'scipy>=1.10',
    'torch>=2.0',
    'small_gicp>=1.0',
    'safetensors>=0.4',
    'pydantic>=2',
    'pyyaml>=6',
]
EXTRAS = {
    'dds': DDS,
    'open3d': OPEN3D,
    'demo': DDS + OPEN3D + PICTURES,
    'training': DDS
    + OPEN3D
    + PICTURES
    + ['tensorboard>=2.12', 'tqdm>=4.60', 'optuna>=3.5', 'sqlalchemy>=1.4', 'kiss-icp>=1.2'],
    # kiss-matcher has wheels for x86-64 and CPython up to 3.12; the evaluation names its absence.
    'eval': OPEN3D
    + PICTURES
    + [
        'tqdm>=4.60',
        'psutil>=5',
        'kiss-matcher>=1.0; platform_machine == "x86_64" and python_version < "3.13"',
    ],
    'test': ['pytest>=7', 'hypothesis>=6', 'ruff', 'psutil>=5'],
}


def version():
    """Read the version without importing the package: its dependencies may not be there yet."""
    text = (HERE / PACKAGE / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE).group(1)


def training_packages():
    """Packages of ``training/`` under their installed name, ``dlc_training``."""
    return ['dlc_training', *(f'dlc_training.{name}' for name in find_packages('training'))]


setup(
    name=PACKAGE,
    version=version(),
    description='Where is the robot, or the thing in front of it: '
    'point cloud in, pose with a confidence out.',
    long_description='See README.md.',
    license='Apache-2.0',
    maintainer='dlc_ros maintainers',
    maintainer_email='maintainers@dlc-ros.example',
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']) + training_packages(),
    package_dir={'dlc_training': 'training'},
    package_data={
        PACKAGE: ['weights/*.safetensors', 'weights/*.json'],
        'dlc_training': ['configs/*.yaml'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', sorted(glob('launch/*.launch.py') + glob('launch/*.yaml'))),
        (f'share/{PACKAGE}/config', sorted(glob('config/*.yaml') + glob('config/*.xml'))),
        (f'share/{PACKAGE}/rviz', sorted(glob('rviz/*.rviz'))),
        (f'share/{PACKAGE}/foxglove', sorted(glob('foxglove/*.json'))),
    ],
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    zip_safe=False,
    entry_points={
        'console_scripts': [
            'dlc-ros = dlc_ros.cli:main',
            'dlc-train = dlc_training.train_cli:main',
            'dlc-eval = dlc_training.evaluate.eval_cli:main',
            'dlc-retrain = dlc_training.retrain_cli:main',
            'localizer = dlc_ros.node.ros.main:main',
            'replay_tf = dlc_ros.node.ros.replay_tf:main',
        ],
    },
)
