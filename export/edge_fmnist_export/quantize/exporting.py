"""Export a run: convert, write, check and evaluate the written file, move it into place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.files import moved_into_place
from edge_fmnist.data.labels import LABELS, filled
from edge_fmnist.errors import CheckError, DataError, ModelError, RunError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.metadata import embed
from edge_fmnist.model.quantization import PIXEL_SCALE
from edge_fmnist.model.registry import ModelBytes
from edge_fmnist.model.tflite_graph import Graph, read_graph
from edge_fmnist_export.quantize import convert
from edge_fmnist_export.quantize.convert import IoType, Representative
from edge_fmnist_export.quantize.int4 import int4_weights
from edge_fmnist_export.quantize.parity import Parity, compare
from edge_fmnist_export.training import backend, calibration, training_data
from edge_fmnist_export.training.inference import logits_of
from edge_fmnist_export.training.run_folder import Run

INT8 = "int8"
PTQ = "int8-ptq"
INT4 = "int4"
FORMATS = ("float32", "float16", "dynamic", INT8, PTQ, INT4)
# Quantized after training, on representative images.
CALIBRATED = (PTQ, INT4)
QUANTIZATIONS = {
    INT8: "int8, quantization-aware training",
    PTQ: "int8, post-training",
    INT4: "int4 weights, int8 activations, post-training",
}


@dataclass(frozen=True)
class Exported:
    """A written and checked model file.

    Attributes:
        kind: one of ``FORMATS``.
        path: of the file.
        bytes: size with metadata.
        sha256: of the whole file.
        operators: of the graph, in order.
        macs: multiply-accumulates for one image.
        parity: comparison with the float model; None without a data set.
    """

    kind: str
    path: Path
    bytes: int
    sha256: str
    operators: tuple[str, ...]
    macs: int
    parity: Parity | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        parity = self.parity
        return {
            "format": self.kind,
            "path": str(self.path),
            "bytes": self.bytes,
            "sha256": self.sha256,
            "operators": list(self.operators),
            "macs": self.macs,
            "top1": parity and round(parity.top1, 6),
            "float_top1": parity and round(parity.float_top1, 6),
            "drop_points": parity and round(parity.drop_points, 4),
            "images": parity and parity.images,
            "agreement": parity and round(parity.agreement, 6),
            "output_step": parity and parity.step,
            "largest_difference": parity and round(parity.largest, 4),
            "mean_difference": parity and round(parity.mean, 4),
            "difference_unit": parity and ("quantization steps" if parity.step else "logits"),
        }


class Exporter:
    """Exports one run; all formats share the float model and its results."""

    def __init__(
        self,
        run: Run,
        *,
        io: IoType = "uint8",
        test: Split | None = None,
        representative: Representative | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> None:
        """Load the float model of a run.

        Without ``test``, accuracy is not measured. ``CALIBRATED`` formats need the representative dataset. ``labels``
        are by default those of the run.

        Raises:
            MissingExtraError: the extra ``[export]`` is not installed.
            UsageError: Keras does not use TensorFlow.
            RunNotFoundError: the weights of a shipped checkpoint are not part of the installed package.
            RunError: the run's float weights are missing or do not fit, or its labels are damaged.
            DataError: the test split has a class without a label, or there are more labels than outputs.
        """
        names = run_labels(run) if labels is None else labels
        if len(names) > run.recipe.outputs:
            raise DataError(f"expected at most {run.recipe.outputs} labels, got {len(names)}")
        keras = backend.keras_on_tensorflow()
        # Layer names go into the file, and Keras numbers them; restart the numbers, so that its bytes are the same.
        keras.utils.clear_session()
        self._prepare(run.recipe.name, run.float_model(keras), names, io, test)
        # A network has ten outputs for any data set, also one of fewer classes.
        self.labels = filled(names, run.recipe.outputs)
        self.run, self.representative, self._flip_tta = run, representative, run.recipe.flip_tta

    def _prepare(self, name: str, model: Any, labels: tuple[str, ...], io: IoType, test: Split | None) -> None:
        if test is not None and test.targets.max() >= len(labels):
            raise DataError(
                f"expected test images of the {len(labels)} classes {', '.join(labels)}; "
                f"got class {test.targets.max()}, counted from 0; give the data set of the model with --data"
            )
        self.name, self.model, self.labels, self.io, self.test = name, model, labels, io, test
        self.representative = None
        self._flip_tta = False
        self._logits: np.ndarray | None = None

    def export(self, kind: str, path: Path, *, max_drop: float) -> Exported:
        """Write one of ``FORMATS`` to ``path`` if it passes all checks.

        An existing file is replaced only by a checked one. ``max_drop`` is the maximum drop of accuracy, in percentage
        points.

        Raises:
            CheckError: a check failed, or the run lacks what this format needs; ``path`` is unchanged.
            RunError: the run's quantization-aware weights or its calibration are damaged or do not fit.
        """
        flatbuffer = self._convert(kind)
        settings = self._settings() | {
            "quantization": QUANTIZATIONS.get(kind, kind),
            "preprocessing": {"name": "fashion-mnist", "shape": [28, 28, 1], "pixel_scale": PIXEL_SCALE},
            "parameters": int(self.model.count_params()),
        }
        if kind in CALIBRATED and (chosen := self.representative) is not None:
            settings["representative"] = {"images": len(chosen.images), "seed": chosen.seed, "sha256": chosen.sha256}
        with moved_into_place(path) as temporary:
            temporary.write_bytes(embed(flatbuffer, settings, self.labels))
            classifier, graph = self._check(kind, ModelBytes(temporary.read_bytes(), str(path)))
            parity = self._parity(classifier, graph)
            if parity is not None:
                settings["accuracy"] = self._accuracy(parity, classifier)
                _check_drop(kind, parity, max_drop)
            content = embed(flatbuffer, settings, self.labels)
            temporary.write_bytes(content)
            self._check(kind, ModelBytes(temporary.read_bytes(), str(path)))
        return Exported(
            kind=kind,
            path=path,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            operators=tuple(operator.name for operator in graph.operators),
            macs=graph.macs,
            parity=parity,
        )

    def _convert(self, kind: str) -> bytes:
        if kind == INT8:
            return convert.convert_qat(self._qat_model(), self.io)
        if kind in CALIBRATED:
            if self.representative is None:
                raise CheckError("post-training quantization needs a representative dataset")
            quantized = convert.convert_ptq(self.model, self.representative, self.io)
            return int4_weights(quantized) if kind == INT4 else quantized
        if kind in ("float32", "float16", "dynamic"):
            return convert.convert_float(self.model, kind)
        raise CheckError(f"unknown format {kind!r}; expected one of {', '.join(FORMATS)}")

    def _qat_model(self) -> Any:
        run = self.run
        if not run.has("qat"):
            instead = {INT4: "--int4"}.get(run.integer_format, "--ptq")
            if run.recipe.photos.classes:
                instead = "--float32"
            raise CheckError(f"{INT8}: {run.folder} was trained without QAT (it has no qat.npz); use {instead}")
        from edge_fmnist_export.training import qat

        return qat.restored(run.recipe.architecture, run.weights("qat"), run.recipe.outputs)

    def _settings(self) -> dict[str, Any]:
        """Return the metadata that depends on where the network comes from."""
        fitted = calibration.recorded(self.run)
        return {
            "name": self.run.recipe.name,
            "architecture": self.run.recipe.architecture,
            "output": "logits",
            **({"mirrored": True} if self.run.recipe.flip_tta else {}),
            # Fitted to the scores of the run's last phase, for every format. Without what was measured with it, and the
            # recipe without what stands elsewhere in the file: bytes count on a microcontroller.
            "calibration": fitted and {key: fitted[key] for key in ("temperature", "threshold")},
            "recipe": self.run.recipe.model_dump(
                mode="json", exclude_defaults=True, exclude={"name", "architecture", "description"}
            ),
            "training": self.run.record(),
        }

    def _check(self, kind: str, written: ModelBytes) -> tuple[Classifier, Graph]:
        """Check the types, operators and metadata of a written file."""
        try:
            classifier = Classifier(written)
        except ModelError as error:
            raise CheckError(f"{kind}: {error}") from error
        graph = read_graph(written.content, written.source)
        expected = self.io if kind in QUANTIZATIONS else "float32"
        for name, tensor in (("input", classifier.input), ("output", classifier.output)):
            if str(tensor.dtype) != expected:
                raise CheckError(f"{kind}: expected an {name} of {expected}, the written file has {tensor.dtype}")
        if unsupported := graph.unsupported_operators():
            raise CheckError(
                f"{kind}: the written file needs operators that the interpreter lacks: {', '.join(unsupported)}"
            )
        if kind in QUANTIZATIONS and (stray := graph.stray_operators()):
            raise CheckError(f"{kind}: not fully quantized: {'; '.join(stray)}")
        if classifier.metadata is None or classifier.metadata.labels != self.labels:
            raise CheckError(f"{kind}: labels or settings cannot be read back from the written file")
        return classifier, graph

    def _parity(self, classifier: Classifier, graph: Graph) -> Parity | None:
        if self.test is None:
            return None
        if self._logits is None:
            self._logits = logits_of(self.model, self.test.images, flip_tta=self._flip_tta)
        return compare(classifier, self._logits, self.test, graph.output_step)

    def _accuracy(self, parity: Parity, classifier: Classifier) -> dict[str, Any]:
        return {
            "top1": round(parity.top1, 6),
            "float_top1": round(parity.float_top1, 6),
            "images": parity.images,
            "split": "test",
            "data_sha256": list(self.test.sha256) if self.test else None,
            "measured": f"the written file in {classifier.info.name} {classifier.info.version}",
        }


def run_labels(run: Run) -> tuple[str, ...]:
    """Return the class names of a run; Fashion-MNIST's if it records none.

    Raises:
        RunError: the record is damaged.
    """
    recorded = run.read_json("run.json", {})
    names = recorded.get("labels", list(LABELS)) if isinstance(recorded, dict) else None
    most = run.recipe.outputs
    if not isinstance(names, list) or not 1 < len(names) <= most or not all(isinstance(n, str) for n in names):
        raise RunError(f"{run.folder / 'run.json'}: expected labels, a list of 2 to {most} names, got {names!r}")
    return tuple(names)


def run_representative(run: Run, train: Split, count: int) -> Representative:
    """Return a representative dataset of images that a run was trained on.

    Raises:
        DataError: too few images of a class.
        RunError: the run's labels are damaged.
    """
    images, _ = training_data.split(run.recipe, train)
    return convert.representative_dataset(images, count, run.recipe.seed, len(run_labels(run)))


def _check_drop(kind: str, parity: Parity, max_drop: float) -> None:
    # NaN allows nothing.
    if not parity.drop_points <= max_drop:
        raise CheckError(
            f"{kind}: accuracy fell by {parity.drop_points:.2f} points, from {parity.float_top1:.2%} (float) to "
            f"{parity.top1:.2%}; --max-drop allows {max_drop:g}. Nothing was written"
        )
