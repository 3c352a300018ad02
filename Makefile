# make demo | test | test-all | slow | browser | lowest | bench | lint | format; each sets itself up in .venv first.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python3.10 python; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
  && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2
export TF_CPP_MIN_LOG_LEVEL := 3

.PHONY: demo test test-all slow browser lowest bench lint format clean

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "graphrev needs Python 3.10 to 3.13"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/python -m tools.demo

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow and not oracle"

test-all: test slow lowest

# Installs genuine TensorFlow 1.15.5 where there is a Python 3.7; without it what needs it is skipped.
slow: $(READY)
	-$(BIN)/python -m tools.oracle
	$(BIN)/python -m pytest -n $(JOBS) -m "slow or oracle" -rs

# The report in Chromium and both sides in Model Explorer, with what that takes installed where it is
# missing (without it those tests are skipped and say so); screenshots to look at in build/screenshots.
browser: $(READY)
	@command -v chromedriver >/dev/null || apt-get install -y -q chromium chromium-driver
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,view]'
	GRAPHREV_SCREENSHOTS=build/screenshots $(BIN)/python -m pytest -rs tests/diff/test_browser.py \
	  tests/diff/test_scale.py tests/cli/test_view.py

# The lowest TensorFlow that is supported, in an environment of its own.
lowest: $(READY)
	tools/test_lowest $(PYTHON)

bench: $(READY)
	$(BIN)/python -m tools.bench

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-lowest
