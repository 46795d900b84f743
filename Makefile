# Two commands on a fresh machine: `make retrain` and `make test`. Both set up .venv first, once.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export DO_NOT_TRACK := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help setup retrain up check test test-slow bench lock
.DEFAULT_GOAL := help

help:
	@echo "make retrain    set up (once), retrain on MovieLens 100K, publish; ARGS='--model.name=…' for more"
	@echo "make up         Prefect and MLflow servers and a worker, on this machine only"
	@echo "make test       set up (once) and run the fast tests"
	@echo "make test-slow  the rest of the tests"
	@echo "make check      format, lint, types, imports"
	@echo "make bench      the benchmarks, peers side by side"
	@echo "make setup      .venv, databases and compiled kernels, nothing else"

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	@echo "installing the packages of requirements.lock into .venv (a minute or two)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m flows.prepare
	@touch $(READY)

retrain: $(READY)
	$(BIN)/encore retrain $(ARGS)

up: $(READY)
	$(BIN)/encore up $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

test: $(READY)
	$(BIN)/pytest -m "not slow" $(ARGS)

test-slow: $(READY)
	$(BIN)/pytest -m slow $(ARGS)

bench: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)

# The lock is what a clean environment resolves to; torch stands without its build (+cpu), which the machine decides.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet ".[dev]" setuptools
	(echo "# Every package that 'make setup' installs, by version. Made by 'make lock'."; \
	 .venv-lock/bin/python -m pip freeze --all --exclude pip --exclude encore | sed 's/+cpu//') > requirements.lock
	rm -rf .venv-lock
