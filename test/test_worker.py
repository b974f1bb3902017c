"""The newest-only worker: what it runs, what it skips, how it ends."""

import threading
import weakref

import pytest

from dlc_ros.node.worker import LatestOnly

SOON = 10.0  # seconds; a test that waits this long has failed


class Job:
    """A job that waits for permission and keeps a record."""

    def __init__(self):
        self.started = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.done = []
        self.errors = []
        self.failed = threading.Event()

    def __call__(self, item):
        self.started.release()
        assert self.allowed.acquire(timeout=SOON)
        if isinstance(item, Exception):
            raise item
        self.done.append(item)

    def on_error(self, error):
        self.errors.append(error)
        self.failed.set()


@pytest.fixture
def job():
    return Job()


@pytest.fixture
def worker(job):
    worker = LatestOnly(job, job.on_error)
    yield worker
    job.allowed.release(1000)
    assert worker.stop(SOON)


def test_only_the_newest_waits_and_the_others_are_counted(worker, job):
    worker.submit(0)
    assert job.started.acquire(timeout=SOON)
    for item in range(1, 6):
        worker.submit(item)
    assert worker.skipped == 4
    job.allowed.release(2)
    assert job.started.acquire(timeout=SOON)
    worker.stop(SOON)
    assert job.done == [0, 5]


def test_clear_drops_what_waits_and_tells_the_running_job(job):
    seen = []

    def look(item):
        job(item)
        seen.append((item, worker.outdated))

    worker = LatestOnly(look, job.on_error)
    worker.submit('before')
    assert job.started.acquire(timeout=SOON)
    worker.submit('waits')
    worker.clear()
    assert worker.skipped == 1
    worker.submit('after')
    job.allowed.release(2)
    assert job.started.acquire(timeout=SOON)
    worker.stop(SOON)
    assert seen == [('before', True), ('after', False)]


def test_items_that_do_not_meet_are_all_done_in_order(worker, job):
    for item in range(5):
        worker.submit(item)
        assert job.started.acquire(timeout=SOON)
        job.allowed.release()
        while len(job.done) <= item:
            threading.Event().wait(0.001)
    assert job.done == [0, 1, 2, 3, 4] and worker.skipped == 0


def test_none_is_an_item(worker, job):
    job.allowed.release()
    worker.submit(None)
    assert job.started.acquire(timeout=SOON)


def test_a_failing_job_is_reported_and_the_next_item_is_done(worker, job):
    job.allowed.release(2)
    error = ValueError('bad item')
    worker.submit(error)
    assert job.failed.wait(SOON)
    worker.submit('good')
    assert job.started.acquire(timeout=SOON) and job.started.acquire(timeout=SOON)
    worker.stop(SOON)
    assert job.errors == [error] and job.done == ['good']


def test_stop_ends_an_idle_worker_and_may_be_repeated(worker):
    assert worker.stop(SOON)
    assert worker.stop(SOON)


def test_stop_lets_the_running_job_finish_and_drops_what_waits(worker, job):
    worker.submit('running')
    assert job.started.acquire(timeout=SOON)
    worker.submit('waiting')
    assert not worker.stop(0.05)  # the job is not done
    worker.submit('late')
    job.allowed.release(3)
    assert worker.stop(SOON)
    assert job.done == ['running']


def test_a_job_may_stop_its_own_worker(job):
    ended = threading.Event()

    def stop_oneself(_item):
        worker.stop()
        ended.set()

    worker = LatestOnly(stop_oneself, job.on_error)
    worker.submit(1)
    assert ended.wait(SOON) and worker.stop(SOON)


def test_a_finished_item_is_not_kept_alive(job):
    class Cloud:
        pass

    cloud = Cloud()
    gone = weakref.ref(cloud)
    done = threading.Event()
    worker = LatestOnly(lambda _item: done.set(), job.on_error)
    worker.submit(cloud)
    del cloud
    assert done.wait(SOON)
    for _ in range(1000):
        if gone() is None:
            break
        threading.Event().wait(0.01)
    assert gone() is None
    assert worker.stop(SOON)
