"""What all architectures have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

INPUT_SHAPE = (28, 28, 1)
CLASSES = 10

# Keras 3 and tf_keras have no common type, so a Keras module and its models are Any.
Builder = Callable[[Any], Any]
