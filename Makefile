# `make demo` and `make test` install everything into .venv, since Debian and Raspberry Pi OS refuse
# `pip install` outside a virtual environment.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# tflite-runtime needs numpy<2, so it has an environment of its own; the tests compare it with LiteRT.
OLD_VENV := .venv-tflite-runtime
# Modules are compiled when they are imported first: a third of an installation's time is compiling all of them. Without
# storing the result, which this variable forbids, each start of TensorFlow takes 15 seconds longer.
PIP := -m pip --disable-pip-version-check install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE
# Without a desktop, OpenCV with windows cannot be imported: it needs libGL and libxcb.
HEADLESS = $(BIN)/python -c 'import cv2' 2>/dev/null || { \
	$(BIN)/python -m pip uninstall --quiet --yes opencv-python && \
	$(BIN)/python $(PIP) --force-reinstall --no-deps opencv-python-headless; }
# Test processes at once, of up to 1.3 GB each.
WORKERS ?= 2
PYTEST := EDGE_FMNIST_TFLITE_RUNTIME="$(CURDIR)/$(OLD_VENV)/bin/python" $(BIN)/python -m pytest \
	--numprocesses $(WORKERS)

.PHONY: demo install torch test test-slow test-all soak check constraints format clean

demo: $(VENV)/export.stamp
	@echo "== Fashion-MNIST (the demo continues without it) =="
	@$(BIN)/edge-fmnist data || true
	@echo "== Export the shipped checkpoint as int8 =="
	$(BIN)/edge-fmnist export --int8 --output exports
	@echo "== Evaluate the written file on the 10,000 test images =="
	@$(BIN)/edge-fmnist evaluate exports/edge-int8.tflite || true
	@echo "== Classify three drawn pictures =="
	$(BIN)/edge-fmnist samples --output samples
	$(BIN)/edge-fmnist classify samples --model exports/edge-int8.tflite
	@echo "== Classify a drawn scene live =="
	$(BIN)/edge-fmnist live --source demo --frames 90 --save exports/live.mp4

# All that tests and checks need; `make -j2 install` fills both environments at the same time.
install: $(VENV)/dev.stamp $(OLD_VENV)/stamp

# The other back end, which the tests use where it is installed. It is larger than everything else together. Installing
# the project again instead, with its extra, would remove it for a moment while checks may run.
torch: $(VENV)/dev.stamp
	$(BIN)/python $(PIP) "$$(grep -o 'torch>=[0-9.]*' pyproject.toml)"

# The tests that take a few minutes together; test-all adds those that train networks or measure.
test: check install
	$(PYTEST) --dist loadfile -m "not slow"

test-slow: install
	$(PYTEST) --dist worksteal --durations 15 -m slow

# In one run, whose tests share trained runs and imported libraries.
test-all: check install
	$(PYTEST) --dist worksteal --durations 15

# The live loop for hours with viewers, a broker and a stream that dies: memory, descriptors, threads, lost lines.
HOURS ?= 1
soak: $(VENV)/dev.stamp
	$(BIN)/python tests/faults/soak.py --hours $(HOURS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Versions with hashes that device/install.sh installs.
constraints: $(VENV)/dev.stamp
	echo opencv-python-headless | $(BIN)/uv pip compile --quiet --upgrade --config-file device/uv.toml pyproject.toml - \
		--output-file device/constraints.txt

clean:
	rm -rf $(VENV) $(OLD_VENV) exports samples dist build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/export.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): TensorFlow is large, this takes a few minutes the first time."
	$(BIN)/python $(PIP) -e '.[export,web]'
	@$(HEADLESS)
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): TensorFlow is large, this takes a few minutes the first time."
	$(BIN)/python $(PIP) -e '.[dev]'
	@$(HEADLESS)
	@touch $@ $(VENV)/export.stamp

# tflite-runtime has wheels for Python 3.9 to 3.11 only; elsewhere its test is skipped.
$(OLD_VENV)/stamp: pyproject.toml
	@mkdir -p $(OLD_VENV)
	@if $(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))'; then \
		$(PYTHON) -m venv $(OLD_VENV) && \
		$(OLD_VENV)/bin/python $(PIP) 'tflite-runtime==2.14.0' 'numpy<2' typer rich && \
		$(OLD_VENV)/bin/python $(PIP) --no-deps -e .; \
	fi
	@touch $@
