"""The runtime imports none of the workstation's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_fmnist.subprocesses import code_command, module_command

HEAVY = ("tensorflow", "keras", "tf_keras", "matplotlib", "sklearn", "tensorflow_model_optimization")
FORBIDDEN = (*HEAVY, "edge_fmnist_bench", "edge_fmnist_export")
WEB = ("starlette", "uvicorn", "anyio", "prometheus_client", "paho")
RUN = """
import sys
from edge_fmnist.cli.app import main
try:
    main()
except SystemExit as end:
    if end.code:
        raise
"""


def checked(script: str, forbidden: tuple[str, ...] = FORBIDDEN) -> str:
    """Return a script that exits with 90 when it has imported a forbidden package."""
    return f"""
{script}
import sys
found = sorted({{name.partition(".")[0] for name in sys.modules}} & set({forbidden!r}))
if found:
    print("imported:", *found, file=sys.stderr)
    sys.exit(90)
"""


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("edge_fmnist", ("ai_edge_litert", "cv2", "PIL", "rich", *FORBIDDEN)),
        (
            "edge_fmnist.cli.app, edge_fmnist.cli.doctor, edge_fmnist.data.dataset, edge_fmnist.model.evaluation",
            FORBIDDEN,
        ),
        ("edge_fmnist.model.photos, edge_fmnist.pipeline.loop, edge_fmnist.vision.preprocess", FORBIDDEN),
        ("edge_fmnist.sinks.web, edge_fmnist.sinks.mqtt", (*FORBIDDEN, *WEB)),
    ],
)
def test_importing_is_light(modules: str, forbidden: tuple[str, ...]) -> None:
    result = python(checked(f"import {modules}", forbidden))
    assert result.returncode == 0, result.stderr


def test_the_check_itself_finds_a_forbidden_module() -> None:
    result = python(checked("import edge_fmnist_export"))
    assert result.returncode == 90
    assert "imported: edge_fmnist_export" in result.stderr


@pytest.fixture
def shirt(tmp_path: Path, images: np.ndarray) -> str:
    path = tmp_path / "shirt.png"
    path.write_bytes(cv2.imencode(".png", images[0])[1].tobytes())
    return str(path)


def test_evaluate_is_light(model_path: Callable[[str], Path], small_data: Path) -> None:
    result = python(checked(RUN), "evaluate", str(model_path("logits_uint8")), "--data", str(small_data))
    assert result.returncode == 0, result.stderr


def test_help_imports_no_heavy_package() -> None:
    # It reads the help of the workstation's commands, so their own modules are imported.
    result = python(checked(RUN, HEAVY), "--help")
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout


def test_the_console_script_is_light(model_path: Callable[[str], Path], shirt: str) -> None:
    script = shutil.which("edge-fmnist", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("the console script is not installed beside this Python")
    command = [sys.executable, "-X", "importtime", script, "classify", "-m", str(model_path("logits_uint8")), shirt]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "edge_fmnist" in imported
    assert imported & set(FORBIDDEN) == set()


@pytest.mark.parametrize("command", [code_command("import argparse"), module_command("compileall", "-h")])
def test_a_child_process_imports_nothing_from_the_working_folder(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit(3)", "utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
