"""Train the zoo's networks, export their int8 files and measure them; what is done is not done again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import RunError
from edge_fmnist_export.quantize.latency import Latency, compare_latency
from edge_fmnist_export.search.zoo.published import Published
from edge_fmnist_export.training import train_recipe as training
from edge_fmnist_export.training.recipe import Recipe, Section, Share
from edge_fmnist_export.training.run_folder import Run, create_run, open_run, resume_run

MODEL, FACTS = "int8.tflite", "zoo.json"
# The table shows what quantization costs, and int8 itself is held to the published figure, so any drop is written.
MOST_DROP = 100.0

Count = Annotated[int, Field(gt=0)]


class Facts(Section):
    """What is known of a network's int8 file, kept beside it.

    Attributes:
        sha256: of the file.
        test_sha256: of the test images' and labels' files.
        images: how many test images.
        float_top1: top-1 of the float Keras model on them, 0 to 1.
        top1: the same of the written int8 file.
        bytes: size of the int8 file.
        parameters: as Keras counts them.
        macs: multiply-accumulates for one image.
        epochs: of the float phase and of quantization-aware training.
        seconds: how long training took.
    """

    sha256: str
    test_sha256: tuple[str, str]
    images: Count
    float_top1: Share
    top1: Share
    bytes: Count
    parameters: Count
    macs: Count
    epochs: tuple[int, int]
    seconds: Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Row:
    """A network of the zoo: as published, as trained here, and how quick its int8 file is."""

    published: Published
    facts: Facts
    latency: Latency

    @property
    def met(self) -> bool:
        """Whether the int8 file reaches the published accuracy, or none was published."""
        return self.published.accuracy is None or self.facts.top1 >= self.published.accuracy

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.published.name,
            "published": self.published.accuracy,
            "source": self.published.source,
            **self.facts.model_dump(mode="json"),
            "microseconds": round(self.latency.microseconds, 2),
            "ratio": round(self.latency.ratio, 4),
            "met": self.met,
        }


def train_network(folder: Path, recipe: Recipe, data: Split, listener: training.Listener) -> Run:
    """Train a network by its recipe, from where an interrupted call left it; a finished run is left as it is.

    Args:
        folder: the run folder.
        recipe: how it is trained.
        data: the training split.
        listener: told of progress.

    Raises:
        RunError: the folder holds a run of another recipe or data set, or a damaged one.
        EdgeFmnistError: as :func:`edge_fmnist_export.training.train_recipe.train`.
    """
    try:
        run = resume_run(folder, recipe) if (folder / "recipe.toml").is_file() else create_run(folder, recipe)
        training.train(run, data, listener)
    except RunError as error:
        raise RunError(f"{error}, or delete {folder} to train it anew") from error
    return run


def export_network(run: Run, test: Split) -> None:
    """Write a trained network's int8 file and what it is, unless both are there for these test images.

    Raises:
        CheckError: the written file failed a check.
        EdgeFmnistError: as :class:`edge_fmnist_export.quantize.exporting.Exporter`.
    """
    if known_facts(run, test) is not None:
        return
    from edge_fmnist_export.quantize.exporting import INT8, Exporter

    exporter = Exporter(run, test=test)
    exported = exporter.export(INT8, run.folder / MODEL, max_drop=MOST_DROP).as_dict()
    metrics = run.read_json("metrics.json", {})
    phases = [metrics.get(name, {}) for name in (training.FLOAT, training.QAT)]
    facts = Facts(
        test_sha256=test.sha256,
        parameters=int(exporter.model.count_params()),
        epochs=(phases[0].get("epochs", 0), phases[1].get("epochs", 0)),
        seconds=round(sum(phase.get("seconds", 0.0) for phase in phases), 1),
        **{key: exported[key] for key in ("sha256", "images", "float_top1", "top1", "bytes", "macs")},
    )
    run.write_json(FACTS, facts.model_dump(mode="json"))


def known_facts(run: Run, test: Split) -> Facts | None:
    """Return what is kept of a run's int8 file; None where file or facts are missing, changed or of other images."""
    model = run.folder / MODEL
    if not model.is_file():
        return None
    try:
        facts = Facts.model_validate(run.read_json(FACTS, None))
    except (RunError, ValidationError):
        # Made anew from the trained weights.
        return None
    current = hashlib.sha256(model.read_bytes()).hexdigest()
    return facts if (facts.sha256, facts.test_sha256) == (current, test.sha256) else None


def finished_rows(folder: Path, networks: Iterable[Published], test: Split, reference: bytes) -> list[Row]:
    """Return the rows of all networks that are done, their latency measured now, in turns with each other.

    Args:
        folder: holds the run folders.
        networks: which there may be, in the order of the rows.
        test: the test images that their accuracy was measured on.
        reference: the bytes of the model file that latencies are compared with.

    Raises:
        ModelError: a file that is damaged.
    """
    known = {}
    for network in networks:
        if (folder / network.name / "recipe.toml").is_file():
            facts = known_facts(open_run(folder / network.name), test)
            if facts is not None:
                known[network] = facts
    files = {network.name: (folder / network.name / MODEL).read_bytes() for network in known}
    latencies = compare_latency(files, reference) if files else {}
    return [Row(network, facts, latencies[network.name]) for network, facts in known.items()]
