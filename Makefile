# Every target sets up .venv by itself; `make PYTHON=/path/to/python3.12 test` chooses the interpreter.

PYTHON ?=
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: run test torture bench lint format clean

run: $(STAMP)
	$(VENV)/bin/batchgen run --sandbox manifests/

test: lint
	$(VENV)/bin/python -m pytest -q -n auto --dist worksteal

# Hundreds of kills, some five minutes; make torture TORTURE='--seed 7 --rounds 1' repeats or shortens one.
torture: $(STAMP)
	$(VENV)/bin/python -m tests.torture $(TORTURE)

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
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -e '.[dev]'
	@printf '%s\n' "$(CURDIR)" > $@
