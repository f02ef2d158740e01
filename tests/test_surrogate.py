import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.neurons import LIF, SURROGATES, Surrogate
from seadlif_jax.neurons.surrogate import SIGMAS
from seadlif_jax.testing import check_neuron


def test_a_neuron_spikes_only_above_threshold():
    assert Surrogate()(jnp.array([-1.0, -1e-7, 0.0, 1e-7, 1.0])).tolist() == [0, 0, 0, 1, 1]


def test_exponential_gradient_is_the_published_formula(x64):
    v, slope, c = np.linspace(-2, 2, 41), 5.0, 0.4
    gradient = jax.vmap(jax.grad(Surrogate("exponential", slope, c)))(v)
    np.testing.assert_allclose(gradient, c * slope / 2 * np.exp(-slope * np.abs(v)), rtol=1e-12)


@pytest.mark.parametrize("name", SURROGATES)
def test_every_surrogate_has_peak_c_slope_over_2_and_area_c(name, x64):
    slope, c = 4.0, 0.3
    gradient = jax.vmap(jax.grad(Surrogate(name, slope, c)))
    assert gradient(jnp.zeros(1))[0] == pytest.approx(c * slope / 2)
    # A substitution that covers the line, since some tails are heavy.
    t = np.linspace(-np.pi / 2, np.pi / 2, 200_001)[1:-1]
    area = np.trapezoid(np.asarray(gradient(np.tan(t))) / np.cos(t) ** 2, t)
    assert area == pytest.approx(c, rel=1e-3)


@pytest.mark.parametrize("name", SURROGATES)
def test_every_surrogate_is_even_and_falls_off(name):
    gradient = jax.vmap(jax.grad(Surrogate(name)))
    v = jnp.linspace(0, 3, 50)
    assert jnp.array_equal(gradient(v), gradient(-v))
    falls = jnp.diff(gradient(v)) <= 0
    assert falls.all() or (name in SIGMAS and falls[:8].all())  # those with negative side lobes rise back to 0


def test_slope_and_c_may_be_traced_and_get_no_gradient():
    def spikes(slope, c):
        return Surrogate("exponential", slope, c)(jnp.array(0.1))

    gradients = jax.jit(jax.grad(spikes, argnums=(0, 1)))(5.0, 0.4)
    assert gradients == (0.0, 0.0)
    sensitivities = jax.vmap(lambda c: jax.grad(Surrogate(c=c))(0.0))(jnp.array([0.2, 0.4]))
    np.testing.assert_allclose(sensitivities, [0.5, 1.0])


def test_spikes_and_gradients_have_the_dtype_of_the_membrane():
    v = jnp.ones(2, jnp.bfloat16)
    spike = Surrogate(slope=jnp.float32(5), c=jnp.float32(0.4))
    assert spike(v).dtype == jax.grad(lambda v: spike(v).sum())(v).dtype == jnp.bfloat16


def test_an_unknown_surrogate_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown surrogate gradient 'relu'; choose one of exponential"):
        Surrogate("relu")


@pytest.mark.parametrize("name", SURROGATES)
def test_the_derivative_is_the_gradient(name, x64):
    v, surrogate = jnp.linspace(-2, 2, 41), Surrogate(name, 3.0, 0.5)
    np.testing.assert_array_equal(surrogate.derivative(v), jax.vmap(jax.grad(surrogate))(v))


def test_a_subclass_with_another_derivative_is_differentiated_by_it():
    class Box(Surrogate):
        def derivative(self, v):
            return (jnp.abs(v) < self.c).astype(v.dtype)

    box = Box(c=0.5)
    assert jax.vmap(jax.grad(box))(jnp.array([-1.0, 0.2, 1.0])).tolist() == [0.0, 1.0, 0.0]
    check_neuron(LIF(surrogate=box))  # by hand, and by automatic differentiation
