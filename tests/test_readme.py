"""Every command and all code of the README runs as printed, one after the other, in one folder.

Training is cut short, unless SEADLIF_README=full. What cannot run here is named, with the reason.
"""

import os
import re
import shlex
import subprocess
import sys

from tests.helpers import ROOT

ELSEWHERE = {
    "make test": "runs these tests",
    "source ": "the environment is there",
    "pip install": "installs packages",
    "python3 -m venv": "sets up an environment",
    "gcloud": "needs a TPU",
    "--distributed": "needs several machines; test_many_devices has two processes",
    "=DIR": "needs files of data",
    "<task>": "a synopsis",
}
SHORTER = ("--config.num_epochs=1", "--config.data.num_samples=100", "--config.model.hidden=(16,)")
COMPILER = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")  # for tests, which do not run for long
IS_FULL = os.environ.get("SEADLIF_README") == "full"


def blocks():
    return re.findall(r"^```(sh|python)\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def commands(block):
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def command_line(text):
    # Without the environment, which is there.
    words = shlex.split(text if text != "make demo" else "python train.py --config=configs/bsd.py:quick")
    assert words[0] == "python", f"{text}: say here how it is run, or why it is not"
    is_training = words[1] == "train.py" and not IS_FULL
    own_data = any("examples/" in word for word in words)
    return [sys.executable, *words[1:], *(SHORTER[: 1 if own_data else None] if is_training else ())]


def test_the_readme_runs_as_printed(tmp_path):
    for name in ("configs", "data", "examples", "seadlif_jax", "studies", *(path.name for path in ROOT.glob("*.py"))):
        (tmp_path / name).symlink_to(ROOT / name)
    run, unused = 0, set(ELSEWHERE)
    for language, block in blocks():
        to_run = []
        if language == "python":
            to_run = [[sys.executable, "-c", block]]
        else:
            for text in commands(block):
                reasons = {pattern for pattern in ELSEWHERE if pattern in text}
                unused -= reasons
                if not reasons:
                    to_run.append(command_line(text))
        for command in to_run:
            # As from a shell in a clone.
            environment = {name: value for name, value in os.environ.items() if not (IS_FULL and name in COMPILER)}
            environment["PYTHONPATH"] = str(tmp_path)
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1000, check=False
            )
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
            run += 1
    assert run >= 15
    assert not unused, f"nothing in the README is left out for {unused}"
