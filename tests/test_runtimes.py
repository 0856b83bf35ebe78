"""The same written file in LiteRT, tflite-runtime and TensorFlow's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_fmnist.model.registry import shipped_models

pytestmark = pytest.mark.slow

TFLITE_RUNTIME_VARIABLE = "EDGE_FMNIST_TFLITE_RUNTIME"
# int8, and with weights of four bits.
MODELS = ("edge", "nano4")


def check_top1(python: str, interpreter: str, model: str, data: Path) -> None:
    """Check the accuracy on the test images, run by an interpreter of another environment.

    That LiteRT reaches the same is tested in test_shipped.py.
    """
    command = ["-m", "edge_fmnist", "evaluate", model, "--interpreter", interpreter, "--data", str(data), "--json"]
    result = subprocess.run([python, *command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    evaluated = json.loads(result.stdout)[0]
    assert evaluated["images"] == 10_000
    assert evaluated["top1"] == pytest.approx(shipped_models()[model].top1, abs=0.002)


@pytest.mark.data
@pytest.mark.parametrize("model", MODELS)
def test_tensorflow_agrees_with_litert(real_data: Path, model: str) -> None:
    check_top1(sys.executable, "tensorflow", model, real_data)


@pytest.mark.data
@pytest.mark.parametrize("model", MODELS)
def test_tflite_runtime_agrees_with_litert(real_data: Path, model: str) -> None:
    python = os.environ.get(TFLITE_RUNTIME_VARIABLE, "")
    if not Path(python).is_file():
        pytest.skip("tflite-runtime has no wheel for this Python, or make did not install it")
    check_top1(python, "tflite-runtime", model, real_data)
