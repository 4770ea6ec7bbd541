# Two commands do all set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Tests start hundreds of processes: none of them is to compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

.PHONY: demo test test-all test-fast lint format docs bench clean

demo: $(STAMP)
	$(BIN)/w2v2-ray demo

test: lint
	$(PYTEST) -m "not long"

# Those of minutes as well.
test-all: lint
	$(PYTEST)

# What one runs while editing: everything that needs no cluster and takes a moment.
test-fast: lint
	$(PYTEST) -m "not ray and not slow and not long"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The documentation as a site in build/site.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build

bench: $(STAMP)
	$(BIN)/python benchmarks/bad_inputs.py
	$(BIN)/python benchmarks/bad_data.py
	$(BIN)/python benchmarks/odd_inputs.py
	$(BIN)/python benchmarks/training_state.py
	for suite in step loader ingest checkpoint inference planning; do $(BIN)/w2v2-ray bench $$suite --quick || exit; done

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[demo,dev,lm,onnx]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
