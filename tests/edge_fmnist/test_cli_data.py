"""``edge-fmnist data``: exit codes, messages, JSON, downloads."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.data.dataset import user_cache
from edge_fmnist.data.labels import LABELS

Cli = Callable[..., Any]
MakeIdx = Callable[..., Path]
Serve = Callable[..., str]


def test_json_describes_the_data(run_cli: Cli, small_data: Path) -> None:
    result = run_cli("data", "--data", small_data, "--json")
    assert result.stderr == ""
    facts = json.loads(result.stdout)
    assert facts["folder"] == str(small_data)
    assert facts["fashion_mnist"] is False
    assert facts["labels"] == list(LABELS)
    assert {name: split["images"] for name, split in facts["splits"].items()} == {"train": 60, "test": 40}
    assert facts["splits"]["train"]["counts"] == [6] * 10
    assert facts["splits"]["test"]["counts"] == [4] * 10
    assert facts["splits"]["test"]["shape"] == [28, 28]
    assert facts["splits"]["test"]["dtype"] == "uint8"


def test_json_pixel_statistics_and_hashes(run_cli: Cli, make_idx: MakeIdx) -> None:
    images = np.zeros((40, 28, 28), np.uint8)
    images[:10] = 200
    folder = make_idx(test_images=images, gz=False)
    split = json.loads(run_cli("data", "--data", folder, "--json").stdout)["splits"]["test"]
    assert split["pixels"] == {"min": 0, "max": 200, "mean": 50.0, "std": 86.6025, "zero_share": 0.75}
    names = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    assert split["sha256"] == [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


def test_table(run_cli: Cli, small_data: Path) -> None:
    result = run_cli("data", "--data", small_data)
    assert "an IDX data set other than Fashion-MNIST" in result.output
    for label in LABELS:
        assert label in result.output


@pytest.mark.usefixtures("no_data_installed")
def test_no_download_wanted(run_cli: Cli) -> None:
    result = run_cli("data", "--no-download", code=3)
    assert re.fullmatch("Error: Fashion-MNIST was not found in .*apt install.*\n", result.stderr)


@pytest.mark.usefixtures("no_data_installed")
def test_downloads_into_the_cache(run_cli: Cli, published: dict[str, bytes], serve: Serve) -> None:
    result = run_cli("data", "--json", "--mirror", serve(published))
    assert f"Downloaded Fashion-MNIST to {user_cache()}" in result.stderr
    facts = json.loads(result.stdout)
    assert (facts["folder"], facts["fashion_mnist"]) == (str(user_cache()), True)
    assert {path.name: path.read_bytes() for path in user_cache().iterdir()} == published
    assert "hashes match" in run_cli("data").output


@pytest.mark.usefixtures("no_data_installed")
def test_no_network(run_cli: Cli, closed_port: str) -> None:
    result = run_cli("data", "--mirror", closed_port, code=3)
    assert re.search(f"Error: no mirror delivered .*{closed_port}.*refused.*apt install", result.stderr)
    assert list(user_cache().iterdir()) == []


@pytest.mark.data
def test_real_data(run_cli: Cli, real_data: Path) -> None:
    facts = json.loads(run_cli("data", "--data", real_data, "--json").stdout)
    assert facts["fashion_mnist"] is True
    assert facts["splits"]["train"]["counts"] == [6000] * 10
    assert facts["splits"]["test"]["counts"] == [1000] * 10
    # Published statistics of the training pixels: mean 0.2860, standard deviation 0.3530 of the 0..1 range.
    assert facts["splits"]["train"]["pixels"]["mean"] / 255 == pytest.approx(0.2860, abs=1e-4)
    assert facts["splits"]["train"]["pixels"]["std"] / 255 == pytest.approx(0.3530, abs=1e-4)
