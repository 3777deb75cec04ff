# Everything a person or CI runs. Only Python 3.11 to 3.13 and make are taken for granted.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLOUD := .venv-cloud
TRACKING := .venv-tracking
CROISSANT := .venv-croissant
NANNYML := .venv-nannyml
RAY := .venv-ray
SIGN := .venv-sign
EXTRA ?=
DEMO_SERVE ?= 1
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export BENTOML_DO_NOT_TRACK := True
export GX_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup cloud-setup tracking-setup croissant-setup nannyml-setup ray-setup sign-setup test-setup demo demo-hospital serve test test-slow lint format mlflow lock benchmark state clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## make the environment in .venv from the hashed lock (EXTRA=gpu, s3 or azure adds one)

$(VENV)/.installed: locks/full.txt locks/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11 to 3.13 is needed; name one with: make setup PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# Only the first time: the lock contains uv, and not the pip that brought it.
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement locks/uv.txt
	@# Compiled here: otherwise the first start of each command takes three times as long, and every one where nothing
	@# may be written into .venv or PYTHONDONTWRITEBYTECODE is set. Of the environments below only Ray's is compiled,
	@# whose nodes would all compile at once; of the others the tests compile the part that they use (tests/run).
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes locks/full.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@if [ -n "$(EXTRA)" ]; then $(BIN)/uv pip install --python $(BIN)/python --constraint <(sed 's/ *\\$$//; /^ *--hash/d' locks/full.txt) --editable '.[$(EXTRA)]'; fi
	@touch $@

cloud-setup: $(CLOUD)/.installed ## make .venv-cloud, with the clouds' client and what checks their templates (docs/cloud/aws.md)

$(CLOUD)/.installed: locks/cloud.txt | $(VENV)/.installed
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(CLOUD)
	$(BIN)/uv pip sync --quiet --python $(CLOUD)/bin/python --require-hashes locks/cloud.txt
	@touch $@

tracking-setup: $(TRACKING)/.installed ## make .venv-tracking, with what a team's tracking server runs (docs/cloud/tracking-server.md)

$(TRACKING)/.installed: locks/tracking.txt | $(VENV)/.installed
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(TRACKING)
	$(BIN)/uv pip sync --quiet --python $(TRACKING)/bin/python --require-hashes locks/tracking.txt
	@touch $@

croissant-setup: $(CROISSANT)/.installed ## make .venv-croissant, with what checks the metadata of a data set (docs/data.md)

$(CROISSANT)/.installed: locks/croissant.txt | $(VENV)/.installed
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(CROISSANT)
	$(BIN)/uv pip sync --quiet --python $(CROISSANT)/bin/python --require-hashes locks/croissant.txt
	@touch $@

nannyml-setup: $(NANNYML)/.installed ## make .venv-nannyml, which checks the estimate of performance without truth (docs/monitoring.md)

$(NANNYML)/.installed: locks/nannyml.txt | $(VENV)/.installed
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(NANNYML)
	$(BIN)/uv pip sync --quiet --python $(NANNYML)/bin/python --require-hashes locks/nannyml.txt
	@touch $@

ray-setup: $(RAY)/.installed ## make .venv-ray, the pipeline with Ray, for archives and searches on a cluster (docs/archive.md)

$(RAY)/.installed: locks/ray.txt pyproject.toml | $(VENV)/.installed
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(RAY)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(RAY)/bin/python --require-hashes locks/ray.txt
	$(BIN)/uv pip install --quiet --python $(RAY)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

sign-setup: $(SIGN)/.installed ## make .venv-sign, with what signs bundles, releases and bentos (docs/signing.md)

$(SIGN)/.installed: locks/sign.txt pyproject.toml | $(VENV)/.installed
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(SIGN)
	$(BIN)/uv pip sync --quiet --python $(SIGN)/bin/python --require-hashes locks/sign.txt
	$(BIN)/uv pip install --quiet --python $(SIGN)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## sample data, dvc repro, champion, bento, web page on 127.0.0.1:3000 (DEMO_SERVE=0 ends before it)
	fracture data sample
	dvc repro
	fracture promote --reason "make demo"
	fracture package
	@page=; \
	if ! command -v npm >/dev/null; then echo "npm is missing: the page for devices, /offline, is left out"; \
	elif fracture export --format web build/export/web; then page=build/export/web; \
	else echo "the page for devices, /offline, is left out"; fi; \
	if [ "$(DEMO_SERVE)" = 0 ]; then echo "serve it with:$${page:+ FRACTURE_OFFLINE=$$page} fracture serve"; \
	else FRACTURE_OFFLINE=$$page exec fracture serve; fi

demo-hospital: setup ## gateway and Orthanc (Debian: orthanc) on a loopback of their own, three studies, the worklist as a page
	@exec python -m hospital.demo $(if $(filter 0,$(DEMO_SERVE)),,--serve)

serve: setup ## the prediction service with its web page on 127.0.0.1:3000
	fracture serve

test-setup: cloud-setup tracking-setup croissant-setup nannyml-setup ray-setup sign-setup ## the environments of both parts of the tests

test: setup cloud-setup tracking-setup croissant-setup ray-setup sign-setup ## the quick tests, as CI runs them
	@tests/run

test-slow: setup cloud-setup tracking-setup nannyml-setup ray-setup sign-setup ## the tests that take long and change rarely (CONTRIBUTING.md)
	@TEST_PART=slow tests/run

lint: setup ## ruff (lint and format) and mypy
	ruff check .
	ruff format --check .
	mypy

format: setup ## let ruff mend and format
	ruff check --fix .
	ruff format .

mlflow: setup ## the MLflow UI on 127.0.0.1:5000
	fracture mlflow

lock: ## write the lock files anew from pyproject.toml
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --extra train --extra store --extra verify --extra hospital --extra dev --output-file locks/full.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --extra train --extra ray --constraint locks/full.txt --output-file locks/ray.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file locks/service.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --extra store --output-file locks/store.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --extra sign --constraint locks/full.txt --output-file locks/sign.txt
	@# The service's own versions, and beside them those of the full lock, which uv prefers as it finds them there.
	cp locks/full.txt locks/archive.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --extra archive --constraint locks/service.txt --output-file locks/archive.txt
	@# The image that prepares, searches and trains: everything of ray.txt, and what a node in a container needs besides.
	cat locks/ray.txt locks/archive.txt >locks/archive-train.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --extra train --extra ray --extra archive --constraint locks/full.txt --output-file locks/archive-train.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --extra hospital --output-file locks/hospital.txt
	uv pip compile locks/cloud.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file locks/cloud.txt
	uv pip compile locks/tracking.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file locks/tracking.txt
	uv pip compile locks/croissant.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file locks/croissant.txt
	uv pip compile locks/nannyml.in --excludes locks/nannyml-excludes.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file locks/nannyml.txt
	awk '/^[a-z]/ {keep = /^uv==/} keep' locks/full.txt | sed '/^ *# via/d' | sed '$$ s/ *\\$$//' > locks/uv.txt
	awk '/^[a-z]/ {keep = /^(cffi|cryptography|pycparser)==/} keep && !/^ *#/' locks/full.txt > locks/verify.txt

benchmark: setup ## the benchmarks of speed, figures on the terminal (benchmarks/README.md says what each shows)
	python -m benchmarks.preprocessing
	python -m benchmarks.training_input
	python -m benchmarks.heatmap
	python -m benchmarks.serving

state: setup ## the committed state of a run anew: sample data, dvc repro; then commit dvc.lock, data.dvc and reports/
	fracture data sample --force
	dvc repro
	git status --short dvc.lock data.dvc reports

clean: ## remove what the pipeline made; data/, mlflow.db, the DVC cache and committed reports stay
	rm -rf prepared build checkpoints tuning .cache/prepared .cache/blocks
	git clean -dfqX reports
