"""Every command and all code of the README runs as printed, one after the other, in one folder.

Training is shortened, unless SEADLIF_README=full. Commands that cannot run here are listed with the reason.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_RUN = {
    "source ": "the environment is active",
    "pip install": "installs packages",
}
SHORTER = ("--config.num_epochs=1", "--config.data.num_samples=100", "--config.model.hidden=(16,)")
COMPILER = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")  # for short tests
IS_FULL = os.environ.get("SEADLIF_README") == "full"
MAX_LINES = 180


def blocks():
    return re.findall(r"^```(sh|python)\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def command_line(text):
    words = shlex.split(text if text != "make demo" else "python train.py --config=configs/bsd.py:quick", comments=True)
    if words[0] == "seadlif":
        return [sys.executable, "-m", "seadlif_jax", *words[1:]]
    assert words[0] == "python", f"{text}: define here how it is run, or why it is not"
    is_short = words[1] == "train.py" and not IS_FULL
    return [sys.executable, *words[1:], *(SHORTER if is_short else ())]


def commands():
    """Yield the command lines of all blocks; those of `NOT_RUN` are left out, and must occur."""
    unused = set(NOT_RUN)
    for language, block in blocks():
        if language == "python":
            yield [sys.executable, "-c", block]
            continue
        for text in block.replace("\\\n", " ").splitlines():
            reasons = {pattern for pattern in NOT_RUN if pattern in text}
            unused -= reasons
            if text.strip() and not reasons:
                yield command_line(text)
    assert not unused, f"the README has no {unused}"


def test_the_readme_runs_as_printed(tmp_path):
    for name in ("configs", "data", "examples", "seadlif_jax", "train.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    # As from a shell in a clone.
    environment = {name: value for name, value in os.environ.items() if not (IS_FULL and name in COMPILER)}
    environment["PYTHONPATH"] = str(tmp_path)
    to_run = list(commands())
    assert len(to_run) >= 8
    for command in to_run:
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1000, check=False
        )
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_LINES
