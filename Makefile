# Two commands for users: `make demo` and `make test`. Both create .venv on first use; the tests also
# use .venv-core, an installation without any framework. `make docs` builds the site of the documents
# into build/site, `make notebooks` runs those of docs/notebooks anew. `make clients` tests with the
# real ptychodus (about 2 GB) and `make ptychi` with the real pty-chi (about 6 GB), in environments of
# their own; `make browser` uses the pages in a Chromium, which the system has to have (`apt-get
# install chromium`); `make fuzz` damages files of every format for two minutes; `make bench` measures
# in a quarter of an hour, `make bench-full` in some hours.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := .venv-core
CLIENTS := .venv-ptychodus
BROWSER := .venv-browser
PTYCHI := .venv-ptychi
DOCS := .venv-docs
# pty-chi needs torchvision, which fits one release of torch only.
PTYCHI_TORCH ?= torch==2.14.1 torchvision==0.29.1
DEMO ?= demo
DEMO_EPOCHS ?= 3
DEMO_PATTERNS ?= 900
PYTEST_ARGS ?=
# Python compiles what it imports, once; to compile all that is installed takes a minute for .venv alone.
PIP_ARGS := --quiet --no-compile
# Where this is set (containers often do) every process would compile the frameworks again: 3 to 6 seconds each.
unexport PYTHONDONTWRITEBYTECODE

FUZZ_SECONDS ?= 120
FUZZ_SEED ?= 0
# Cases of each format at most, so that a fixed seed means the same files on a fast machine.
FUZZ_CASES ?= 300

.PHONY: demo test docs notebooks clients ptychi browser fuzz bench bench-full lint clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable '.[pytorch,tensorflow-cpu,tensorboard,mlflow,dev]'
	touch $@

$(CORE)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable .
	touch $@

demo: $(VENV)/.installed
	rm -rf $(DEMO)
	mkdir -p $(DEMO)
	$(BIN)/ptychopinn simulate $(DEMO)/train.h5 --object lines --seed 1 --patterns $(DEMO_PATTERNS)
	$(BIN)/ptychopinn simulate $(DEMO)/test.h5 --object lines --seed 2 --patterns $(DEMO_PATTERNS)
	$(BIN)/ptychopinn train $(DEMO)/train.h5 -o $(DEMO)/model --epochs $(DEMO_EPOCHS)
	$(BIN)/ptychopinn infer $(DEMO)/model $(DEMO)/test.h5 -o $(DEMO)/result
	$(BIN)/ptychopinn evaluate $(DEMO)/result --truth $(DEMO)/test.h5
	@echo
	@echo "Pictures: $(DEMO)/result/reconstructed_phase.png, reconstructed_amplitude.png, evaluation.png"
	@echo "Numbers:  $(DEMO)/result/evaluation.json, run.json; training: $(DEMO)/model/loss.png"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One more than the cores of the smallest machine: tests wait for the processes that they start.
test: lint $(CORE)/.installed
	$(BIN)/python -m pytest -n 3 --dist worksteal --ignore tests/clients --ignore tests/browser $(PYTEST_ARGS)

$(DOCS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable '.[docs]'
	touch $@

# The examples train, so they run where PyTorch is.
docs: $(VENV)/.installed $(DOCS)/.installed
	$(BIN)/python docs/site/gallery.py build/gallery
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo "The site: build/site/index.html"

notebooks: $(VENV)/.installed
	$(BIN)/python docs/site/run_notebooks.py

$(CLIENTS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install $(PIP_ARGS) --constraint constraints.txt \
		'ptychodus==1.7.0' --editable '.[pytorch]'
	touch $@

clients: $(VENV)/.installed $(CLIENTS)/.installed
	PTYCHODUS_PYTHON=$(CURDIR)/$(CLIENTS)/bin/python \
		$(BIN)/python -m pytest tests/clients $(PYTEST_ARGS)

$(PTYCHI)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PTYCHI)
	grep -v '^torch==' constraints.txt > $(PTYCHI)/constraints.txt
	$(PTYCHI)/bin/python -m pip install $(PIP_ARGS) --constraint $(PTYCHI)/constraints.txt \
		$(PTYCHI_TORCH) 'ptychi==2.2.*' pytest hypothesis --editable '.[pytorch,ptychi]'
	touch $@

ptychi: $(PTYCHI)/.installed
	$(PTYCHI)/bin/python -m pytest tests/workflow/test_ptychi_engine.py $(PYTEST_ARGS)

$(BROWSER)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BROWSER)
	$(BROWSER)/bin/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable '.[serve,browser]'
	touch $@

browser: $(BROWSER)/.installed
	$(BROWSER)/bin/python -m pytest tests/browser $(PYTEST_ARGS)

fuzz: $(VENV)/.installed
	$(BIN)/python tests/fuzz/campaign.py --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) --most $(FUZZ_CASES) --jobs 2

# An earlier commit to compare with, always in the same run; pty-chi joins where it is installed.
BENCH_REV ?= HEAD~20
BENCH_OUT ?= benchmark-results

bench: $(VENV)/.installed
	mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/against_commit.py $(BENCH_REV) --rounds 2 --repeats 2 --json $(BENCH_OUT)/against_commit.json
	$(BIN)/python benchmarks/scaling.py --size short --out $(BENCH_OUT)
	$(BIN)/python benchmarks/draw_scaling.py $(BENCH_OUT)/scaling.json $(BENCH_OUT)/scaling.png

bench-full: $(VENV)/.installed
	mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/against_commit.py $(BENCH_REV) --json $(BENCH_OUT)/against_commit.json
	$(BIN)/python benchmarks/scaling.py --size full --out $(BENCH_OUT)
	$(BIN)/python benchmarks/draw_scaling.py $(BENCH_OUT)/scaling.json $(BENCH_OUT)/scaling.png
	$(BIN)/python benchmarks/onnx_runtime.py --out $(BENCH_OUT)
	$(BIN)/python benchmarks/unseen_scans.py --out $(BENCH_OUT)
	$(BIN)/python benchmarks/against_iterative.py --out $(BENCH_OUT)

clean:
	rm -rf $(VENV) $(CORE) $(CLIENTS) $(PTYCHI) $(DOCS) $(BROWSER) $(DEMO) build
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
