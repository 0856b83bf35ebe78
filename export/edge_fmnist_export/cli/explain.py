"""``edge-fmnist explain``: how much each pixel of an image counts for the answer."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data.files import write_bytes, write_json
from edge_fmnist.errors import DataError, ImageError, SourceError, UsageError

if TYPE_CHECKING:
    from edge_fmnist_export.report.explain.pictures import Subject
    from edge_fmnist_export.report.explain.scorer import Scorer

# What every method needs of the extra [report], which brings [export], and what each needs besides.
MODULES = ("matplotlib", "pydantic", "tomli_w")
METHODS: dict[str, tuple[str, ...]] = {"shap": ("shap",), "lime": ("lime", "skimage"), "occlusion": (), "gradcam": ()}
EXPLANATIONS = Path("explanations")
NAMES = {"shap": "SHAP", "lime": "LIME", "occlusion": "Occlusion", "gradcam": "Grad-CAM"}
KINDS = {"file": "model file", "float": "float model"}
# Bulk work, not latency.
THREADS = min(4, os.cpu_count() or 1)


def explain(
    model: Annotated[str, typer.Argument(help="A shipped model's name, a .tflite file, or a run folder (float).")],
    images: Annotated[
        list[str],
        typer.Argument(help="Files, folders, globs, - for standard input, or images of the data set, as test:17."),
    ],
    method: Annotated[str, typer.Option("--method", help="shap, lime, occlusion or gradcam.")] = "shap",
    use_float: Annotated[
        bool,
        typer.Option("--float", help="Explain the float model that the file was made from; gradcam always does."),
    ] = False,
    wanted: Annotated[
        str | None,
        typer.Option("--class", help="The class to explain, by label or index. Default: the model's answer."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the pictures and JSON files.")
    ] = EXPLANATIONS,
    data: options.Data = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of all chance.")] = 0,
    threads: options.Threads = THREADS,
    interpreter: options.Interpreter = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line for each image.")] = False,
) -> None:
    """Show which pixels of an image speak for the model's answer, and which against it.

    A picture and a JSON file for each image go to the output folder. A photograph is preprocessed as for classify;
    the explanation is shown on what the model sees, and mapped back onto the photograph. The same call writes the
    same bytes. An image that cannot be explained is reported and the rest still done; the exit code is then 1.
    """
    if method not in METHODS:
        raise typer.BadParameter(f"expected one of {', '.join(METHODS)}, got {method!r}", param_hint="--method")
    extras.require("report", "explaining", (*MODULES, *METHODS[method]))
    scorer = _scorer(model, use_float or method == "gradcam", threads, interpreter)
    explainer = Explainer(scorer, method, seed, _class_index(wanted, scorer.labels), output)
    if not explainer.run(images, data, json=json):
        raise typer.Exit(1)


def _scorer(name: str, use_float: bool, threads: int, interpreter: str | None) -> Scorer:
    """Return the model to explain, ready: what it says of itself when it starts is out by then."""
    import numpy as np

    from edge_fmnist.model.classifier import Classifier

    with console.quiet_native_log():
        if Path(name).is_dir():
            scorer = _float_scorer(name, None)
        else:
            classifier = Classifier.load(name, threads=threads, interpreter=interpreter)
            scorer = _float_scorer(name, classifier) if use_float else _file_scorer(name, classifier)
        scorer.scores(np.zeros((128, 28, 28), np.uint8))
    return scorer


def _file_scorer(name: str, classifier: Any) -> Scorer:
    from edge_fmnist_export.report.explain.scorer import of_file

    return of_file(classifier, name)


def _float_scorer(name: str, classifier: Any | None) -> Scorer:
    extras.require("export", "explaining a float model")
    # Gradients come from TensorFlow, whichever back end trained.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from edge_fmnist_export.report.explain.scorer import of_run, run_of
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.run_folder import open_run

    run = open_run(name) if classifier is None else run_of(classifier, name)
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
    """Explains pictures one after the other, and writes and tells what comes of it.

    Attributes:
        scorer: the model.
        method: one of ``METHODS``.
        seed: decides all chance.
        target: the class to explain; None takes the model's answer.
        output: the folder for files.
        stems: the names of files that are taken.
    """

    scorer: Scorer
    method: str
    seed: int
    target: int | None
    output: Path
    stems: set[str] = field(default_factory=set)

    def run(self, arguments: list[str], data: Path | None, *, json: bool) -> bool:
        """Explain all that the arguments stand for, and tell whether all went well."""
        from edge_fmnist_export.report.explain.pictures import Pictures

        pictures, well = Pictures(data, self.scorer.labels), True
        for argument in arguments:
            try:
                sources = list(pictures.find(argument))
            except SourceError as error:
                sources, well = [], self._report(argument, error, json=json)
            for source in sources:
                try:
                    with console.status(f"{source}: {NAMES[self.method]}"):
                        answer = self.explain(pictures.read(source))
                except (ImageError, SourceError, DataError) as error:
                    well = self._report(source, error, json=json)
                    continue
                if json:
                    console.emit_json(answer, indent=None)
                else:
                    chosen = answer["class"]
                    print(f"{source}: {chosen['label']} {chosen['score']:.1%}: {answer['picture']}", flush=True)
        return well

    def _report(self, source: str, error: Exception, *, json: bool) -> bool:
        """Tell what is wrong with a source, and return that something is."""
        console.say(f"Error: {error}")
        if json:
            console.emit_json({"file": source, "error": str(error)}, indent=None)
        return False

    def explain(self, subject: Subject) -> dict[str, Any]:
        """Explain one picture, write its files, and return plain values for JSON."""
        from edge_fmnist_export.report.explain.base import Question
        from edge_fmnist_export.report.explain.drawing import draw
        from edge_fmnist_export.report.explain.methods import explain as explain_by

        scores = self.scorer.scores(subject.image[None])[0]
        answer = int(scores.argmax())
        target = answer if self.target is None else self.target
        explanation = explain_by(self.method, Question(self.scorer, subject.image, target, self.seed))
        path = self.output / f"{self._stem(subject)}.png"
        values = {
            "file": subject.source,
            "model": self.scorer.name,
            "kind": self.scorer.kind,
            "answer": self._class(answer, scores),
            "class": self._class(target, scores),
            "picture": str(path),
            **explanation.as_dict(),
            **_photograph(subject),
        }
        write_bytes(path, draw(subject, explanation, self._title(values), self._note(explanation.unit)))
        write_json(path.with_suffix(".json"), values)
        return values

    def _class(self, index: int, scores: Any) -> dict[str, Any]:
        return {"label": self.scorer.labels[index], "index": index, "score": round(float(scores[index]), 6)}

    def _title(self, values: dict[str, Any]) -> str:
        answer, target = values["answer"], values["class"]
        title = f"{target['label']} {target['score']:.1%}".replace("%", " %")
        return title if answer == target else f"{title} (the answer is {answer['label']})"

    def _note(self, unit: str) -> str:
        return f"{NAMES[self.method]}: {unit}\n{self.scorer.name}, {KINDS[self.scorer.kind]}"

    def _stem(self, subject: Subject) -> str:
        """Return a name for the files of a picture that no other picture of this call has."""
        suffix = f"{self.method}-float" if self.scorer.kind == "float" else self.method
        names = [subject.stem, *(f"{subject.stem}-{number}" for number in range(2, len(self.stems) + 3))]
        stem = next(name for name in names if name not in self.stems)
        self.stems.add(stem)
        return f"{stem}-{suffix}"


def _photograph(subject: Subject) -> dict[str, Any]:
    """Return where the image came from in a photograph; nothing for an image."""
    if subject.garment is None:
        return {}
    from edge_fmnist_export.report.explain.placement import placement

    height, width = subject.garment.frame_shape
    return {"photograph": {"width": width, "height": height, **placement(subject.garment).as_dict()}}
