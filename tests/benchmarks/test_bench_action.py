"""The GitHub Action and the workflows: their syntax, and the action's steps run in a shell as GitHub runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
# The command line without TensorFlow's interpreter, which takes seconds to start.
PROGRAM = (
    "from edge_fmnist.model import interpreter; interpreter.MODULES.pop('tensorflow'); "
    "from edge_fmnist.cli.app import main; main()"
)
INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    return loaded


@pytest.fixture
def step(action: dict[str, Any], tmp_path: Path) -> Any:
    """Return a function that runs the benchmark step with inputs and returns the process and the step's outputs."""
    program = tmp_path / "edge-fmnist" / "bin" / "edge-fmnist"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{PROGRAM}" "$@"\n')
    program.chmod(0o755)
    outputs, summary = tmp_path / "outputs", tmp_path / "summary.md"

    def run(**inputs: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
        outputs.write_text("")
        (found,) = (step for step in action["runs"]["steps"] if step.get("id") == "bench")
        given = {name: str(entry.get("default", "")) for name, entry in action["inputs"].items()} | inputs
        variables = {name: INPUT.sub(lambda match: given[match[1]], value) for name, value in found["env"].items()}
        places = {"RUNNER_TEMP": tmp_path, "GITHUB_OUTPUT": outputs, "GITHUB_STEP_SUMMARY": summary}
        environment = {**os.environ, **variables, **{name: str(place) for name, place in places.items()}}
        # As GitHub's runner starts `shell: bash`.
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        return done, dict(line.split("=", 1) for line in outputs.read_text("utf-8").splitlines())

    return run


@pytest.mark.slow
def test_benchmark_step(step: Any, action: dict[str, Any], rgb_model: Path, tmp_path: Path) -> None:
    quick = "--iterations 4 --scenario single-stream"
    done, outputs = step(model=str(rgb_model), arguments=quick)
    assert done.returncode == 0, done.stderr
    assert set(outputs) == set(action["outputs"])
    assert float(outputs["p50-us"]) > 0
    assert int(outputs["bytes"]) == rgb_model.stat().st_size
    assert (outputs["gate"], outputs["top1"]) == ("", "")
    assert json.loads(Path(outputs["result"]).read_text("utf-8"))["complete"] is True
    assert (tmp_path / "summary.md").read_text("utf-8").startswith("## edge-fmnist bench")

    baseline, larger = tmp_path / "base line.json", tmp_path / "a larger one.tflite"
    assert step(model=str(rgb_model), baseline=str(baseline), arguments=f"{quick} --update-baseline")[0].returncode == 0
    larger.write_bytes(rgb_model.read_bytes() + bytes(10_000))
    done, outputs = step(model=str(larger), baseline=str(baseline), arguments=quick)
    assert done.returncode == 4
    assert outputs["gate"] == "failed"
    assert "Gate FAILED" in (tmp_path / "summary.md").read_text("utf-8")


def test_a_model_that_is_missing_fails_the_step(step: Any) -> None:
    done, outputs = step(model="absent.tflite")
    assert done.returncode == 3
    assert "absent.tflite: neither a file nor a shipped model" in done.stderr
    assert list(outputs) == ["result"]


def test_outputs_refer_to_the_step(action: dict[str, Any]) -> None:
    for name, entry in action["outputs"].items():
        assert entry["value"] == f"${{{{ steps.bench.outputs.{name} }}}}"
    assert [name for name, entry in action["inputs"].items() if entry.get("required")] == ["model"]
    # Expressions inside scripts would let inputs inject commands.
    assert all("${{" not in step["run"] for step in action["runs"]["steps"])


def test_workflows() -> None:
    workflows = {path.name: yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / ".github/workflows").iterdir()}
    assert {"benchmark.yml", "ci.yml"} <= set(workflows)
    for workflow in workflows.values():
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= 60
            for used in (step["uses"] for step in job["steps"] if "uses" in step):
                # A tag can be moved to another commit.
                assert used == "./" or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", used)
