# Needs Python >= 3.11, make and a package index; sets up everything else itself.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	  command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := PIP_ROOT_USER_ACTION=ignore $(BIN)/pip --disable-pip-version-check --quiet
PYTEST ?=

.PHONY: help venv test lint unit demo bench bench-quick soak clean

help:
	@echo 'make test     lint, type check, import rules, all fast tests'
	@echo 'make demo     migrate a bucket between two S3 servers, kill it half-way, resume, verify'
	@echo 'make bench    ours, rclone and boto3 side by side (long; make bench-quick: small sizes, one round)'
	@echo 'make soak     the tests that take minutes: crashes and faults in numbers, with a new seed each time'
	@echo 'make lint     only ruff, mypy and import-linter'
	@echo 'make clean    remove what the others made'

venv: $(STAMP)

$(STAMP): pyproject.toml
	@test -n '$(PYTHON)' || { echo 'no Python >= 3.11 on PATH; set PYTHON=/path/to/python' >&2; exit 1; }
	@echo '== environment: $(VENV) ($(PYTHON))'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --editable '.[test]' >$(VENV)/install.log 2>&1 || { cat $(VENV)/install.log >&2; exit 1; }
	@touch $@

lint: $(STAMP)
	@echo '== ruff'
	@$(BIN)/ruff check .
	@echo '== mypy --strict'
	@$(BIN)/mypy
	@echo '== import rules'
	@$(BIN)/lint-imports --no-logo

unit: $(STAMP)
	@echo '== tests'
	@$(BIN)/pytest -m 'not soak' $(PYTEST)

test: lint unit

demo: $(STAMP)
	@$(BIN)/python bench/demo.py

bench: $(STAMP)
	@$(BIN)/python -m bench.run

bench-quick: $(STAMP)
	@$(BIN)/python -m bench.run --quick

soak: $(STAMP)
	@echo '== soak'
	@seed=$${TEST_SEED:-$$(date +%s)}; echo "TEST_SEED=$$seed"; \
	  TEST_SEED=$$seed HYPOTHESIS_PROFILE=soak $(BIN)/pytest -m soak -s $(PYTEST)

clean:
	@rm -rf $(VENV) *.egg-info build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
