# Set-up, tests, lint and demo. Each target installs what it needs, once.
#   make demo    a made-up town, predicted, scored and drawn in demo/
#   make test    every test
#   make lint    ruff, mypy, import-linter
#   make bench   every operator beside torchvision and plain torch: cuda_ops/benchmarks/RESULTS.md
#   make real    the shipped model on a real scene, if the data is there; memory, time and start of the command
#   make clean   remove what the above made
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint real bench clean

demo: $(VENV)/.installed
	$(BIN)/d2det demo --out demo

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto  # a process for each core: threads beside them would fight

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

real: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/bench/real_scene.sh
	$(BIN)/python tests/bench/predict_limits.py

bench: $(VENV)/.installed-test
	$(BIN)/python cuda_ops/benchmarks/run.py --write

clean:
	rm -rf $(VENV) demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than pyproject.toml while the installation is good.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-lint: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[lint]'
	@touch $@ $(VENV)/.installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'd2det needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo 'the venv module is missing; install it with: apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
