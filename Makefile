# Each command does its own set-up: the virtual environment, what to install, and the servers. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV ?= .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
WITH_POSTGRES = $(PY) -m tests.support.postgres
WITH_SERVERS = $(PY) -m tests.support.mariadb $(WITH_POSTGRES)
NOTEBOOKS = $(sort $(wildcard notebooks/*.ipynb))
IN_PARALLEL = --numprocesses 3 --dist loadfile --max-worker-restart 0
PYTEST_ARGS ?=
SOAK_MINUTES ?= 15
# What a row's fate hangs on: state, lease, staging and publication, quoting, redaction, the plans of merge and scd2.
CORE = ematix_nb/state/*,ematix_nb/load/heartbeat.py,ematix_nb/backends/files/manifests.py,ematix_nb/backends/files/staging.py,ematix_nb/backends/delta/commits.py,ematix_nb/sql/dialect.py,ematix_nb/connections/secret.py,ematix_nb/sql/statements.py,ematix_nb/load/planner.py

.PHONY: help test coverage mutation test-nightly soak demo lab bench peers lint audit fmt docs constraints clean run-tests run-notebooks

help:
	@echo "make test          all checks and tests (about 23 minutes on two cores)"
	@echo "make test-nightly  the tests that take longer (60 minutes at most)"
	@echo "make soak          fifty pipelines a minute under faults (SOAK_MINUTES=15, SOAK_ARGS='--seed N')"
	@echo "make coverage      which lines and branches the tests of \`make test\` reach"
	@echo "make mutation      which small changes of the code no test would notice (MUTATION_ARGS=GROUP)"
	@echo "make demo          runs the worked example without a browser"
	@echo "make lab           opens the worked notebook in JupyterLab"
	@echo "make bench         measures against hand-written limits"
	@echo "make peers         asks other loaders the cases of docs/comparison.md, and writes it (10 minutes)"
	@echo "make lint          the checks without the tests"
	@echo "make fmt           formats, and repairs what can be repaired"
	@echo "make docs          builds the documentation into build/docs"
	@echo "make constraints   renews constraints.txt from what is installed"
	@echo "make clean         removes what these commands made, but for $(VENV)"

# ---- set-up: done again only when the project's requirements changed
$(PY):
	@tools/make_venv "$(VENV)"

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(PY)
	@echo "installing ematix_nb for the demo"
	@$(INSTALL) '.[demo]'
	@touch $@

$(VENV)/.installed-lab: pyproject.toml constraints.txt | $(PY)
	@echo "installing ematix_nb with JupyterLab"
	@$(INSTALL) '.[demo,lab]'
	@touch $(VENV)/.installed-demo $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(PY)
	@echo "installing ematix_nb for development"
	@$(INSTALL) '.[dev,lab]'
	@touch $(VENV)/.installed-demo $(VENV)/.installed-lab $@

$(VENV)/.installed-spark: pyproject.toml constraints.txt | $(VENV)/.installed-dev
	@echo "installing Spark"
	@$(INSTALL) '.[spark]'
	@touch $@

$(VENV)/stores/.installed: tools/install_stores | $(PY)
	@echo "installing the servers that tests start"
	@PYTHON=$(PY) tools/install_stores $(VENV)/stores && touch $@

$(VENV)/.installed-mutation: tools/mutation.txt $(VENV)/.installed-dev
	@$(PY) -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(PY)
	@$(INSTALL) '.[docs]'
	@touch $@

# ---- what one does
test: lint audit
	@tools/install_mariadb
	$(WITH_SERVERS) $(MAKE) --no-print-directory run-notebooks run-tests

run-tests: $(VENV)/.installed-dev $(VENV)/stores/.installed
	$(PY) -m pytest -m "not nightly" $(IN_PARALLEL) $(PYTEST_ARGS)

run-notebooks: $(VENV)/.installed-dev
ifneq ($(NOTEBOOKS),)
	$(PY) -m pytest --nbval --nbval-current-env --nbval-sanitize-with=tests/nbval_sanitize.cfg --timeout=600 $(NOTEBOOKS)
endif

coverage:
	@tools/install_mariadb
	$(WITH_SERVERS) $(MAKE) --no-print-directory run-tests PYTEST_ARGS="--cov --cov-report= $(PYTEST_ARGS)"
	$(BIN)/coverage report
	$(BIN)/coverage report --include="$(CORE)"

mutation: $(VENV)/.installed-mutation
	$(PY) tools/mutation.py $(MUTATION_ARGS)

test-nightly: $(VENV)/.installed-spark $(VENV)/stores/.installed
	@tools/install_mariadb
	@tools/install_java
	$(WITH_SERVERS) $(PY) -m pytest -m nightly --timeout=3000 -o faulthandler_timeout=3700 $(IN_PARALLEL) $(PYTEST_ARGS)

soak: $(VENV)/.installed-dev
	$(PY) -m tests.soak --minutes $(SOAK_MINUTES) $(SOAK_ARGS)

demo: $(VENV)/.installed-demo
	@$(PY) notebooks/demo.py

lab: $(VENV)/.installed-lab
	$(BIN)/jupyter lab $(firstword $(NOTEBOOKS))

$(VENV)/peers/.installed: benchmarks/peers.txt | $(PY)
	@echo "installing what a user would pick instead"
	@$(PY) -m venv $(VENV)/peers
	@$(VENV)/peers/bin/python -m pip install --quiet --requirement $< || while read -r one; do \
		$(VENV)/peers/bin/python -m pip install --quiet "$$one" || echo "not installed: $$one" >&2; \
	done < $<
	@touch $@

peers: $(VENV)/.installed-dev $(VENV)/peers/.installed
	$(WITH_POSTGRES) $(PY) -m tests.peers $(PEERS_ARGS) $(VENV)/peers/bin/python

bench: $(VENV)/.installed-dev $(VENV)/peers/.installed
	@tools/install_mariadb
	$(WITH_SERVERS) $(PY) -m benchmarks --peers $(VENV)/peers/bin/python $(BENCH_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive ematix_nb magics widgets
	$(PY) tools/check_links.py

audit: $(VENV)/.installed-dev
	@$(PY) tools/audit.py

fmt: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-docs
	$(PY) tools/check_links.py
	$(BIN)/mkdocs build --quiet --strict --config-file tools/mkdocs.yml

constraints: $(VENV)/.installed-spark
	$(PY) tools/freeze.py

clean:
	rm -rf build dist demo htmlcov .build .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find ematix_nb magics widgets tests tools benchmarks notebooks -name __pycache__ -prune -exec rm -rf {} +
