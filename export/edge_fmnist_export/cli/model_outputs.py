"""What ``edge-fmnist export`` makes of a model file: C files, an estimate of the tensor arena, and a web page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist.cli import console
from edge_fmnist.errors import ModelError, UsageError
from edge_fmnist.model.registry import read_model, shipped_models
from edge_fmnist.model.tflite_graph import Graph, read_graph
from edge_fmnist_export.cli.web import write_page
from edge_fmnist_export.micro.arena import Arena, estimate
from edge_fmnist_export.micro.carray import write_c_files

C_SUFFIXES, CPP_SUFFIXES = (".c", ".h"), (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx")


@dataclass(frozen=True)
class ModelOutputs:
    """The requested outputs, with the folder for the web page; false without any."""

    c_array: bool
    arena: bool
    web: Path | None

    def __bool__(self) -> bool:
        """Return whether there is any output."""
        return self.c_array or self.arena or self.web is not None

    def make(self, name: str, target: Path, *, quiet: bool, several: bool = False) -> dict[str, Any]:
        """Write the outputs of a model, and return plain values for JSON.

        ``target`` is the path of the C files without suffix. If there are several models, one that does not run on a
        microcontroller is reported by a warning.

        Raises:
            ModelNotFoundError: neither a shipped model nor a file.
            ModelError: a damaged model, or one that does not run on a microcontroller.
            UsageError: a target that a C include cannot contain.
        """
        model = read_model(name)
        made: dict[str, Any] = {}
        if self.c_array:
            try:
                header, source = write_c_files(model, target)
            except ModelError as error:
                if not several:
                    raise
                console.warn(str(error))
            else:
                made["c_array"] = {"header": str(header), "source": str(source)}
                if not quiet:
                    console.say(f"C header and source: {header}, {source}")
        if self.arena:
            graph = read_graph(model.content, model.source)
            arena = estimate(graph, model.source)
            made["arena"] = arena.as_dict()
            if not quiet:
                _show(model.source, arena, graph)
        return made if self.web is None else made | write_page(name, self.web, quiet=quiet)


def is_model(name: str) -> bool:
    """Return whether a name is that of a model file or a shipped model, and not of a run folder."""
    return not Path(name).is_dir() and (Path(name).suffix.lower() == ".tflite" or name in shipped_models())


def target_of(name: str, output: Path) -> Path:
    """Return the path of a model's C files without suffix; ``output`` is a folder or one of the files.

    Raises:
        UsageError: a file of C++.
    """
    if output.suffix.lower() in CPP_SUFFIXES:
        raise UsageError(f"{output}: expected a folder, or a file that ends in {' or '.join(C_SUFFIXES)}")
    return output.with_suffix("") if output.suffix.lower() in (*C_SUFFIXES, ".tflite") else output / Path(name).stem


def _show(source: str, arena: Arena, graph: Graph) -> None:
    names = ["input", *(operator.name for operator in graph.operators)]
    console.show_table(
        f"{source}: tensor arena of about {arena.total:,} bytes "
        f"({arena.planned:,} of activations and {arena.overhead:,} of overhead)",
        ["written by", "shape", "bytes", "offset", "from operator", "to operator"],
        [
            (
                names[placed.first],
                "x".join(map(str, graph.tensors[placed.tensor].shape)),
                f"{placed.bytes:,}",
                f"{placed.offset:,}",
                placed.first,
                placed.last,
            )
            for placed in sorted(arena.activations, key=lambda placed: (placed.first, placed.tensor))
        ],
        numbers_from=2,
    )
