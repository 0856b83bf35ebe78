"""The torch back end: the same network, the same descent. Needs the extra [torch]."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist_export.training.torch_network import same_padding
from edge_fmnist_export.training.weights import load_arrays

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("torch") is None, reason="the extra [torch] is not installed"),
]

# Compiling takes most of the time: the last test compiles, the others do not.
WITHOUT_COMPILING = {"TORCHDYNAMO_DISABLE": "1"}
# Every kind of layer: padding "same" and "valid", pooling that leaves a pixel out, shortcuts with and without a
# convolution, depthwise convolutions.
NAMES = ["lenet5", "cnn-dropout", "resnet:8k5/2;8,12/2", "efficientnet-lite2"]
RECIPE = """
name = "torched"
architecture = "resnet:12k5/2;16"
seed = 3

[data]
validation = 100
split_seed = 3
batch_size = 32

[augmentation]
shift = 1

[training]
epochs = 4
learning_rate = 0.1
weight_decay = 0.01
warmup_epochs = 0.2
precision = "bfloat16"
ema = 0.3

[qat]
epochs = 1
learning_rate = 0.01
"""


def compare_logits(*names: str) -> None:
    """Print the largest logit of each network, and by how much ours differ, in float32 and in bfloat16."""
    import json

    import numpy as np

    from edge_fmnist_export import architectures
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.torch_network import TorchNetwork
    from edge_fmnist_export.training.torch_trainer import torch_logits

    keras, found = backend.keras_module(), {}
    rng = np.random.default_rng(1)
    images = rng.random((12, 28, 28, 1), np.float32)
    for name in names:
        model = architectures.build(name, keras)
        for variable in model.weights:
            if variable.name in ("gamma", "moving_variance"):
                variable.assign(rng.uniform(0.5, 2, variable.shape))
            elif variable.name in ("beta", "moving_mean", "bias"):
                variable.assign(rng.normal(0, 0.3, variable.shape))
        theirs = model.predict(images, verbose=0)
        device = model.weights[0].value.device
        ours = torch_logits(TorchNetwork(model), images, device)
        last = torch_logits(TorchNetwork(model, channels_last=True), images, device)
        reduced = torch_logits(TorchNetwork(model), images, device, reduced=True)
        found[name] = [float(abs(theirs).max()), *(float(abs(each - theirs).max()) for each in (ours, last, reduced))]
    print(json.dumps(found))


def compare_descent() -> None:
    """Print how far two trainers' weights are from each other and from the start, after the same batches."""
    import json

    import numpy as np

    from edge_fmnist_export import architectures
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.keras_trainer import KerasTrainer
    from edge_fmnist_export.training.losses import Objective
    from edge_fmnist_export.training.phase import Phase
    from edge_fmnist_export.training.recipe import FloatPhase
    from edge_fmnist_export.training.torch_trainer import TorchTrainer
    from edge_fmnist_export.training.weights import read_variables

    keras, steps = backend.keras_module(), 12
    rng = np.random.default_rng(2)
    drawn = [
        (rng.random((16, 28, 28, 1), np.float32), np.eye(10, dtype=np.float32)[rng.integers(0, 10, 16)])
        for _ in range(steps)
    ]
    settings = FloatPhase(epochs=1, learning_rate=0.05, weight_decay=0.1, warmup_epochs=0.5, label_smoothing=0.1)
    ends, results, rates = [], [], []
    for kind in (KerasTrainer, TorchTrainer):
        keras.utils.set_random_seed(4)
        model = architectures.build("lenet5", keras)
        start = read_variables(model.weights)
        phase = Phase("float", keras, model, settings, Objective(0.1), lambda epoch: iter(drawn), 16, steps)
        running = kind(phase)
        results.append(running.fit(iter(drawn), steps, lambda loss, accuracy, steps: None))
        rates.append(running.learning_rate())
        ends.append(read_variables(model.weights))
    apart = max(float(abs(a - b).max()) for a, b in zip(*ends, strict=True))
    moved = min(float(abs(a - b).max()) for a, b in zip(start, ends[1], strict=True))
    print(json.dumps({"apart": apart, "moved": moved, "results": results, "rates": rates}))


def resumed() -> None:
    """Print how far the weights after two epochs with dropout are from those of a run that was resumed in between."""
    import json

    import numpy as np

    from edge_fmnist_export import architectures
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.losses import Objective
    from edge_fmnist_export.training.phase import Phase
    from edge_fmnist_export.training.recipe import FloatPhase
    from edge_fmnist_export.training.torch_trainer import TorchTrainer
    from edge_fmnist_export.training.weights import assign_variables, read_variables

    keras, rng = backend.keras_module(), np.random.default_rng(2)
    drawn = [(rng.random((8, 28, 28, 1), np.float32), np.eye(10, dtype=np.float32)[rng.integers(0, 10, 8)])] * 2

    def trainer() -> TorchTrainer:
        keras.utils.set_random_seed(4)
        model = architectures.build("cnn-dropout", keras)
        return TorchTrainer(
            Phase("float", keras, model, FloatPhase(epochs=2), Objective(), lambda _: iter(drawn), 8, 2)
        )

    def fit(running: TorchTrainer) -> list[np.ndarray]:
        running.fit(iter(drawn), 2, lambda loss, accuracy, steps: None)
        return read_variables(running.variables)

    whole, first = trainer(), trainer()
    fit(whole)
    later = trainer()
    assign_variables(later.variables, fit(first), "the first epoch")
    print(json.dumps(max(float(abs(a - b).max()) for a, b in zip(fit(whole), fit(later), strict=True))))


def mean_losses() -> None:
    """Print loss and accuracy of certain logits where images have one, three or no correct classes."""
    import json

    import numpy as np

    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.batches import FOOTWEAR, UNKNOWN, Subset
    from edge_fmnist_export.training.keras_trainer import means
    from edge_fmnist_export.training.losses import Objective
    from edge_fmnist_export.training.phase import Phase
    from edge_fmnist_export.training.recipe import FloatPhase

    keras, targets = backend.keras_module(), np.array([3, FOOTWEAR, UNKNOWN], np.uint8)
    logits = np.zeros((3, 10), np.float32)
    logits[[0, 1], [3, 7]] = 50
    phase = Phase("float", keras, None, FloatPhase(), Objective(unknown=0.5), lambda _: iter(()), 1, 1)
    print(json.dumps(means(phase, Subset(np.zeros((3, 28, 28), np.uint8), targets), logits)))


def refused() -> None:
    """Print what networks with a strange layer are told."""
    import json

    from edge_fmnist.errors import UsageError
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.torch_network import TorchNetwork

    keras = backend.keras_module()
    inputs = keras.layers.Input((28, 28, 1))
    found = []
    layers = keras.layers
    for layer in (layers.AveragePooling2D(2), layers.Conv2D(2, 3, activation="elu"), layers.ReLU(negative_slope=0.1)):
        try:
            TorchNetwork(keras.Model(inputs, layer(inputs)))
        except UsageError as error:
            found.append(str(error))
    print(json.dumps(found))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(28, 3, 1, (1, 1)), (28, 3, 2, (0, 1)), (28, 5, 2, (1, 2)), (28, 1, 2, (0, 0)), (7, 3, 2, (1, 1))],
)
def test_same_padding_puts_the_odd_pixel_behind(size: int, kernel: int, stride: int, padding: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == padding


@pytest.fixture(scope="module")
def compared(spawn_calls: Callable[..., list[Any]]) -> list[Any]:
    """Return what the five functions above print."""
    calls = ((compare_logits, *NAMES), (compare_descent,), (refused,), (resumed,), (mean_losses,))
    return spawn_calls(*calls, **WITHOUT_COMPILING, KERAS_BACKEND="torch")


def test_logits_are_those_of_keras(compared: list[Any]) -> None:
    for name, (largest, difference, channels_last, reduced) in compared[0].items():
        assert difference < 1e-4 * max(1, largest), name
        assert channels_last < 1e-4 * max(1, largest), name
        assert difference < reduced < 0.1 * max(1, largest), name


def test_descends_as_keras_does(compared: list[Any]) -> None:
    found = compared[1]
    assert found["apart"] < 1e-4
    assert found["moved"] > 1e-3
    ours, theirs = found["results"]
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert found["rates"] == [0, 0]


def test_what_it_does_not_know_is_named(compared: list[Any]) -> None:
    layer, activation, relu = compared[2]
    assert "AveragePooling2D" in layer
    assert "'elu'" in activation
    assert "without slope" in relu
    assert all("KERAS_BACKEND=tensorflow" in text for text in (layer, activation, relu))


def test_dropout_after_a_resumption_is_that_of_an_uninterrupted_run(compared: list[Any]) -> None:
    assert compared[3] == 0


def test_images_with_several_classes_or_none_are_validated(compared: list[Any]) -> None:
    assert compared[4] == pytest.approx({"loss": 0.5 * math.log(10) / 3, "accuracy": 1})


@pytest.fixture
def run_on_torch(spawn_command: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs the command with Keras on torch."""
    return partial(spawn_command, KERAS_BACKEND="torch")


def test_another_optimizer_is_refused_before_the_run_folder_is_made(
    tiny_data: Path, tmp_path: Path, run_on_torch: Callable[..., Any]
) -> None:
    recipe, run = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("[training]", '[training]\noptimizer = "adamw"'), "utf-8")
    said = run_on_torch("train", recipe, "--data", tiny_data, "--output", run, code=2)
    assert 'optimizer = "sgd", got "adamw"; set KERAS_BACKEND=tensorflow' in said.stderr
    assert not run.exists()


def losses_of(run: Path, phase: str) -> list[float]:
    """Return the training losses of a run's phase, epoch by epoch."""
    history = json.loads((run / "history.json").read_text("utf-8"))
    return [record["loss"] for record in history if record["phase"] == phase]


def test_trains_float_with_a_teacher_on_torch_and_the_rest_on_tensorflow(
    tiny_run: Path, tiny_data: Path, tmp_path: Path, run_on_torch: Callable[..., Any]
) -> None:
    recipe, run = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(f'{RECIPE}\n[distill]\nteachers = ["{tiny_run}"]\nviews = 2\n', "utf-8")
    run_on_torch("train", recipe, "--data", tiny_data, "--output", run)
    losses = losses_of(run, "float")
    assert len(losses) == 4
    assert losses[-1] < 0.95 * losses[0]
    assert len(losses_of(run, "qat")) == 1


FOUR_BITS = RECIPE.replace("ema = 0.3", "ema = 0.3\nweight_bits = 4").replace("epochs = 1", "epochs = 0")


def test_kernels_of_four_bits_have_15_values_and_fit_an_int4_file(
    tiny_data: Path, tmp_path: Path, run_on_torch: Callable[..., Any], run_command: Callable[..., Any]
) -> None:
    recipe, run = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(FOUR_BITS, "utf-8")
    answer = run_on_torch("train", recipe, "--data", tiny_data, "--output", run, TORCHDYNAMO_DISABLE="1")
    assert f"edge-fmnist export {run} --int4" in answer.stderr
    losses = losses_of(run, "float")
    assert losses[-1] < 0.98 * losses[0]
    arrays = load_arrays(run / "float.npz")
    found = [array for array in arrays if array.ndim == 4]
    assert len(found) > 3
    for number, kernel in enumerate(found):
        steps = kernel / (abs(kernel).max(axis=(0, 1, 2)) / 7)
        assert (abs(steps - steps.round()).max() < 1e-3) == (number > 0)
    exported = run_command("export", run, "--data", tiny_data, "--output", tmp_path / "files", "--json")
    (report,) = exported.json
    assert (report["format"], report["largest_difference"] < 8) == ("int4", True)
    answer = run_command("export", run, "--data", tiny_data, "--int8", "--output", tmp_path / "files", code=1)
    assert "use --int4" in answer.stderr


def test_four_bits_need_torch(tiny_data: Path, tmp_path: Path, run_command: Callable[..., Any]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(FOUR_BITS, "utf-8")
    answer = run_command("train", recipe, "--data", tiny_data, "--output", tmp_path / "run", code=2)
    assert "expected Keras on torch, got tensorflow" in answer.stderr
    assert "set KERAS_BACKEND=torch" in answer.stderr
    assert not (tmp_path / "run").exists()
    answer = run_command("train", recipe, "--data", tiny_data, "--qat-epochs", 1, code=2)
    assert "weight_bits = 4 needs qat.epochs = 0" in answer.stderr
