# `make demo` and `make test` set up everything they need; both can be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := -c requirements.lock
SPATIAL := tests/exports/spatial

.PHONY: help demo test spatial lint types format layers page-types docs bench lock clean

help:
	@echo "make demo   outline and count the nuclei of a real slide with the shipped model"
	@echo "make test   set up and run the tests (doctests included)"
	@echo "make spatial  set up scanpy and squidpy in .venv-spatial, where a test tries AnnData"
	@echo "make lint   format, lint, types, import layers, types of the viewer's page"
	@echo "make docs   build the documentation strictly into site/"
	@echo "make bench  run the benchmarks that need no data; the others say what they take"
	@echo "make lock   resolve requirements.lock anew"

demo: $(VENV)/.plain
	$(BIN)/histonuc demo --out demo-out

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal -q

spatial: $(VENV)-spatial/.done

lint: types format layers page-types

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

layers: $(VENV)/.dev
	$(BIN)/lint-imports

ifeq ($(shell command -v npm 2>/dev/null),)
page-types:
	@echo "npm is missing: the types of the viewer's page are not checked"
else
page-types: page-tools/node_modules/.done
	cd page-tools && npm run --silent check
endif

page-tools/node_modules/.done: page-tools/package-lock.json
	cd page-tools && npm ci --ignore-scripts --no-audit --no-fund --silent
	touch $@

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.dev
	set -e; for name in cold_start contours decode exports metrics prepare roofline training; do \
		echo "== $$name"; $(BIN)/python benchmarks/bench_$$name.py; done

lock: $(VENV)/.python
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --all-extras --no-annotate --quiet \
		--upgrade pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --no-annotate --quiet \
		--upgrade $(SPATIAL)/requirements.in -o $(SPATIAL)/requirements.lock

clean:
	rm -rf $(VENV) $(VENV)-spatial site demo-out page-tools/node_modules

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "histonuc needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.plain: pyproject.toml requirements.lock | $(VENV)/.python
	$(PIP) install --quiet $(LOCKED) -e .
	touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(VENV)/.python
	$(PIP) install --quiet $(LOCKED) -e '.[train,report,mlflow,wandb,spatial,dicom,zarr,cluster,dev]'
	touch $@ $(VENV)/.plain

# Squidpy would hold several packages of the development install at older versions.
$(VENV)-spatial/.done: $(SPATIAL)/requirements.lock
	$(PYTHON) -m venv $(VENV)-spatial
	$(VENV)-spatial/bin/python -m pip --disable-pip-version-check install --quiet uv
	$(VENV)-spatial/bin/uv pip install --quiet --python $(VENV)-spatial --no-deps -r $<
	touch $@
