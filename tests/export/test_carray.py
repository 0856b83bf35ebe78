"""The C files are compiled here, with every warning an error, and say what the model file says."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import json
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import ModelError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.metadata import embed, without_metadata
from edge_fmnist.model.registry import ModelBytes, read_model
from edge_fmnist.model.tflite_graph import file_schema, read_graph
from edge_fmnist_export.micro.arena import estimate
from edge_fmnist_export.micro.carray import c_files, identifier, write_c_files

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
C99, C11, CPP11 = ("cc", "-std=c99"), ("cc", "-std=c11"), ("c++", "-std=c++11", "-x", "c++")


@dataclass(frozen=True)
class Compiled:
    """The macros of a header, by name without prefix, and what the compiled source holds."""

    header: str
    macros: dict[str, str]
    array: bytes
    aligned: bool
    labels: list[str]


@pytest.fixture(scope="session")
def compiled(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Compiled]:
    """Return a function that writes a model's C files and compiles them to a library."""
    for compiler in ("cc", "c++"):
        need(compiler, "g++", "COMPILER")

    def make(model: ModelBytes, name: str, compiler: tuple[str, ...]) -> Compiled:
        folder, prefix = tmp_path_factory.mktemp("c"), identifier(name)

        def call(*command: str) -> str:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        header, _ = write_c_files(model, folder / name)
        call(*compiler, *STRICT, "-fPIC", "-c", f"{name}.c", "-o", "model.o")
        # A program in C++ that includes the header twice.
        include = f'#include "{name}.h"\n'
        (folder / "main.cpp").write_text(f"{include}{include}int main() {{ return {prefix}_model_length == 0; }}\n")
        call("c++", "-std=c++11", *STRICT, "main.cpp", "model.o", "-o", "main")
        call(str(folder / "main"))
        call("cc", "-shared", "model.o", "-o", "model.so")
        defined = call("cc", "-dM", "-E", header.name)
        macros = dict(re.findall(rf"^#define {prefix.upper()}_(\w+) (.+)$", defined, re.MULTILINE))
        library = ctypes.CDLL(str(folder / "model.so"))
        length = ctypes.c_uint32.in_dll(library, f"{prefix}_model_length").value
        array = (ctypes.c_uint8 * length).in_dll(library, f"{prefix}_model")
        labels = (ctypes.c_char_p * int(macros.get("LABEL_COUNT", 0))).in_dll(library, f"{prefix}_labels")
        aligned = ctypes.addressof(array) % 16 == 0
        return Compiled(
            header.read_text("utf-8"), macros, bytes(array), aligned, [str(label, "utf-8") for label in labels if label]
        )

    return make


@pytest.fixture(scope="module")
def edge() -> ModelBytes:
    return read_model("edge")


@pytest.mark.parametrize("compiler", [C99, C11])
def test_a_program_reads_the_model(compiled: Callable[..., Compiled], edge: ModelBytes, compiler: Any) -> None:
    made, classifier = compiled(edge, "edge-int8", compiler), Classifier.load("edge")
    assert made.array == without_metadata(edge.content)
    assert made.aligned
    for end, tensor in (("input", classifier.input), ("output", classifier.output)):
        found = {name.partition("_")[2]: value for name, value in made.macros.items() if name.startswith(end.upper())}
        assert np.float32(found.pop("SCALE").rstrip("f")) == np.float32(tensor.scale)
        assert found == {
            "ZERO_POINT": f"({tensor.zero_point})",
            "RANK": str(len(tensor.shape)),
            "SHAPE": f"{{{', '.join(map(str, tensor.shape))}}}",
            "LENGTH": str(np.prod(tensor.shape)),
        }
        assert f"typedef uint8_t edge_int8_{end}_t;" in made.header
    assert made.labels == list(LABELS)
    structure = read_graph(edge.content, "edge")
    assert int(made.macros["MODEL_LENGTH"]) == len(made.array)
    assert int(made.macros["ARENA_BYTES"]) == estimate(structure, "edge").total
    assert int(made.macros["OPERATOR_COUNT"]) == len({operator.name for operator in structure.operators})


AWKWARD = ('"quoted"', "back\\slash", "what??/", "*/ /*", "Größe", "semi;colon", "%d", "', '", "012", "last")


def test_awkward_labels_come_through(compiled: Callable[..., Compiled], edge: ModelBytes) -> None:
    content = embed(without_metadata(edge.content), {"output": "logits"}, AWKWARD)
    assert compiled(ModelBytes(content, "awkward"), "awkward", CPP11).labels == list(AWKWARD)


def test_labels_of_tflite_metadata_come_through(compiled: Callable[..., Compiled], edge: ModelBytes) -> None:
    stream = io.BytesIO(without_metadata(edge.content))
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("labels.txt", "\n".join("abcdefghij"))
    assert compiled(ModelBytes(stream.getvalue(), "foreign.tflite"), "foreign", C99).labels == list("abcdefghij")


def float_model(edge: ModelBytes) -> bytes:
    """Return a model whose input and output say that they are floats; it is only read, never run."""
    schema = file_schema()
    model = schema.ModelT.InitFromPackedBuf(edge.content, 0)
    graph = model.subgraphs[0]
    for index in (*graph.inputs, *graph.outputs):
        graph.tensors[index].type, graph.tensors[index].quantization = schema.TensorType.FLOAT32, None
    return bytes(convert_object_to_bytearray(model))


def test_a_float_model_has_no_quantization(compiled: Callable[..., Compiled], edge: ModelBytes) -> None:
    content = embed(float_model(edge), {"output": "logits"}, LABELS)
    made = compiled(ModelBytes(content, "float.tflite"), "float", C99)
    assert "INPUT_SCALE" not in made.macros
    assert "typedef float float_input_t;" in made.header


def test_comment_says_where_the_model_comes_from(edge: ModelBytes) -> None:
    for text in vars(c_files(edge, "edge")).values():
        comment = text.partition("*/")[0]
        assert hashlib.sha256(edge.content).hexdigest() in comment
        assert hashlib.sha256(without_metadata(edge.content)).hexdigest() in comment
        assert f"{len(edge.content)} bytes" in comment
        assert "AddConv2D()" in comment
        assert "AddFullyConnected()" in comment


@pytest.mark.parametrize(
    ("name", "expected"),
    [("edge-int8", "edge_int8"), ("28x28", "model_28x28"), ("__a__b", "a_b"), ("größe", "gr_e"), ("日本", "model")],
)
def test_identifiers_are_fit_for_c(name: str, expected: str) -> None:
    assert identifier(name) == expected


def test_a_model_with_two_outputs(edge: ModelBytes) -> None:
    model = file_schema().ModelT.InitFromPackedBuf(edge.content, 0)
    graph = model.subgraphs[0]
    graph.outputs = np.array([graph.outputs[0], 5], np.int32)
    with pytest.raises(ModelError, match="one input and one output, got 1 and 2"):
        c_files(ModelBytes(bytes(convert_object_to_bytearray(model)), "two.tflite"), "two")


@pytest.mark.parametrize("seed", range(5))
def test_damaged_models_give_our_error_or_files(edge: ModelBytes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(without_metadata(edge.content))
    # Tables are at both ends; in the middle are weights, where damage cannot be seen.
    for position in rng.integers(0, 3000, 8):
        content[position if rng.random() < 0.5 else -position - 1] = rng.integers(0, 256)
    # Any other exception fails the test.
    with contextlib.suppress(ModelError):
        c_files(ModelBytes(bytes(content), "damaged.tflite"), "damaged")


def test_command_takes_a_shipped_model_as_it_is(run_cli: Callable[..., Any], edge: ModelBytes, tmp_path: Path) -> None:
    result = run_cli("export", "edge", "--c-array", "--arena", "--output", tmp_path)
    assert f"{tmp_path}/edge.h" in result.stderr
    assert "tensor arena of about" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edge.c", "edge.h"]
    assert (tmp_path / "edge.h").read_text("utf-8") == c_files(edge, "edge").header
    assert (tmp_path / "edge.c").read_text("utf-8") == c_files(edge, "edge").source


@pytest.mark.parametrize("name", ["main.c", "main.h"])
def test_a_file_of_somebody_else_is_kept(run_cli: Callable[..., Any], tmp_path: Path, name: str) -> None:
    for _ in range(2):
        run_cli("export", "edge", "--c-array", "-o", tmp_path / "main.h")
    (tmp_path / name).write_text("int main(void);", "utf-8")
    done = run_cli("export", "edge", "--c-array", "-o", tmp_path / "main.h", code=2)
    assert f"{name}: was not written by an earlier export" in done.stderr
    assert (tmp_path / name).read_text("utf-8") == "int main(void);"


def test_a_file_of_cpp_is_refused(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    done = run_cli("export", "edge", "--c-array", "-o", tmp_path / "model.cc", code=2)
    assert "expected a folder, or a file that ends in .c or .h" in done.stderr


def test_command_answers_programs(run_cli: Callable[..., Any], edge: ModelBytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.tflite"
    path.write_bytes(edge.content)
    result = run_cli("export", path, "--c-array", "--arena", "--output", tmp_path / "src" / "model.c", "--json")
    (made,) = json.loads(result.stdout)
    assert result.stderr == ""
    assert made["c_array"] == {"header": f"{tmp_path}/src/model.h", "source": f"{tmp_path}/src/model.c"}
    assert made["arena"] == estimate(read_graph(edge.content, "edge"), "edge").as_dict()
    assert "model_model_length" in Path(made["c_array"]["header"]).read_text("utf-8")


def test_a_model_needs_no_tensorflow(tmp_path: Path) -> None:
    script = (
        "import sys; from edge_fmnist_export.cli.export import export\n"
        f"export(run='edge', c_array=True, arena=True, output=__import__('pathlib').Path({str(tmp_path)!r}))\n"
        "print(sorted({'tensorflow', 'keras', 'tf_keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr
    assert (tmp_path / "edge.c").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("{model}",), 2, "give --c-array, --arena or --web"),
        (("{model}", "--c-array", "--int8"), 2, "are for runs"),
        (("{model}", "--arena", "--io", "int8"), 2, "are for runs"),
        (("{bad}", "--c-array"), 1, "not a TensorFlow Lite model"),
        (("none.tflite", "--c-array"), 3, "neither a file nor a shipped model"),
        (("{model}", "--c-array", "--output", 'a"b.c'), 2, "without quotes"),
        (("{model}", "--c-array", "--output", "a??(b.c"), 2, "without quotes, backslashes, ??"),
        (("edge", "--c-array", "--int8", "--output", "model.c"), 2, "C files are written next to the .tflite file"),
    ],
)
def test_what_the_command_refuses(
    run_cli: Callable[..., Any],
    edge: ModelBytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"model": tmp_path / "good.tflite", "bad": tmp_path / "bad.tflite"}
    files["model"].write_bytes(edge.content)
    files["bad"].write_bytes(struct.pack("<I", 4_000_000_000) + b"TFL3" + bytes(100))
    result = run_cli("export", *(argument.format(**files) for argument in arguments), code=code)
    assert message in result.stderr
    assert result.stdout == ""
    assert set(tmp_path.iterdir()) == set(files.values())


@pytest.mark.slow
def test_command_converts_a_run_and_writes_its_c_files(
    run_command: Callable[..., Any], tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    answer = run_command("export", tiny_run, "--data", tiny_data, "-o", tmp_path, "--c-array", "--arena", "--json")
    (made,) = answer.json
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-int8.c", "tiny-int8.h", "tiny-int8.tflite"]
    assert made["format"] == "int8"
    assert made["arena"]["bytes"] > made["arena"]["activation_bytes"] > 784
    assert made["sha256"] in Path(made["c_array"]["header"]).read_text("utf-8")
    # Microcontrollers have no kernels for integer weights and float activations.
    arguments = ("export", tiny_run, "--data", tiny_data, "--c-array", "--dynamic")
    assert "runs no" in run_command(*arguments, "-o", tmp_path / "X.TFLITE", code=1).stderr
    assert "runs no" in run_command(*arguments, "--float32", "-o", tmp_path / "both").stderr
    assert {path.name for path in (tmp_path / "both").glob("*.c")} == {"tiny-float32.c"}
