# `make demo` sets up and reads a heart rate from the bundled clip; `make test` sets up and tests;
# `make app` sets up and serves the Gradio page on this machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo app test lint assets

demo: $(VENV)/run
	$(BIN)/python scripts/measure.py --json out/demo.json --plot out/demo.png \
	  --video out/demo.mp4 --sheet out/demo-sheet.png
	@echo "Pictures and numbers are in out/."

app: $(VENV)/app
	$(BIN)/python app.py

# The pictures of the card, drawn anew.
assets: $(VENV)/run
	$(BIN)/python scripts/measure.py assets/demo.mp4 --plot assets/demo.png --video assets/pulse.gif
	$(BIN)/python scripts/contact_sheet.py assets/demo.mp4 assets/contact-sheet.png
	$(BIN)/python handler.py assets/contact-sheet.png assets/widget.png

test: $(VENV)/dev lint
	$(BIN)/python -m pytest

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/app: requirements-app.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-app.txt
	@touch $@ $(VENV)/run

$(VENV)/dev: requirements-dev.txt requirements-app.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/app $(VENV)/run
