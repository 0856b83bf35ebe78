from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.slow

PHOTOGRAPHS = 60


@pytest.fixture
def paths(tmp_path: Path) -> Path:
    """Return a list of 28x28 images, one of which is missing."""
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 8:20] = 200
    assert cv2.imwrite(str(tmp_path / "0.png"), image)
    (tmp_path / "paths.txt").write_text("0.png\n" * (PHOTOGRAPHS - 1) + "missing.png\n")
    return tmp_path / "paths.txt"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder without Ray's token, which would be asked for by every cluster."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    return folder


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge_fmnist", "label", *map(str, arguments), "--partition-size", "5"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows(output: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(output.glob("part-*")) for row in parquet.read_table(part).to_pylist()]


@pytest.mark.usefixtures("poison")
def test_a_local_cluster_gives_the_rows_of_the_pool(paths: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "poison.png").write_bytes((tmp_path / "0.png").read_bytes())
    paths.write_text(paths.read_text() + "poison.png\n")
    found = []
    for name, options in (("pool", ("--workers", "1")), ("ray", ("--ray", "local", "--workers", "1"))):
        with start(paths, "--output", tmp_path / name, *options) as running:
            out, err = running.communicate()
        assert running.returncode == 0, err
        # Only the table: messages of Ray go to standard error.
        assert out.startswith(f"Photographs: {PHOTOGRAPHS + 1}\n")
        *others, poison = rows(tmp_path / name)
        assert poison["status"] == "crashed"
        found.append(others)
    assert found[0] == found[1]
    assert [row["status"] for row in found[0]] == ["ok"] * (PHOTOGRAPHS - 1) + ["unreadable"]
    assert not (home / ".ray").exists()


@pytest.fixture
def cluster(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a cluster of two nodes with one CPU each, on this machine."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    nodes = Cluster(initialize_head=True, head_node_args={**node_settings(), "include_dashboard": False})
    nodes.add_node(**node_settings())
    yield nodes
    nodes.shutdown()


def node_settings() -> dict[str, int]:
    """Return the settings of a node; with ports of its own, it does not fail where its agents start slowly."""
    settings = {"num_cpus": 1, "object_store_memory": 80 << 20}
    # All are held until the last is found: a port that was let go may be found again.
    with contextlib.ExitStack() as held:
        for agent in ("metrics_agent", "metrics_export", "dashboard_agent_listen", "runtime_env_agent"):
            unused = held.enter_context(socket.socket())
            unused.bind(("127.0.0.1", 0))
            settings[f"{agent}_port"] = unused.getsockname()[1]
    return settings


def test_a_lost_node_costs_no_row(paths: Path, cluster: Any, tmp_path: Path) -> None:
    output = tmp_path / "labels"
    with start(paths, "--output", output, "--ray", cluster.address) as running:
        while running.poll() is None and not list(output.glob("part-*")):
            time.sleep(0.05)
        (other,) = cluster.worker_nodes
        cluster.remove_node(other, allow_graceful=False)
        _, err = running.communicate()
    assert running.returncode == 0, err
    assert [row["id"] for row in rows(output)] == list(range(PHOTOGRAPHS))
