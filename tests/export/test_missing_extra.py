from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from edge_fmnist.extras import EXTRAS

# Recent versions of Typer need pydantic themselves.
COMES_WITH_TYPER = {"pydantic"} & {re.split(r"[^\w-]", line)[0] for line in requires("typer") or []}
EXTRA = tuple(module for module in EXTRAS["export"] if module not in COMES_WITH_TYPER)
FRAMEWORKS = ("keras", "sklearn", "tensorflow", "tensorflow_model_optimization", "tf_keras")

# Finds no package of those named, as if they were not installed.
WITHOUT = """
import sys
from importlib.machinery import PathFinder

HIDDEN = {hidden!r}

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
from edge_fmnist.cli.app import main
sys.argv[0] = "edge-fmnist"
main()
"""


def run_without(hidden: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line where some packages are not installed."""
    command = [sys.executable, "-c", WITHOUT.format(hidden=hidden), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_names_the_extra(done: subprocess.CompletedProcess[str], extra: str = "export") -> None:
    """Check that a command said in one line what to install."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert f"pip install 'edge-fmnist[{extra}]'" in line


@pytest.mark.parametrize(
    "arguments", [("train", "edge"), ("export",), ("recipes",), ("zoo",), ("search", "--budget=1")]
)
def test_without_the_extra_a_command_says_what_to_install(arguments: tuple[str, ...]) -> None:
    assert_names_the_extra(run_without(EXTRA, *arguments), "search" if arguments[0] == "search" else "export")


def test_a_typing_mistake_asks_for_no_extra() -> None:
    done = run_without(EXTRA, "export", "camra", "--web", "page")
    assert done.returncode == 3
    assert "camra: neither a run folder nor a shipped checkpoint (camera, " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "package", [name for name in ("pydantic", "keras", "tensorflow_model_optimization") if name in EXTRA]
)
def test_training_makes_no_run_folder_when_a_package_is_missing(
    tmp_path: Path, tiny_data: Path, tiny_recipe: Path, package: str
) -> None:
    folder = tmp_path / "run"
    done = run_without((package,), "train", tiny_recipe, "--data", tiny_data, "--output", folder)
    assert_names_the_extra(done)
    assert repr(package) in done.stderr
    assert not folder.exists()


def test_without_qat_its_packages_are_not_asked_for(tmp_path: Path, tiny_recipe: Path) -> None:
    hidden = ("tf_keras", "tensorflow_model_optimization")
    # Fails on the data, which are looked for first, and so reaches no training.
    done = run_without(hidden, "train", tiny_recipe, "--no-qat", "--data", tmp_path / "none")
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("models", "--json")])
def test_the_runtime_works_without_the_extra(arguments: tuple[str, ...]) -> None:
    done = run_without(EXTRA, *arguments)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["train", "export"])
def test_help_of_a_workstation_command_needs_no_extra(command: str) -> None:
    done = run_without(EXTRA, command, "--help")
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout


def test_importing_the_package_imports_no_framework() -> None:
    script = (
        "import sys, pkgutil, importlib, edge_fmnist_export as package\n"
        "for module in pkgutil.walk_packages(package.__path__, 'edge_fmnist_export.'):\n"
        "    importlib.import_module(module.name)\n"
        f"print([name for name in {FRAMEWORKS} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
