"""The real compiler of TPUs takes our programs, on a machine without one. Needs `pip install "jax[tpu]"`."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.test_train_script import ROOT

pytestmark = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


def test_training_and_evaluation_compile_for_four_tpus(tmp_path):
    output = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.tpu", "--topology=v5e:2x2", f"--output={output}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert result.returncode == 0, result.stderr
    shapes = json.loads(output.read_text())["shapes"]
    assert list(shapes) == ["shd", "ssc", "ecg"]
    for found in shapes.values():
        for kind in ("train", "evaluate"):
            memory = found[kind]["data and state, MiB"] + found[kind]["temporary, MiB"]
            assert 0 < memory < 16 * 1024  # of a v5e
            assert found[kind]["Gflop a step"] > 0
