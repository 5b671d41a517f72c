# `make demo` sets up and reads a heart rate from the bundled clip; `make test` sets up and tests;
# `make app` sets up and serves the Gradio page on this machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what is imported when it is first imported, which is a small part of what is there,
# and keeps it: every process that is started would compile it again.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
  -c constraints.txt

.PHONY: demo app test thorough lint check assets hub space

demo: $(VENV)/run
	$(BIN)/pulse-plantain --json out/demo.json --plot out/demo.png \
	  --video out/demo.mp4 --sheet out/demo-sheet.png
	@echo "Pictures and numbers are in out/."

app: $(VENV)/app
	$(BIN)/python app.py

# The pictures of the card, drawn anew.
assets: $(VENV)/dev
	$(BIN)/pulse-plantain assets/demo.mp4 --plot assets/demo.png --video assets/pulse.gif
	$(BIN)/python scripts/contact_sheet.py assets/demo.mp4 assets/contact-sheet.png
	$(BIN)/python handler.py assets/contact-sheet.png assets/widget.png

# What the Hub loads from the root, made of tiny/; after the miniature was trained or calibrated.
hub: $(VENV)/run
	$(BIN)/python scripts/publish.py

# The folder of a Space: hf upload --repo-type space USER/NAME out/space
space: $(VENV)/app
	rm -rf out/space
	$(BIN)/python scripts/publish.py --space out/space

test: $(VENV)/dev
	$(MAKE) --no-print-directory -j 2 lint check

# A file of tests at a time on each of two processes, of one thread each.
check: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Those that start many processes or train for long, too.
thorough: $(VENV)/dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow"

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run: requirements.txt constraints.txt pyproject.toml | $(VENV)/bin/python
	$(INSTALL) -r requirements.txt
	$(INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/app: requirements-app.txt $(VENV)/run
	$(INSTALL) -r requirements-app.txt
	@touch $@

$(VENV)/dev: $(wildcard requirements*.txt) constraints.txt pyproject.toml | $(VENV)/bin/python
	$(INSTALL) -r requirements-dev.txt
	$(INSTALL) --no-deps --editable .
	@touch $(VENV)/run $(VENV)/app $@
