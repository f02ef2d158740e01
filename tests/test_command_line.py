import pytest
from absl import flags

from seadlif_jax.cli.common import parse_flags


@pytest.mark.parametrize("form", ["--config.model.hidden=(8,)", "-config.model.hidden=(8,)", "--config.model.hidden"])
def test_a_field_given_twice_is_refused(form):
    """Tuples would be joined, other values replaced."""
    with pytest.raises(SystemExit, match=r"error: --config.model.hidden is given 2 times; give it once"):
        parse_flags(["train.py", "--config.model.hidden=(4,)", form, "--config.seed=1"], check=lambda: None)
    assert "config.model.hidden" not in flags.FLAGS
