import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import parallel
from seadlif_jax.data.dataset import Split
from seadlif_jax.data.on_device.samples import to_device
from seadlif_jax.training.state import TrainingHyperparameters
from seadlif_jax.training.trainer import Trainer

SAMPLES, STEPS, CHANNELS, CLASSES = 85, 30, 4, 3


def random_split(seed, task="classification"):
    """Samples of different lengths, some of them with two blocks, some without a target for one; or trajectories."""
    rng = np.random.default_rng(seed)
    if task == "forecast":
        targets = rng.normal(size=(SAMPLES, STEPS + 1, CHANNELS))
        return Split(targets[:, :-1], targets, np.ones((SAMPLES, STEPS), np.uint8))
    targets = rng.integers(-1, CLASSES, (SAMPLES, 3))
    targets[:, 0] = -1
    blocks = np.where(np.arange(STEPS) < rng.integers(5, STEPS, (SAMPLES, 1)), 1 + (np.arange(STEPS) > 3), 0)
    inputs = rng.poisson(0.7, (SAMPLES, STEPS, CHANNELS)).astype(np.uint8)
    return Split(inputs, targets.astype(np.int8), blocks.astype(np.uint8))


@pytest.mark.parametrize(
    ("neuron", "task", "lengths", "batch_norm"),
    [
        ("se_adlif", "classification", (15, 30), False),
        ("se_adlif", "classification", (15, 30), True),
        pytest.param("lif", "classification", (), False, marks=pytest.mark.slow),
        pytest.param("lstm", "forecast", (), False, marks=pytest.mark.slow),
    ],
)
def test_an_epoch_on_two_devices_is_that_on_one(tiny_config, x64, neuron, task, lengths, batch_norm):
    """With dropout, a partial batch in validation and, of two devices, batches cut to lengths of their own."""
    tiny_config.batch_size = 32
    tiny_config.model.hidden = (8, 7)
    tiny_config.model.batch_norm = batch_norm
    tiny_config.model.neuron = neuron
    tiny_config.task = task
    tiny_config.model.dropout = 0.3
    tiny_config.data.num_classes = CLASSES
    splits = [random_split(seed, task) for seed in (0, 1)]
    hyper = TrainingHyperparameters.from_config(tiny_config)

    def trained(mesh):
        trainer = Trainer(tiny_config, lengths, parallel.BatchShard.on(mesh))
        train, validation = (to_device(split, parallel.replicated(mesh)) for split in splits)
        state = jax.jit(trainer.init)(0, hyper, train)
        epoch = parallel.parallelize(trainer.train_epoch, mesh)
        for _ in range(2):
            state, metrics = epoch(state, hyper, train, validation)
        return state, metrics

    state, metrics = trained(parallel.choose_mesh(32))
    assert len(state.variables["params"]["readout"]["kernel"].sharding.device_set) == 2
    expected_state, expected_metrics = trained(parallel.choose_mesh(1))
    assert len(expected_state.variables["params"]["readout"]["kernel"].sharding.device_set) == 1
    for name, value in metrics.items():
        assert float(value) == pytest.approx(float(expected_metrics[name]), rel=1e-8), name
    for found, expected in zip(
        jax.tree.leaves(state.variables), jax.tree.leaves(expected_state.variables), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("batch_size", "expected"), [(1, 1), (31, 1), (32, 2), (33, 1), (34, 2), (256, 2)])
def test_shares_are_equal_and_large_enough(batch_size, expected):
    assert parallel.choose_mesh(batch_size).size == expected


def test_a_batch_goes_to_as_many_devices_as_can_share_it_equally():
    assert {size: parallel.mesh_shape(12, size, 1) for size in (16, 64, 100, 128, 256, 1200)} == {
        16: (1, 1), 64: (1, 4), 100: (1, 5), 128: (1, 8), 256: (1, 8), 1200: (1, 12)
    }  # fmt: skip


def test_members_are_divided_first_where_that_leaves_no_device_idle():
    assert {members: parallel.mesh_shape(8, 128, members) for members in (1, 2, 3, 4, 5, 6, 8, 24)} == {
        1: (1, 8), 2: (2, 4), 3: (1, 8), 4: (4, 2), 5: (1, 8), 6: (2, 4), 8: (8, 1), 24: (8, 1)
    }  # fmt: skip
    assert parallel.mesh_shape(8, 16, 5) == (5, 1)  # batches too small to be shared


def test_the_cores_of_a_cpu_share_one_copy_of_the_data():
    split = random_split(0)
    samples = to_device(split, parallel.replicated(parallel.choose_mesh(32)))
    for array, original in zip(samples, (split.inputs, split.targets, split.block_index), strict=True):
        first, second = (shard.data.unsafe_buffer_pointer() for shard in array.addressable_shards)
        assert first == second
        before = original.copy()
        original[...] = 1  # what the loader does with its array later is its own affair
        np.testing.assert_array_equal(array, before)


def counted(**environment):
    """How many devices a program of its own sees, with these settings of the user's."""
    program = "import jax; from seadlif_jax import parallel; parallel.use_all_cpu_cores(); print(jax.device_count())"
    clean = {name: value for name, value in os.environ.items() if name not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    run = subprocess.run([sys.executable, "-c", program], env=clean | environment, capture_output=True, check=True)
    return int(run.stdout)


def test_every_core_is_a_device_unless_the_user_says_otherwise():
    assert counted() == len(os.sched_getaffinity(0))
    assert counted(JAX_NUM_CPU_DEVICES="3") == 3
    assert counted(XLA_FLAGS="--xla_force_host_platform_device_count=5") == 5


def test_positions_cover_a_batch_once():
    def positions(batch_size):
        mesh = parallel.choose_mesh(32)
        found = parallel.parallelize(
            lambda: parallel.BatchShard(2).sum(one_hot(parallel.BatchShard(2).positions(batch_size))), mesh
        )
        return found()

    def one_hot(positions):
        return jnp.zeros(8).at[positions].add(1)

    np.testing.assert_array_equal(positions(8), np.ones(8))
    np.testing.assert_array_equal(positions(5), [1, 1, 1, 1, 1, 1, 0, 0])  # filled up


def test_sums_are_those_of_all_devices_and_keep_their_types():
    mesh = parallel.choose_mesh(32)

    def own():
        number = jax.lax.axis_index(parallel.BATCH)
        return {"whole": number + 1, "real": jnp.ones(3) * (0.5 + number)}

    found = parallel.parallelize(lambda: parallel.BatchShard(2).sum(own()), mesh)()
    assert found["whole"] == 3
    assert found["whole"].dtype == jnp.int32
    np.testing.assert_array_equal(found["real"], [2.0, 2.0, 2.0])
    compiled = parallel.parallelize(lambda: parallel.BatchShard(2).sum(own()), mesh).lower().compile()
    assert compiled.as_text().count(" all-reduce(") == 1  # never more than one thread waits


def test_as_many_members_at_a_time_as_fit_into_the_memory():
    asked = []

    def needed(width):
        asked.append(width)
        return 10 + 3 * width

    assert parallel.max_width(16, needed, free=None) == 16
    assert parallel.max_width(16, needed, free=58) == 16
    assert parallel.max_width(16, needed, free=57) == 15
    assert parallel.max_width(16, needed, free=25) == 5
    assert parallel.max_width(16, needed, free=2) == 1  # it is tried: with less than one nothing works
    assert min(asked) > 1


def test_every_function_of_an_epoch_makes_a_single_exchange_at_a_time(tiny_config):
    """See `parallel.Parallelized` for what could happen otherwise."""
    tiny_config.batch_size = 32
    tiny_config.data.num_classes = CLASSES
    mesh = parallel.choose_mesh(32)
    trainer, hyper = (
        Trainer(tiny_config, (10, 20, 30), parallel.BatchShard(2)),
        TrainingHyperparameters.from_config(tiny_config),
    )
    train = to_device(random_split(0), parallel.replicated(mesh))
    state = jax.jit(trainer.init)(0, hyper, train)
    running = trainer.start_epoch(state)
    for function, arguments in (
        (trainer.train_steps, (state, running, hyper, train, 0, 1)),
        (trainer.end_epoch, (state, running, hyper, train, 0)),
    ):
        compiled = parallel.parallelize(function, mesh).lower(*arguments).compile()
        assert compiled.as_text().count(" all-reduce(") == 1


@pytest.mark.parametrize("width", [1, 2, None])
def test_members_are_computed_by_the_function_of_one_with_what_they_share(width):
    mesh = parallel.make_mesh(2, 1)

    def weighted(number, weights, shift):
        return number * weights.sum() + shift

    compiled = parallel.parallelize(weighted, mesh, per_member=2, width=width)
    numbers = parallel.device_put_global(np.arange(4.0), parallel.member_sharded(mesh))
    weights = parallel.device_put_global(np.ones((4, 3)), parallel.member_sharded(mesh))
    results = compiled(numbers, weights, 1.0)
    assert results.tolist() == [1.0, 4.0, 7.0, 10.0]
    assert len(results.sharding.device_set) == 2
    assert parallel.select_member(results, 2).tolist() == [7.0]


def test_donated_buffers_are_reused_but_never_under_a_view_of_the_host():
    mesh = parallel.make_mesh(1, 2)
    add = parallel.parallelize(lambda first, second: first + second, mesh, donate=[1])
    first = add(*(jax.device_put(np.ones(1000), parallel.replicated(mesh)) for _ in range(2)))
    second = add(first, first + 1)
    total = add(first, second)
    assert not first.is_deleted()
    assert second.is_deleted()
    host = parallel.to_host(total)
    add(first, add(first, total))
    np.testing.assert_array_equal(host, np.full(1000, 7.0))
