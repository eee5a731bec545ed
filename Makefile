# Every target sets up .venv by itself; `make PYTHON=/path/to/python3.12 test` chooses the interpreter.

PYTHON ?=
VENV := .venv
STAMP := $(VENV)/.installed
TESTS := -m pytest -q -n auto --dist worksteal -o tmp_path_retention_policy=failed
# Compiled modules are kept, whatever the environment says: each worker and each program would compile all of them.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run picture test compiled quick torture fuzz explore bench lint format floors audit constraints schema clean

# The examples against a local API, and the page about them; each time from the start.
DEMO := build/demo

run: $(STAMP)
	@rm -rf $(DEMO) && mkdir -p $(DEMO)
	TMPDIR=$(DEMO) $(VENV)/bin/batchgen run --sandbox --ledger $(DEMO)/ledger.db --output-dir $(DEMO)/clips manifests/
	$(VENV)/bin/batchgen report --ledger $(DEMO)/ledger.db --output $(DEMO)/report.html
	@echo "open it: xdg-open $(DEMO)/report.html"

# README's picture of that page; it needs a browser.
picture: run
	$(VENV)/bin/python -m tests.picture $(DEMO)/report.html batchgen/manual/report.png

test: $(STAMP)
	$(MAKE) -s -j2 lint compiled
	$(VENV)/bin/python $(TESTS)

# Once, before as many workers as there are do it at the same time.
compiled: $(STAMP)
	$(VENV)/bin/python -m pytest -q --collect-only tests > /dev/null

# At every save: what needs no server and no other process.
quick: lint
	$(VENV)/bin/python $(TESTS) tests/unit

# Hundreds of kills, some five minutes; make torture TORTURE='--seed 7 --rounds 1' repeats or shortens one.
torture: $(STAMP)
	$(VENV)/bin/python -m tests.torture $(TORTURE)

# Damage for every reader of foreign bytes, five minutes of it; make fuzz MINUTES='20 ledger' goes on, with one alone.
MINUTES ?= 5
fuzz: $(STAMP)
	$(VENV)/bin/python -m tests.fuzz $(MINUTES)

# All that is said of any input, with ten times the examples, which are others each time; the tests have the same ones.
explore: $(STAMP)
	$(VENV)/bin/python $(TESTS) --hypothesis-profile=explore -m hypothesis

# Beside what people otherwise use, some twenty minutes; make bench BENCH='--repeat 1 uploads' shortens it.
bench: $(STAMP)
	$(VENV)/bin/python -m tests.bench $(BENCH)

lint: $(STAMP)
	$(VENV)/bin/python -m ruff check --quiet .
	$(VENV)/bin/python -m ruff format --quiet --check .
	$(VENV)/bin/python -m mypy --no-error-summary

format: $(STAMP)
	$(VENV)/bin/python -m ruff check --quiet --fix .
	$(VENV)/bin/python -m ruff format --quiet .

# The configuration file's schema, after an option has changed: its keys are the options.
schema: $(STAMP)
	$(VENV)/bin/python -m tests.support.config_schema

# The tests once more, on the lowest versions that pyproject.toml takes; they need the network once.
floors: $(STAMP)
	$(VENV)/bin/python -m venv --clear build/floors
	$(VENV)/bin/python -m tests.floors > build/floors.txt
	build/floors/bin/python -m pip install -qq --disable-pip-version-check -e '.[dev]' -c build/floors.txt
	build/floors/bin/python $(TESTS) $(FLOORS)

# Published faults in the versions that were tested. It needs the advisories' database, which is on the network:
# where that can't be reached it fails rather than finding nothing.
audit: build/audit/.installed
	build/audit/bin/pip-audit --strict --require-hashes --disable-pip -r tests/constraints.txt

# The versions that were tested, with the hashes of all their files. Made by the oldest Python that is supported,
# which needs what the newer ones need, and more.
constraints: build/audit/.installed
	CUSTOM_COMPILE_COMMAND='make constraints' build/audit/bin/pip-compile -q --upgrade --generate-hashes \
	    --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --output-file tests/constraints.txt pyproject.toml

build/audit/.installed: pyproject.toml | $(STAMP)
	$(VENV)/bin/python -m venv --clear build/audit
	build/audit/bin/python -m pip install -qq --disable-pip-version-check '.[audit]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A virtual environment holds absolute paths: one that was made elsewhere is made again.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

# An interpreter is tried, not looked up: a name on the PATH may be a shim without a Python behind it,
# and Debian's has no ensurepip until python3-venv is installed.
$(STAMP): pyproject.toml
	@python=; \
	if [ -n "$(PYTHON)" ]; then set -- "$(PYTHON)"; else set -- python3 python3.13 python3.12 python3.11; fi; \
	for name; do \
	    if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        python=$$name; break; \
	    fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "batchgen needs Python 3.11 or newer with venv and ensurepip; found none as: $$*" >&2; \
	    echo "Install it (Debian, Ubuntu: apt install python3 python3-venv)," \
	        "or name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	    exit 1; \
	fi; \
	echo "setting up $(VENV) with $$("$$python" -V)"; \
	"$$python" -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -e '.[dev,demo]'
	@printf '%s\n' "$(CURDIR)" > $@
