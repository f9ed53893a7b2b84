# Two commands do it all: `make run` and `make test`. Each makes .venv and fills it, again only when setup.cfg changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LIGHT := tests/unit tests/services
LOWEST := 'celery[redis]==5.5.0' 'kombu==5.5.2' 'redis==5.2.1'
OLD_PYTHON := Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11

.PHONY: run test test-fast test-light test-contract soak faults battle limits check fix bench docs reference pictures deploy-files man clean

run: $(VENV)/.run
	@$(BIN)/livectl up

test: $(VENV)/.test
	@$(BIN)/python -m pytest -n 5 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.test
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/unit

# What needs no whole system, on another Python: make test-light PYTHON=python3.13 VENV=.venv-3.13
test-light: $(VENV)/.test-light
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_OPTIONS) $(LIGHT)

# What livectl knows of Celery's formats, on the lowest Celery, kombu and redis-py that setup.cfg allows.
test-contract: $(VENV)-lowest/.contract
	@$(VENV)-lowest/bin/python -m pytest tests/services/test_protocol_contract.py

soak: $(VENV)/.test
	@TESTS_SLOWNESS=4 $(BIN)/python -m pytest -n 2 -m soak
	@TESTS_SLOWNESS=4 $(BIN)/python -m pytest -n 2 --dist loadfile --hypothesis-profile soak tests/unit

# The fault matrix, as a table: make faults [ROWS=F1,F6] [SETUPS=redis] [SEED=7] [MINUTES=10] [RED=1]
faults: $(VENV)/.test
	@$(BIN)/python -m tests.faults $(ROWS:%=--rows %) $(SETUPS:%=--setups '%') $(SEED:%=--seed %) $(MINUTES:%=--minutes %) $(RED:1=--red)

# Random kills over many jobs, on livectl and on others: make battle [MINUTES=30] [JOBS=200000] [SEED=7] [SYSTEMS=livectl,stock]
# celery-redis-plus takes part where PLUS_PYTHON is a Python 3.13 or newer that has celery-redis-plus[redis].
battle: $(VENV)/.test
	@$(BIN)/python -m tests.faults.battle $(MINUTES:%=--minutes %) $(JOBS:%=--jobs %) $(SEED:%=--seed %) $(SYSTEMS:%=--systems %) $(PLUS_PYTHON:%=--plus-python %)

check: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports
	@$(BIN)/python .ci/house.py

# A limit of `tasks:` under kills, counted by the store's own log.
limits: $(VENV)/.test
	@$(BIN)/python -m tests.faults.limits $(JOBS:%=--jobs %) $(SEED:%=--seed %)

fix: $(VENV)/.test
	@$(BIN)/python -m livectl.reference
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.test
	@for name in $$(cd benchmarks && ls *.py | grep -v __init__); do echo "== $${name%.py}"; $(BIN)/python -m benchmarks.$${name%.py} || exit 1; done

# The documents as a site with a search, in build/site. `make reference` writes into them what the code says.
docs: $(VENV)/.docs
	@$(BIN)/python -m livectl.reference
	@$(BIN)/python -m docs.site

reference: $(VENV)/.run
	@$(BIN)/python -m livectl.reference

# The pictures of the README, from the demo; needs Chromium.
pictures: $(VENV)/.run
	@$(BIN)/python -m docs.pictures

# The manual page, as `man livectl` shows it once livectl is installed.
# The files that run livectl elsewhere, of the templates in livectl/templates/deploy.
deploy-files: $(VENV)/.run
	@$(BIN)/python -m livectl.commands.deploy .

man: $(VENV)/.run
	@$(BIN)/python -m livectl.manual | man -l -

clean:
	rm -rf $(VENV) $(VENV)-lowest build dist *.egg-info

$(VENV)/.run: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(OLD_PYTHON)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing livectl into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[alerts,migrate]'
	@touch $@

$(VENV)/.docs: $(VENV)/.run
	@echo "Installing what the site needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

$(VENV)/.test-light: $(VENV)/.run
	@echo "Installing what the tests without processes need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test-light]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "Installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)-lowest/.contract: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(OLD_PYTHON)"; exit 1; }
	@test -x $(VENV)-lowest/bin/python || $(PYTHON) -m venv $(VENV)-lowest
	@echo "Installing the lowest Celery into $(VENV)-lowest ..."
	@$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check --editable . $(LOWEST) 'pytest>=8.3' 'hypothesis>=6.100'
	@touch $@
