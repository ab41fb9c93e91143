# edge-console. `make help` lists what there is.
# Everything lives in .venv beside this file; every path is quoted or relative, so a space in the clone's path does no harm.

SHELL := /bin/sh
PYTHON ?=
DEMO_SECONDS ?= 20
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help bench-backend setup demo test lint docs simulate fuzz mutants torture torture-backend torture-inbound churn soak onlookers bench bench-ui goldens screenshots clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make .venv, with the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@new_enough='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(BIN)/python -c "$$new_enough" >/dev/null 2>&1; then \
	  python=""; \
	  for name in "$(PYTHON)" python3 python3.14 python3.13 python3.12 python3.11; do \
	    if [ -n "$$name" ] && "$$name" -c "$$new_enough" >/dev/null 2>&1; then python="$$name"; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "edge-console needs Python 3.11 or newer with its venv module, and finds none (PYTHON=/path/to/python names one)." >&2; \
	    exit 1; \
	  fi; \
	  echo "Setting up .venv with $$("$$python" --version) (a minute, once)"; \
	  "$$python" -m venv --clear .venv; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## open the console on an embedded backend (no terminal: the same without a screen, for 20 seconds)
	@if [ -t 0 ] && [ -t 1 ]; then \
	  exec $(BIN)/python -m console --demo; \
	else \
	  echo "There is no terminal here: the demo runs without a screen for $(DEMO_SECONDS) seconds."; \
	  exec $(BIN)/python -m console --no-ui --demo --for $(DEMO_SECONDS); \
	fi

test: lint ## lint, types and every test
	@$(BIN)/python -m pytest -n auto --dist loadfile --durations=10

lint: $(STAMP) ## ruff, mypy and the import contracts
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check --quiet .
	@$(BIN)/python -m mypy
	@report=$$($(BIN)/lint-imports --no-logo --no-cache) || { echo "$$report"; exit 1; }

docs: $(STAMP) ## write anew what docs/ takes from the program and its tests
	@$(BIN)/python -m tests.harness.documents

simulate: $(STAMP) ## random worlds in virtual time, the engine's invariants checked after every step (DAYS=30)
	@$(BIN)/python -m tests.harness.worlds --days $(or $(DAYS),30)

fuzz: $(STAMP) ## odd answers and odd sequences, until one breaks a promise or the time is up (MINUTES=10)
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10)

mutants: $(STAMP) ## seeded bugs that the tests must catch
	@$(BIN)/python -m tests.harness.mutants

torture: $(STAMP) ## kill the agent at random moments and count (CYCLES=200, MESSENGER=outbox, file, both or imessage)
	@$(BIN)/python -m tests.harness.torture --cycles $(or $(CYCLES),200) --messenger $(or $(MESSENGER),both)

torture-inbound: $(STAMP) ## messages come in while the agent is killed, and each must be told once (ROWS=10000, KILLS=200)
	@$(BIN)/python -m tests.harness.inbound_torture --rows $(or $(ROWS),10000) --kills $(or $(KILLS),200)

churn: $(STAMP) ## an hour of a busy chat.db in two minutes, and what the agent holds open meanwhile
	@$(BIN)/python -m tests.harness.wal_churn

soak: $(STAMP) ## a headless agent and a console in bad weather, and what grows (MINUTES=30)
	@$(BIN)/python -m tests.harness.soak --minutes $(or $(MINUTES),30)

torture-backend: $(STAMP) ## kill backend instances and their database under load and count (CYCLES=50; needs PostgreSQL)
	@$(BIN)/python -m tests.harness.torture_backend --cycles $(or $(CYCLES),50)

onlookers: $(STAMP) ## three consoles attached under load, one of them stopped: what they cost and what they miss (SECONDS=60)
	@$(BIN)/python -m tests.harness.onlookers --seconds $(or $(SECONDS),60)

bench: $(STAMP) ## the agent against a bare client, interleaved, medians and ratios
	@$(BIN)/python -m tests.bench

bench-ui: $(STAMP) ## the console in a real terminal: CPU, delays, memory, and what it costs the agent
	@$(BIN)/python -m tests.bench.ui

bench-backend: $(STAMP) ## one backend instance: agents held, memory, fan-out, queue by store, everybody coming back (AGENTS=10000)
	@$(BIN)/python -m tests.bench.backend --agents $(or $(AGENTS),10000)

goldens: $(STAMP) ## draw the pictures that the tests compare with anew
	@UPDATE_GOLDENS=1 $(BIN)/python -m pytest tests/console/test_goldens.py

screenshots: $(STAMP) ## the README's pictures, from the demo (a minute)
	@$(BIN)/python -m console screenshot --demo --size 80x24 --after 33 -o docs/console-fallback.png & \
	$(BIN)/python -m console screenshot --demo --size 120x36 --after 57 -o docs/console-online.png && wait

clean: ## remove .venv and what the tools leave behind
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
