# Every target makes the .venv it needs. PYTHON chooses the interpreter: make test PYTHON=python3.13
PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_WORKERS ?= auto

.PHONY: demo test test-oldest check integration chaos bench sim clean help
.DEFAULT_GOAL := help

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'chowk needs Python 3.11 or newer; say which: make PYTHON=python3.12'; exit 1; }
	@echo "installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,check]'
	@mkdir -p .types && ln -sfn .. .types/chowk
	@touch $@

demo: $(STAMP)  ## one agent, the demo services and their mesh, until Ctrl-C
	@$(BIN)/python configs/demo/run.py

test: $(STAMP)  ## the tests; nothing but Python is needed
	@$(BIN)/pytest -n $(PYTEST_WORKERS)

test-oldest: OLDEST := .venv-oldest
test-oldest:  ## the tests with the oldest dependencies that setup.cfg allows
	@$(PYTHON) -m venv $(OLDEST)
	@$(OLDEST)/bin/python integration/oldest.py > $(OLDEST)/constraints.txt
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OLDEST)/constraints.txt -e '.[test]'
	@$(OLDEST)/bin/pytest -n $(PYTEST_WORKERS)

check: $(STAMP)  ## ruff, mypy --strict, the import table, the docs
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy --config-file setup.cfg -p chowk.core -p chowk.server -p chowk.connect -p chowk.dns -p chowk.agent -m chowk.cli
	@$(BIN)/pytest tests/house

integration: $(STAMP)  ## real processes and real clients (dig, curl); installs Debian packages when it may
	@bash integration/packages.sh
	@$(BIN)/pytest integration

chaos: HOURS := 1
chaos: $(STAMP)  ## break a real cluster for HOURS and judge what its clients saw (as root: with a network that fails too)
	@PYTHONPATH=integration:tests $(BIN)/python integration/chaos/run.py --minutes $$(awk 'BEGIN { print 60 * $(HOURS) }')

bench: $(STAMP)  ## the tables of speed and size
	@$(BIN)/python integration/bench/run.py

sim: SEEDS := 1000
sim: $(STAMP)  ## SEEDS=N seeds of the simulated cluster, on all cores; a failing one prints how to replay it
	@$(BIN)/python tests/sim/run.py --seeds $(SEEDS)

clean:  ## remove what the other targets made
	rm -rf .venv* .types build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
