import jax
import numpy as np
import pytest

from seadlif_jax.inference import StreamBatch, load_run


@pytest.fixture(scope="module")
def model(finished_run):
    return load_run(finished_run)


@pytest.fixture
def inputs(model):
    """Of eight streams."""
    return np.random.default_rng(0).poisson(0.3, (8, 30, model.num_channels)).astype(np.uint8)


def test_streams_that_come_and_go_are_as_each_alone(model, inputs):
    """With random names in every step, more streams than there was room for, and one that starts over."""
    rng = np.random.default_rng(1)
    streams, expected = StreamBatch(model, capacity=2), model.outputs(inputs)
    position = dict.fromkeys(range(8), 0)
    for step in range(60):
        if step == 20:
            streams.remove(3)
            position[3] = 0
            assert 3 not in streams
        if step == 30:
            streams.reset(5)
            position[5] = 0
        names = [int(name) for name in rng.permutation(8)[: rng.integers(1, 8)] if position[int(name)] < 30]
        if not names:
            continue
        outputs = streams.step(names, np.stack([inputs[name, position[name]] for name in names]))
        for name, y in zip(names, outputs, strict=True):
            np.testing.assert_allclose(y, expected[name, position[name]], atol=1e-5)
            position[name] += 1
    assert len(streams) == 8


def test_only_growth_compiles_again(model, inputs):
    streams = StreamBatch(model, capacity=4)
    with jax.log_compiles(False):
        for names in ([0], [0, 1, 2, 3], [2], [3, 0]):
            streams.step(names, inputs[names, 0])
    assert streams._advance._cache_size() == 1
    streams.step([4], inputs[[4], 0])
    assert streams._advance._cache_size() == 2


@pytest.mark.parametrize(
    ("names", "shape", "message"),
    [
        (["a", "b"], (1, 10), r"x has shape \(1, 10\); for 2 streams it must be \(2, 10\)"),
        (["a", "a"], (2, 10), "the stream 'a' is there twice"),
        ("ab", (2, 10), "names = 'ab': it must be a list of names"),
        (["nan"], (1, 10), "x has values that are NaN or infinite"),
    ],
)
def test_a_wrong_call_is_refused_and_changes_nothing(model, names, shape, message):
    streams = StreamBatch(model)
    x = np.full(shape, np.nan if names == ["nan"] else 0.0)
    with pytest.raises(ValueError, match=message):
        streams.step(names, x)
    assert not len(streams)
    with pytest.raises(KeyError):
        streams.remove("a")
    with pytest.raises(ValueError, match="capacity = 0"):
        StreamBatch(model, capacity=0)
