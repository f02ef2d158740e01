# `make demo` and `make test` do all the set-up themselves; they need Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
FAST := architecture bsd cache config download ecg events execution imports loading losses \
	metrics neurons paths recordings reference_parity run_folder stability storage surrogate tasks torch_file
# A change of the interpreter makes the environment anew.
STAMP := $(VENV)/installed-$(shell $(PYTHON) -c 'import platform; print(platform.python_version())')

.PHONY: demo env test test-all test-fast lint types docs check check-tpu check-wheel check-floors sanitize clean

demo: $(STAMP)
	$(RUN) train.py --config=configs/bsd.py:quick

env: $(STAMP)

# All tests but the slow ones, which take as long again.
test: $(STAMP)
	$(RUN) -m pytest -n auto --dist worksteal -m "not slow"

test-all: $(STAMP)
	$(RUN) -m pytest -n auto --dist worksteal

# The native kernel under the sanitizers of the compiler: memory and undefined behaviour, then threads.
sanitize:
	mkdir -p build
	for real in float double; do for sanitizer in address,undefined thread; do \
		$(CXX) -std=c++17 -O1 -g -march=native -pthread -fsanitize=$$sanitizer -fno-sanitize-recover=all -DREAL=$$real \
			-Iseadlif_jax/native/source tests/native/sanitize.cc -o build/sanitize && \
		build/sanitize || exit 1; \
	done; done

# Tests that take about a minute together.
test-fast: $(STAMP)
	$(RUN) -m pytest -n auto --dist worksteal $(wildcard $(FAST:%=tests/test_%.py))

lint: $(STAMP)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .

types: $(STAMP)
	$(RUN) -m mypy

# Pages of docs/ and the API reference, into docs/_build; a warning is an error.
docs: $(STAMP)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	$(RUN) -m sphinx -W --keep-going -b html docs docs/_build

check: lint types test docs

# The compiler of TPUs, which needs Linux on x86, but no TPU.
check-tpu: $(STAMP)
	$(RUN) -m pip install --quiet --disable-pip-version-check "jax[tpu]"
	$(RUN) -m pytest -m "not slow" tests/test_tpu.py

# The wheel, installed in a new environment and used from an empty folder.
check-wheel: $(STAMP)
	$(RUN) tests/check_wheel.py

# The fast tests on the oldest versions that pyproject.toml allows.
check-floors:
	$(PYTHON) -m venv --clear .venv-floors
	.venv-floors/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c tests/floors.txt
	.venv-floors/bin/python -m pytest -n auto $(wildcard $(FAST:%=tests/test_%.py))

clean:
	rm -rf $(VENV) .venv-floors

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	-$(RUN) -m pip install --quiet --disable-pip-version-check pesq  # needs a C compiler; without it, its tests are skipped
	touch $@
