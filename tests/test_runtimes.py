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
# That LiteRT reaches it is tested in test_shipped.py.
LITERT = shipped_models()["edge"].top1


def top1(python: str, interpreter: str, data: Path) -> float:
    """Return the accuracy of ``edge`` on the test images, run by an interpreter of another environment."""
    command = ["-m", "edge_fmnist", "evaluate", "edge", "--interpreter", interpreter, "--data", str(data), "--json"]
    result = subprocess.run([python, *command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    evaluated = json.loads(result.stdout)[0]
    assert evaluated["images"] == 10_000
    return float(evaluated["top1"])


@pytest.mark.data
def test_tensorflow_agrees_with_litert(real_data: Path) -> None:
    assert top1(sys.executable, "tensorflow", real_data) == pytest.approx(LITERT, abs=0.002)


@pytest.mark.data
def test_tflite_runtime_agrees_with_litert(real_data: Path) -> None:
    python = os.environ.get(TFLITE_RUNTIME_VARIABLE, "")
    if not Path(python).is_file():
        pytest.skip("tflite-runtime has no wheel for this Python, or make did not install it")
    assert top1(python, "tflite-runtime", real_data) == pytest.approx(LITERT, abs=0.002)
