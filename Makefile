# Everything a developer types. Each target sets up what it needs (dev/setup.py) and re-uses it the next time.
# Relative paths only, so that the checkout may have any name.

.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/sh
BIN := .venv/bin
# One way to find a Python: PYTHON=/path/to/python3 names another.
SETUP := python=$$(sh dev/find_python.sh) && "$$python" dev/setup.py

.PHONY: help setup test test-unit test-live test-production test-stores test-ai test-system demo docs lint format check lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## make the environments of the newest and the oldest Airflow, and of the documentation
	@$(SETUP) all

test: setup ## all tests, on the newest and the oldest Airflow
	@$(BIN)/python dev/run_tests.py

test-unit: ## the tests that start no Airflow, on the newest one only
	@$(SETUP) newest
	@$(BIN)/python dev/run_tests.py --quick

test-live: setup ## every live case, on the newest and the oldest Airflow; much longer than test
	@$(BIN)/python dev/run_tests.py --live

test-production: ## PostgreSQL, Celery, Redis, two of everything, and what is killed or stopped there (newest Airflow)
	@$(SETUP) newest
	@$(SETUP) production
	@$(BIN)/python dev/run_tests.py --production $(if $(CORE),--core)

test-stores: ## the batch and its leases on each object store there is a server for, Azure's too (needs npm)
	@$(SETUP) stores
	@$(BIN)/python -m pytest tests/contract/batch/test_inference_object_stores.py tests/contract/batch/test_inference_fencing.py \
		tests/contract/batch/test_inference_lock.py tests/contract/test_leases_stores.py -q

test-ai: ## Airflow's common-ai and OpenLineage with an endpoint (newest Airflow)
	@$(SETUP) newest
	@$(SETUP) ai
	@.venv-ai/bin/python -m pytest tests/common_ai -q

test-system: ## the real service: HF_TOKEN=hf_… make test-system; costs cents
	@$(SETUP) newest
	@$(BIN)/python -m pytest tests/system -q

demo: ## a real Airflow runs the first example DAG on the emulator; KEEP=1 leaves its UI up
	@$(SETUP) newest
	@$(BIN)/python -m dev.demo $(if $(filter-out 0,$(KEEP)),--keep)

docs: ## the documentation's site, below .site/; warnings are errors
	@$(SETUP) docs
	@.venv-docs/bin/python dev/build_site.py
	@echo "The site: .site/index.html"

lint: ## ruff and mypy
	@$(SETUP) newest
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: ## let ruff format and fix what it can
	@$(SETUP) newest
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

check: lint test ## lint and test: what a change has to pass

lock: ## write the pins in requirements/*.txt anew from the *.in files
	@$(SETUP) lock

clean: ## remove the environments and caches of this checkout
	rm -rf .venv .venv-docs .venv-oldest .venv-production .site .cache .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
