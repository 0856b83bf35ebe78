"""The exceptions of this package.

::

    EdgeFmnistError                 exit code 1
    ├── UsageError                  exit code 2   an option or argument that cannot be used
    │   └── RecipeError             a recipe with a wrong or unknown setting
    ├── SourceError                 exit code 3   something to read does not exist
    │   ├── DataNotFoundError       no data set in any of the folders searched
    │   ├── DownloadError           no mirror delivered the data set
    │   ├── ModelNotFoundError      neither a file nor the name of a shipped model
    │   └── RunNotFoundError        a run folder that does not exist
    ├── DataError                   exit code 1   a data set that is damaged or of another kind
    ├── ImageError                  exit code 1   an image of the wrong dtype, shape or content
    ├── ModelError                  exit code 1   a model file that cannot be used
    │   └── ModelHashError          a model file whose bytes have changed
    ├── RunError                    exit code 1   a run folder that is damaged or of another recipe
    ├── CheckError                  exit code 1   a written model failed one of its checks
    ├── SinkError                   exit code 1   results that cannot be written: a full disk, a port in use
    │   └── SinkClosedError         exit code 0   closed by the user: the window, the reader of a pipe
    ├── CancelledError              exit code 130 a task that was stopped early, on request
    ├── InterpreterError            exit code 1   no TensorFlow Lite interpreter can be used
    └── MissingExtraError           exit code 2   a command needs an extra that is not installed

The command line turns each into one message on standard error and the exit code above; a traceback is a bug.
"""

from __future__ import annotations

from typing import Any


def printable(text: str) -> str:
    r"""Return the text with control characters and undecodable bytes escaped: ``"\x1b[31m"`` as ``r"\x1b[31m"``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def printable_lines(text: str) -> str:
    """Return a message of one or more lines, each :func:`printable`."""
    return "\n".join(map(printable, text.split("\n")))


class EdgeFmnistError(Exception):
    """The base class of the exceptions of this package.

    File names and answers of servers are parts of messages, so these are made :func:`printable`, line by line.
    """

    exit_code = 1
    # The setting whose value caused it, such as "source": lets a message name the line of a settings file.
    setting: str | None = None

    def __init__(self, message: str = "") -> None:
        super().__init__(printable_lines(message))


class UsageError(EdgeFmnistError):
    """An option or argument that cannot be used.

    Attributes:
        setting: the Python name of the option or argument, if known, such as ``"max_fps"``.
        message: the text without the name.
    """

    exit_code = 2

    def __init__(self, message: str, *, setting: str | None = None) -> None:
        super().__init__(f"{setting}: {message}" if setting else message)
        self.message = str(self).removeprefix(f"{setting}: ") if setting else str(self)
        self.setting = setting


class RecipeError(UsageError):
    """A recipe with a wrong or unknown setting."""


class SourceError(EdgeFmnistError):
    """Something to read does not exist."""

    exit_code = 3


class DataNotFoundError(SourceError):
    """No data set in any of the folders searched."""


class DownloadError(SourceError):
    """No mirror delivered the data set."""


class ModelNotFoundError(SourceError):
    """Neither a file nor the name of a shipped model."""


class RunNotFoundError(SourceError):
    """A run folder that does not exist."""


class DataError(EdgeFmnistError):
    """A data set that is damaged or of another kind."""


class ImageError(EdgeFmnistError):
    """An image of the wrong dtype, shape or content."""


class ModelError(EdgeFmnistError):
    """A model file that cannot be used."""


class ModelHashError(ModelError):
    """A model file whose bytes have changed."""


class RunError(EdgeFmnistError):
    """A run folder that is damaged or of another recipe."""


class CheckError(EdgeFmnistError):
    """A written model failed one of its checks."""


class SinkError(EdgeFmnistError):
    """Results that cannot be written: a full disk, a port in use, no display."""


class SinkClosedError(SinkError):
    """The user closed the sink: the window, or the reader of a pipe."""

    exit_code = 0


class CancelledError(EdgeFmnistError):
    """A task that was stopped early, on request."""

    exit_code = 130


class InterpreterError(EdgeFmnistError):
    """No TensorFlow Lite interpreter can be used."""


class MissingExtraError(EdgeFmnistError):
    """A command needs an extra that is not installed."""

    exit_code = 2

    def __init__(self, extra: str, package: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: pip install 'edge-fmnist[{extra}]'"
        )
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with the message alone.
        return EdgeFmnistError.__new__, (type(self), *self.args), self.__dict__
