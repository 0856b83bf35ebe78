"""Choose a TensorFlow Lite interpreter: LiteRT, then tflite-runtime, then TensorFlow's own.

LiteRT comes first because it runs int8 through XNNPACK, which the wheels of tflite-runtime 2.14 do not: on the same
file it is many times as fast.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

from edge_fmnist.errors import InterpreterError, ModelError, UsageError
from edge_fmnist.extras import versions
from edge_fmnist.model.tflite_graph import check_model

INTERPRETER_VARIABLE = "EDGE_FMNIST_INTERPRETER"

# Distribution name: the module with its Interpreter class, in order of preference.
MODULES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}


class Allocated(NamedTuple):
    """An interpreter with allocated tensors, and the details of its first input and output."""

    interpreter: Any
    input: dict[str, Any]
    output: dict[str, Any]


@dataclass(frozen=True)
class InterpreterInfo:
    """Which interpreter runs a model.

    Attributes:
        name: the distribution: ``ai-edge-litert``, ``tflite-runtime`` or ``tensorflow``.
        delegate: ``"XNNPACK"`` if that delegate runs the model, else ``"none"``.
        threads: number of threads.
    """

    name: str
    delegate: str
    threads: int

    @property
    def version(self) -> str:
        """The version of the distribution."""
        return version(self.name)


def installed() -> dict[str, str]:
    """Return the installed interpreters and their versions, in order of preference."""
    return {name: version(name) for name in _available()}


def version(name: str) -> str:
    """Return the version of an installed interpreter, or ``"unknown"``."""
    return versions([name])[name] or "unknown"


def _available() -> list[str]:
    return [name for name, module in MODULES.items() if find_spec(module.partition(".")[0]) is not None]


def choose(preferred: str | None = None) -> str:
    """Return the name of the interpreter to use.

    Args:
        preferred: use this one; None takes the environment variable ``EDGE_FMNIST_INTERPRETER``, else the first that
            is installed.

    Raises:
        UsageError: ``preferred`` is not a known name.
        InterpreterError: it is not installed, or none is.
    """
    preferred = preferred or os.environ.get(INTERPRETER_VARIABLE) or None
    if preferred is not None and preferred not in MODULES:
        raise UsageError(f"unknown interpreter {preferred!r}; expected one of {', '.join(MODULES)}")
    available = _available()
    if preferred is not None and preferred not in available:
        raise InterpreterError(
            f"the interpreter {preferred} is not installed; installed: {', '.join(available) or 'none'}"
        )
    if not available:
        raise InterpreterError(
            "no TensorFlow Lite interpreter is installed; `pip install ai-edge-litert`, "
            "or on 32-bit ARM `pip install tflite-runtime 'numpy<2'`"
        )
    return preferred or available[0]


def create(content: bytes, *, name: str, threads: int, batch: int, source: str) -> Allocated:
    """Return an interpreter for a model, with tensors allocated for ``batch`` images.

    The file is checked first, since an interpreter crashes on some damaged ones. A model that takes no batch of this
    size keeps its own.

    Args:
        content: the bytes of the model file.
        name: which interpreter, from :func:`choose`.
        threads: number of threads, at least 1.
        batch: images in one invocation.
        source: how messages call the model.

    Raises:
        ModelError: not a model, a damaged one, or one that needs operators the interpreter does not have.
        InterpreterError: the interpreter cannot be imported.
    """
    # TensorFlow brings the operators of its own that a converter can leave in a file.
    check_model(content, source, allow_custom=name == "tensorflow")
    try:
        interpreter_class = importlib.import_module(MODULES[name]).Interpreter
    except (ImportError, AttributeError) as error:
        hint = " (tflite-runtime needs numpy<2)" if name == "tflite-runtime" else ""
        raise InterpreterError(f"the interpreter {name} cannot be imported{hint}: {error}") from error
    try:
        interpreter = interpreter_class(model_content=content, num_threads=threads)
        details = interpreter.get_input_details()[0]
        # An open batch.
        if batch != 1 and [*details.get("shape_signature", ())][:1] == [-1]:
            interpreter.resize_tensor_input(details["index"], [batch, *map(int, details["shape"][1:])])
        interpreter.allocate_tensors()
        # Allocation changes the shapes.
        return Allocated(interpreter, interpreter.get_input_details()[0], interpreter.get_output_details()[0])
    except (ValueError, RuntimeError, IndexError) as error:
        if batch != 1:
            # Some state a batch of any size, and then reshape to one image.
            return create(content, name=name, threads=threads, batch=1, source=source)
        raise ModelError(f"{source}: not a TensorFlow Lite model, or a damaged one ({error})") from error


def describe(interpreter: Any, name: str, threads: int) -> InterpreterInfo:
    """Return name and delegate of an interpreter with allocated tensors."""
    try:
        operations = [details["op_name"] for details in interpreter._get_ops_details()]
    except (AttributeError, ValueError):
        # tflite-runtime does not have this method; a damaged name cannot be decoded.
        operations = []
    delegate = "XNNPACK" if "DELEGATE" in operations else "none"
    return InterpreterInfo(name, delegate, threads)
