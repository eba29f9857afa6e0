# One command each; `make` alone lists them. PYTHON=python3.11 make setup chooses the interpreter.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup lab class demo course site reproduce test faults fuzz test-browser test-loaders test-triton lint notebooks bench gpu mutants

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.lightsnn_kit_ready

# Waiting OpenMP threads sleep instead of spinning: on a shared machine spinning slowed scores down several times.
export OMP_WAIT_POLICY ?= passive

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## create .venv and install everything (once; again when the requirements change)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "need Python 3.11 or later, but $(PYTHON) is $$($(PYTHON) -V 2>&1); try PYTHON=python3.11 make setup"; exit 1; }
	@echo "[1/3] virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/3] installing (1.6 GB with a CPU-only torch, 6 GB with CUDA; minutes)"
	@$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e ".[test]" \
	  | awk '/^Collecting /{print "      " $$2} /Downloading .*[0-9][0-9]\.[0-9]+ MB|^(Building|Installing) /{print "      " substr($$0, 1, 90)} {fflush()}'
	@echo "[3/3] checking that the packages load"
	@$(PY) -c 'import spikingjelly.activation_based.neuron, torch, lightsnn_kit; print("      torch", torch.__version__, "CUDA" if torch.cuda.is_available() else "CPU")'
	@touch $@

lab: $(READY)  ## open JupyterLab on the notebooks
	@[ "$$(id -u)" != 0 ] || [[ "$(ARGS)" == *--allow-root* ]] || { echo "JupyterLab does not start as root, whose files any notebook could then change. Log in as another user;"; \
	  echo "in a container that is yours alone: make lab ARGS=--allow-root"; exit 1; }
	$(PY) -m jupyter lab notebooks $(ARGS)

class: $(VENV)/.lightsnn_kit_class  ## serve the explorer notebooks as pages without code, on this machine, with a token
	@mkdir -p runs/class && cp notebooks/explore_*.ipynb runs/class
	JUPYTER_PATH=$(CURDIR)/lightsnn_kit/lab/jupyter $(PY) -m voila runs/class --token --no-browser --Voila.ip=127.0.0.1 \
	  --template=lightsnn --classic-tree $(ARGS)

$(VENV)/.lightsnn_kit_class: $(READY)
	@$(PY) -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[class]"
	@touch $@

demo: $(READY)  ## search, train, evaluate and report on real digits; results in runs/demo
	$(PY) -m lightsnn_kit demo

course: $(READY)  ## write the lessons for students (stubs) and for instructors (solutions) into runs/course
	$(PY) notebooks/lessons/course.py $(ARGS)

site: $(VENV)/.lightsnn_kit_site  ## build the site (lessons, slides, notebooks, modules) into runs/site; it opens without a network
	$(PY) notebooks/site/site_build.py $(ARGS)

$(VENV)/.lightsnn_kit_site: $(READY)
	@$(PY) -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[site]"
	@touch $@

PRESET ?= motion-dvs
quick = $(filter-out 0 false no,$(QUICK))
reproduce: $(READY)  ## run an experiment and its report: PRESET=cifar10 (default motion-dvs), QUICK=1 for a rehearsal
	$(PY) -m lightsnn_kit run notebooks/reproduce/run.ipynb notebooks/reproduce/report.ipynb \
	  --run runs/reproduce/$(PRESET)$(if $(quick),-quick) -p preset=$(PRESET) -p quick=$(if $(quick),true,false) $(ARGS)

test: $(READY)  ## run the quick tests and every notebook in quick mode
	$(PY) -m pytest -n auto --dist worksteal -m "not slow and not browser and not fault"

faults: $(READY)  ## kill, fill, race, flip and forge: what is promised when things go wrong (notebooks/promises.md)
	$(PY) -m pytest -n auto --dist worksteal -m fault

fuzz: $(READY)  ## 10,000 inputs to every parser (an hour); what fails is kept in .hypothesis and printed
	HYPOTHESIS_PROFILE=nightly $(PY) -m pytest -n auto --dist worksteal -k test_fuzz

test-browser: $(READY)  ## drive JupyterLab in chromium; pictures of the widgets in runs/browser
	$(PY) -m pytest -m browser

# torchvision and spikingjelly.datasets import beside the full build of torch only, so this environment is one of its own.
LOADERS ?= .venv-loaders

$(LOADERS)/.ready: pyproject.toml
	@echo "installing into $(LOADERS) (6 GB; minutes)"
	@$(PYTHON) -m venv $(LOADERS)
	@$(LOADERS)/bin/python -m pip install --disable-pip-version-check -q torch==2.14.1 torchvision==0.29.1 -e ".[test]"
	@touch $@

test-loaders: $(LOADERS)/.ready  ## compare the readers with torchvision's, spikingjelly's (second environment, 6 GB)
	LIGHTSNN_NEED_LOADERS=1 $(LOADERS)/bin/python -m pytest -m loaders tests/data

# 700 MB that only the kernels of a GPU need; beside the environment, where torch has brought none.
$(VENV)/triton/.ready: $(READY)
	@$(PY) -m pip install --disable-pip-version-check -q --no-deps --target $(VENV)/triton triton==3.7.1
	@touch $@

test-triton: $(VENV)/triton/.ready  ## run the GPU's kernels on the CPU, by Triton's interpreter (Linux)
	LIGHTSNN_REQUIRE_TRITON=1 PYTHONPATH=$(VENV)/triton $(PY) -m pytest tests/fast/test_device.py -k triton

lint: $(READY)  ## check style and format, notebooks included
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

notebooks: $(READY)  ## run every notebook headless in quick mode
	$(PY) -m pytest -m notebooks

bench: $(READY)  ## measure scoring and training against plain versions (12 minutes); runs/bench/scoring.json
	$(PY) -m tests.bench

gpu: $(READY)  ## is the CUDA code right, and how fast: 8 minutes on one card; ARGS=--rehearse goes through it on the CPU
	$(PY) -m tests.gpu $(ARGS)

mutants: $(READY)  ## make small wrong changes, one at a time, and see that the tests notice each (30 minutes)
	$(PY) -m tests.mutants $(FILES)
