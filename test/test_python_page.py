"""docs/python.md: its blocks run one after the other, and find what they say they find."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import scenes

from dlc_ros import Registrar, register
from dlc_ros.files import write_cloud
from dlc_ros.registration.se3 import (
    compose,
    exp_so3,
    inverse,
    make_transform,
    rotation_angle_deg,
    transform_points,
)

ROOT = Path(__file__).resolve().parent.parent
SOURCE_IN_TARGET = make_transform(exp_so3([0.3, -0.1, 0.2]), [0.2, -0.1, 0.1])
PARTS = (
    make_transform(exp_so3([0.1, 0.2, 2.0]), [0.5, 0.1, 1.0]),
    make_transform(exp_so3([0.3, -0.5, -0.7]), [-0.2, 0.3, 1.1]),
)
STEP = make_transform(exp_so3([0.0, 0.0, 0.15]), [0.25, 0.05, 0.0])
PATH = [make_transform(exp_so3([0.0, 0.0, 2.5]), [-1.0, 0.5, 0.0])]
for _ in range(3):
    PATH.append(compose(PATH[-1], STEP))


def blocks(page):
    """Python blocks of a Markdown page, each with as many empty lines before it as the page."""
    text = page.read_text(encoding='utf-8')
    for match in re.finditer(r'^```python\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
        yield '\n' * text.count('\n', 0, match.start(1)) + match[1]


def noisy(points, rng, sigma):
    return points + sigma * rng.normal(size=points.shape)


def given():
    """What the page takes for granted: a part on a table, two of them, scans on a way."""
    rng = np.random.default_rng(0)
    model = 0.1 * scenes.bracket(4000, rng)
    parts = [
        noisy(transform_points(pose, 0.1 * scenes.bracket(3000, rng)), rng, 5e-4) for pose in PARTS
    ]
    table = scenes.plane(8000, rng, (1.5, 1.5)) + [0.0, 0.0, 1.25]
    room = scenes.box(20000, rng, (12.0, 7.0, 3.0))
    room = np.vstack([room, scenes.box(4000, rng, (1.5, 1.0, 2.0)) + [3.5, 1.5, -0.5]])
    scans = []
    for pose in PATH:
        scan = transform_points(inverse(pose), room)
        scan = scan[np.linalg.norm(scan, axis=1) < 6.0][::3]
        scans.append(noisy(scan, rng, 0.005))
    write_cloud('map.pcd', room)
    motions = [np.eye(4), *[STEP] * (len(PATH) - 1)]
    view = np.vstack([parts[0], noisy(table, rng, 5e-4)])
    return {
        'model': model,
        'view': view,
        'bin_of_parts': np.vstack(parts),
        'scans': scans,
        'motions': motions,
    }


@pytest.fixture(scope='module')
def pair():
    rng = np.random.default_rng(1)
    return scenes.pair(scenes.bracket, rng, SOURCE_IN_TARGET, count=3000)


@pytest.fixture
def in_folder(tmp_path, monkeypatch, pair):
    monkeypatch.chdir(tmp_path)
    write_cloud('scan.ply', pair[0])
    write_cloud('model.ply', pair[1])


def near(transform, truth, degrees=1.0, metres=0.02):
    shift = np.linalg.norm(transform[:3, 3] - truth[:3, 3])
    return rotation_angle_deg(transform, truth) < degrees and shift < metres


def test_every_block_runs_and_finds_what_it_says(in_folder, capsys):
    names, seen = given(), {}
    for block in blocks(ROOT / 'docs' / 'python.md'):
        exec(compile(block, 'docs/python.md', 'exec'), names)
        first = block.strip().splitlines()[0]
        seen[first] = (names.get('result'), capsys.readouterr().out)
    results = list(seen.values())
    assert len(results) == 10 and all(result for result, _ in results), results
    assert near(results[0][0].transform, SOURCE_IN_TARGET)
    assert results[1][1] == 'source: 5 finite points, at least 30 are needed\n'
    assert names['poses'] and len(names['poses']) == len(PATH)
    assert all(near(pose, true) for pose, true in zip(names['poses'], PATH, strict=True))
    assert len(names['found']) == 2
    for true in PARTS:
        assert any(near(pose, true, metres=0.005) for pose in names['found'])
    deviations = np.sqrt(np.diag(names['at_middle']))
    assert deviations[:3].max() < 0.02


def test_the_block_of_the_readme_runs(in_folder, pair, capsys):
    (block,) = blocks(ROOT / 'README.md')
    exec(compile(block, 'README.md', 'exec'), {'source': pair[0], 'target': pair[1]})
    printed = np.array(re.findall(r'[-+.\de]+', capsys.readouterr().out), dtype=float)
    assert near(printed.reshape(4, 4), SOURCE_IN_TARGET)


def test_results_travel_between_processes_and_registrars_do_not(pair):
    registrar = Registrar(pair[1])
    result = registrar.register(pair[0])
    copied = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(copied.transform, result.transform)
    assert copied.status is result.status
    with pytest.raises(TypeError, match='pickle'):
        pickle.dumps(registrar)
    np.testing.assert_array_equal(register(*pair).transform, result.transform)
