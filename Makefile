# The two commands a newcomer needs: `make demo` and `make test`.
.DEFAULT_GOAL := help
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE =

.PHONY: help embedder demo test clients first-hour first-hour-vectors first-hour-training lint lint-types lint-style lint-imports lint-documents lint-protos collect bench protos chaos upgrade soak
.PHONY: qdrant kubernetes images docs plots site openapi install install-dev lock pin-images models triton clean

help: ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Make .venv with the service
	@tools/bootstrap.sh server

install-dev: ## Make .venv with the service and what the tests need
	@tools/bootstrap.sh dev

LOCK ?=
lock: install-dev ## Write the locks of every package that is installed (LOCK=--upgrade for the newest versions)
	@tools/lock.sh $(LOCK)

pin-images: ## Write the digests of the images that docker/ uses (asks their registries, with skopeo or docker)
	@python3 tools/pin_images.py

models: install ## Build the ONNX files of model_repository/ from their pinned source
	@$(BIN)/sameface model build

triton: install ## Prepare the local Triton runtime
	@$(BIN)/sameface triton install

demo: models triton ## Enrol, verify and identify the portraits; writes build/demo/report.html
	@$(BIN)/sameface demo

# One more than the cores of a small machine, because tests often wait for processes that they start. Each worker starts
# services of its own, so with many more of them tests wait for each other.
WORKERS ?= 3
# numpy and torch then use one thread each: those of several workers would wait for each other.
# `make kubernetes` runs these.
test: export KUBE_BIN =
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: install-dev ## Run every gate and every test; prints the slowest twenty
	@$(MAKE) --no-print-directory -j$(WORKERS) lint collect models triton
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --durations=20

# The first import of a test rewrites and compiles it. The workers would each do that, all at the same time.
collect: install-dev
	@$(BIN)/pytest --collect-only -q >/dev/null || $(BIN)/pytest --collect-only -q

# Each step is a target, so that `make -j2 lint` runs two at once; the longest comes first.
lint: lint-types lint-style lint-imports lint-documents lint-protos ## ruff, mypy, import rules, protos, generated documents

lint-types: install-dev
	@$(BIN)/mypy

lint-style: install-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

lint-imports: install-dev
	@$(BIN)/lint-imports

lint-documents: install-dev
	@$(BIN)/python tools/reference.py --check
	@$(BIN)/python tools/pictures.py --check

lint-protos: install-dev
	@tools/protos.sh --check

protos: install-dev ## Generate the Python of protos/
	@tools/protos.sh

openapi: install-dev ## Write the OpenAPI document of HTTP from protos/ (needs protoc-gen-openapi, a Go program)
	@$(BIN)/python tools/openapi.py

docs: install-dev ## Write docs/errors.md, docs/api.md, the chart's list of settings and the drawings of docs/images
	@$(BIN)/python tools/reference.py
	@$(BIN)/python tools/pictures.py

plots: install-dev ## Draw the plots of docs/images again
	@$(BIN)/python tools/plots.py

.PHONY: transcripts figures
transcripts: models triton ## Make the outputs in the documents again that depend on the default embedder (CHECK=--check changes nothing)
	@$(BIN)/python -m tools.transcripts $(CHECK)

LFW ?=
TIMES ?=
figures: install-dev models triton ## Make all that the documents say of the versions again: tables, cards, outputs (LFW=folder LONDON=folder TIMES=--times)
	@test -d "$(LFW)" && test -d "$(LONDON)" || { echo "NOT RUN: LFW or LONDON is no folder; docs/models.md says what they hold" >&2; exit 3; }
	@$(BIN)/python -m benchmarks versions --photos "$(LFW)" --pairs "$(LFW)/pairsDevTest.txt" --labels "$(LFW)/sex.csv" --london "$(LONDON)" \
		$(if $(wildcard $(EMBEDDER)/held_out),--held-out "$(EMBEDDER)/held_out") $(TIMES) --write
	@$(BIN)/python -m tools.transcripts

# The variable silences an advertisement of the theme.
site: install-dev ## Build the documentation site, build/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site: build/site/index.html"

KILLS ?= 200
SEED ?= 20261124
FAULT ?=
chaos: install-dev models triton ## Kill a writing process KILLS=200 times, then let each part fail; writes docs/faults.md (SEED=n, FAULT=name)
	@$(BIN)/python -m tests.faults --kills $(KILLS) --seed $(SEED) --fault "$(FAULT)"
	@$(BIN)/python -m tests.chaos.migration --kills $(KILLS) --seed $(SEED)

PREVIOUS ?=
upgrade: install-dev models triton ## Replace every part of a running system by this release, under load (PREVIOUS=revision, SEED=n)
	@$(BIN)/python -m tests.upgrade --previous "$(PREVIOUS)" --seed $(SEED)

SECONDS ?= 1200
soak: install-dev models triton ## Load a service for SECONDS=1200 and fail if memory, descriptors, threads or disk grow
	@$(BIN)/python -m tests.soak --seconds $(SECONDS) --seed $(SEED)

HOUR ?=
first-hour: install ## Run docs/first-hour.md, from the installation to the last step (HOUR="--wheels FOLDER --steps 1-7 --keep FOLDER --json")
	@$(BIN)/python -m tools.first_hour first-hour $(HOUR)

first-hour-vectors: install ## Run docs/first-hour-vectors.md: the plugin alone, on embeddings
	@$(BIN)/python -m tools.first_hour first-hour-vectors $(HOUR)

first-hour-training: install ## Run docs/first-hour-training.md: train, measure, export, serve; some minutes
	@$(BIN)/python -m tools.first_hour first-hour-training $(HOUR)

# Writes $(EMBEDDER)/weights.onnx; docs/training.md says what it does and how long it takes.
LONDON ?=
EMBEDDER ?= build/few-people
embedder: install-dev ## Train candidate weights for the face embedder (LONDON=folder of the Face Research Lab London Set)
	@test -d "$(LONDON)" || { echo "NOT RUN: LONDON is no folder; docs/training.md says where the photos come from" >&2; exit 3; }
	@$(BIN)/sameface-train prepare "$(LONDON)" build/london
	@$(BIN)/sameface-train few-people build/london --run "$(EMBEDDER)"

clients: install-dev models ## Run the commands of docs/other-languages.md: generate, compile, call a real service
	@$(BIN)/python -m tests.clients

# QDRANT_URL tests a server that runs; QDRANT_NODES names a TOML file of nodes to start and kill, see docs/scaling.md.
QDRANT_RUNS ?= 1
QDRANT_SECONDS ?= 60
QDRANT_ARGUMENTS ?=
qdrant: install-dev ## Test a Qdrant server (QDRANT_URL=…) or a cluster that it kills (QDRANT_NODES=nodes.toml)
	@$(BIN)/python -m tests.qdrant --url "$(QDRANT_URL)" $(if $(QDRANT_NODES),--nodes "$(QDRANT_NODES)") \
		--seed $(SEED) --runs $(QDRANT_RUNS) --seconds $(QDRANT_SECONDS) $(QDRANT_ARGUMENTS)

# Without KUBE_BIN every test would be skipped, and nothing would have been tested.
kubernetes: install-dev ## Install the chart into a real API server (KUBE_BIN=folder, QDRANT_CHART=folder, see docs/deployment.md)
	@test -n "$(KUBE_BIN)" || { echo "NOT RUN: KUBE_BIN is not set; docs/deployment.md says what it names" >&2; exit 3; }
	@$(BIN)/pytest -rs tests/kubernetes

# PYTHON_IMAGE, TRITON_IMAGE and QDRANT_IMAGE stand in for images that cannot be pulled here.
IMAGES ?=
images: install-dev ## Build the images, run them and the compose file (needs docker, or podman with buildah; IMAGES=--no-build)
	@$(BIN)/python -m tests.images $(IMAGES)

bench: models triton ## Measure, beside the bare models and other libraries; writes build/bench/index.html
	@tools/bootstrap.sh bench
	@$(BIN)/python -m benchmarks peers --install
	@$(BIN)/python -m benchmarks

clean: ## Remove what was built here (not the cache folder, not data)
	rm -rf build dist .venv .mypy_cache .pytest_cache .ruff_cache
