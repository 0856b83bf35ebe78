"""The C files are compiled here, with every warning an error, and say what the model file says."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
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
C99, C11, CPP11 = ("cc", "-std=c99"), ("cc", "-std=c11"), ("c++", "-std=c++11")

# Prints as JSON what the header and the linked array say.
PROGRAM = """
#include <stdio.h>
#include "HEADER.h"
#include "HEADER.h"

static const long input_shape[UPPER_INPUT_RANK] = UPPER_INPUT_SHAPE;
static const long output_shape[UPPER_OUTPUT_RANK] = UPPER_OUTPUT_SHAPE;

static void numbers(const char *name, const long *values, int count) {
    int i;
    printf("\\"%s\\": [", name);
    for (i = 0; i < count; i++) printf("%s%ld", i ? ", " : "", values[i]);
    printf("], ");
}

int main(void) {
    unsigned long i, sum = 0;
    for (i = 0; i < lower_model_length; i++) sum = (sum * 31 + lower_model[i]) % 1000003;
    printf("{\\"length\\": %lu, \\"macro\\": %lu, ", (unsigned long)lower_model_length,
           (unsigned long)UPPER_MODEL_LENGTH);
    printf("\\"aligned\\": %d, \\"sum\\": %lu, \\"first\\": [", (int)((uintptr_t)lower_model % 16 == 0), sum);
    for (i = 0; i < 16; i++) printf("%s%d", i ? ", " : "", lower_model[i]);
    printf("], \\"sizeof\\": [%d, %d, %d], ", (int)sizeof(lower_model), (int)sizeof(lower_input_t),
           (int)sizeof(lower_output_t));
    numbers("input_shape", input_shape, UPPER_INPUT_RANK);
    numbers("output_shape", output_shape, UPPER_OUTPUT_RANK);
    printf("\\"lengths\\": [%d, %d], ", UPPER_INPUT_LENGTH, UPPER_OUTPUT_LENGTH);
#ifdef UPPER_INPUT_SCALE
    printf("\\"input\\": [%.9g, %d], ", UPPER_INPUT_SCALE, UPPER_INPUT_ZERO_POINT);
    printf("\\"output\\": [%.9g, %d], ", UPPER_OUTPUT_SCALE, UPPER_OUTPUT_ZERO_POINT);
#endif
#ifdef UPPER_LABEL_COUNT
    printf("\\"labels\\": [");
    for (i = 0; i < UPPER_LABEL_COUNT; i++) {
        const char *c;
        printf("%s\\"", i ? ", " : "");
        for (c = lower_labels[i]; *c; c++) printf("%02x", (unsigned)(unsigned char)*c);
        printf("\\"");
    }
    printf("], ");
#endif
    printf("\\"arena\\": %d, \\"operators\\": %d}\\n", UPPER_ARENA_BYTES, UPPER_OPERATOR_COUNT);
    return 0;
}
"""


@pytest.fixture(scope="session")
def compile_and_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return a function that writes a model's C files, compiles them with a program, and returns what that prints."""
    for compiler in ("cc", "c++"):
        if shutil.which(compiler) is None:
            message = f"no {compiler}: apt install g++"
            if os.environ.get("EDGE_FMNIST_REQUIRE_COMPILER") == "1":
                pytest.fail(message)
            pytest.skip(message)

    def run(model: ModelBytes, name: str, compiler: tuple[str, ...], program: tuple[str, ...] | None = None) -> Any:
        folder = tmp_path_factory.mktemp("c")
        write_c_files(model, folder / name)
        prefix = identifier(name)
        text = PROGRAM.replace("HEADER", name).replace("UPPER", prefix.upper()).replace("lower", prefix)
        (folder / "main.c").write_text(text, "utf-8")
        build(folder, compiler, f"{name}.c", "model.o")
        build(folder, program or compiler, "main.c", "main.o")
        done = subprocess.run(["c++", "model.o", "main.o", "-o", "main"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said = subprocess.run([folder / "main"], capture_output=True, text=True, check=True).stdout
        return json.loads(said)

    return run


def build(folder: Path, compiler: tuple[str, ...], source: str, target: str) -> None:
    language = ("-x", "c++") if compiler is CPP11 else ()
    command = [*compiler, *STRICT, *language, "-c", source, "-o", target]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def edge() -> ModelBytes:
    return read_model("edge")


def checksum(array: bytes) -> int:
    total = 0
    for byte in array:
        total = (total * 31 + byte) % 1_000_003
    return total


@pytest.mark.parametrize(("array", "program"), [(C99, CPP11), (C11, C11)], ids=["mixed", "c11"])
def test_a_program_reads_the_model(
    compile_and_run: Callable[..., Any], edge: ModelBytes, array: Any, program: Any
) -> None:
    said = compile_and_run(edge, "edge-int8", array, program)
    flatbuffer = without_metadata(edge.content)
    classifier = Classifier.load("edge")
    assert said["length"] == said["macro"] == said["sizeof"][0] == len(flatbuffer)
    assert bytes(said["first"]) == edge.content[:16]
    assert (said["sum"], said["aligned"]) == (checksum(flatbuffer), 1)
    for end, tensor in (("input", classifier.input), ("output", classifier.output)):
        assert np.float32(said[end][0]) == np.float32(tensor.scale)
        assert said[end][1] == tensor.zero_point
        assert said[f"{end}_shape"] == list(tensor.shape)
    assert said["lengths"] == [784, 10]
    assert said["sizeof"][1:] == [1, 1]
    assert [bytes.fromhex(label).decode() for label in said["labels"]] == list(LABELS)
    structure = read_graph(edge.content, "edge")
    assert said["arena"] == estimate(structure, "edge").total
    assert said["operators"] == len({operator.name for operator in structure.operators})


AWKWARD = ('"quoted"', "back\\slash", "what??/", "*/ /*", "Größe", "semi;colon", "%d", "', '", "012", "last")


def test_awkward_labels_come_through(compile_and_run: Callable[..., Any], edge: ModelBytes) -> None:
    labels = AWKWARD
    content = embed(without_metadata(edge.content), {"output": "logits"}, labels)
    said = compile_and_run(ModelBytes(content, "awkward"), "awkward", CPP11)
    assert [bytes.fromhex(label).decode() for label in said["labels"]] == list(labels)


def float_model(edge: ModelBytes) -> bytes:
    """Return a model whose input and output say that they are floats; it is only read, never run."""
    schema = file_schema()
    model = schema.ModelT.InitFromPackedBuf(edge.content, 0)
    graph = model.subgraphs[0]
    for index in (*graph.inputs, *graph.outputs):
        graph.tensors[index].type, graph.tensors[index].quantization = schema.TensorType.FLOAT32, None
    return bytes(convert_object_to_bytearray(model))


def test_a_float_model_has_no_quantization(compile_and_run: Callable[..., Any], edge: ModelBytes) -> None:
    said = compile_and_run(ModelBytes(float_model(edge), "float.tflite"), "float", C99)
    assert "input" not in said
    assert said["sizeof"][1:] == [4, 4]


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
    [
        ("edge-int8", "edge_int8"),
        ("28x28", "model_28x28"),
        ("__a__b", "a_b"),
        ("größe", "gr_e"),
        ("日本", "model"),
    ],
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


def run(cli: Callable[..., Any], *arguments: object, code: int = 0) -> Any:
    result = cli("export", *arguments)
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.stderr
    return result


def test_command_takes_a_shipped_model_as_it_is(cli: Callable[..., Any], edge: ModelBytes, tmp_path: Path) -> None:
    result = run(cli, "edge", "--c-array", "--arena", "--output", tmp_path)
    assert f"{tmp_path}/edge.h" in result.stderr
    assert "tensor arena of about" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edge.c", "edge.h"]
    assert (tmp_path / "edge.h").read_text("utf-8") == c_files(edge, "edge").header
    assert (tmp_path / "edge.c").read_text("utf-8") == c_files(edge, "edge").source


def test_command_answers_programs(cli: Callable[..., Any], edge: ModelBytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.tflite"
    path.write_bytes(edge.content)
    result = run(cli, path, "--c-array", "--arena", "--output", tmp_path / "src" / "model.c", "--json")
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
        (("edge", "--c-array", "--int8", "--output", "model.c"), 2, "C files are written next to the .tflite file"),
    ],
)
def test_what_the_command_refuses(
    cli: Callable[..., Any],
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
    result = run(cli, *(argument.format(**files) for argument in arguments), code=code)
    assert message in result.stderr
    assert result.stdout == ""
    assert set(tmp_path.iterdir()) == set(files.values())


@pytest.mark.slow
def test_command_converts_a_run_and_writes_its_c_files(
    run_command: Callable[..., Any], tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    answer = run_command("export", tiny_run, "--data", tiny_data, "-o", tmp_path, "--c-array", "--arena", "--json")
    assert answer.code == 0, answer.stderr
    (made,) = answer.json
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-int8.c", "tiny-int8.h", "tiny-int8.tflite"]
    assert made["format"] == "int8"
    assert made["arena"]["bytes"] > made["arena"]["activation_bytes"] > 784
    assert made["sha256"] in Path(made["c_array"]["header"]).read_text("utf-8")
