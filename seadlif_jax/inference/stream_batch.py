"""Many streams at once: they come and go, and are advanced together in one compiled call."""

from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from seadlif_jax.inference.trained_model import TrainedModel
from seadlif_jax.utils.arrays import as_native, value_problem
from seadlif_jax.utils.errors import InputError
from seadlif_jax.utils.processes import refuse_fork

MIN_CAPACITY = 16


class StreamBatch:
    """Streams of a trained network, each with a state of its own, by name.

    A name that is new starts a stream. The states have room for a number of streams that is doubled when it does not
    suffice; this, and inputs of another dtype, compile the step again.

    Args:
      model: the network.
      capacity: number of streams that there is room for at first.

    Example:
      >>> streams = StreamBatch(model)  # doctest: +SKIP
      >>> y = streams.step(["bed 3", "bed 7"], x)  # both advance by a step  # doctest: +SKIP
      >>> y = streams.step(["bed 7"], x[1:])  # bed 3 waits  # doctest: +SKIP
      >>> streams.remove("bed 3")  # doctest: +SKIP
    """

    def __init__(self, model: TrainedModel, capacity: int = MIN_CAPACITY):
        if capacity < 1:
            raise InputError(f"capacity = {capacity}: it must be at least 1")
        self._model = model
        self._slots: dict[Hashable, int] = {}
        self._free = list(range(capacity))
        self._is_new = np.ones(capacity, bool)
        self._state = model.initial_state(capacity)
        self._advance = jax.jit(self._advance_all, donate_argnums=1)

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, name: Hashable) -> bool:
        return name in self._slots

    def step(self, names: Sequence[Hashable], x: Any) -> Float[np.ndarray, "stream class"]:
        """Advance some streams by a step, and return the readout of each; others wait.

        Args:
          names: of the streams, each once.
          x: input of each, `[stream, channel]`.

        Raises:
          InputError: a name is there twice; or `x` has another shape, or values that are NaN or infinite.
        """
        refuse_fork()
        if isinstance(names, str):
            raise InputError(f"names = {names!r}: it must be a list of names")
        x = as_native(x, "x")
        if problem := value_problem(x):
            raise InputError(f"x has values that are {problem}")
        shape = (len(names), self._model.num_channels)
        if x.shape != shape:
            raise InputError(f"x has shape {x.shape}; for {len(names)} streams it must be {shape}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if list(names).count(name) > 1)
            raise InputError(f"the stream {twice!r} is there twice; a call advances each by one step")
        slots = [self._slot(name) for name in names]
        capacity = len(self._is_new)
        inputs = np.zeros((capacity, shape[1]), x.dtype if x.dtype.itemsize <= 4 else jnp.result_type(float))
        inputs[slots] = x
        active = np.zeros(capacity, bool)
        active[slots] = True
        self._state, outputs = self._advance(self._model.variables, self._state, inputs, active, active & self._is_new)
        self._is_new[slots] = False
        return np.asarray(outputs)[slots]

    def reset(self, name: Hashable) -> None:
        """Set a stream back to the initial state; raises a `KeyError` if there is none of this name."""
        self._is_new[self._slots[name]] = True

    def remove(self, name: Hashable) -> None:
        """Forget a stream; raises a `KeyError` if there is none of this name."""
        self.reset(name)
        self._free.append(self._slots.pop(name))

    def _slot(self, name: Hashable) -> int:
        """Return the row of a stream, which is started if it is new."""
        if name not in self._slots:
            if not self._free:
                self._grow()
            self._slots[name] = self._free.pop()
        return self._slots[name]

    def _grow(self) -> None:
        capacity = len(self._is_new)
        self._free = list(range(capacity, 2 * capacity))
        self._is_new = np.concatenate([self._is_new, np.ones(capacity, bool)])
        more = self._model.initial_state(capacity)
        self._state = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), self._state, more)

    def _advance_all(
        self,
        variables: Any,
        state: Any,
        x: Num[Array, "stream channel"],
        active: Bool[Array, " stream"],
        is_new: Bool[Array, " stream"],
    ) -> tuple[Any, Float[Array, "stream class"]]:
        def choose(mask: Array, yes: Any, no: Any) -> Any:
            return jax.tree.map(lambda one, other: jnp.where(mask[:, None], one, other), yes, no)

        state = choose(is_new, self._model.initial_state(len(x)), state)
        result: Any = self._model.network.apply(variables, state, x, method="step")
        new_state, outputs = result
        return choose(active, new_state, state), outputs
