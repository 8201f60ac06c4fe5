# Everything runs in .venv, made from constraints.txt by the system's Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PEERS := .venv-peers
APT_INSTALL := apt-get update && DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends chromium postgresql

.PHONY: help system demo test coverage lint bench bench-peers docs lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e '.[agreement]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.core

system:  ## Debian packages that the browser and database tests use
	@if command -v chromium && { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; }; then :; \
	elif [ "$$(id -u)" = 0 ] && grep -qx ID=debian /etc/os-release && $(APT_INSTALL); then :; \
	else echo 'chromium or PostgreSQL is not installed: tests that need it will skip' >&2; \
	fi >/dev/null

demo: $(VENV)/.core  ## aggregate real votes that ship with the package; writes crowdlearn-demo/
	$(BIN)/crowdlearn demo --out crowdlearn-demo

PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev  ## run all tests, on two processes
	$(PYTEST)

coverage: $(VENV)/.dev  ## the same, with the lines that no test reaches; takes twice as long
	$(PYTEST) --cov --cov-report=term:skip-covered

lint: $(VENV)/.dev  ## style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.dev  ## build the documentation into site/
	$(BIN)/python docs/make_pages.py
	$(BIN)/python docs/make_notebooks.py --stale
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.dev  ## measure; results in benchmarks/results/
	$(BIN)/python -m benchmarks.accuracy
	$(BIN)/python -m benchmarks.idbla
	$(BIN)/python -m benchmarks.calibration
	$(BIN)/python -m benchmarks.neural_aggregators
	$(BIN)/python -m benchmarks.online
	$(BIN)/python -m benchmarks.acquisition
	$(BIN)/python -m benchmarks.stopping
	$(BIN)/python -m benchmarks.learning_labelme
	$(BIN)/python -m benchmarks.pipeline
	$(BIN)/python -m benchmarks.bayes
	$(BIN)/python -m benchmarks.bayes_sbc
	$(BIN)/python -m benchmarks.bayes_coverage
	$(BIN)/python -m benchmarks.service
	$(BIN)/python -m benchmarks.service_crash --postgresql
	$(BIN)/python -m benchmarks.mavericks
	$(BIN)/python -m benchmarks.fl_speed
	$(BIN)/python -m benchmarks.inversion_quality
	$(BIN)/python -m benchmarks.inversion_speed
	$(BIN)/python -m benchmarks.sfddm
	$(BIN)/python -m benchmarks.gidm
	$(BIN)/python -m benchmarks.stealing
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.ingest --votes 10000000 --write benchmarks/results/ingest.json

bench-peers: $(PEERS)/.done bench  ## the same beside crowd-kit, in its own environment

$(PEERS)/.done: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r $<
	@touch $@

lock:  ## resolve all extras afresh into constraints.txt
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip --quiet install -c constraints-seed.txt -e '.[all,flower]'
	.venv-lock/bin/python -m pip check
	{ echo '# Tested together on Python 3.11; `make lock` rewrites it.'; \
	  .venv-lock/bin/python -m pip freeze --exclude-editable | sed 's/^torch==\([0-9.]*\)+.*/torch==\1/'; } > constraints.txt
	rm -rf .venv-lock

clean:  ## remove environments and everything that was built
	rm -rf $(VENV) $(PEERS) .venv-lock site build dist *.egg-info crowdlearn-demo
