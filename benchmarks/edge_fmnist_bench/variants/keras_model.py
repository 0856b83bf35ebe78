"""The float Keras model of a run, on the current Keras back end, through ``predict`` and as a compiled function.

Most code calls ``predict``, which at batch 1 is mostly overhead; the compiled function is the fair comparison.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist_bench.variants.base import BenchmarkVariant, Runner, VariantError
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import scaled

if TYPE_CHECKING:
    from edge_fmnist_export.training.run_folder import Run

PURPOSE = "comparing with the float model"
# The threads of single-stream latency; TensorFlow cannot change them once it runs.
TENSORFLOW_THREADS = 1
PREDICT, COMPILED, XLA = "predict", "compiled", "xla"
TITLES = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX"}


def load_keras_model(run: Run) -> Any:
    """Return the float Keras model of a run with its trained weights, on the current back end.

    Raises:
        MissingExtraError: Keras or its back end is not installed.
        RunError: the weights are missing or do not fit.
    """
    _limit_tensorflow_threads()
    return run.float_model(backend.keras_module(PURPOSE))


@functools.cache
def _shared_model(folder: str) -> Any:
    """Return the model of a run folder, built once per process."""
    from edge_fmnist_export.training.run_folder import open_run

    return load_keras_model(open_run(folder))


def keras_variants(run: Run) -> list[BenchmarkVariant]:
    """Return the float Keras model as variants: ``predict``, a compiled function, and XLA on TensorFlow.

    Raises:
        MissingExtraError: Keras or its back end is not installed.
    """
    keras, engine = backend.keras_module(PURPOSE), _engine()
    _limit_tensorflow_threads()
    device = _device(engine)
    # Elsewhere, Keras's own compiled step.
    ways = {PREDICT: "predict", COMPILED: "predict_on_batch"}
    if engine == "tensorflow":
        ways = {PREDICT: "predict", COMPILED: "tf.function", XLA: "tf.function with XLA"}
    place = f"Keras {keras.__version__} on {TITLES.get(engine, engine)}"
    return [KerasVariant(way, f"{place}, {title}", device, str(run.folder)) for way, title in ways.items()]


class KerasVariant(BenchmarkVariant):
    """A Keras model called in one way; loaded when it is opened."""

    def __init__(self, way: str, title: str, device: str, folder: str) -> None:
        self.name, self.title, self.device, self.file = f"keras-{way}", title, device, None
        self._way, self._folder = way, folder

    def open(self, *, threads: int, batch: int) -> Runner:
        """Return the call.

        Raises:
            VariantError: the back end runs with another number of threads.
            RunError: the weights are missing or do not fit.
        """
        model, engine = _shared_model(self._folder), _engine()
        if self.device == "CPU":
            _set_threads(engine, threads)
        if self._way == PREDICT:
            return lambda images: np.asarray(model.predict(scaled(images), batch_size=batch, verbose=0))
        if engine == "tensorflow":
            return _tensorflow(model, batch, xla=self._way == XLA)
        return lambda images: np.asarray(model.predict_on_batch(scaled(images)))


def _engine() -> str:
    return str(backend.keras_module(PURPOSE).backend.backend())


def _device(engine: str) -> str:
    """Return the name of the back end's GPU, or ``"CPU"``."""
    if engine == "tensorflow":
        config = backend.tensorflow_module(PURPOSE).config
        if gpus := config.list_physical_devices("GPU"):
            return str(config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    if engine == "torch" and (torch := backend.require("torch", PURPOSE)).cuda.is_available():
        return str(torch.cuda.get_device_name())
    if engine == "jax" and (device := backend.require("jax", PURPOSE).devices()[0]).platform != "cpu":
        return str(device.device_kind)
    return "CPU"


def _limit_tensorflow_threads() -> None:
    """Set TensorFlow's number of threads, before its first operation."""
    if _engine() != "tensorflow":
        return
    threading = backend.tensorflow_module(PURPOSE).config.threading
    # Too late when it already runs; opening a variant then raises.
    with contextlib.suppress(RuntimeError):
        threading.set_intra_op_parallelism_threads(TENSORFLOW_THREADS)
        threading.set_inter_op_parallelism_threads(TENSORFLOW_THREADS)


def _set_threads(engine: str, threads: int) -> None:
    """Set a back end's number of threads on the CPU, or check it.

    Raises:
        VariantError: it has another number, or cannot tell.
    """
    if engine == "torch":
        backend.require("torch", PURPOSE).set_num_threads(threads)
        return
    if engine != "tensorflow":
        name = TITLES.get(engine, engine)
        raise VariantError(f"Keras on {name} cannot set the number of CPU threads; use TensorFlow or PyTorch")
    fixed = backend.tensorflow_module(PURPOSE).config.threading.get_intra_op_parallelism_threads()
    if fixed != threads:
        raise VariantError(
            f"TensorFlow fixes its threads when it starts, at {fixed or 'its own choice'} in this process, "
            f"so it cannot run with {threads}"
        )


def tensorflow_function(model: Any, batch: int | None, *, xla: bool = False) -> Any:
    """Return a ``tf.function`` from uint8 (batch, 28, 28) to logits, with the scaling of pixels in the graph.

    The model is one of Keras on TensorFlow; without ``batch``, the number of images is open.
    """
    tensorflow = backend.tensorflow_module(PURPOSE)
    signature = tensorflow.TensorSpec([batch, 28, 28], tensorflow.uint8, name="image")

    def call(image: Any) -> Any:
        return model(tensorflow.cast(image[..., None], tensorflow.float32) / 255, training=False)

    return tensorflow.function(call, input_signature=[signature], autograph=False, jit_compile=xla)


def _tensorflow(model: Any, batch: int, *, xla: bool) -> Runner:
    tensorflow = backend.tensorflow_module(PURPOSE)
    concrete = tensorflow_function(model, batch, xla=xla).get_concrete_function()
    return lambda images: np.asarray(concrete(tensorflow.constant(images)).numpy())
