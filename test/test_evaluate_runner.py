"""Workers, kept results and a worker that dies."""

import os
import time

import numpy as np
import pytest

pytest.importorskip('small_gicp', reason='small_gicp is not installed')

from dlc_ros.errors import CloudError, DlcError  # noqa: E402
from dlc_training.evaluate import methods  # noqa: E402
from dlc_training.evaluate.protocols import PROTOCOLS  # noqa: E402
from dlc_training.evaluate.runner import Runner, digest_of, timed, write_text  # noqa: E402
from dlc_training.evaluate.shapes import GeneratedShapes  # noqa: E402


def pid_as_translation(source, target, prior):
    T = np.eye(4)
    T[0, 3] = os.getpid()
    return T


def threads_as_translation(source, target, prior):
    T = np.eye(4)
    T[0, 3] = float(os.environ['OMP_NUM_THREADS'])
    return T, {'status': 'SEEN'}


def dies(source, target, prior):
    os._exit(3)


def refuses(source, target, prior):
    raise CloudError('too few points')


@pytest.fixture(scope='module')
def shapes():
    return GeneratedShapes(7)


@pytest.fixture(scope='module')
def pairs(shapes):
    return list(PROTOCOLS['rpmnet-crop'].pairs(shapes, 3, 7))


def test_results_are_kept_and_a_damaged_file_is_computed_again(tmp_path, shapes, pairs):
    def evaluate(key):
        with Runner(cache=tmp_path, quiet=True) as runner:
            return runner.run('pid', pid_as_translation, pairs, key)

    first = evaluate('a')
    assert first[0]['transform'][0][3] != os.getpid()
    assert evaluate('a') == first
    assert evaluate('b') != first
    for file in tmp_path.iterdir():
        file.write_text('[{"transf')
    assert evaluate('a') != first


def noted(number, folder):
    """The number, and a file that says that this was called."""
    with open(os.path.join(folder, str(number)), 'a') as file:
        file.write('x')
    return 2 * number


def test_a_long_measurement_goes_on_where_it_was_cut_off(tmp_path):
    calls = tmp_path / 'calls'
    calls.mkdir()

    def measure(count, key='a'):
        with Runner(cache=tmp_path / 'cache', quiet=True) as runner:
            tasks = [(number, str(calls)) for number in range(count)]
            return runner.resume('numbers', noted, tasks, key)

    assert measure(50) == [2 * number for number in range(50)]
    assert measure(120) == [2 * number for number in range(120)]
    assert {len(file.read_text()) for file in calls.iterdir()} == {1}
    measure(50, 'b')
    assert len((calls / '3').read_text()) == 2 and len((calls / '60').read_text()) == 1


def test_judgements_are_the_same_when_they_come_from_the_disk(tmp_path, shapes, pairs):
    def judge():
        with Runner(cache=tmp_path, quiet=True) as runner:
            return runner.judge(PROTOCOLS['rpmnet-crop'], shapes, pairs, 'key')

    (groups, ambiguous), (kept_groups, kept_ambiguous) = judge(), judge()
    assert ambiguous == kept_ambiguous and len(ambiguous) == len(pairs)
    for index, group in groups.items():
        kept = kept_groups[index]
        np.testing.assert_array_equal(group.elements, kept.elements)
        np.testing.assert_array_equal(group.centre, kept.centre)
        assert group.label == kept.label


def test_workers_have_one_thread_and_this_process_keeps_its_own(pairs, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '7')
    with Runner(2, quiet=True) as runner:
        answers = runner.run('threads', threads_as_translation, pairs, '')
    assert [a['transform'][0][3] for a in answers] == [1.0] * len(pairs)
    assert answers[0]['status'] == 'SEEN'
    assert os.environ['OMP_NUM_THREADS'] == '7'


def test_a_worker_that_dies_is_one_line(pairs):
    with (
        pytest.raises(DlcError, match='died while running mine; leave it out with --methods'),
        Runner(quiet=True) as runner,
    ):
        runner.run('mine', dies, pairs, '')


def test_a_refused_cloud_is_no_answer_not_the_end(pairs):
    answer = timed(refuses, pairs[0].source, pairs[0].target, None)
    assert np.isnan(answer['transform']).all()
    assert answer['error'] == 'too few points'


def test_time_asleep_is_not_cpu_time():
    def sleeps(source, target, prior):
        time.sleep(0.2)
        return np.eye(4)

    assert timed(sleeps, None, None, None)['cpu_ms'] < 100


def test_digest_tells_pairs_apart(shapes, pairs):
    again = list(PROTOCOLS['rpmnet-crop'].pairs(shapes, 3, 7))
    other = list(PROTOCOLS['rpmnet-crop'].pairs(shapes, 3, 8))
    assert digest_of(pairs) == digest_of(again)
    assert len({digest_of(p) for p in (pairs, other, pairs[:2])}) == 3


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(DlcError, match='cannot be written .*see --out'):
        write_text(tmp_path / 'file' / 'result.json', 'x')


def test_unknown_and_uninstalled_methods_are_named(monkeypatch):
    with pytest.raises(DlcError, match="unknown method 'icq'; known: dlc_ros, "):
        methods.choose(['icq'])
    monkeypatch.setattr(methods, 'find_spec', lambda name: None if name == 'kiss_matcher' else 1)
    with pytest.raises(DlcError, match='method kiss needs kiss_matcher'):
        methods.choose(['gicp', 'kiss'])
    chosen, notes = methods.choose(None)
    assert chosen == [n for n, m in methods.METHODS.items() if n != 'kiss' and not m.asked]
    assert notes == ['kiss left out: kiss_matcher is not installed']
    assert methods.choose(['gicp', 'starts', 'gicp']) == (['gicp', 'starts'], [])


def test_a_fingerprint_changes_with_the_weights_of_our_method_alone(tmp_path):
    def fingerprints(content):
        (tmp_path / 'w').write_bytes(content)
        settings = methods.Settings(str(tmp_path / 'w'), tmp_path)
        return [methods.fingerprint(name, settings) for name in ('dlc_ros', 'gicp', 'fgr')]

    first, second = fingerprints(b'1'), fingerprints(b'2')
    assert first[0] != second[0]
    assert first[1:] == second[1:]
    assert len(set(first)) == 3
