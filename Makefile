# `make demo` sets a fresh machine up and shows the main job. Any Python from 3.11 on will do.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)
endif
BIN := .venv/bin
# A run of the tests starts hundreds of processes: the first may keep for the others what it compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo dev n8n n8n-node test chaos test-browser test-n8n compose-check check record format clean bench-send \
	bench-flow bench-import bench-api bench-ingest bench-segments bench-webhooks lock

help: ## This list
	@grep -hE '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/; s/ bench-/ -/g' | expand -t 28

setup: ## Make .venv and get a Temporal server
	@$(PYTHON) -m dev.setup

demo: setup ## Set everything up and run the main job (ONCE=1: then leave; FORGET=1: --forget)
	@$(BIN)/campanile demo $(if $(filter-out 0,$(ONCE)),--once) $(if $(filter-out 0,$(FORGET)),--forget)

dev: setup ## Start the stack and stay
	@$(BIN)/campanile dev

n8n: setup ## Start the stack with n8n beside it; the first time installs it (4 minutes, 2 GB)
	@$(BIN)/campanile dev --n8n

test: setup ## Run every test
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

chaos: setup ## Kill workers while providers do everything wrong, a hundred times, and count (ROUNDS=100, PEOPLE=20000)
	$(BIN)/python -m tests.chaos.rounds --rounds $(or $(ROUNDS),100) --people $(or $(PEOPLE),20000)

test-browser: setup ## Run what needs Chromium and Node.js; fail where they are missing
	BROWSER_REQUIRED=1 $(BIN)/python -m pytest tests/sdk -m browser

test-n8n: setup ## Run the real n8n end to end; the first time installs it
	$(BIN)/python -m dev.n8n_program
	N8N_REQUIRED=1 $(BIN)/python -m pytest tests/n8n_real

n8n-node: ## Build and lint our node for n8n with n8n's own tool
	cd n8n/n8n-nodes-campanile && npm ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund && \
		npm run build && npm run lint

compose-check: setup ## Have docker compose itself read docker-compose.yml; the first time builds it (5 minutes)
	$(BIN)/python -m dev.production

check: setup ## Lint, types and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

record: setup ## Record the workflows' histories anew, for the tests that replay them
	$(BIN)/python -m tests.workflows.record

format: setup ## Put the code in shape
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean: ## Stop the stack and remove its state
	@$(PYTHON) -m dev.clean

bench-send bench-flow bench-import bench-api bench-ingest bench-segments bench-webhooks: bench-%: setup ## Measure what we claim
	$(BIN)/python -m bench.$*

lock: setup ## Pin the newest versions, with hashes: all of them, and what production needs of them
	uv pip compile --universal --generate-hashes --upgrade --extra dev --python-version 3.11 --no-header \
		--no-annotate --no-emit-index-url --quiet pyproject.toml --output-file requirements.lock
	uv pip compile --universal --generate-hashes --constraint requirements.lock --python-version 3.11 --no-header \
		--no-annotate --no-emit-index-url --quiet pyproject.toml --output-file requirements.run.lock
