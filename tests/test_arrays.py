import decimal
import fractions

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from seadlif_jax.build import build_network
from seadlif_jax.inference import TrainedModel, evaluate
from seadlif_jax.losses import IGNORED
from seadlif_jax.utils.arrays import as_native, value_problem

COUNTS = np.arange(24).reshape(2, 3, 4) % 7


class Tensor:
    """Refuses to be an array until it is detached, and as bfloat16, as PyTorch's tensors do."""

    def __init__(self, values, requires_grad=True, bfloat16=False):
        self.values, self.requires_grad, self.bfloat16 = values, requires_grad, bfloat16

    def detach(self):
        return Tensor(self.values, False, self.bfloat16)

    def float(self):
        return Tensor(self.values, self.requires_grad)

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return np.asarray(self.values, dtype)


def objects(values):
    array = np.empty(len(values), object)
    array[:] = list(values)
    return array


@pytest.mark.parametrize(
    "values",
    [
        *(
            COUNTS.astype(dtype)
            for dtype in (">f2", ">f4", ">f8", ">i2", ">i8", ">u4", np.uint64, np.longdouble, object)
        ),
        *(jnp.asarray(COUNTS, dtype) for dtype in (jnp.bfloat16, jnp.float16, jnp.int8)),
        np.asarray(jnp.asarray(COUNTS, jnp.bfloat16)),
        np.asarray(jnp.asarray(COUNTS, jnp.int4)),
        np.asfortranarray(COUNTS),
        COUNTS[::-1][::-1],
        np.ma.masked_array(COUNTS),
        np.broadcast_to(COUNTS, COUNTS.shape),
        COUNTS.tolist(),
        list(COUNTS),
        objects(COUNTS),
        objects([objects(sample) for sample in COUNTS]),
        np.vectorize(decimal.Decimal, otypes=[object])(COUNTS.astype(str)),
        np.vectorize(fractions.Fraction, otypes=[object])(COUNTS),
        [scipy.sparse.csr_matrix(sample) for sample in COUNTS],
        scipy.sparse.coo_array(COUNTS),
        Tensor(COUNTS),
        Tensor(COUNTS, bfloat16=True),
        [Tensor(sample) for sample in COUNTS],
    ],
)
def test_what_is_an_array_of_numbers_in_any_library_is_the_same_native_array(values):
    array = as_native(values, "inputs")
    assert type(array) is np.ndarray
    assert array.dtype.kind in "iuf"
    assert array.dtype.isnative
    assert array.dtype.itemsize <= 8
    np.testing.assert_array_equal(array, COUNTS)
    jnp.asarray(array)


def test_a_data_set_of_an_hdf5_file_is_read(tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["x"] = COUNTS.astype(">f4")
        np.testing.assert_array_equal(as_native(file["x"], "inputs"), COUNTS)


def test_what_is_native_is_not_copied(tmp_path):
    stored = np.memmap(tmp_path / "own.bin", np.uint8, "w+", shape=(2, 3, 4))
    for array in (COUNTS, COUNTS[:, ::2], np.broadcast_to(COUNTS[0], COUNTS.shape), stored, COUNTS > 3):
        assert np.shares_memory(as_native(array, "inputs"), array)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ma.masked_equal(COUNTS, 6), "have masked values, first in sample 0; fill them"),
        (
            [np.ma.masked_equal(sample, 20) for sample in np.arange(24).reshape(2, 3, 4)],
            r"\[1\] have masked values",
        ),
        (COUNTS.astype(complex), "complex128; they must be numbers .take their absolute values"),
        (COUNTS.astype("M8[us]"), r"datetime64\[us\]; they must be numbers"),
        (COUNTS.astype("m8[us]"), r"values / numpy.timedelta64"),
        (np.zeros(5, [("t", int), ("x", int), ("p", int)]), "are binned by seadlif_jax.data.events.bin_events"),
        (COUNTS.astype(str), "they must be numbers"),
        (COUNTS.astype(bytes), "they must be numbers"),
        (COUNTS.astype(np.dtypes.StringDType()), "they must be numbers"),
        (np.where(COUNTS == 6, None, COUNTS.astype(object)), "objects of type NoneType, first in sample 0"),
        (np.full(3, 10**400, object), "numbers that fit no array"),
        ([COUNTS[0], COUNTS[1, :2]], r"different shapes, \(3, 4\) in sample 0 and \(2, 4\) in sample 1; pad them"),
        ([[1, 2], [3]], r"different shapes, \(2,\) in sample 0 and \(1,\) in sample 1"),
        ({"x": COUNTS}, "objects of type dict"),
        ({1, 2}, "objects of type set"),
        (None, "objects of type NoneType"),
        (jax.random.split(jax.random.key(0), 3), "PRNGKeyArray, which is not an array of numbers"),
    ],
)
def test_what_has_no_single_meaning_is_refused_with_the_remedy(values, message):
    with pytest.raises(ValueError, match=f"^inputs.*{message}"):
        as_native(values, "inputs")


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, np.float16, "NaN or infinite, first in sample 1"),
        (1e300, np.float64, "beyond the largest float32, 3.403e.38, first in sample 1"),
        (-(2**24) - 1, np.int32, "whole numbers beyond 16,777,216, which float32 does not hold exactly"),
        (2**24 + 1, np.int64, "whole numbers beyond"),
        (2**63, np.uint64, "whole numbers beyond"),
        (2**24, np.int64, None),
        (3e38, np.float64, None),
        (65504, np.float16, None),
    ],
)
def test_values_that_the_device_cannot_hold_are_named(value, dtype, message):
    array = np.zeros((2, 3), dtype)
    array[1, 2] = value
    problem = value_problem(array)
    assert problem is message is None or message.partition("e.38")[0] in problem


@pytest.fixture
def untrained(tiny_config):
    network = build_network(tiny_config, channels=4)
    return TrainedModel(tiny_config, network, network.init(jax.random.key(0), jnp.zeros((1, 1, 4))))


def test_a_network_gives_the_same_numbers_whatever_the_array(untrained):
    """After native arrays: compiled functions are looked up without the byte order."""
    inputs = 1000 * COUNTS.astype(np.float32)
    expected = untrained.probabilities(inputs)
    assert not np.allclose(expected, untrained.probabilities(0 * inputs))
    for values in (inputs.astype(">f4"), Tensor(inputs), inputs.tolist(), np.ma.masked_array(inputs)):
        np.testing.assert_array_equal(untrained.probabilities(values), expected)
    counted = np.ones(inputs.shape[:2])
    for values in (counted.tolist(), Tensor(counted), counted.astype(">i8")):
        np.testing.assert_array_equal(untrained.probabilities(inputs, values), expected)


def test_streaming_and_evaluation_take_such_arrays_too(untrained):
    inputs = 1000 * COUNTS.astype(np.float32)
    state = untrained.initial_state(2)
    (*_, y), (*_, y_of_other) = (untrained.step(state, x[:, 0]) for x in (inputs, inputs.astype(">f4")))
    np.testing.assert_array_equal(y, y_of_other)
    with pytest.raises(ValueError, match=r"^x are NaN or infinite"):
        untrained.step(state, np.full((2, 4), np.nan))

    class Arrays:
        def __init__(self, convert):
            self.inputs = convert(inputs)
            self.targets = convert(np.array([[IGNORED, 0], [IGNORED, 2]]))
            self.block_index = convert(np.ones((2, 3), int))

    native, others = evaluate(untrained, Arrays(np.asarray)), evaluate(untrained, Arrays(np.ndarray.tolist))
    assert native.loss == others.loss
    big_endian = evaluate(untrained, Arrays(lambda array: array.astype(array.dtype.newbyteorder(">"))))
    assert native.loss == big_endian.loss
