"""``edge-fmnist explain``: the importance of each pixel of an image for a prediction."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data.files import check_outputs, write_bytes, write_json
from edge_fmnist.errors import DataError, ImageError, SourceError, UsageError, printable
from edge_fmnist_export.report.explain import NAMES

if TYPE_CHECKING:
    from edge_fmnist_export.report.explain.explain_input import ExplainInput
    from edge_fmnist_export.report.explain.scorer import Scorer

# Modules that every method needs, from the extras [report] and [export], and those of each method.
MODULES = ("matplotlib", "pydantic", "tomli_w")
METHODS: dict[str, tuple[str, ...]] = {"shap": ("shap",), "lime": ("lime", "skimage"), "occlusion": (), "gradcam": ()}
EXPLANATIONS = Path("explanations")
KINDS = {"file": "model file", "float": "float model"}


def explain(
    model: Annotated[str, typer.Argument(help="A shipped model's name, a .tflite file, or a run folder (float).")],
    images: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, globs, - for standard input, or images of the data set, such as test:17."),
    ] = None,
    same: options.SameModel = None,
    method: Annotated[str, typer.Option(help="shap, lime, occlusion or gradcam.")] = "shap",
    use_float: Annotated[
        bool,
        typer.Option("--float", help="Explain the float model that the file was exported from; implied by gradcam."),
    ] = False,
    wanted: Annotated[
        str | None, typer.Option("--class", help="Class to explain, by label or index. Default: the predicted class.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder.")] = EXPLANATIONS,
    data: options.Data = None,
    seed: options.Seed = 0,
    threads: options.Threads = options.BULK_THREADS,
    interpreter: options.Interpreter = None,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per image.")] = False,
) -> None:
    """Show which pixels of an image support a prediction, and which oppose it.

    Writes a picture and a JSON file per image. Photographs are preprocessed as in classify; the explanation is shown on
    the model's input and mapped back to the photograph. Results are reproducible. An image that cannot be explained is
    reported and skipped; the exit code is then 1.
    """
    if same is not None:
        # The first word is then an image.
        model, images = same, [model, *(images or [])]
    if not images:
        raise UsageError(f"expected images to explain with {model}, such as test:17")
    if method not in METHODS:
        raise typer.BadParameter(f"expected one of {', '.join(METHODS)}, got {method!r}", param_hint="--method")
    extras.require("report", "explaining", (*MODULES, *METHODS[method]))
    scorer = _scorer(model, use_float or method == "gradcam", threads, interpreter)
    explainer = Explainer(scorer, method, seed, _class_index(wanted, scorer.labels), output)
    check_outputs(folders=[output])
    if not explainer.run(images, data, json=json):
        raise typer.Exit(1)


def _scorer(name: str, use_float: bool, threads: int, interpreter: str | None) -> Scorer:
    """Return the model to explain, after a warm-up, while messages of native code are suppressed."""
    import numpy as np

    from edge_fmnist.model.classifier import Classifier
    from edge_fmnist.model.registry import shipped_models
    from edge_fmnist_export.report.explain.scorer import of_file

    with console.quiet_native_log():
        if name not in shipped_models() and Path(name).is_dir():
            scorer = _float_scorer(name, None)
        else:
            classifier = Classifier.load(name, threads=threads, interpreter=interpreter)
            scorer = _float_scorer(name, classifier) if use_float else of_file(classifier, name)
        scorer.scores(np.zeros((128, 28, 28), np.uint8))
    return scorer


def _float_scorer(name: str, classifier: Any | None) -> Scorer:
    extras.require("export", "explaining a float model")
    # Gradients come from TensorFlow, whichever back end trained.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from edge_fmnist_export.report.explain.scorer import of_run, run_of
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.run_folder import open_run

    run = open_run(name) if classifier is None else run_of(classifier, name)
    # Before TensorFlow is imported.
    run.require("float")
    backend.warm_up()
    return of_run(run, None if classifier is None else classifier.labels)


def _class_index(wanted: str | None, labels: tuple[str, ...]) -> int | None:
    if wanted is None:
        return None
    if wanted in labels:
        return labels.index(wanted)
    if wanted.isascii() and wanted.isdigit() and int(wanted) < len(labels):
        return int(wanted)
    raise UsageError(f"--class: expected one of {', '.join(labels)}, or an index below {len(labels)}; got {wanted!r}")


@dataclass
class Explainer:
    """Explains images one by one, and writes and prints the results.

    Attributes:
        target: index of the class to explain; None means the predicted class.
        stems: file names that are already used.
    """

    scorer: Scorer
    method: str
    seed: int
    target: int | None
    output: Path
    stems: set[str] = field(default_factory=set)

    def run(self, arguments: list[str], data: Path | None, *, json: bool) -> bool:
        """Explain all images of the arguments; return whether all succeeded."""
        from edge_fmnist_export.report.explain.explain_input import ExplainInputs

        inputs, succeeded = ExplainInputs(data, self.scorer.labels), True
        for argument in arguments:
            try:
                sources = list(inputs.find(argument))
            except SourceError as error:
                sources, succeeded = [], self._failed(argument, error, json=json)
            for source in sources:
                try:
                    with console.status(f"{source}: {NAMES[self.method]}"):
                        values = self.explain(inputs.read(source))
                except (ImageError, SourceError, DataError) as error:
                    succeeded = self._failed(source, error, json=json)
                    continue
                chosen = values["class"]
                line = f"{source}: {chosen['label']} {chosen['score']:.1%}: {values['picture']}"
                with console.reader_may_leave():
                    if json:
                        console.emit_json(values, indent=None)
                    else:
                        print(printable(line), flush=True)
        return succeeded

    def _failed(self, source: str, error: Exception, *, json: bool) -> bool:
        """Report an error and return False."""
        console.say(f"Error: {error}")
        if json:
            with console.reader_may_leave():
                console.emit_json({"file": source, "error": str(error)}, indent=None)
        return False

    def explain(self, source: ExplainInput) -> dict[str, Any]:
        """Explain one image, write its files, and return plain values for JSON."""
        from edge_fmnist_export.report.explain.base import ExplainRequest
        from edge_fmnist_export.report.explain.drawing import draw
        from edge_fmnist_export.report.explain.methods import METHODS as EXPLAINERS

        scores = self.scorer.scores(source.image[None])[0]
        predicted = int(scores.argmax())
        target = predicted if self.target is None else self.target
        explanation = EXPLAINERS[self.method](ExplainRequest(self.scorer, source.image, target, self.seed))
        path = self.output / f"{self._stem(source)}.png"
        values = {
            "file": source.source,
            "model": self.scorer.name,
            "kind": self.scorer.kind,
            "answer": self._class(predicted, scores),
            "class": self._class(target, scores),
            "picture": str(path),
            **explanation.as_dict(),
            **_photograph(source),
        }
        title = f"{self.scorer.labels[target]} {scores[target] * 100:.1f} %"
        if target != predicted:
            title += f" (predicted: {self.scorer.labels[predicted]})"
        note = f"{NAMES[self.method]}: {explanation.unit}\n{self.scorer.name}, {KINDS[self.scorer.kind]}"
        write_bytes(path, draw(source, explanation, title, note))
        write_json(path.with_suffix(".json"), values)
        return values

    def _class(self, index: int, scores: Any) -> dict[str, Any]:
        return {"label": self.scorer.labels[index], "index": index, "score": round(float(scores[index]), 6)}

    def _stem(self, source: ExplainInput) -> str:
        """Return a file name that no other image of this call has."""
        names = [source.stem, *(f"{source.stem}-{number}" for number in range(2, len(self.stems) + 3))]
        stem = next(name for name in names if name not in self.stems)
        self.stems.add(stem)
        return f"{stem}-{self.method}{'-float' if self.scorer.kind == 'float' else ''}"


def _photograph(source: ExplainInput) -> dict[str, Any]:
    """Return where the image is in its photograph; nothing without a photograph."""
    if source.garment is None:
        return {}
    from edge_fmnist_export.report.explain.placement import placement

    height, width = source.garment.frame_shape
    return {"photograph": {"width": width, "height": height, **placement(source.garment).as_dict()}}
