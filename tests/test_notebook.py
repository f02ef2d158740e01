import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


NOTEBOOK = ROOT / "docs" / "first-steps.ipynb"
SMALLER = {"EPOCHS = 10": "EPOCHS = 1", "num_samples = 1500": "num_samples = 400", "(64,)": "(16,)"}


@pytest.fixture(scope="module")
def cells():
    return json.loads(NOTEBOOK.read_text())["cells"]


def test_the_notebook_runs_from_top_to_bottom(cells):
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for full, small in SMALLER.items():
        assert code.count(full) == 1
        code = code.replace(full, small)
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    differences = [float(line.split()[-1]) for line in done.stdout.splitlines() if "largest difference" in line]
    assert len(differences) == 2  # of streaming, and of the exported file
    assert max(differences) < 1e-4


def test_the_notebook_is_stored_without_outputs(cells):
    assert [cell["outputs"] for cell in cells if cell["cell_type"] == "code" if cell["outputs"]] == []
