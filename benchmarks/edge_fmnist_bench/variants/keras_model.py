"""The float Keras model of a run, on the Keras back end in use, through ``predict`` and through a compiled function.

``predict`` is how most code calls a model, and at batch 1 it is mostly
overhead; the compiled function is the fair opponent.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist_bench.variants.base import Runner, Variant, VariantError

if TYPE_CHECKING:
    from edge_fmnist_export.training.run_folder import Run

PURPOSE = "comparing with the float model"
# What single-stream latency is measured with; TensorFlow cannot change it once it runs.
TENSORFLOW_THREADS = 1
PREDICT, COMPILED, XLA = "predict", "compiled", "xla"
TITLES = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX"}
# What compiles a model on each back end; Keras's own compiled step serves for the others.
COMPILERS = {"tensorflow": "tf.function", "jax": "jax.jit"}
ON_BATCH = "predict_on_batch"


def load_keras_model(run: Run) -> Any:
    """Return the float Keras model of a run with its trained weights, on the back end in use.

    Raises:
        MissingExtraError: Keras or its back end is not installed.
        RunError: the weights are missing or do not fit.
    """
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.float_model import float_model

    _hold_tensorflow()
    return float_model(run, backend.keras_module(PURPOSE))


@functools.cache
def _shared_model(folder: str) -> Any:
    """Return the model of a run folder, built once for the variants of a process."""
    from edge_fmnist_export.training.run_folder import open_run

    return load_keras_model(open_run(folder))


def keras_variants(run: Run) -> list[Variant]:
    """Return the float Keras model as variants: ``predict``, a compiled function, and XLA on TensorFlow.

    Raises:
        MissingExtraError: Keras or its back end is not installed.
    """
    from edge_fmnist_export.training import backend

    keras = backend.keras_module(PURPOSE)
    engine = str(keras.backend.backend())
    _hold_tensorflow()
    device = _device(engine)
    ways = {PREDICT: "predict", COMPILED: COMPILERS.get(engine, ON_BATCH)}
    if engine == "tensorflow":
        ways[XLA] = "tf.function with XLA"
    folder, place = str(run.folder), TITLES.get(engine, engine)
    return [
        KerasVariant(way, f"Keras {keras.__version__} on {place}, {title}", device, folder)
        for way, title in ways.items()
    ]


class KerasVariant(Variant):
    """A Keras model called in one way; the model is loaded when it is opened."""

    def __init__(self, way: str, title: str, device: str, folder: str) -> None:
        """Describe a variant.

        Args:
            way: ``predict``, ``compiled`` or ``xla``.
            title: for tables.
            device: what it runs on.
            folder: the run folder.
        """
        self.name, self.title, self.device, self.file = f"keras-{way}", title, device, None
        self._way, self._folder = way, folder

    def open(self, *, threads: int, batch: int) -> Runner:
        """Return the call.

        Raises:
            VariantError: the back end has another number of threads.
            RunError: the weights are missing or do not fit.
        """
        model = _shared_model(self._folder)
        engine = _engine()
        if self.device == "CPU":
            _check_threads(engine, threads)
        if self._way == PREDICT:
            return _predict(model, batch)
        if engine == "tensorflow":
            return _tensorflow(model, batch, xla=self._way == XLA)
        return _jax(model) if engine == "jax" else _on_batch(model)


def _engine() -> str:
    from edge_fmnist_export.training import backend

    return str(backend.keras_module(PURPOSE).backend.backend())


def _device(engine: str) -> str:
    """Return the name of the GPU that a back end uses, or ``"CPU"``."""
    from edge_fmnist_export.training import backend

    if engine == "tensorflow":
        config = backend.tensorflow_module(PURPOSE).config
        gpus = config.list_physical_devices("GPU")
        return str(config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")) if gpus else "CPU"
    if engine == "torch":
        torch = backend.require("torch", PURPOSE)
        return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "CPU"
    if engine == "jax":
        device = backend.require("jax", PURPOSE).devices()[0]
        return "CPU" if device.platform == "cpu" else str(device.device_kind)
    return "CPU"


def _hold_tensorflow() -> None:
    """Hold TensorFlow to the threads that latency is measured with, before its first operation."""
    from edge_fmnist_export.training import backend

    if _engine() != "tensorflow":
        return
    threading = backend.tensorflow_module(PURPOSE).config.threading
    # Too late when it already runs; opening a variant says so.
    with contextlib.suppress(RuntimeError):
        threading.set_intra_op_parallelism_threads(TENSORFLOW_THREADS)
        threading.set_inter_op_parallelism_threads(TENSORFLOW_THREADS)


def _check_threads(engine: str, threads: int) -> None:
    """Give a back end on the CPU this many threads, or check that it has them.

    Raises:
        VariantError: it has another number, or does not say.
    """
    from edge_fmnist_export.training import backend

    if engine == "torch":
        backend.require("torch", PURPOSE).set_num_threads(threads)
        return
    if engine != "tensorflow":
        raise VariantError(
            f"Keras on {TITLES.get(engine, engine)} takes no number of threads on the CPU; use TensorFlow or PyTorch"
        )
    held = backend.tensorflow_module(PURPOSE).config.threading.get_intra_op_parallelism_threads()
    if held != threads:
        raise VariantError(
            f"TensorFlow fixes its threads when it starts, at {held or 'its own choice'} in this process, "
            f"so it cannot run with {threads}"
        )


def _inputs(images: np.ndarray) -> np.ndarray:
    """Return images as the network takes them: float32 (N, 28, 28, 1), 0 to 1."""
    return images[..., None].astype(np.float32) / np.float32(255)


def _predict(model: Any, batch: int) -> Runner:
    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict(_inputs(images), batch_size=batch, verbose=0))

    return run


def _on_batch(model: Any) -> Runner:
    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict_on_batch(_inputs(images)))

    return run


def tensorflow_function(model: Any, batch: int | None, *, xla: bool = False) -> Any:
    """Return a ``tf.function`` from uint8 (batch, 28, 28) to logits, which scales the pixels in the graph.

    Args:
        model: a Keras model on the TensorFlow back end.
        batch: how many images each call gets; None leaves it open.
        xla: compile with XLA.
    """
    from edge_fmnist_export.training import backend

    tensorflow = backend.tensorflow_module(PURPOSE)
    signature = tensorflow.TensorSpec([batch, 28, 28], tensorflow.uint8, name="image")

    def call(image: Any) -> Any:
        return model(tensorflow.cast(image[..., None], tensorflow.float32) / 255, training=False)

    return tensorflow.function(call, input_signature=[signature], autograph=False, jit_compile=xla)


def _tensorflow(model: Any, batch: int, *, xla: bool) -> Runner:
    from edge_fmnist_export.training import backend

    tensorflow = backend.tensorflow_module(PURPOSE)
    concrete = tensorflow_function(model, batch, xla=xla).get_concrete_function()

    def run(images: np.ndarray) -> np.ndarray:
        result: np.ndarray = concrete(tensorflow.constant(images)).numpy()
        return result

    return run


def _jax(model: Any) -> Runner:
    from edge_fmnist_export.training import backend

    trainable = [variable.value for variable in model.trainable_variables]
    other = [variable.value for variable in model.non_trainable_variables]

    def call(images: Any) -> Any:
        return model.stateless_call(trainable, other, images[..., None].astype("float32") / 255, training=False)[0]

    compiled: Callable[[np.ndarray], Any] = backend.require("jax", PURPOSE).jit(call)
    return lambda images: np.asarray(compiled(images))
