# make demo     set up, then data → sweep → report; the page is reports/demo/index.html
# make test     set up, then the tests that CI runs
# make reference [FAMILY=lenet]   tunes families on real data and holds them against floors; hours for all, resumable
# make check    formatter, linter, type checker, tests
#
# The first call needs Python 3.11 to 3.13 (PYTHON=python3.12 make demo, to choose one) and a package registry.

PYTHON ?= python3
BIN := .venv/bin
# Two processes: some tests start Ray, which brings its own. One thread in each: with a core a process, more only wait.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: setup demo reference test test-slow test-browser drill check format lock clean

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro report@demo
	@echo "Open reports/demo/index.html, or: $(BIN)/orchestrate dashboard"

reference: setup
	$(BIN)/python benchmarks/reference.py $(if $(FAMILY),--family $(FAMILY))

test: setup
	$(TESTS)

test-slow: setup
	$(TESTS) -n 0 -m slow

test-browser: setup
	$(TESTS) -n 0 -m browser

drill: setup
	$(TESTS) -n 0 -m drill

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TESTS)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# After a change of code or of a YAML that dvc.yaml names: run what it touches, and commit dvc.lock.
lock: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: $$($(PYTHON) --version) found; Python 3.11 to 3.13 is needed (PYTHON=python3.12 make …)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv dist build
