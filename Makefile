# make demo [AUDIO=my.wav]   what the methods do, with toy checkpoints   make lint    ruff
# make test [TESTS=tests/golden]   the tests of minutes                  make bench   the timings of benchmarks/
# make test-all                    the rest: full-size numbers, kills, launched training, statistics of the worlds
# make method NAME=my_method CLASS=MyMethod TITLE="My method" PAPER=2401.00001   stubs of a new method (CONTRIBUTING.md)
# make clean   remove what these made, .venv included
#
# Works with GNU make 3.81 (macOS) and later. PYTHON=python3.12 chooses the interpreter of .venv.

PYTHON ?= python3
TESTS ?= tests
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
METADATA := setup.cfg pyproject.toml constraints.txt
MAKEFLAGS += --no-print-directory

.PHONY: demo test test-all lint bench method clean

# AUDIO reaches the shell through the environment, so a name may hold spaces and quotes.
export AUDIO
demo: $(VENV)/.installed-demo
	@if [ -n "$$AUDIO" ]; then $(BIN)/avzoo demo audio-classification -- "$$AUDIO"; else $(BIN)/avzoo demo; fi

# Two workers of one thread each: small networks gain nothing from threads, and threads of two workers would compete.
test: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" $(TESTS)

test-all: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow $(TESTS)

lint: $(VENV)/.installed-lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

bench: $(VENV)/.installed-dev
	@for script in benchmarks/*.py; do echo "## $$script"; $(BIN)/python "$$script" || exit 1; done

method:
	@[ -n "$(NAME)" ] || { echo 'usage: make method NAME=my_method [CLASS=MyMethod] [TITLE="My method"] [PAPER=2401.00001] [TASK=...]'; exit 2; }
	@$(PYTHON) docs/make_method.py "$(NAME)" $(if $(CLASS),--class_name "$(CLASS)") $(if $(TITLE),--title "$(TITLE)") \
		$(if $(PAPER),--paper "$(PAPER)") $(if $(TASK),--task "$(TASK)")

clean:
	rm -rf $(VENV) build dist *.egg-info demo_output .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A file marks what is installed; it is older than its reasons when they change.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("avzoo needs Python 3.11 or later, \
	$(PYTHON) is %d.%d; name another with PYTHON=..." % sys.version_info[:2])'
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.made $(METADATA)
	@echo "Installing what the demo needs (torch is the large part) ..." >&2
	@$(INSTALL) -e '.[demo,toy]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made $(METADATA)
	@echo "Installing what the tests need (torch is the large part) ..." >&2
	@$(INSTALL) -e '.[dev]'
	@$(INSTALL) -e '.[pesq]' 2>/dev/null || echo "No C compiler that builds pesq: its tests will be left out." >&2
	@touch $@ $(VENV)/.installed-demo $(VENV)/.installed-lint

$(VENV)/.installed-lint: $(VENV)/.made constraints.txt
	@$(INSTALL) ruff
	@touch $@
