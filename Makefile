# Everything in two commands: `make demo` and `make test`. Both make and share one virtual environment.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := dev,retarget,export,datasets,viewer
PIPELINE ?= conf/pipelines/demo.yaml
WORKERS ?= 2

.PHONY: help setup demo test results bench lint docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   set up, run the whole demo, show the results"
	@echo "make test   set up, run the tests in random order; WORKERS=4 takes four processes instead of two"
	@echo "make results  measure what ships again and write the tables of the documents (hours; goes on where it stopped)"
	@echo "make docs   build the site of the documents into site/, without a warning"
	@echo "make setup  only set up $(VENV);  make lint  ruff and mypy;  make bench  measure speed"

setup: $(STAMP)

# One pip command with all constraints: a second one could replace the torch build that the first one chose.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"mwl needs Python 3.11 or newer; this is {v[0]}.{v[1]} (make PYTHON=python3.11 ...)")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV): a few minutes, once"
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[$(EXTRAS)]"; \
	else \
	  $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRAS)]"; \
	fi
	@# Compiled once, on all cores: importing from source costs every command some 10 s of CPU where nothing may be written.
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true # some packages hold files of other Pythons
	@touch $(STAMP)

demo: setup
	$(BIN)/mwl run $(PIPELINE)

# One thread per worker: small batches gain nothing from more threads, and lose much when threads outnumber cores. A
# worker that has run out of tests takes some from the other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# One thread: figures that several threads sum up in another order would differ in their last digits.
results: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m mwl.evaluation.results

bench: setup
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Again one pip command with everything, so that nothing is replaced.
$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRAS),docs]"
	@touch $@

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf runs site $(VENV)
