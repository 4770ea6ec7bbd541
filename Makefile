# Two commands do all set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests with Ray go to one of them, beginning with the first second; the others take the rest.
TEST_PROCESSES ?= 2

.PHONY: demo test lint format bench clean

demo: $(STAMP)
	$(BIN)/w2v2-ray demo

test: lint
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python benchmarks/bad_inputs.py
	$(BIN)/python benchmarks/bad_data.py
	$(BIN)/python benchmarks/training_state.py
	for suite in step loader ingest checkpoint inference planning; do $(BIN)/w2v2-ray bench $$suite --quick || exit; done

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[demo,dev,lm,onnx]'
# 25 000 files, a minute's work, on all cores; pip would do it on one. Some packages carry files of other Pythons.
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
