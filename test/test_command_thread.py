"""Commands of operators: in order, the newest of a kind, and none ends the thread."""

import threading

import pytest

from dlc_ros.node.commands import Commands

SOON = 10.0  # seconds; a test that waits this long has failed


class Record:
    """What was carried out; the first command waits until it is allowed to end."""

    def __init__(self):
        self.done, self.errors, self.reports = [], [], 0
        self.running, self.allowed, self.last = (threading.Event() for _ in range(3))
        self.commands = Commands(self._after, self.errors.append)

    def hold(self):
        self.running.set()
        assert self.allowed.wait(SOON)

    def note(self, what):
        self.done.append(what)

    def _after(self):
        self.reports += 1
        if self.reports == 2:
            raise RuntimeError('the report failed')

    def finish(self):
        self.allowed.set()
        self.commands.submit('last', self.last.set)
        assert self.last.wait(SOON)


@pytest.fixture
def record():
    record = Record()
    record.commands.submit('first', record.hold)
    assert record.running.wait(SOON)
    yield record
    record.allowed.set()
    record.commands.stop()


def test_of_many_of_a_kind_the_newest_is_carried_out_and_kinds_keep_their_order(record):
    for i in range(1000):
        record.commands.submit('reference', record.note, f'map {i}')
    record.commands.submit('weights', record.note, 'weights')
    record.commands.submit(('pose', 'mug'), record.note, 'pose of mug')
    record.commands.submit(('pose', 'box'), record.note, 'pose of box')
    record.commands.submit('weights', record.note, 'better weights')
    record.finish()
    assert record.done == ['map 999', 'pose of mug', 'pose of box', 'better weights']


def test_a_command_that_fails_and_a_report_that_fails_end_nothing(record):
    record.commands.submit('bad', lambda: 1 / 0)
    record.commands.submit('good', record.note, 'good')
    record.finish()
    assert record.done == ['good']
    assert [type(error) for error in record.errors] == [ZeroDivisionError, RuntimeError]


def test_stop_lets_the_running_one_end_and_drops_what_waits(record):
    record.commands.submit('waits', record.note, 'too late')
    stopper = threading.Thread(target=record.commands.stop)
    stopper.start()
    stopper.join(0.05)
    assert stopper.is_alive(), 'it waits for the running command'
    record.allowed.set()
    stopper.join(SOON)
    assert not stopper.is_alive()
    record.commands.submit('later', record.note, 'too late')
    assert record.done == []
