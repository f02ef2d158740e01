import pytest

from seadlif_jax.nn.execution import Execution
from seadlif_jax.utils.errors import InputError


@pytest.mark.parametrize(
    ("num_steps", "step_kib", "expected"), [(250, 128, 10), (1301, 9, 186), (8, 128, 8), (1, 1, 1)]
)
def test_chunks_divide_the_sequence_where_they_can(num_steps, step_kib, expected):
    steps = Execution(chunk_mib=1.25).chunk_steps(num_steps, step_kib * 1024)
    assert steps == expected
    assert -num_steps % steps <= 1


@pytest.mark.parametrize("num_steps", range(1, 400, 7))
def test_padding_stays_small_and_chunks_near_their_size(num_steps):
    steps = Execution(chunk_mib=1).chunk_steps(num_steps, 2**20 // 20)
    assert steps == num_steps if num_steps <= 20 else 10 <= steps <= 40
    assert -num_steps % steps < 8


def test_a_step_larger_than_a_chunk_is_a_chunk():
    assert Execution(chunk_mib=1).chunk_steps(50, 2**23) in (1, 2)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"engine": "Native"}, "engine = 'Native': it must be one of xla, native"),
        ({"precision": "high"}, "precision = 'high': it must be one of highest, tensorfloat32, bfloat16"),
        ({"unroll": 0}, "unroll = 0: it must be at least 1"),
        ({"chunk_mib": 0.0}, "chunk_mib = 0.0: it must be positive"),
    ],
)
def test_a_value_out_of_range_is_refused(field, message):
    with pytest.raises(InputError, match=message):
        Execution(**field)
