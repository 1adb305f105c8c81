# The two commands a newcomer needs: `make demo` and `make test`.
.DEFAULT_GOAL := help
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE =

.PHONY: help demo test lint bench protos chaos docs install install-dev models triton clean

help: ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Make .venv with the service
	@tools/bootstrap.sh server

install-dev: ## Make .venv with the service and what the tests need
	@tools/bootstrap.sh server,train,dev

models: install ## Build the ONNX files of model_repository/ from their pinned source
	@$(BIN)/sameface model build

triton: install ## Prepare the local Triton runtime
	@$(BIN)/sameface triton install

demo: models triton ## Enrol, verify and identify the portraits; writes build/demo/report.html
	@$(BIN)/sameface demo

# Each worker starts services of its own, so more of them than cores make tests wait for each other.
WORKERS ?= 2
test: install-dev ## Run every gate and every test
	@$(BIN)/sameface model build
	@$(BIN)/sameface triton install
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile

lint: install-dev ## ruff, mypy, import rules, protos, generated documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	tools/protos.sh --check
	$(BIN)/python tools/reference.py --check
	$(BIN)/python tools/pictures.py --check

protos: install-dev ## Generate the Python of protos/
	@tools/protos.sh

docs: install-dev ## Write docs/errors.md, docs/api.md and the drawings of docs/images from the code
	@$(BIN)/python tools/reference.py
	@$(BIN)/python tools/pictures.py

KILLS ?= 200
SEED ?= 20261124
chaos: install-dev ## Kill a writing process KILLS=200 times and check what it was promised (SEED=n)
	@$(BIN)/python -m tests.chaos --kills $(KILLS) --seed $(SEED)

bench: models triton ## Print the figures of docs/benchmarks.md
	@tools/bootstrap.sh server,dev,bench
	@$(BIN)/python -m benchmarks

clean: ## Remove what was built here (not the cache folder, not data)
	rm -rf build dist .venv .mypy_cache .pytest_cache .ruff_cache
