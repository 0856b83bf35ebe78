"""The notebook runs from top to bottom, and is kept without outputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOK = DOCS / "walkthrough.ipynb"

# Runs cells as a kernel does, in one namespace, and says which one failed. Without a kernel there are no sockets to
# wait for, and no package of Jupyter's is needed.
RUN = """
import json, sys
space = {"__name__": "__main__"}
for number, source in enumerate(json.load(sys.stdin)):
    print(f"<cell {number}>", flush=True)
    exec(compile(source, f"cell {number}", "exec"), space)
prediction = space["prediction"]
print(json.dumps({"top1": space["result"].top1, "label": prediction.label, "bytes": space["exported"].bytes}))
"""


def cells(kind: str) -> list[dict[str, Any]]:
    """Return the notebook's cells of a kind."""
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def text(cell: dict[str, Any]) -> str:
    """Return the source of a cell, which the format keeps as a string or as lines."""
    return "".join(cell["source"])


def test_it_has_about_a_dozen_cells() -> None:
    assert 10 <= len(cells("code")) <= 15


def test_it_is_kept_without_outputs() -> None:
    for cell in cells("code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def test_its_cells_need_no_kernel() -> None:
    assert not [text(cell) for cell in cells("code") if re.search(r"^\s*[%!]", text(cell), re.MULTILINE)]


def test_its_links_exist() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", "\n".join(text(cell) for cell in cells("markdown")))
    assert links
    for link in links:
        assert (DOCS / link).exists(), link


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="the notebook trains, which needs the extra [export]")
def test_it_runs_from_top_to_bottom(part_of_data: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "EDGE_FMNIST_DATA": str(part_of_data),
        "MPLBACKEND": "Agg",
        "TMPDIR": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps([text(cell) for cell in cells("code")]),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    # Brief training gets about 80 %; an untrained network, 10 %.
    assert found["top1"] > 0.7
    assert found["label"] == "Trouser"
    assert 20_000 < found["bytes"] < 200_000
