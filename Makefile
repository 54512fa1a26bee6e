# Coppice's commands. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo run doctor test test-systems lint fmt schema bench storm mutants lock screenshots clean
SHELL := /bin/sh
export PYTHON

# Relative paths, so that a checkout below a directory with a space in its name works.
python := .venv/bin/python
# ARGS may come from the environment (`ARGS=quick make bench`). This is printed: it may be meant for another program.
ARGS ?=
ifeq ($(origin ARGS),environment)
$(info ARGS="$(ARGS)" is taken from the environment.)
endif
began := $(shell date +%s)

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 21

setup: ## create .venv and install the packages
	@sh config/install.sh requirements.txt

setup-dev: ## the same, and the packages of tests and linters
	@sh config/install.sh requirements-dev.txt

# The demo reports the total time, including the set-up.
demo: export COPPICE_DEMO_BEGAN := $(shell date +%s)
demo: setup ## start everything, run a demonstration over HTTP, stop everything (KEEP=1 keeps it running)
	@COPPICE_DEMO_BEGAN=$(began) $(python) manage.py demo $(ARGS)

run: setup ## start everything and stay; PORT=8001 chooses the port
	@$(python) manage.py up $(ARGS)

doctor: setup ## check every part and say how to repair it
	@$(python) manage.py doctor

# Two parts of one suite: a file of tests that starts processes, such as servers, workers and browsers, belongs to the second
# (tests/parts.py). ARGS with a path, -k, -m or --lf runs what it chooses, whichever part that is.
#
# Bytecode of rewritten tests is cached, whatever the environment says: otherwise about forty processes each compile all
# of them. One worker runs a whole file, so that its fixtures are made once; tests/conftest.py starts the longest files
# first. Variables that change Python are unset: PYTHONOPTIMIZE, for example, removes assertions.
pytest = env -u PYTHONDONTWRITEBYTECODE -u PYTHONOPTIMIZE -u PYTHONPATH -u PYTHONHOME -u PYTHONSAFEPATH -u PYTHONWARNINGS \
	$(python) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: setup-dev ## run the tests that start no processes; ARGS="tests/api -k auth" runs these tests instead
	@$(pytest) --part others $(ARGS)

test-systems: setup-dev ## run the tests that start servers, workers, browsers and other processes
	@$(pytest) --part systems $(ARGS)

lint: setup-dev ## check style, types, directions of imports, SQL files, migrations, compose.yml, and the production settings
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m mypy
	@.venv/bin/lint-imports
	@.venv/bin/sqlfluff lint --disable-progress-bar --nocolor config lockers transfers trusts wallets webhooks
	@$(python) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run --settings config.settings.offline
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker/compose.yml docker/compose.replica.yml
	@$(python) manage.py check --deploy --fail-level WARNING --settings config.settings.offline

fmt: setup-dev ## format the code
	@$(python) -m ruff check --fix-only --quiet .
	@$(python) -m ruff format .

schema: setup-dev ## write docs/openapi.json from the descriptions in the views
	@$(python) -W ignore::RuntimeWarning manage.py spectacular --settings config.settings.offline \
		--format openapi-json --validate --fail-on-warn --file docs/openapi.json

bench: setup-dev ## measure requests a second in 12 minutes; ARGS=quick measures less, ARGS=lockers lockers
	@$(python) -m tests.benchmarks $(ARGS)

storm: setup-dev ## interrupt every kind of task at every step; ARGS='--scene put --blow kill' less
	@$(if $(ARGS),,COPPICE_STORM=1 $(python) -m pytest -q -n 0 tests/chaos/test_outcomes.py)
	@$(python) -m tests.chaos.storm $(ARGS)

mutants: setup-dev ## change lines of pure modules and see that tests notice; ARGS=lockers/coin_outcomes.py only those
	@$(python) -m tests.mutants $(ARGS)

lock: setup-dev ## update all packages within their limits, and their hashes
	@for name in requirements requirements-dev; do \
		.venv/bin/python -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-header --quiet --upgrade $$name.in -o $$name.txt || exit 1; \
	done
	@.venv/bin/python -m uv pip compile --no-deps --python-version 3.13 --generate-hashes --no-emit-index-url \
		--no-header --quiet --upgrade .ci/django.in -o .ci/django.txt

screenshots: setup-dev ## take the pictures of docs/images from the demo; needs Chromium
	@$(python) -m tests.screenshots

clean: ## remove .venv and all data of the private servers
	@sh config/clean.sh
