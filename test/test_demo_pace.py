"""The simulated camera's pace, on clocks made by hand."""

import numpy as np
import pytest

from dlc_ros.demo import pace
from dlc_ros.demo.pace import SLOWEST, STOCK, Pace, Renderer


class Clocks:
    """Wall and processor time that pass only when told to."""

    def __init__(self, monkeypatch):
        self.wall, self.work = 100.0, 0.0
        monkeypatch.setattr(pace.time, 'perf_counter', lambda: self.wall)
        monkeypatch.setattr(pace.time, 'monotonic', lambda: self.wall)
        monkeypatch.setattr(pace.time, 'process_time', lambda: self.work)
        monkeypatch.setattr(pace.time, 'time_ns', lambda: round(self.wall * 1e9))
        monkeypatch.setattr(pace.time, 'sleep', self.spend)

    def spend(self, wall, work=0.0):
        self.wall += wall
        self.work += work


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


@pytest.mark.parametrize('count', [0, 3, STOCK, 3 * STOCK])
def test_every_cloud_comes_in_order_and_a_stock_is_there_before_the_first(count):
    rendered = []

    def capture(t):
        rendered.append(t)
        return 10 * t

    given = []
    for t, cloud in Renderer(capture, range(count)).clouds():
        if not given:
            assert len(rendered) >= STOCK or count < STOCK
        given.append((t, cloud))
    assert given == [(t, 10 * t) for t in range(count)]


@pytest.mark.parametrize(
    ('wall', 'expected'), [(0.02, 1.0), (0.019, 1.0), (0.03, 1.5), (0.2, SLOWEST)]
)
def test_slowdown_is_what_the_work_takes_beyond_itself(clocks, wall, expected):
    renderer = Renderer(lambda _t: clocks.spend(wall, work=0.02), range(30))
    assert renderer.slowdown == 1.0
    assert len(list(renderer.clouds())) == 30
    assert renderer.slowdown == pytest.approx(expected)


def test_slowdown_follows_the_load_and_ignores_what_is_too_short_to_tell(clocks):
    loads = [(0.04, 0.02)] * 30 + [(0.5, 0.0)] * 30
    renderer = Renderer(lambda t: clocks.spend(*loads[t]), range(60))
    list(renderer.clouds())
    assert renderer.slowdown == pytest.approx(2.0)


def test_an_error_of_the_simulation_is_not_lost():
    def capture(t):
        raise RuntimeError(f'no scene at {t}')

    with pytest.raises(RuntimeError, match='no scene at 0'):
        list(Renderer(capture, range(3)).clouds())


def test_clouds_leave_on_time_and_never_in_a_burst(clocks):
    moments = []
    steps = Pace()
    rng = np.random.default_rng(0)
    for number in range(50):
        moments.append(1e-9 * steps.wait(0.2))
        # Sometimes the simulation takes longer than the time between two clouds.
        clocks.spend(0.7 if number == 20 else rng.uniform(0.0, 0.19))
    gaps = np.diff(moments)
    assert gaps.min() > 0.179
    assert gaps[:20] == pytest.approx(0.2) and gaps[20] == pytest.approx(0.7)
    assert moments[-1] - moments[0] == pytest.approx(48 * 0.2 + 0.7, abs=0.03)


def test_a_slower_pace_holds_from_the_next_cloud_on(clocks):
    steps = Pace()
    moments = [1e-9 * steps.wait(period) for period in (0.2, 0.5, 0.2, 0.2)]
    assert np.diff(moments) == pytest.approx([0.2, 0.5, 0.2])
