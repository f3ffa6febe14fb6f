# Verbs of frbench. `make help` lists them. Each does its own set-up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Side by side, processes with more than one thread each fight for the cores.
export OMP_NUM_THREADS ?= 1
JOBS   ?= 2

.PHONY: help install demo test test-slow test-ddp test-lowest promises lint types notebooks docs check bench results clean

help:  ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## create the virtual environment and install frbench with its tools

$(VENV)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "frbench needs Python 3.11 or newer; run: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@echo "Installing into $(VENV): some minutes, and 7 GB with the GPU libraries of PyPI's torch."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --quiet --editable '.[dev]'
	@touch $@

demo: install  ## train and compare four methods on two data sets, print the leaderboard, write the report page
	$(BIN)/frbench bench configs/bench/demo.yaml --out results/demo --jobs $(JOBS)
	$(BIN)/frbench report results/demo
	$(BIN)/frbench report results/demo --out results/demo/report.md --plot results/demo/plot.png --html results/demo/report.html --force

# One test at a time goes to the next free process; tests of one xdist_group stay together.
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup

test: install  ## run the tests, those marked `slow` excepted (some minutes)
	$(PYTEST) -m "not slow"

test-slow: install  ## run the tests marked `slow`
	$(PYTEST) -m slow

test-ddp: install  ## run the tests that launch two processes
	$(BIN)/python -m pytest -m ddp

test-lowest:  ## run the fast tests with the lowest versions that setup.cfg states, in a temporary environment
	$(PYTHON) tests/lowest.py

promises: install  ## run the tests of promises and write docs/promises.md
	$(PYTEST) tests -m promise --promises docs/promises.md

lint: install  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## check types
	$(BIN)/mypy

notebooks: install  ## execute the notebooks and store their outputs
	$(BIN)/python docs/_tools/notebooks.py

docs: install  ## build the pages and the API reference into build/site, every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: lint types test test-slow  ## lint, types, all tests

bench: install  ## measure a step over a bare loop; status 1 if 25 % worse than benchmarks/steps.json
	$(BIN)/python benchmarks/steps.py

results: install  ## write docs/results.md and the CSV tables from the kept records
	$(BIN)/python docs/_tools/pages.py write

clean:  ## remove what the verbs made, results excepted
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage htmlcov
