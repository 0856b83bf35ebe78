"""Labels from a file, and the commands that use them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.data.labels import LABELS, filled, read_labels
from edge_fmnist.errors import DataError, ModelError, SourceError

Cli = Callable[..., Any]
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture
def labels_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes labels to a file, one on each line."""

    def write(*labels: str) -> Path:
        path = tmp_path / "labels.txt"
        path.write_text("\n".join(labels) + "\n", "utf-8")
        return path

    return write


def test_labels_are_read_in_their_order(labels_file: Callable[..., Path]) -> None:
    assert read_labels(labels_file(*DIGITS)) == DIGITS
    assert read_labels(labels_file("Tröja", " Byxa ", "", "")) == ("Tröja", "Byxa")


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_a_label(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfzero\r\none\r\n")
    assert read_labels(path) == ("zero", "one")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected 2 to 1000 labels, one on each line"),
        (b"one\n", "got 1"),
        ("\n".join(map(str, range(1001))).encode(), "got 1001"),
        (b"zero\n\ntwo\n", "line 2 is empty"),
        (b"zero\none\nzero\n", "duplicate label 'zero' on lines 1 and 3"),
        (b"zero\n" + b"x" * 61, "line 2: expected a printable label of at most 60 characters"),
        (b"zero\n\x00one\n", "line 2: expected a printable label"),
        (b"zero\nunknown\n", "'unknown' means a score below the threshold"),
        (b"\xff\xfe\x00", "save it as UTF-8"),
        (b"a" * ((1 << 18) + 1), "got more than 262144 bytes"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_labels(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_does_not_exist(tmp_path: Path, cli: Cli) -> None:
    with pytest.raises(SourceError, match="no such file; expected a text file with one label on each line"):
        read_labels(tmp_path / "none.txt")
    assert cli("data", "--labels", tmp_path / "none.txt").exit_code == 3


def test_the_largest_file_is_read_whole(labels_file: Callable[..., Path]) -> None:
    labels = tuple(f"{number:04d}" + "\N{LATIN SMALL LETTER E WITH ACUTE}" * 56 for number in range(1000))
    assert read_labels(labels_file(*labels)) == labels


def test_outputs_without_a_class_are_called_unused() -> None:
    assert filled(("a", "b"), 4) == ("a", "b", "unused 2", "unused 3")
    assert filled(LABELS, 10) == LABELS


def test_data_is_described_with_the_labels_given(
    cli: Cli, make_idx: Callable[..., Path], labels_file: Callable[..., Path]
) -> None:
    folder = make_idx(train_labels=np.arange(60) % 4, test_labels=np.arange(40) % 4)
    result = cli("data", "--data", folder, "--labels", labels_file(*DIGITS[:4]), "--json")
    facts = json.loads(result.stdout)
    assert facts["labels"] == list(DIGITS[:4])
    assert facts["splits"]["train"]["counts"] == [15] * 4


def test_labels_take_the_place_of_those_in_the_file(
    describe_model: Callable[..., Path], model_path: Callable[[str], Path], images: np.ndarray
) -> None:
    model = describe_model()
    index = Classifier.load(model).predict(images[0]).index
    assert Classifier.load(model, labels=DIGITS).predict(images[0]).label == DIGITS[index]
    with pytest.raises(ModelError, match="expected an output for 4 labels, got 10"):
        Classifier.load(model, labels=DIGITS[:4])
    assert Classifier.load(model_path("five_classes"), labels=DIGITS[:5]).labels == DIGITS[:5]


def test_classify_and_evaluate_name_the_classes_of_a_foreign_model(
    run_cli: Cli,
    model_path: Callable[[str], Path],
    labels_file: Callable[..., Path],
    picture: Callable[..., Path],
    images: np.ndarray,
    make_idx: Callable[..., Path],
) -> None:
    options = ("--labels", labels_file(*DIGITS[:5]), "--json")
    result = run_cli("classify", picture("image.png", images[0]), "--model", model_path("five_classes"), *options)
    assert "has no labels" not in result.stderr
    assert json.loads(result.stdout)["label"] in DIGITS[:5]
    data = make_idx(test_labels=np.arange(40) % 5)
    result = run_cli("evaluate", model_path("five_classes"), "--data", data, *options)
    [evaluation] = json.loads(result.stdout)
    assert [metrics["label"] for metrics in evaluation["classes"]] == list(DIGITS[:5])


def test_photographs_keep_the_labels_of_garments(
    run_cli: Cli, labels_file: Callable[..., Path], tmp_path: Path
) -> None:
    result = run_cli("evaluate", "--photos", tmp_path, "--labels", labels_file(*DIGITS), code=2)
    assert "--photos uses the labels of Fashion-MNIST" in result.stderr
