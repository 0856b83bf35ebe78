"""ONNX Runtime on the same network, float and int8 (extra ``[peers]``).

tflite-runtime, the other peer, is one of the interpreters of the edge variants if it is installed.
"""

from __future__ import annotations

import importlib
import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist import extras
from edge_fmnist.data import dataset
from edge_fmnist.errors import DataError, DataNotFoundError
from edge_fmnist_bench.variants.base import BenchmarkVariant, Runner, VariantError

if TYPE_CHECKING:
    from edge_fmnist_export.training.run_folder import Run

PURPOSE = "comparing with ONNX Runtime"
INPUT = "image"
# ONNX Runtime's quantizer needs at least 13; all versions in use support 17.
OPSET = 17
# As in `edge-fmnist export --ptq`.
CALIBRATION_IMAGES = 500
ERRORS_ONLY = 3


class OnnxVariant(BenchmarkVariant):
    """An ONNX file in ONNX Runtime on the CPU."""

    def __init__(self, kind: str, path: Path, missing: str | None = None) -> None:
        """Take float32 or int8, the ONNX file, and, if there is none, the reason, which :meth:`open` raises."""
        self.name, self.title = f"onnx-{kind}", f"ONNX Runtime {version('onnxruntime')}, {kind}"
        self.device, self.file = "CPU", None if missing else path
        self._missing = missing

    def open(self, *, threads: int, batch: int) -> Runner:  # noqa: ARG002
        """Return a call that runs a session; the graph takes uint8 and scales it."""
        import onnxruntime

        if self.file is None:
            raise VariantError(self._missing or "its file is missing")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = ERRORS_ONLY
        # Otherwise its threads keep spinning while another variant is timed.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            session = onnxruntime.InferenceSession(str(self.file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own.
            raise VariantError(f"ONNX Runtime cannot open {self.file.name}: {error}") from error
        return lambda images: np.asarray(session.run(None, {INPUT: images})[0])


def peer_variants(run: str, folder: Path) -> list[BenchmarkVariant]:
    """Write the float network of a run as ONNX, float and int8, and return the variants that run the two files.

    int8 is ONNX Runtime's static quantization (QDQ, weights per channel), calibrated on training images; without them,
    the int8 row shows that.

    Raises:
        MissingExtraError: the extra ``[peers]`` or ``[export]`` is not installed.
        UsageError: Keras does not run on TensorFlow.
        RunNotFoundError: neither a run folder nor a shipped checkpoint.
        RunError: the run is damaged.
    """
    extras.require("peers", PURPOSE)
    extras.require("export", PURPOSE)
    from edge_fmnist_export.training.run_folder import open_run

    opened = open_run(run)
    folder.mkdir(parents=True, exist_ok=True)
    exact, quantized = (folder / f"{opened.recipe.name}-{kind}.onnx" for kind in ("float32", "int8"))
    _convert(opened, exact)
    try:
        _quantize(exact, quantized, _calibration_images(opened))
        missing = None
    except (DataNotFoundError, DataError) as error:
        missing = f"no calibration images: {error}"
    return [OnnxVariant("float32", exact), OnnxVariant("int8", quantized, missing)]


def _convert(run: Run, path: Path) -> None:
    """Write a run's float network as an ONNX file from uint8 (N, 28, 28) to logits; N is open."""
    from edge_fmnist_bench.variants import keras_model
    from edge_fmnist_export.training import backend

    backend.keras_on_tensorflow(PURPOSE)
    converter = importlib.import_module("tf2onnx.convert")
    # It logs every step at level INFO.
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    function = keras_model.tensorflow_function(keras_model.load_keras_model(run), None)
    converter.from_function(function, input_signature=function.input_signature, opset=OPSET, output_path=str(path))


def _calibration_images(run: Run) -> np.ndarray:
    """Return the training images for post-training quantization of this run."""
    from edge_fmnist_export.quantize.convert import representative_dataset
    from edge_fmnist_export.training import training_data

    train, _ = training_data.split(run.recipe, dataset.load("train"))
    return representative_dataset(train, CALIBRATION_IMAGES, run.recipe.seed).images


def _quantize(source: Path, target: Path, images: np.ndarray) -> None:
    """Quantize an ONNX file to int8."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class CalibrationReader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Returns one image at a time."""

        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {INPUT: image[None]}

    prepared = target.with_suffix(".prepared.onnx")
    try:
        # Gives every tensor the shape that the quantizer needs; symbolic shapes are for language models.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(target),
            CalibrationReader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # ONNX Runtime's recommendation for x86-64; on ARM the types are equally fast.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    finally:
        prepared.unlink(missing_ok=True)
