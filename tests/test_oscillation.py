import numpy as np
import pytest
from scipy.integrate import solve_ivp

from configs.oscillation import get_config
from data import oscillation
from data.oscillation import SpringSystem, displacements, draw_system, propagators
from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.loading import check_dataset

SECONDS = np.arange(201) / 402
RANGES = {"mass": (1.0, 1.0), "spring": (500, 10_000), "damping": (0.0, 0.0)}


@pytest.fixture
def config():
    config = get_config()
    config.data.num_samples = 40
    config.batch_size = 16
    return config


def start(num_samples, num_masses, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_samples, num_masses)), rng.normal(scale=30.0, size=(num_samples, num_masses))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("changes", [{}, {"mass": (0.5, 2.0), "damping": (1.0, 30.0)}], ids=["undamped", "damped"])
def test_displacements_solve_the_equation_of_motion(seed, changes):
    """Written out force by force, and integrated numerically."""
    system = draw_system(np.random.default_rng(seed), 4, **RANGES | changes)
    positions, velocities = start(1, 4)

    def rates(_, state):
        x, v = state[:4], state[4:]
        stretch = np.diff(x, prepend=0.0, append=0.0)  # of each spring, the walls stay where they are
        pull = system.spring * stretch
        return np.concatenate([v, (pull[1:] - pull[:-1] - system.damping * v) / system.mass])

    first = np.concatenate([positions[0], velocities[0]])
    solution = solve_ivp(rates, (0, SECONDS[-1]), first, method="DOP853", t_eval=SECONDS, rtol=1e-12, atol=1e-12)
    found = displacements(system, positions, velocities, SECONDS)
    assert found.shape == (1, 201, 4)
    np.testing.assert_allclose(found[0], solution.y[:4].T, rtol=0, atol=1e-8)


def energy(system, states):
    """`[time, sample]`, J."""
    x, v = states[:, :4], states[:, 4:]
    kinetic = np.einsum("i,tis->ts", system.mass, v**2) / 2
    return kinetic + np.einsum("tis,ij,tjs->ts", x, system.stiffness(), x) / 2


def test_energy_is_conserved_without_damping_and_lost_with_it():
    first = np.concatenate(start(3, 4), axis=1).T
    for damping in (0.0, 5.0):
        system = draw_system(np.random.default_rng(0), 4, (0.5, 2.0), (500, 10_000), (damping, damping))
        found = energy(system, propagators(system, SECONDS) @ first)
        if damping:
            assert (np.diff(found, axis=0) < 0).all()
        else:
            np.testing.assert_allclose(found / found[0], 1.0, rtol=1e-9)


def test_one_mass_is_a_damped_oscillator():
    """Between two springs of 300 and 500 N/m, 2 kg: 20 a second, damped by 4 kg/s."""
    system = SpringSystem(mass=np.array([2.0]), spring=np.array([300.0, 500.0]), damping=np.array([4.0]))
    found = displacements(system, np.array([[1.5]]), np.array([[-3.0]]), SECONDS)[0, :, 0]
    decay, omega = 1.0, np.sqrt(20.0**2 - 1.0**2)
    swing = 1.5 * np.cos(omega * SECONDS) + (-3.0 + decay * 1.5) / omega * np.sin(omega * SECONDS)
    np.testing.assert_allclose(found, np.exp(-decay * SECONDS) * swing, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("phase", "stiffness"), [(1.0, 400.0), (-1.0, 400.0 + 2 * 250.0)])
def test_two_equal_masses_swing_in_phase_and_in_antiphase(phase, stiffness):
    """In phase the spring between them is not stretched; in antiphase it is, at both ends."""
    system = SpringSystem(mass=np.ones(2), spring=np.array([400.0, 250.0, 400.0]), damping=np.zeros(2))
    found = displacements(system, np.array([[1.0, phase]]), np.zeros((1, 2)), SECONDS)[0]
    expected = np.cos(np.sqrt(stiffness) * SECONDS)
    np.testing.assert_allclose(found, np.stack([expected, phase * expected], axis=1), rtol=0, atol=1e-12)


def test_systems_are_drawn_from_their_ranges():
    systems = [draw_system(np.random.default_rng(seed), 4, (1.0, 2.0), (7, 9), (0.5, 1.5)) for seed in range(50)]
    mass, spring, damping = (np.concatenate(values) for values in zip(*systems, strict=True))
    assert set(spring) == {7.0, 8.0, 9.0}
    assert len(spring) == 50 * 5
    assert len(mass) == len(damping) == 50 * 4
    assert 1.0 <= mass.min() < 1.1 < 1.9 < mass.max() <= 2.0
    assert 0.5 <= damping.min() < 0.6 < 1.4 < damping.max() <= 1.5


def drawn_system(config, monkeypatch):
    """The system that `load` draws."""
    drawn = []
    with monkeypatch.context() as patch:
        patch.setattr(oscillation, "draw_system", lambda *args: drawn.append(draw_system(*args)) or drawn[-1])
        oscillation.load(config)
    return drawn[0]


def test_the_seed_of_the_data_decides_the_system_and_nothing_else_does(config, monkeypatch):
    first = drawn_system(config, monkeypatch)
    config.seed = 5
    config.data.num_samples = 60
    config.data.initial_velocity = 2.0
    np.testing.assert_array_equal(np.concatenate(drawn_system(config, monkeypatch)), np.concatenate(first))
    config.data.seed = 1
    assert (drawn_system(config, monkeypatch).spring != first.spring).any()


def test_a_seed_gives_one_data_set(config):
    first, again = oscillation.load(config), oscillation.load(config)
    np.testing.assert_array_equal(first.train.inputs, again.train.inputs)
    config.data.seed = 1
    assert not np.array_equal(first.train.inputs, oscillation.load(config).train.inputs)


def test_targets_are_the_next_inputs(config):
    dataset = oscillation.load(config)
    check_dataset(dataset, config)
    assert [split.inputs.shape for split in dataset[:3]] == [(32, 200, 4), (4, 200, 4), (4, 200, 4)]
    for split in dataset[:3]:
        assert split.targets.shape == (len(split.inputs), 201, 4)
        np.testing.assert_array_equal(split.targets[:, 1:-1], split.inputs[:, 1:])
        assert split.inputs.dtype == split.targets.dtype == np.float32
    assert (dataset.train.block_index == 1).all()
    assert "10 % of the trajectories" in dataset.protocol


def test_masses_start_at_random_and_at_rest_unless_told_otherwise(config):
    config.data.num_samples = 4000
    at_rest = oscillation.load(config).train.inputs
    assert at_rest[:, 0].std() == pytest.approx(1.0, abs=0.02)
    assert at_rest[:, 0].mean() == pytest.approx(0.0, abs=0.02)
    # At rest, the trajectory is that of x0 alone; velocities add the one that starts at zero.
    config.data.initial_velocity = 100.0
    moving = oscillation.load(config).train.inputs
    np.testing.assert_array_equal(moving[:, 0], at_rest[:, 0])
    config.data.initial_velocity = 50.0
    half = oscillation.load(config).train.inputs
    np.testing.assert_allclose(moving - at_rest, 2 * (half - at_rest), atol=1e-5)
    # After a step, about v dt; a little less, since the springs pull.
    assert (moving - at_rest)[:, 1].std() == pytest.approx(100.0 / 402, rel=0.1)


def test_a_step_stands_for_as_many_milliseconds_as_the_config_says(config):
    config.data.step_ms = 2.0
    coarse = oscillation.load(config).test.inputs
    config.data.step_ms = 1.0
    np.testing.assert_allclose(oscillation.load(config).test.inputs[:, ::2], coarse[:, :100], atol=1e-6)


def test_a_masked_start_is_block_0(config):
    config.data.ignore_first_steps = 30
    split = oscillation.load(config).train
    assert (split.block_index[:, :30] == 0).all()
    assert (split.block_index[:, 30:] == 1).all()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("validation", "test", "it must be one of held_out, last"),
        ("num_masses", 0, "a whole number of at least 1"),
        ("num_samples", 9, "a whole number of at least 10"),
        ("num_steps", 1, "a whole number of at least 2"),
        ("mass", (0.0, 1.0), "0 < min <= max"),
        ("mass", (2.0, 1.0), "0 < min <= max"),
        ("mass", (1.0,), "a pair"),
        ("mass", ("a", "b"), "a pair"),
        ("spring", (0, 10), "0 < min <= max"),
        ("spring", (500.0, 10_000.5), "whole N/m"),
        ("spring", (10_000, 500), "0 < min <= max"),
        ("damping", (-1.0, 0.0), "0 <= min <= max"),
        ("damping", (0.0, float("inf")), "a pair"),
        ("num_masses", True, "a whole number of at least 1"),
        ("initial_velocity", None, "at least 0"),
        ("initial_velocity", -1.0, "at least 0"),
        ("initial_velocity", float("nan"), "at least 0"),
        ("step_ms", None, "the milliseconds between two steps"),
        ("ignore_first_steps", -1, r"in 0\.\.199"),
        ("ignore_first_steps", 200, r"in 0\.\.199"),
    ],
)
def test_bad_settings_are_refused(config, field, value, message):
    with config.ignore_type():
        config.data[field] = value
    with pytest.raises(DataError, match=rf"config.data.{field} = .*{message}") as error:
        oscillation.load(config)
    assert str(error.value).startswith(f"config.data.{field} = {value!r}: ")
