from __future__ import annotations

from typing import Any

import pytest

from edge_fmnist.errors import RecipeError, UsageError
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import read_graph
from edge_fmnist_export import architectures
from edge_fmnist_export.architectures import edge
from edge_fmnist_export.architectures.residual import MOST_BLOCKS, Network, Stage, parse
from edge_fmnist_export.training.recipe import parse_recipe

NAMES = (
    "resnet:16;16,32/2,32,80/2",
    "resnet:32k5/2;48,80k5/2,80",
    "resnet:7/2;9/2,9,11k1/2,13",
    "resnet:12k7;12k7/2",
    "resnet:6;8x5k5/2,8x9,10",
)


@pytest.mark.parametrize("name", NAMES)
def test_name_and_network_are_the_same_thing(name: str) -> None:
    assert str(parse(name)) == name


def test_what_a_name_says() -> None:
    assert parse("resnet:16k5;32/2, 48k3/1") == Network(Stage(16, size=5), (Stage(32, strides=2), Stage(48)))
    assert parse("resnet:16;32x20/2,48x48") == Network(Stage(16), (Stage(32, strides=2, inner=20), Stage(48)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet:16", "expected resnet:STEM;BLOCK,BLOCK"),
        ("resnet:16;-3", "got '-3'"),
        ("resnet:16;3" + "0" * 5000, "got '3000"),
        ("resnet:0;16", "expected 1 to 1024 filters, got 0"),
        ("resnet:16;32x0", "expected 1 to 1024 inner filters, got 0"),
        ("resnet:16x8;32", "the stem is one convolution and has no inner width, got 16x8"),
        ("resnet:16;32k4", "expected kernels of 1, 3, 5, 7 pixels, got 4"),
        ("resnet:16;32/3", "expected a stride of 1 or 2, got 3"),
        ("resnet:16;" + ",".join(["8"] * (MOST_BLOCKS + 1)), "expected 1 to 32 blocks, got 33"),
    ],
)
def test_a_name_that_describes_no_network(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        architectures.builder(name)
    with pytest.raises(RecipeError, match=r"mine\.toml: architecture: .*" + message):
        parse_recipe(f'name = "mine"\narchitecture = "{name}"\n', "mine.toml")


def test_unknown_family() -> None:
    with pytest.raises(UsageError, match=r"unknown architecture 'densenet:3;4'; expected one of .*edge.*resnet:"):
        architectures.build("densenet:3;4", None)


def test_parameters_and_shapes_are_those_that_keras_builds(keras: Any) -> None:
    built = [architectures.build(name, keras) for name in NAMES]
    assert [model.count_params() for model in built] == [parse(name).parameters for name in NAMES]
    # 28 pixels halved twice by strides of 2; the last layers are Dense, pooling and the block's ReLU.
    shapes = [tuple(model.layers[-3].output.shape[1:]) for model in built]
    assert shapes == [(7, 7, 80), (7, 7, 80), (4, 4, 13), (14, 14, 12), (14, 14, 10)]


def test_multiply_accumulates_are_those_of_the_written_file() -> None:
    assert read_graph(read_model("edge").content, "edge").macs == edge.NETWORK.macs
