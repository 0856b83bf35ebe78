"""Import Keras and TensorFlow late, without their log messages, and with an error that names the missing extra."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.errors import MissingExtraError, UsageError
from edge_fmnist.model import processor

# The float phase runs on any Keras back end, without TensorFlow and TFMOT.
FLOAT_MODULES = ("keras", "pydantic", "sklearn", "tomli_w")
# Linux' names of the instructions for bfloat16 products, on x86-64 and on Arm.
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16", "bf16"}


def require(module: str, purpose: str) -> Any:
    """Import a module of the extra ``[export]``.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with interrupted_later():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise MissingExtraError("export", missing.partition(".")[0], purpose) from error


def quiet_tensorflow() -> None:
    """Silence TensorFlow's log messages; set TF_CPP_MIN_LOG_LEVEL to see them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)


def keras_module(purpose: str = "training") -> Any:
    """Return Keras 3 on the back end in ``KERAS_BACKEND`` (default: TensorFlow).

    Raises:
        MissingExtraError: Keras or its back end is not installed.
    """
    quiet_tensorflow()
    keras = require("keras", purpose)
    # Keras warns about shuffling of generators in any case; ours yield shuffled batches.
    warnings.filterwarnings("ignore", message=".*shuffle=True.*", module="keras")
    return keras


def has_bfloat16(keras: Any) -> bool:
    """Return whether the back end has hardware for bfloat16: an accelerator, or a CPU with such instructions.

    Without it, bfloat16 is slower than float32: a training step of ``edge`` takes 1.4 times as long.
    """
    on_cpu = "cpu" in str(keras.ops.zeros(1).device).lower()
    return not on_cpu or not BFLOAT16_FLAGS.isdisjoint(processor.flags())


@contextmanager
def precision(keras: Any, name: str) -> Iterator[None]:
    """Build Keras 3 layers that compute in ``name``: ``"float32"``, or ``"bfloat16"`` with float32 weights.

    On the torch back end, :mod:`edge_fmnist_export.training.torch_trainer` sets the precision instead.
    """
    if name == "float32" or keras.backend.backend() == "torch":
        yield
        return
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{name}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def tensorflow_module(purpose: str = "exporting") -> Any:
    """Return TensorFlow.

    Raises:
        MissingExtraError: it is not installed.
    """
    quiet_tensorflow()
    return require("tensorflow", purpose)


def keras_on_tensorflow(purpose: str = "exporting") -> Any:
    """Return Keras 3 on the TensorFlow back end, which conversion to TFLite needs.

    Raises:
        MissingExtraError: Keras or TensorFlow is not installed.
        UsageError: Keras uses another back end in this process.
    """
    tensorflow_module(purpose)
    keras = keras_module(purpose)
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"{purpose} needs Keras on TensorFlow, but KERAS_BACKEND is {keras.backend.backend()}; "
            "unset it or set KERAS_BACKEND=tensorflow"
        )
    return keras


def warm_up_keras() -> None:
    """Start all that training uses, so that all start-up messages appear now: seeding imports TensorFlow in any case.

    Raises:
        MissingExtraError: Keras or its back end is not installed.
    """
    with interrupted_later():
        keras = keras_module()
        keras.ops.zeros(1)
        keras.utils.set_random_seed(0)


def warm_up() -> None:
    """Run one operation of TensorFlow, so that all start-up messages appear now.

    Raises:
        MissingExtraError: it is not installed.
    """
    with interrupted_later():
        tensorflow_module().constant(0)
