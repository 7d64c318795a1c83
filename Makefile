# Needs Python 3.11 or newer and make. Everything else goes into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test simulate server gpu-check fire kills lint format types bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv and install Lockstep and its tools into it

$(INSTALLED): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11'; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## train a language model on this machine, in at most 3 minutes
	@$(BIN)/python examples/text/demo.py

test: $(INSTALLED) ## run all tests
	@$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

simulate: $(INSTALLED) ## live 100,000 random lives of jobs in fake time
	$(BIN)/python -m tests.simulation --seeds 100000

server: $(INSTALLED) ## live 500 random lives of a server in fake time, then kill a real one 20 times among 12 jobs
	$(BIN)/python -m tests.service --seeds 500
	$(BIN)/python -m tests.service --real --jobs 11 --kills 20

gpu-check: $(INSTALLED) ## run the engine's tests on this machine's GPUs, without Ray
	$(BIN)/python -m pytest tests/gpu -rs

fire: $(INSTALLED) ## kill, freeze, resize and drain 50 jobs of real processes; the bits must stay the same
	$(BIN)/python -m tests.fire --seeds 50

kills: $(INSTALLED) ## kill whoever takes part in a save at each of its operations, 200 times on disk and on S3
	$(BIN)/python -m tests.kills --seeds 200
	$(BIN)/python -m tests.kills --seeds 200 --s3

lint: $(INSTALLED) ## check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(INSTALLED) ## format the code, and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(INSTALLED) ## check types
	$(BIN)/mypy

bench: $(INSTALLED) ## measure steps/s, recovery, reading of data and checkpoints, beside those that do the same; and the store
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps mosaicml-streaming
	$(BIN)/python benchmarks/ddp_overhead.py
	$(BIN)/python benchmarks/recovery.py
	$(BIN)/python benchmarks/resize.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/data_resume.py
	PYTHONPATH=. $(BIN)/python benchmarks/scheduler.py
	$(BIN)/python benchmarks/checkpoint.py
	$(BIN)/python benchmarks/restore.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/service.py

clean: ## remove what tools and demos leave behind; .venv stays
	rm -rf demo-runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
