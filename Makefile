# Everything a newcomer types. `make` alone says what there is.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check --no-input
INSTALL := $(PIP) install --require-hashes --only-binary=:all:
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint format types contracts proto proto-check docs-check bench bench-ci soak check lock clean runtime dev

help:
	@echo 'make demo    install, then show the main job on real processes'
	@echo 'make test    install what the tests need and run them (PYTEST_ARGS=...)'
	@echo 'make check   lint, types, contracts, proto-check and docs-check'
	@echo 'make bench   measurements, in ratios        make soak    the long ones'
	@echo 'make format  format the code                make proto   generate the wire code'
	@echo 'make lock    resolve the requirements anew  make clean   remove what make made'

demo: runtime
	@$(PY) -m examples.demo

test: dev
	@$(PY) -m pytest -q --durations=10 $(PYTEST_ARGS)

lint: dev
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --quiet --check .

format: dev
	@$(PY) -m ruff check --quiet --fix-only .
	@$(PY) -m ruff format --quiet .

types: dev
	@$(PY) -m mypy --no-error-summary

contracts: dev
	@$(VENV)/bin/lint-imports --no-cache --no-logo

proto: dev
	@$(PY) proto/generate.py

proto-check: dev
	@$(PY) proto/generate.py --check

docs-check: dev
	@$(PY) docs/check.py

bench: dev
	@$(PY) -m benchmarks

bench-ci: dev
	@$(PY) -m benchmarks ci

soak: dev
	@$(PY) -m benchmarks.soak

check: lint types contracts proto-check docs-check

# What is installed is stamped with the files that say what to install: a second run asks nobody.
runtime: $(VENV)/runtime
dev: $(VENV)/dev

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'error: Python 3.11 or later is needed, and $(PYTHON) is not one (set PYTHON=...)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'error: $(PYTHON) has no venv (on Debian: apt-get install python3-venv)' >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/runtime: $(VENV)/python requirements/build.txt requirements/runtime.txt pyproject.toml
	@echo 'installing into $(VENV) ...' >&2
	@$(INSTALL) -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) install --no-deps --no-index --no-build-isolation -e .
	@touch $@

$(VENV)/dev: $(VENV)/runtime requirements/dev.txt
	@echo 'installing what tests and checks need ...' >&2
	@$(INSTALL) -r requirements/dev.txt
	@touch $@

# The lock files name versions and hashes and no index.
UV := .cache/lock/bin/uv
COMPILE = UV_CUSTOM_COMPILE_COMMAND='make lock' $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url

lock: $(VENV)/python
	@test -x $(UV) || { $(PY) -m venv .cache/lock && .cache/lock/bin/python -m pip --quiet --disable-pip-version-check \
	  install --require-hashes --only-binary=:all: -r requirements/lock.txt; }
	@$(COMPILE) requirements/lock.in -o requirements/lock.txt
	@$(COMPILE) requirements/protoc.in -o requirements/protoc.txt
	@$(COMPILE) requirements/build.in -o requirements/build.txt
	@$(COMPILE) --all-extras pyproject.toml -o requirements/runtime.txt
	@$(COMPILE) --all-extras pyproject.toml requirements/dev.in -o requirements/dev.txt

clean:
	@rm -rf $(VENV) .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
