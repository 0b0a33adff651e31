PYTHON ?= python3
BIN := .venv/bin
# One thread a test process: two processes with two threads each fight over two cores.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help setup demo test test-slow lint types docs bench clean

help:  ## say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## create or repair .venv with the pinned requirements; quick when nothing changed
	@$(PYTHON) requirements/setup.py

demo: setup  ## diagnose, sample and audit real digits; prints a table and the path of a report
	@$(BIN)/smoothscore demo -o demo-out

test: setup lint types  ## lint, types and the tests that CI runs
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-slow: setup  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: setup  ## format, lint and the order of the modules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: setup  ## strict type check of src
	$(BIN)/mypy

docs: setup  ## run the code of the guides and make their pictures anew
	$(BIN)/python docs/build.py

bench: setup  ## every benchmark, with its JSON in benchmarks/results
	@set -e; for script in benchmarks/*.py; do $(BIN)/python $$script; done

clean:  ## remove what the targets made
	rm -rf .venv demo-out dist build benchmarks/results .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
