"""Nodes that tests of a file share: each starts from a forgotten pose."""

import contextlib

import numpy as np
import pytest
from adapters import require
from wire import free_domain


@pytest.fixture(scope='module')
def adapter(request):
    require(request.param)
    return request.param


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
    from rigs import REFERENCE

    path = tmp_path_factory.mktemp('reference') / 'reference.npy'
    np.save(path, REFERENCE)
    return path


@pytest.fixture(scope='module')
def map_rig(adapter, reference):
    from rigs import MapRig

    with contextlib.closing(MapRig(adapter, reference, free_domain(3))) as rig:
        rig.mount_lidar()
        yield rig


@pytest.fixture
def robot_in_map(map_rig):
    map_rig.begin()
    return map_rig


@pytest.fixture(scope='module')
def object_rig(adapter, reference):
    from rigs import ObjectRig

    with contextlib.closing(ObjectRig(adapter, reference, free_domain(4))) as rig:
        yield rig


@pytest.fixture
def camera(object_rig):
    object_rig.begin()
    return object_rig
