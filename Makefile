# Two commands for a newcomer: `make demo` and `make test`. Both set everything up in .venv,
# since Debian and Raspberry Pi OS refuse `pip install` outside a virtual environment.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# tflite-runtime needs numpy<2 and so lives apart; the tests compare it with LiteRT.
OLD_VENV := .venv-tflite-runtime
PIP := -m pip --disable-pip-version-check install --quiet
# What the tests have installed; EXTRAS=dev,torch takes in the other back end, which is large.
EXTRAS ?= dev
# Test processes at once, of up to 1.3 GB each; 0 runs all tests in one. Three keep two cores busy.
WORKERS ?= 0
PYTEST := EDGE_FMNIST_TFLITE_RUNTIME=$(CURDIR)/$(OLD_VENV)/bin/python $(BIN)/python -m pytest

.PHONY: demo test check format clean

demo: $(VENV)/export.stamp
	@echo "== The data set (the demo goes on without it) =="
	@$(BIN)/edge-fmnist data || true
	@echo "== Export the shipped checkpoint as int8, check it, evaluate it =="
	$(BIN)/edge-fmnist export --int8 --output exports
	@echo "== Evaluate the written file on the 10,000 test images =="
	@$(BIN)/edge-fmnist evaluate exports/edge-int8.tflite || true
	@echo "== Name the garments in three pictures that the project draws itself =="
	$(BIN)/edge-fmnist samples --output samples
	$(BIN)/edge-fmnist classify samples --model exports/edge-int8.tflite
	@echo "== Name garments live, in a scene that the project draws itself =="
	$(BIN)/edge-fmnist live --source demo --frames 90 --save exports/live.mp4

test: check
	$(PYTEST) -m alone
# A file is one process' work, since its tests share what they trained.
	$(PYTEST) -m "not alone" --numprocesses $(WORKERS) --dist loadfile

check: $(VENV)/dev.stamp $(OLD_VENV)/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(OLD_VENV) exports samples dist build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/export.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): TensorFlow is large, this takes a few minutes the first time."
	$(BIN)/python $(PIP) -e '.[export]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): TensorFlow is large, this takes a few minutes the first time."
	$(BIN)/python $(PIP) -e '.[$(EXTRAS)]'
	@touch $@ $(VENV)/export.stamp

# tflite-runtime has wheels for Python 3.9 to 3.11 only; elsewhere its test is skipped and says so.
$(OLD_VENV)/stamp: pyproject.toml
	@mkdir -p $(OLD_VENV)
	@if $(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))'; then \
		$(PYTHON) -m venv $(OLD_VENV) && \
		$(OLD_VENV)/bin/python $(PIP) 'tflite-runtime==2.14.0' 'numpy<2' typer rich && \
		$(OLD_VENV)/bin/python $(PIP) --no-deps -e .; \
	fi
	@touch $@
