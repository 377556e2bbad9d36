# `make run` starts a relay, `make test` runs every check. Needs only Python (with venv) and make.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8765
DATA ?= var/relay
# More arguments for pytest, as in `make test PYTEST_FLAGS="-k replay"`.
PYTEST_FLAGS ?=
# How long `make fuzz` and `make torture` take.
MINUTES ?= 10
# Where other Pythons are looked for by `make test-all`: pyenv's, then the PATH.
PYTHONS ?= 3.11 3.12 3.13

BIN := $(VENV)/bin
CODE := ksmp storage actors relay bench tests
FLAKE8_ASYNC := --enable ASYNC1,ASYNC2 --disable ASYNC106
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all check tests conformance format bench bench-cells bench-peers \
  bench-peers-test isolation isolation-proof images torture fuzz clean distclean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Install what the relay and its experiments run on, in .venv

run: $(VENV)/.installed ## Start a relay on 127.0.0.1:8765, its data under var/relay
	@$(BIN)/ksmp-relay serve --host 127.0.0.1 --port $(PORT) --data $(DATA)

test: check tests ## Run every check and every test

check: $(VENV)/.installed-dev ## Check format, lint, types and import rules
	@$(BIN)/ruff format --check --quiet $(CODE) || { echo "Not formatted: run 'make format'."; exit 1; }
	@$(BIN)/ruff check --quiet $(CODE)
	@find $(CODE) -name '*.py' -print0 | xargs -0 -P 2 -n 40 $(BIN)/flake8-async $(FLAKE8_ASYNC)
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }
	@echo "Format, lint, types and import rules: ok"

tests: $(VENV)/.installed-dev ## Run the tests alone
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

test-all: ## Run the tests on every supported Python
	@set -e; for version in $(PYTHONS); do \
	  python=$$(ls -d $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python3 2>/dev/null | tail -1); \
	  echo "── Python $$version"; \
	  $(MAKE) --no-print-directory tests PYTHON=$${python:-python$$version} VENV=.venv-$$version; \
	done

conformance: $(VENV)/.installed-dev ## Play Autobahn's WebSocket cases and print a summary
	@$(BIN)/python -m tests.conformance

format: $(VENV)/.installed-dev ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --quiet --fix $(CODE) || true
	@$(BIN)/ruff format $(CODE)

bench: $(VENV)/.installed ## Measure a relay of its own: order, latency, throughput
	@$(BIN)/ksmp-relay bench ordering --pairs 16 --in-flight 16 --size 300 --seconds 10

bench-cells: $(VENV)/.installed ## Measure every shape of load in turns, with ratios; into OUT=var/cells
	@$(BIN)/python -m bench.cells --out $(or $(OUT),var/cells)

# More words for it, as in `make bench-peers PEERS_FLAGS="--rounds 1"`.
PEERS_FLAGS ?=
bench-peers: $(VENV)/.installed ## Measure the relay beside other servers, in turns; into OUT=var/peers
	@.ci/bench-peers $(BIN)/python
	@$(BIN)/python -m bench.peers --out $(or $(OUT),var/peers) $(PEERS_FLAGS)

bench-peers-test: $(VENV)/.installed-dev ## Drive every peer for real, and interrupt it
	@.ci/bench-peers $(BIN)/python
	@$(BIN)/python -m pytest -q -m peers tests/bench/peers

isolation: $(VENV)/.installed ## Let every fault strike 5 of 200 conversations; ten minutes; into OUT=var/isolation
	@$(BIN)/python -m bench.isolation.campaign --in-memory --out $(or $(OUT),var/isolation)

isolation-proof: $(VENV)/.installed ## Break isolation on purpose, and see that it is noticed; into OUT=var/isolation-proof
	@$(BIN)/python -m tests.isolation.proof --out $(or $(OUT),var/isolation-proof)

# More words for it, as in `make torture TORTURE_FLAGS="--only kill --seed 7"`.
TORTURE_FLAGS ?=
torture: $(VENV)/.installed ## Kill, starve, stall and damage real relays for MINUTES=10; root for some of it
	@$(BIN)/python -m bench.torture --minutes $(MINUTES) --records 1000000 $(TORTURE_FLAGS)

# How many crash images `make images` examines; a million take one to two hours of two cores.
IMAGES ?= 10000
images: $(VENV)/.installed ## Crash a store at every system call, IMAGES=10000 ways, and open what is left; in OUT=var/images
	@$(BIN)/python -m bench.images --images $(IMAGES) --out $(or $(OUT),var/images)

fuzz: $(VENV)/.installed-dev ## Fuzz the edge for MINUTES=10 in all; needs Python 3.11
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "The fuzzer, atheris, has builds for Python 3.11 only: try 'make fuzz PYTHON=python3.11 VENV=.venv-3.11'."; exit 1; }
	@$(PIP_INSTALL) -r requirements-fuzz.txt
	@$(BIN)/python -m tests.fuzz.run --minutes $(MINUTES)

clean: ## Remove caches and build products
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove the virtual environments too; the data under var/ stays
	@rm -rf .venv .venv-*

# ── the environments: a stamp each, made again when what is pinned changes ────────────────────

$(VENV)/.installed: requirements.txt pyproject.toml
	@echo "Installing what the relay runs on, in $(VENV)"
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) -r requirements.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@echo "Installing what the checks need"
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@
