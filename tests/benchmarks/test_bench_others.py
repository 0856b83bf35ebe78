"""The float network and other runtimes: variants that need the extras [export] and [peers].

Most run in one separate process, since TensorFlow fixes its number of threads when it starts.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import RunError, RunNotFoundError
from edge_fmnist.extras import EXTRAS
from edge_fmnist_bench.variants.base import VariantError
from edge_fmnist_bench.variants.floats import MissingVariant, float_variants, tflite_variants
from edge_fmnist_bench.variants.peers import OnnxVariant, peer_variants

NEEDED = ("tensorflow", "keras", "tf_keras", *EXTRAS["peers"])
RECIPE = """
name = "tiny"
architecture = "lenet5"

[data]
validation = 100
"""
FLOATS = ["litert-float32", "litert-float16", "litert-dynamic", "keras-predict", "keras-compiled", "keras-xla"]
PEERS = ["onnx-float32", "onnx-int8"]


def measure(run: str, folder: str) -> None:
    """Write an untrained run, make its variants, run each on the same images, and print the results as JSON."""
    import json
    import os
    import pickle
    from pathlib import Path

    import numpy as np

    from edge_fmnist_bench.variants.base import VariantError
    from edge_fmnist_bench.variants.floats import float_variants
    from edge_fmnist_bench.variants.peers import peer_variants
    from edge_fmnist_export import architectures
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.weights import read_variables, save_arrays

    keras = backend.keras_module()
    # Before the first operation, as the variants would.
    backend.tensorflow_module().config.threading.set_intra_op_parallelism_threads(1)
    keras.utils.set_random_seed(1)
    model = architectures.build("lenet5", keras)
    save_arrays(Path(run) / "float.npz", read_variables(model.weights))
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    expected = np.asarray(model(images[..., None].astype(np.float32) / 255))

    variants = [*float_variants(run, Path(folder)), *peer_variants(run, Path(folder))]
    data = os.environ["EDGE_FMNIST_DATA"]
    os.environ["EDGE_FMNIST_DATA"] = f"{data}/absent"
    uncalibrated = peer_variants(run, Path(folder) / "uncalibrated")[1]
    rows = {}
    for variant in variants:
        # As the process scenario sends them.
        variant = pickle.loads(pickle.dumps(variant))
        batch = variant.open(threads=1, batch=3)(images)
        single = variant.open(threads=1, batch=1)(images[:1])
        try:
            variant.open(threads=2, batch=1)
            two_threads = ""
        except VariantError as error:
            two_threads = str(error)
        rows[variant.name] = {
            "title": variant.title,
            "device": variant.device,
            "bytes": variant.file.stat().st_size if variant.file else None,
            "dtype": str(batch.dtype),
            "difference": float(np.abs(batch - expected).max()),
            "single_difference": float(np.abs(single - batch[:1]).max()),
            "two_threads": two_threads,
        }
    try:
        uncalibrated.open(threads=1, batch=1)
        reason = ""
    except VariantError as error:
        reason = str(error)
    print(json.dumps({"rows": rows, "span": float(np.ptp(expected)), "uncalibrated": reason}))


@pytest.fixture(scope="module")
def answer(
    tmp_path_factory: pytest.TempPathFactory, write_data: Callable[..., Path], spawn_calls: Callable[..., list[Any]]
) -> Any:
    if absent := [module for module in NEEDED if find_spec(module) is None]:
        pytest.skip(f"not installed: {', '.join(absent)}")
    folder = tmp_path_factory.mktemp("others")
    (folder / "run").mkdir()
    (folder / "run" / "recipe.toml").write_text(RECIPE, "utf-8")
    rng = np.random.default_rng(2)
    splits = [(rng.integers(0, 256, (count, 28, 28)), np.arange(count) % 10) for count in (700, 10)]
    # Post-training quantization is calibrated on it.
    write_data(folder / "data", *splits)
    (found,) = spawn_calls((measure, str(folder / "run"), str(folder)), EDGE_FMNIST_DATA=str(folder / "data"))
    return found


@pytest.mark.slow
def test_all_variants(answer: Any) -> None:
    rows = answer["rows"]
    assert list(rows) == [*FLOATS, *PEERS]
    assert {row["device"] for row in rows.values()} == {"CPU"}
    assert rows["keras-predict"]["title"].startswith("Keras 3")
    for name in ("litert-float32", "keras-predict", "keras-compiled", "keras-xla", "onnx-float32"):
        assert rows[name]["dtype"] == "float32"
        assert max(rows[name]["difference"], rows[name]["single_difference"]) < 1e-5, name
    for name, share in (("litert-float16", 0.01), ("litert-dynamic", 0.1), ("onnx-int8", 0.1)):
        assert 0 < rows[name]["difference"] < share * answer["span"], name
    sizes = {name: row["bytes"] for name, row in rows.items()}
    assert sizes["litert-float32"] > 1.7 * sizes["litert-float16"] > 2.5 * sizes["litert-dynamic"]
    assert sizes["onnx-float32"] > 2.5 * sizes["onnx-int8"]
    for name, row in rows.items():
        fixed = "TensorFlow fixes its threads when it starts, at 1" in row["two_threads"]
        assert fixed == name.startswith("keras"), name
    assert answer["uncalibrated"].startswith("no calibration images: ")


def test_unknown_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydantic", reason="the extra [export] is not installed")
    monkeypatch.setattr("edge_fmnist.extras.missing", lambda modules: [])
    with pytest.raises(RunNotFoundError, match="neither a run folder nor a shipped checkpoint"):
        float_variants("absent", tmp_path)
    with pytest.raises(RunNotFoundError, match="neither a run folder nor a shipped checkpoint"):
        peer_variants("absent", tmp_path)


def test_a_format_that_was_not_exported_says_why() -> None:
    variant = MissingVariant("dynamic", "ai-edge-litert", "the converter refused")
    assert (variant.name, variant.file) == ("litert-dynamic", None)
    with pytest.raises(VariantError, match="the converter refused"):
        variant.open(threads=1, batch=1)


def test_without_tensorflow_each_format_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Keras on the torch back end alone."""
    failed = subprocess.CompletedProcess([], 1, "", "Error: exporting needs the package 'tensorflow'\n")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: failed)
    monkeypatch.setattr("edge_fmnist.extras.missing", lambda modules: ["tensorflow"])
    variants = tflite_variants("edge", tmp_path)
    assert [variant.name for variant in variants] == ["litert-float32", "litert-float16", "litert-dynamic"]
    with pytest.raises(VariantError, match=r"^exporting needs the package 'tensorflow'$"):
        variants[0].open(threads=1, batch=1)
    monkeypatch.setattr("edge_fmnist.extras.missing", lambda modules: [])
    with pytest.raises(RunError, match="edge: cannot be exported: exporting needs"):
        tflite_variants("edge", tmp_path)


def test_damaged_onnx_file(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra [peers] is not installed")
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(VariantError, match=r"ONNX Runtime cannot open damaged\.onnx"):
        OnnxVariant("float32", path).open(threads=1, batch=1)
