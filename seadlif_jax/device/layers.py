"""A trained network as plain arrays: what is left of it on a device."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from seadlif_jax.neurons import LIF, EFAdLIF, LeakyIntegrator, Neuron, SEAdLIF
from seadlif_jax.nn import Network
from seadlif_jax.utils.errors import SeadlifError

NAMES: Mapping[type[Neuron], str] = {
    LIF: "lif",
    EFAdLIF: "ef_adlif",
    SEAdLIF: "se_adlif",
    LeakyIntegrator: "readout",
}


class DeviceError(SeadlifError):
    """A network that cannot be brought to a device."""


class DeviceLayer(NamedTuple):
    """A layer as arrays in float32; the equations are those of its neuron's module.

    Attributes:
      neuron: "lif", "ef_adlif", "se_adlif", or "readout".
      kernel: input weights; with batch normalisation, the normalised ones.
      bias: added to the current of each neuron.
      recurrent_kernel: weights from the outputs of the step before; None for none.
      alpha: decay of the membrane potential in a step.
      threshold: None for the readout.
      beta, a, b: decay of the adaptation current and its couplings, which include `(1 - beta) q`; None but for adLIF.
    """

    neuron: str
    kernel: Float[np.ndarray, "channel neuron"]
    bias: Float[np.ndarray, " neuron"]
    recurrent_kernel: Float[np.ndarray, "neuron neuron"] | None
    alpha: Float[np.ndarray, " neuron"]
    threshold: Float[np.ndarray, " neuron"] | None = None
    beta: Float[np.ndarray, " neuron"] | None = None
    a: Float[np.ndarray, " neuron"] | None = None
    b: Float[np.ndarray, " neuron"] | None = None

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.bias)

    @property
    def channels(self) -> int:
        """Number of inputs."""
        return len(self.kernel)


def device_layers(network: Network, variables: Mapping[str, Any]) -> tuple[DeviceLayer, ...]:
    """Return the layers of a network, the readout last.

    Raises:
      DeviceError: a layer has other neurons than LIF, EF-adLIF and SE-adLIF, trained resting potentials, or values that
        are not finite.
    """
    channels = len(variables["params"]["layers_0" if network.layers else "readout"]["kernel"])
    layers: Any = network.apply(variables, channels, method="as_layers")
    found = [_device_layer(layer) for layer in layers]
    for index, layer in enumerate(found[:-1]):  # neurons without outputs send to the next layer by weights of 0
        found[index + 1] = _with_inputs(found[index + 1], layer.size)
    for number, layer in enumerate(found, 1):
        if not all(np.isfinite(array).all() for array in layer if isinstance(array, np.ndarray)):
            raise DeviceError(f"layer {number} has values that are NaN or infinite")
    return tuple(found)


def _with_inputs(layer: DeviceLayer, channels: int) -> DeviceLayer:
    """Return a layer with weights of 0 for inputs that it lacks, behind those that it has."""
    return layer._replace(kernel=np.pad(layer.kernel, [(0, channels - layer.channels), (0, 0)]))


def _device_layer(layer: Any) -> DeviceLayer:
    neuron, coefficients = layer.neuron, layer.coefficients
    if type(neuron) not in NAMES:
        raise DeviceError(
            f"{type(neuron).__name__} neurons cannot be exported; those that can are LIF, EFAdLIF and SEAdLIF"
        )
    if getattr(coefficients, "rest", None) is not None:
        raise DeviceError("trained resting potentials cannot be exported; train with config.model.train_rest = False")

    def array(values: Any) -> Any:
        return None if values is None else np.asarray(values, np.float32)

    name = NAMES[type(neuron)]
    kernel, bias, recurrent_kernel = map(array, layer.weights)
    if name == "readout":
        return DeviceLayer(name, kernel, bias, recurrent_kernel, array(coefficients))
    gap, num_neurons = coefficients.gap, layer.features
    threshold = np.full(num_neurons, neuron.threshold, np.float32) if gap is None else array(gap)
    adaptation = {field: array(getattr(coefficients, field, None)) for field in ("beta", "a", "b")}
    return DeviceLayer(name, kernel, bias, recurrent_kernel, array(coefficients.alpha), threshold, **adaptation)
