"""The real compiler of TPUs takes our programs, on a machine without one. Needs `pip install "jax[tpu]"`."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT

pytestmark = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


@pytest.mark.parametrize(("shapes", "members"), [("ecg", 1), pytest.param("shd", 3, marks=pytest.mark.slow)])
def test_training_and_evaluation_compile_for_four_tpus(tmp_path, shapes, members):
    output = tmp_path / "figures.json"
    arguments = ("--topology=v5e:2x2", f"--shapes={shapes}", f"--members={members}", f"--output={output}")
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.tpu", *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(output.read_text())["shapes"]
    assert list(found) == shapes.split(",")
    for figures in found.values():
        for kind in ("train", "evaluate"):
            memory = figures[kind]["data and state, MiB"] + figures[kind]["temporary, MiB"]
            assert 0 < memory < 16 * 1024  # of a v5e
            assert figures[kind]["products, Gflop"] > 0
