"""Export a run: convert, write, open again, check, evaluate, move into place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.labels import LABELS, filled
from edge_fmnist.errors import CheckError, DataError, RunError
from edge_fmnist.files import moved_into_place
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.metadata import embed
from edge_fmnist.model.quantization import PIXEL_SCALE, TensorInfo
from edge_fmnist.model.tflite_graph import Structure, read_structure
from edge_fmnist_export.architectures.registry import CLASSES
from edge_fmnist_export.quantize import convert
from edge_fmnist_export.quantize.convert import IoType, Representative
from edge_fmnist_export.quantize.parity import FloatReference, Parity, compare, float_reference
from edge_fmnist_export.training import backend, calibration
from edge_fmnist_export.training.float_model import float_model
from edge_fmnist_export.training.run import Run

INT8 = "int8"
PTQ = "int8-ptq"
FORMATS = ("float32", "float16", "dynamic", INT8, PTQ)


@dataclass(frozen=True)
class Exported:
    """A file that was written, opened again and found right.

    Attributes:
        kind: one of ``FORMATS``.
        path: where it lies.
        bytes: its size, metadata included.
        sha256: of the whole file.
        operators: the operators of the graph, in order.
        macs: multiply-accumulates for one image.
        parity: accuracy beside the float model; None without a data set.
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
    """Exports one run; the float model and its answers are made once and shared by all formats."""

    def __init__(
        self,
        run: Run,
        *,
        io: IoType = "uint8",
        test: Split | None = None,
        representative: Representative | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> None:
        """Prepare to export.

        Args:
            run: the run folder.
            io: input and output type of int8 files.
            test: the split that accuracy is measured on; None measures none.
            representative: training images for ``int8-ptq``.
            labels: the names of the classes, in place of those that the run was trained with.

        Raises:
            MissingExtraError: the extra ``[export]`` is not installed.
            UsageError: Keras does not run on TensorFlow.
            RunError: the run's float weights are missing or do not fit, or its labels are damaged.
            DataError: the test split has a class without a label.
        """
        self.run, self.io, self.test, self.representative = run, io, test, representative
        names = run_labels(run) if labels is None else labels
        if test is not None and test.targets.max() >= len(names):
            raise DataError(
                f"expected test images of the {len(names)} classes {', '.join(names)}; got class {test.targets.max()}, "
                "counted from 0; name the data set of the run with --data"
            )
        # The networks have ten outputs, whatever the data set has.
        self.labels = filled(names, CLASSES)
        keras = backend.keras_on_tensorflow()
        # Layer names go into the file, and Keras counts them up; start from one, so that the bytes are the same.
        keras.utils.clear_session()
        self.model = float_model(run, keras)
        self._reference: FloatReference | None = None

    def export(self, kind: str, path: Path, *, max_drop: float) -> Exported:
        """Write one format to ``path``, if it passes all checks.

        Args:
            kind: one of ``FORMATS``.
            path: where the file goes; an older file there is replaced only by a checked one.
            max_drop: the largest allowed drop of accuracy, in percentage points.

        Raises:
            CheckError: the written file failed a check, or the run lacks what this format needs; ``path`` is as it was.
            RunError: the run's quantization-aware weights or its calibration are damaged or do not fit.
        """
        flatbuffer = self._convert(kind)
        settings = self._settings(kind)
        with moved_into_place(path) as temporary:
            temporary.write_bytes(embed(flatbuffer, settings, self.labels))
            classifier, structure = self._check(kind, temporary)
            settings["io"] = {"input": _tensor(classifier.input), "output": _tensor(classifier.output)}
            parity = self._parity(classifier, structure)
            if parity is not None:
                settings["accuracy"] = self._accuracy(parity, classifier)
                _check_drop(kind, parity, max_drop)
            content = embed(flatbuffer, settings, self.labels)
            temporary.write_bytes(content)
            self._check(kind, temporary)
        return Exported(
            kind=kind,
            path=path,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            operators=tuple(operator.name for operator in structure.operators),
            macs=structure.macs,
            parity=parity,
        )

    def _convert(self, kind: str) -> bytes:
        if kind == INT8:
            if not self.run.has("qat"):
                raise CheckError(f"{kind}: {self.run.folder} was trained without QAT (no qat.npz); use --ptq")
            from edge_fmnist_export.quantize import qat

            return convert.convert_qat(qat.restored(self.run.recipe.architecture, self.run.weights("qat")), self.io)
        if kind == PTQ:
            if self.representative is None:
                raise CheckError("post-training quantization needs a representative dataset")
            return convert.convert_ptq(self.model, self.representative, self.io)
        if kind in ("float32", "float16", "dynamic"):
            return convert.convert_float(self.model, kind)  # type: ignore[arg-type]
        raise CheckError(f"unknown format {kind!r}; expected one of {', '.join(FORMATS)}")

    def _settings(self, kind: str) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "name": self.run.recipe.name,
            "architecture": self.run.recipe.architecture,
            "quantization": {INT8: "int8, quantization-aware training", PTQ: "int8, post-training"}.get(kind, kind),
            "output": "logits",
            "preprocessing": {"name": "fashion-mnist", "shape": [28, 28, 1], "pixel_scale": PIXEL_SCALE},
            "parameters": int(self.model.count_params()),
            # Fitted to the scores of the run's last phase; every format carries it.
            "mirrored": self.run.recipe.mirrored,
            "calibration": calibration.recorded(self.run),
            "recipe": self.run.recipe.model_dump(mode="json"),
            "training": self.run.read_json("run.json", {}),
        }
        if kind == PTQ and self.representative is not None:
            chosen = self.representative
            settings["representative"] = {"images": len(chosen.images), "seed": chosen.seed, "sha256": chosen.sha256}
        return settings

    def _check(self, kind: str, path: Path) -> tuple[Classifier, Structure]:
        """Open a written file again and check what it is made of."""
        classifier = Classifier.load(path)
        structure = read_structure(path.read_bytes(), str(path))
        expected = self.io if kind in (INT8, PTQ) else "float32"
        for name, tensor in (("input", classifier.input), ("output", classifier.output)):
            if str(tensor.dtype) != expected:
                raise CheckError(f"{kind}: expected an {name} of {expected}, the written file has {tensor.dtype}")
        if unsupported := structure.unsupported_operators():
            raise CheckError(
                f"{kind}: the written file needs operators beyond the interpreter: {', '.join(unsupported)}"
            )
        if kind in (INT8, PTQ) and (stray := structure.stray_operators()):
            raise CheckError(f"{kind}: not whole-integer: {'; '.join(stray)}")
        if classifier.metadata is None or classifier.metadata.labels != self.labels:
            raise CheckError(f"{kind}: labels or settings cannot be read back from the written file")
        return classifier, structure

    def _parity(self, classifier: Classifier, structure: Structure) -> Parity | None:
        if self.test is None:
            return None
        if self._reference is None:
            self._reference = float_reference(self.model, self.test, mirrored=self.run.recipe.mirrored)
        return compare(classifier, self._reference, self.test, structure.output_step)

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
    """Return the names of the classes that a run was trained with; Fashion-MNIST's where it records none.

    Raises:
        RunError: the record is damaged.
    """
    recorded = run.read_json("run.json", {})
    names = recorded.get("labels", list(LABELS)) if isinstance(recorded, dict) else None
    if not isinstance(names, list) or not 1 < len(names) <= CLASSES or not all(isinstance(n, str) for n in names):
        raise RunError(f"{run.folder / 'run.json'}: expected labels, a list of 2 to {CLASSES} names, got {names!r}")
    return tuple(names)


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    return {"dtype": str(tensor.dtype), "scale": tensor.scale, "zero_point": tensor.zero_point}


def _check_drop(kind: str, parity: Parity, max_drop: float) -> None:
    if parity.drop_points > max_drop:
        raise CheckError(
            f"{kind}: accuracy fell by {parity.drop_points:.2f} points, from {parity.float_top1:.2%} (float) to "
            f"{parity.top1:.2%}; --max-drop allows {max_drop:g}. Nothing was written"
        )
