import pytest
from seadlif_jax.training.pace import Now, Pace

from seadlif_jax.training import pace


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def test_calls_grow_to_about_a_second_and_shrink_when_the_machine_gets_slower():
    calls = Pace(10, lambda: False)

    def lengths(count, seconds_per_step):
        found = []
        for _ in range(count):
            found.append(calls.steps)
            calls.called(calls.steps, calls.steps * seconds_per_step)
        return found

    assert lengths(6, 1 / 128) == [1, 4, 16, 64, 128, 128]
    assert lengths(3, 0.5) == [128, 2, 2]
    assert lengths(3, 30.0) == [2, 1, 1]
    assert lengths(5, 1e-5) == [1, 4, 16, 64, 256]


def test_a_save_is_due_after_some_minutes_from_the_last(clock):
    calls = Pace(2, lambda: False)
    clock[0] = 119
    assert calls.now() == Now(save=False, stop=False)
    clock[0] = 120
    assert calls.now() == Now(save=True, stop=False)
    calls.saved()
    assert calls.now() == Now(save=False, stop=False)


def test_who_is_interrupted_saves_and_stops(clock):
    assert Pace(2, lambda: True).now() == Now(save=True, stop=True)


def test_one_process_stops_all_and_the_first_has_the_clock(clock, monkeypatch):
    calls = Pace(2, lambda: False)
    for of_all, expected in (
        ([[False, False], [False, True]], Now(save=True, stop=True)),
        ([[True, False], [False, False]], Now(save=True, stop=False)),
        ([[False, False], [True, False]], Now(save=False, stop=False)),
    ):
        monkeypatch.setattr(pace.devices, "of_all_processes", lambda _, of_all=of_all: pace.np.array(of_all))
        assert calls.now() == expected
