# Needs Python >= 3.11, make and a package index; sets up everything else itself.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	  command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STRICT := .strict
STRICT_STAMP := $(STRICT)/.installed
PY := $(BIN)/python
PYTEST ?=
WORKERS ?= 3
unexport PYTHONDONTWRITEBYTECODE  # each process that a test starts, and each pytest, would compile all anew

# $(call passes,what,command): names what is looked at; what the command says only when it fails.
passes = @said=$$($(2) 2>&1) && echo '== $(1)' || { code=$$?; echo '== $(1): failed'; echo "$$said"; exit $$code; } >&2

.PHONY: help venv test lint lint-types lint-rest lint-tests unit demo bench bench-quick soak strict clean

help:
	@echo 'make test     lint, type check, import rules, all fast tests'
	@echo 'make demo     migrate a bucket between two S3 servers, kill it half-way, resume, verify'
	@echo 'make bench    ours, rclone and boto3 side by side (long; make bench-quick: under three minutes)'
	@echo 'make soak     the tests that take minutes: crashes and faults in numbers, with a new seed each time'
	@echo 'make strict   the tests against a third, stricter S3 server, which it installs by itself (200 MB)'
	@echo 'make lint     only ruff, mypy, import-linter, vulture and deptry'
	@echo 'make clean    remove what the others made'

venv: $(STAMP)

$(STAMP): pyproject.toml
	@test -n '$(PYTHON)' || { echo 'no Python >= 3.11 on PATH; set PYTHON=/path/to/python' >&2; exit 1; }
	@test ! -L $(VENV) || { echo '$(VENV) is a link; making it anew would empty what it points to' >&2; exit 1; }
	@echo '== environment: $(VENV) ($(PYTHON))'
	@grep -qsF '$(CURDIR)/$(BIN)/' $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)  # absent, moved or copied
	@PIP_ROOT_USER_ACTION=ignore $(PY) -m pip --disable-pip-version-check --quiet install --editable '.[test]' \
	  >$(VENV)/install.log 2>&1 || { cat $(VENV)/install.log >&2; exit 1; }
	@$(PY) -m compileall -q executor planner s3migrate schema storage  # here, not in each process that a test starts
	@touch $@

$(STRICT_STAMP): tests/strict/requirements.txt
	@echo '== strict server: $(STRICT) ($(PYTHON))'
	@$(PYTHON) -m venv --clear $(STRICT)
	@PIP_ROOT_USER_ACTION=ignore $(STRICT)/bin/python -m pip --disable-pip-version-check --quiet install \
	  --requirement tests/strict/requirements.txt >$(STRICT)/install.log 2>&1 || { cat $(STRICT)/install.log >&2; exit 1; }
	@touch $@

lint: $(STAMP)
	@$(MAKE) --no-print-directory --jobs 2 lint-types lint-rest lint-tests

lint-types: $(STAMP)
	$(call passes,mypy --strict,$(PY) -m mypy)

lint-rest: $(STAMP)
	$(call passes,ruff,$(PY) -m ruff check .)
	$(call passes,import rules,$(BIN)/lint-imports --no-logo)
	$(call passes,dead code,$(BIN)/vulture)
	$(call passes,unused dependencies,$(BIN)/deptry .)

lint-tests: $(STAMP)
	$(call passes,tests can be read,$(PY) -m pytest --collect-only -qq)

unit: $(STAMP)
	@echo '== tests, $(WORKERS) at a time'
	@$(PY) -m pytest -m 'not soak and not alone' --numprocesses $(WORKERS) --dist worksteal $(PYTEST); together=$$?; \
	  echo '== tests that measure, one at a time'; \
	  $(PY) -m pytest -m 'alone and not soak' $(PYTEST); alone=$$?; \
	  test $$together -ne 5 || { together=$$alone; alone=0; }; \
	  test $$together -ne 0 || test $$alone -eq 5 || together=$$alone; \
	  exit $$together  # 5: no tests here, which counts only when there were none in either

test: $(STAMP)
	@$(MAKE) --no-print-directory --jobs 2 lint-types lint-rest  # that tests can be read shows when they are
	@$(MAKE) --no-print-directory unit

demo: $(STAMP)
	@$(PY) bench/demo.py

bench: $(STAMP)
	@$(PY) -m pip --disable-pip-version-check --quiet install --editable '.[bench]'
	@$(PY) -m bench.run $(if $(PUBLISH),--publish)

bench-quick: $(STAMP)
	@$(PY) -m bench.run --quick

strict: $(STAMP) $(STRICT_STAMP)
	@echo '== tests against the strict server'
	@$(PY) -m pytest -m soak tests/strict $(PYTEST)  # without the server each of them is an error

soak: $(STAMP) $(STRICT_STAMP)
	@echo '== soak'
	@seed=$${TEST_SEED:-$$(date +%s)}; echo "TEST_SEED=$$seed"; \
	  TEST_SEED=$$seed HYPOTHESIS_PROFILE=soak $(PY) -m pytest -m soak -s $(PYTEST)

clean:
	@rm -rf $(VENV) $(STRICT) *.egg-info build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
