import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seadlif_jax.training import optimizer

PARAMS = {"layers_0": {"kernel": jnp.ones((2, 3)), "a": jnp.array([0.2, 0.9])}, "readout": {"bias": jnp.zeros(2)}}
GRADIENTS = jax.tree.map(lambda leaf: 3.0 * jnp.ones_like(leaf), PARAMS)


def adam_by_hand(gradients, learning_rate):
    """Three steps of textbook Adam on the same clipped gradients."""
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradients)))
    gradients = jax.tree.map(lambda g: np.asarray(g) * min(1, 1.5 / norm), gradients)
    params, m, v = jax.tree.map(np.asarray, PARAMS), *(jax.tree.map(np.zeros_like, gradients) for _ in range(2))
    for step in range(1, 4):
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, gradients)

        def move(p, m, v, step=step):
            return p - learning_rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)

        params = jax.tree.map(move, params, m, v)
    return params


def run(learning_rate, params=PARAMS, gradients=GRADIENTS):
    adam = optimizer.clipped_adam(learning_rate, clip_norm=1.5)
    state = adam.init(params)
    for _ in range(3):
        updates, state = adam.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_close(arrays, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), arrays, expected)


def test_gradients_are_clipped_then_given_to_adam():
    assert_close(run(0.01), adam_by_hand(GRADIENTS, 0.01), rtol=1e-5)


def test_the_learning_rate_may_be_mapped_over():
    rates = jnp.array([0.01, 0.1])
    mapped = jax.jit(jax.vmap(run))(rates)
    for index, rate in enumerate(rates):
        assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], mapped), run(float(rate)), rtol=1e-6)


def test_the_learning_rate_can_be_changed_between_steps():
    adam = optimizer.clipped_adam(0.01, 1.5)
    state = optimizer.set_learning_rate(adam.init(PARAMS), jnp.asarray(0.0))
    updates, _ = adam.update(GRADIENTS, state, PARAMS)
    assert all(not leaf.any() for leaf in jax.tree.leaves(updates))


def plateau_scales(losses, factor=0.5, patience=2):
    schedule = optimizer.plateau_schedule(factor, patience)
    state, scales = schedule.init({"w": jnp.zeros(1)}), []
    for loss in losses:
        state = optimizer.update_plateau(schedule, state, jnp.asarray(loss))
        scales.append(float(state.scale))
    return scales


def test_plateau_tolerates_patience_bad_epochs_and_reduces_at_the_next():
    assert plateau_scales([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_plateau_starts_anew_with_every_better_loss():
    assert plateau_scales([1.0, 1.0, 1.0, 0.9, 1.0, 1.0, 0.8, 2.0]) == [1] * 8


def test_a_gain_below_a_ten_thousandth_is_not_better():
    assert plateau_scales([1.0, 0.99995, 0.99995, 0.99995])[-1] == 0.5
    assert plateau_scales([1.0, 0.9998, 0.9996, 0.9994])[-1] == 1


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_a_factor_that_is_none_is_refused(factor):
    with pytest.raises(ValueError, match="factor"):
        optimizer.plateau_schedule(factor, 3)
