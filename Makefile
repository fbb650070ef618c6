# Two commands do everything: `make demo` (from nothing to a registered detector) and `make test`.
# Both can be interrupted and started again; what is already done is not done twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first interpreter that is new enough; `make demo PYTHON=/path/to/python` chooses another.
NEW_ENOUGH := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$name && break; done)

VENV := .venv
AIRFLOW := .venv-airflow
BIN := $(VENV)/bin
LOCK := requirements/constraints.txt
SAMPLE := data/sample
export WANDB_DIR ?= $(CURDIR)/outputs

.PHONY: help demo test test-cluster coverage fast lint format docs build dvc-dependencies clean

help: ## show what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(BIN)/.demo $(SAMPLE)/.drawn ## install, draw sample data, prepare, train, evaluate, register
	source $(BIN)/activate && dvc repro
	@printf '\nDone. What DVC says above about git and remote storage is for projects that keep their runs.\n'
	@printf '\nReport    %s\nModel     %s\n' $(CURDIR)/outputs/evaluation/report.html $(CURDIR)/outputs/model
	@printf 'W&B run   %s\n' "$$(ls -d $(WANDB_DIR)/wandb/*-$$(sed -n 's/.*"run_id": "\(.*\)".*/\1/p' \
		outputs/checkpoints/wandb.json) 2>/dev/null || echo 'none in $(WANDB_DIR)/wandb')"
	@printf '          (of training; each step has one. With an account: wandb sync %s/wandb/offline-run-*)\n' $(WANDB_DIR)
	@printf 'Registry  %s\n' $(CURDIR)/outputs/registry
	@$(BIN)/codetr registry list outputs/registry
	@printf '\nAP is usually 0.34 to 0.37: processors round differently. Next: source .venv/bin/activate; codetr --help\n'

test: $(BIN)/.dev $(AIRFLOW)/bin/.installed ## install what the tests need, then lint and run them all
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 15 $(PYTEST_ARGS)

coverage: $(BIN)/.dev $(AIRFLOW)/bin/.installed ## branch coverage of core, launch, registry, pipelines and dags: 95 % of each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --cov --cov-report= \
		tests/core tests/launch tests/registry tests/pipelines tests/dags
	@low=; for package in codetr/core codetr/launch codetr/registry pipelines dags; do \
		printf '\n%s\n' $$package; \
		$(BIN)/python -m coverage report --include "$$package/*" --fail-under 95 || low="$$low $$package"; \
	done; \
	if [ -n "$$low" ]; then printf '\nLess than 95 %% of branches are covered:%s\n' "$$low" >&2; exit 1; fi

test-cluster: $(BIN)/.dev ## tests on a real Kubernetes API server and a real Slurm, which variables name; see tests/cluster
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs tests/cluster $(PYTEST_ARGS)

fast: $(BIN)/.dev ## the tests marked `fast`: under a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q -m fast $(PYTEST_ARGS)

lint: $(BIN)/.dev ## ruff, mypy and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(BIN)/.dev ## let ruff fix and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(BIN)/.dev ## build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "Site      $(CURDIR)/site/index.html"

build: $(BIN)/.dev ## wheel and sdist in dist/, installed into an empty environment and checked
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	CODETR_DIST=dist $(BIN)/python -m pytest tests/repository/test_distribution.py

dvc-dependencies: $(BIN)/.dev ## write the code that each stage runs into dvc.yaml
	$(BIN)/python .ci/dvc_dependencies.py

clean: ## remove the environments and everything a run wrote
	rm -rf $(VENV) $(AIRFLOW) dist site outputs $(SAMPLE) wandb .dvc/cache .dvc/tmp

# Each stamp is written last, so that pip continues an interrupted install.
$(BIN)/pip:
	@if [ -z "$(PYTHON)" ]; then \
		echo "codetr needs Python 3.11 or later with the venv module, and found none" \
			"(python3 is $$(python3 --version 2>&1 || echo missing))." \
			"On Debian and Ubuntu: apt install python3 python3-venv. Otherwise: make PYTHON=/path/to/python3.11 ..." >&2; \
		exit 1; fi
	$(PYTHON) -m venv --clear $(VENV)

$(BIN)/.demo: pyproject.toml $(LOCK) | $(BIN)/pip
	@echo "Installing codetr into $(VENV): two to three minutes, about 6 GB (PyTorch)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(LOCK) -e ".[dvc,wandb]"
	@touch $@

$(BIN)/.dev: pyproject.toml $(LOCK) | $(BIN)/pip
	@echo "Installing codetr and what its tests need into $(VENV): about four minutes, about 6 GB (PyTorch)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(LOCK) -e ".[dev]"
	@touch $@ $(BIN)/.demo

$(AIRFLOW)/bin/.installed: requirements/airflow.txt | $(BIN)/pip
	@echo "Installing Airflow into $(AIRFLOW): about a minute"
	test -x $(AIRFLOW)/bin/pip || $(BIN)/python -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements/airflow.txt
	$(AIRFLOW)/bin/pip install --quiet --disable-pip-version-check -c $(LOCK) coverage
	@touch $@

$(SAMPLE)/.drawn: | $(BIN)/.demo
	$(BIN)/codetr sample-data $(SAMPLE)
	@touch $@
