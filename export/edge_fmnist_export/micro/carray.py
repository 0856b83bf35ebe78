"""Write a model as a C header and source, for TensorFlow Lite for Microcontrollers.

A microcontroller has no files: the model is linked into the program as an array of bytes, which the interpreter reads
in place. The files are valid C99 and C++11.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_fmnist import __version__
from edge_fmnist.data.files import write_text
from edge_fmnist.errors import ModelError, UsageError
from edge_fmnist.model.metadata import Metadata, associated_labels, extract, without_metadata
from edge_fmnist.model.registry import ModelBytes
from edge_fmnist.model.tflite_graph import WEIGHTED, Graph, read_graph
from edge_fmnist_export.micro.arena import estimate

# Kernels read weights in place; the file format aligns them to 16 bytes.
ALIGNMENT = 16
BYTES_IN_A_LINE = 16
C_TYPES = {"UINT8": "uint8_t", "INT8": "int8_t", "INT16": "int16_t", "INT32": "int32_t", "FLOAT32": "float"}
# Operators whose method of MicroMutableOpResolver is not named after the words of the operator.
METHODS = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
# Two question marks begin a trigraph.
ESCAPES = {'"': '\\"', "\\": "\\\\", "?": "\\?"}

# Marks the files of an export, in their first bytes.
MADE_BY, MARK_BYTES = "Made by edge-fmnist", 4096


@dataclass(frozen=True)
class CFiles:
    """The text of a header (sizes, labels, quantization, arena size) and its source (array and labels)."""

    header: str
    source: str


@dataclass(frozen=True)
class _End:
    """A model's input or output: name, C type, shape, quantization (a scale of None for floats)."""

    name: str
    c_type: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int


def write_c_files(model: ModelBytes, target: Path) -> tuple[Path, Path]:
    """Write ``TARGET.h`` and ``TARGET.c``; their identifiers begin with the target's name.

    Returns:
        The paths of header and source.

    Raises:
        UsageError, ModelError, InterpreterError: as :func:`c_files`.
        OSError: a file cannot be written.
    """
    header, source = (target.with_name(f"{target.name}.{suffix}") for suffix in ("h", "c"))
    files = c_files(model, target.name)
    for path in (header, source):
        if path.exists() and MADE_BY.encode() not in path.read_bytes()[:MARK_BYTES]:
            raise UsageError(f"{path}: was not written by an earlier export; use another name")
    write_text(source, files.source)
    write_text(header, files.header)
    return header, source


def c_files(model: ModelBytes, name: str) -> CFiles:
    """Return a model as a C header and source.

    The array is the model without its metadata; labels and quantization are in the header.

    ``name`` is the prefix of identifiers, and the name of the included header (``NAME.h``).

    Raises:
        UsageError: a name that a C include cannot contain.
        ModelError: not a model, a damaged one, or one with types that TensorFlow Lite for Microcontrollers lacks.
        InterpreterError: no schema of the file format is installed.
    """
    # Two question marks may begin a trigraph.
    if not name.isprintable() or not name or set(name) & set('"\\') or "??" in name:
        raise UsageError(f"{name!r}: expected a name for C files without quotes, backslashes, ??, control characters")
    structure = read_graph(model.content, model.source)
    metadata = extract(model.content, model.source)
    array = without_metadata(model.content)
    ends = _ends(model, structure)
    classes = ends[1].shape[-1] if ends[1].shape else 1
    labels = metadata.labels if metadata else associated_labels(model.content, classes, model.source) or ()
    prefix = identifier(name)
    about = _provenance(name, model, array, structure, metadata)
    # Refuses operators without tensors.
    arena = estimate(structure, model.source).total
    _check_types(structure, model.source)
    return CFiles(
        _header(prefix, about, array, ends, labels, structure, arena),
        _source(prefix, about, f"{name}.h", array, labels),
    )


def identifier(name: str) -> str:
    """Return a name as a C identifier: ASCII letters, digits and single underscores, beginning with a letter."""
    words = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_").lower()
    return words if words[:1].isalpha() else f"model_{words}".rstrip("_")


def quoted(text: str) -> str:
    """Return a C string literal of a text's UTF-8 bytes."""
    # An octal escape ends after three digits; a hexadecimal one would continue.
    characters = (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in text.encode())
    return '"' + "".join(ESCAPES.get(character, character) for character in characters) + '"'


def _check_types(structure: Graph, source: str) -> None:
    """Refuse float16 weights, and integer weights with float activations: kernels for microcontrollers have neither."""
    for operator in structure.operators:
        types = [structure.tensors[index].type for index in operator.inputs if index >= 0] + ["", ""]
        if (operator.name in WEIGHTED and types[0] == "FLOAT32" != types[1]) or (
            operator.name == "DEQUANTIZE" and types[0] == "FLOAT16"
        ):
            raise ModelError(
                f"{source}: TensorFlow Lite for Microcontrollers runs no {operator.name} of {types[0]}; "
                "export it with --int8 or --float32"
            )


def _ends(model: ModelBytes, structure: Graph) -> tuple[_End, _End]:
    if len(structure.inputs) != 1 or len(structure.outputs) != 1:
        raise ModelError(
            f"{model.source}: expected a model with one input and one output, "
            f"got {len(structure.inputs)} and {len(structure.outputs)}"
        )
    return (
        _end("input", structure, structure.inputs[0], model.source),
        _end("output", structure, structure.outputs[0], model.source),
    )


def _end(name: str, structure: Graph, index: int, source: str) -> _End:
    if not 0 <= index < len(structure.tensors):
        raise ModelError(f"{source}: a damaged model: its {name} is tensor {index} of {len(structure.tensors)}")
    tensor = structure.tensors[index]
    if tensor.type not in C_TYPES:
        raise ModelError(f"{source}: expected an {name} of {', '.join(C_TYPES)}, got {tensor.type}")
    shape = tuple(max(size, 1) for size in tensor.shape)
    return _End(name, C_TYPES[tensor.type], shape, tensor.scale, tensor.zero_point)


def _provenance(name: str, model: ModelBytes, array: bytes, structure: Graph, metadata: Metadata | None) -> list[str]:
    file = Path(model.source).name
    lines = [
        f"{name}: a model for TensorFlow Lite for Microcontrollers.",
        f"{MADE_BY} {__version__} with `edge-fmnist export --c-array`; do not edit.",
        "",
        f"Model: {file}, {len(model.content)} bytes, SHA-256",
        f"  {hashlib.sha256(model.content).hexdigest()}",
        f"Array: {len(array)} bytes (without the metadata at the model's end), SHA-256",
        f"  {hashlib.sha256(array).hexdigest()}",
    ]
    accuracy = metadata.settings.get("accuracy") if metadata else None
    if isinstance(accuracy, dict) and isinstance(accuracy.get("top1"), float):
        lines.append(f"Top-1 accuracy on {accuracy.get('images')} images: {accuracy['top1']:.2%}.")
    if metadata and metadata.flip_tta:
        lines.append("With flip test-time augmentation: outputs averaged over each image and its mirror image.")
    calls = sorted({f"Add{_camel(operator.name)}()" for operator in structure.operators})
    return [*lines, "", "Operators to register in a MicroMutableOpResolver:", f"  {', '.join(calls)}."]


def _camel(operator: str) -> str:
    # CONV_2D is Conv2D.
    return METHODS.get(operator) or "".join(
        word if word[0].isdigit() else word.capitalize() for word in operator.split("_")
    )


def _comment(lines: Sequence[str]) -> str:
    """Return a C comment, with the sequences that would end it, begin another or join lines broken up."""
    body = []
    for line in lines:
        plain = re.sub(r"[^ -~]", "_", line)
        body.append(re.sub(r"(?<=[*/?])(?=[*/?])", " ", plain).rstrip("\\ "))
    wrapped = [part for line in body for part in textwrap.wrap(line, 112, subsequent_indent="  ") or [""]]
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in wrapped), " */"])


def _header(
    prefix: str,
    about: list[str],
    array: bytes,
    ends: tuple[_End, _End],
    labels: Sequence[str],
    structure: Graph,
    arena: int,
) -> str:
    upper = prefix.upper()
    blocks = [
        _comment(about),
        f"#ifndef {upper}_H_\n#define {upper}_H_",
        "#include <stdint.h>",
        '#ifdef __cplusplus\nextern "C" {\n#endif',
        f"/* The model, aligned to {ALIGNMENT} bytes. */\n"
        f"#define {upper}_MODEL_LENGTH {len(array)}\n"
        f"extern const uint8_t {prefix}_model[{upper}_MODEL_LENGTH];\n"
        f"extern const uint32_t {prefix}_model_length;",
        "/* An estimate with the reference kernels; see arena_used_bytes() on the device. */\n"
        f"#define {upper}_ARENA_BYTES {arena}\n"
        f"#define {upper}_OPERATOR_COUNT {len({operator.name for operator in structure.operators})}",
        *(_end_block(upper, prefix, end) for end in ends),
    ]
    if labels:
        blocks.append(
            f"/* UTF-8, in the order of the output. */\n#define {upper}_LABEL_COUNT {len(labels)}\n"
            f"extern const char *const {prefix}_labels[{upper}_LABEL_COUNT];"
        )
    return "\n\n".join([*blocks, "#ifdef __cplusplus\n}\n#endif", f"#endif /* {upper}_H_ */"]) + "\n"


def _end_block(upper: str, prefix: str, end: _End) -> str:
    start = f"#define {upper}_{end.name.upper()}"
    shape = f"{{{', '.join(map(str, end.shape))}}}"
    lines = [
        f"typedef {end.c_type} {prefix}_{end.name}_t;",
        f"{start}_RANK {len(end.shape)}",
        f"{start}_SHAPE {shape}",
        f"{start}_LENGTH {int(np.prod(end.shape))}",
    ]
    if end.scale is None:
        return "\n".join([f"/* {end.name.capitalize()}: not quantized. */", *lines])
    return "\n".join(
        [
            f"/* {end.name.capitalize()}: real value = SCALE * (stored value - ZERO_POINT). */",
            *lines,
            f"{start}_SCALE {np.float32(end.scale)!s}f",
            f"{start}_ZERO_POINT ({end.zero_point})",
        ]
    )


def _source(prefix: str, about: list[str], header: str, array: bytes, labels: Sequence[str]) -> str:
    upper = prefix.upper()
    blocks = [
        _comment(about),
        f'#include "{header}"',
        f"#if defined(__cplusplus)\n"
        f"#define {upper}_ALIGNED alignas({ALIGNMENT})\n"
        f"#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L\n"
        f"#define {upper}_ALIGNED _Alignas({ALIGNMENT})\n"
        f"#elif defined(__GNUC__)\n"
        f"#define {upper}_ALIGNED __attribute__((aligned({ALIGNMENT})))\n"
        f'#else\n#error "Define {upper}_ALIGNED: how this compiler aligns an array to {ALIGNMENT} bytes."\n#endif',
        f"const uint32_t {prefix}_model_length = {upper}_MODEL_LENGTH;",
        f"{upper}_ALIGNED const uint8_t {prefix}_model[{upper}_MODEL_LENGTH] = {{\n{_rows(array)}\n}};",
    ]
    if labels:
        strings = "".join(f"    {quoted(label)},\n" for label in labels)
        blocks.append(f"const char *const {prefix}_labels[{upper}_LABEL_COUNT] = {{\n{strings}}};")
    return "\n\n".join(blocks) + "\n"


def _rows(array: bytes) -> str:
    numbers = [f"0x{byte:02x}," for byte in array]
    starts = range(0, len(numbers), BYTES_IN_A_LINE)
    return "\n".join("    " + " ".join(numbers[start : start + BYTES_IN_A_LINE]) for start in starts)
