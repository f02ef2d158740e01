# `make demo` and `make test` do all the set-up themselves; they need Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
QUICK := architecture bsd cache compute config dataset download dynamics ecg events import_command interop neurons \
	readout recordings reference_parity run surrogate torch_file
# Another interpreter makes the environment anew.
STAMP := $(VENV)/installed-$(shell $(PYTHON) -c 'import platform; print(platform.python_version())')

.PHONY: demo test test-quick lint types docs check check-tpu clean

demo: $(STAMP)
	$(RUN) train.py --config=configs/bsd.py:quick

test: $(STAMP)
	$(RUN) -m pytest -n auto --dist worksteal

# Those that take about a minute together.
test-quick: $(STAMP)
	$(RUN) -m pytest -n auto --dist worksteal $(QUICK:%=tests/test_%.py)

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

# The compiler of TPUs, which needs no TPU, but Linux on x86.
check-tpu: $(STAMP)
	$(RUN) -m pip install --quiet --disable-pip-version-check "jax[tpu]"
	$(RUN) -m pytest tests/test_tpu.py

clean:
	rm -rf $(VENV)

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@
