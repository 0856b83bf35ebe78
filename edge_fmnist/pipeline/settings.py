"""The settings of a live run: Python keywords, command-line options and keys of a TOML file are made of them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from edge_fmnist.errors import EdgeFmnistError, UsageError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import shipped_models
from edge_fmnist.sources.adjust import Adjustment, parse_roi


@dataclass(frozen=True)
class Option:
    """How a setting appears on the command line, and which values it takes.

    Attributes:
        type: of the value on the command line.
        help: the help text, also used in the documentation of :func:`edge_fmnist.live`.
        flag: a short form, such as ``"-s"``.
        metavar: placeholder in the usage.
        minimum: smallest number.
        maximum: largest number.
        above: the number must be larger than this.
        python_only: whether there is no command-line option.
    """

    type: type
    help: str
    flag: str | None = None
    metavar: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    python_only: bool = False

    def check(self, value: object, setting: str, types: Any = str) -> None:
        """Check the type of a value, and the range of a number; None is not checked.

        Args:
            value: the value.
            setting: its name.
            types: of a value that is a text or a path on the command line.

        Raises:
            UsageError: says what was expected.
        """
        if value is None:
            return
        if self.type is bool:
            if not isinstance(value, bool):
                raise UsageError(f"expected True or False, got {value!r}", setting=setting)
            return
        if self.type in (str, Path):
            if not isinstance(value, types):
                raise UsageError(f"expected text, got {value!r}", setting=setting)
            if isinstance(value, str | Path) and "\0" in str(value):
                raise UsageError(f"expected text without a NUL character, got {value!r}", setting=setting)
            if self.type is Path and value == "":
                raise UsageError("expected a path, got an empty text", setting=setting)
            return
        expected = "a whole number" if self.type is int else "a number"
        if isinstance(value, bool) or not isinstance(value, numbers.Integral if self.type is int else numbers.Real):
            raise UsageError(f"expected {expected}, got {value!r}", setting=setting)
        if self.above is not None:
            expected += " above zero" if self.above == 0 else f" above {self.above:g}"
        elif self.minimum is not None and self.maximum is not None:
            expected += f" from {self.minimum:g} to {self.maximum:g}"
        elif self.minimum is not None:
            expected = f"{self.minimum:g} or more"
        above = -math.inf if self.above is None else self.above
        least = -math.inf if self.minimum is None else self.minimum
        most = math.inf if self.maximum is None else self.maximum
        try:
            number = float(value)
        except OverflowError as error:
            raise UsageError(f"expected {expected}, got one of {len(str(value))} digits", setting=setting) from error
        if not (number > above and least <= number <= most):
            raise UsageError(f"expected {expected}, got {value}", setting=setting)


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """All settings of :func:`edge_fmnist.live` and ``edge-fmnist live``; each is annotated with its :class:`Option`.

    Raises:
        UsageError: a value that cannot be used; its ``setting`` is the field's name.
    """

    source: Annotated[
        Any,
        Option(
            str,
            "auto, demo, picamera, a camera's index, /dev/videoN, an http:// or rtsp:// URL, "
            "a video or image file, a folder, or a glob.",
            "-s",
        ),
    ] = "auto"
    model: Annotated[
        str | Path | bytes | Classifier | None,
        Option(str, "Name of a shipped model, or a .tflite file. Default: camera, or edge for 28x28 images.", "-m"),
    ] = None
    watch_model: Annotated[
        bool,
        Option(
            bool,
            "Reload the model file when it is replaced. A damaged file is ignored with a warning.",
        ),
    ] = False
    threads: Annotated[int, Option(int, "Number of interpreter threads.", "-t", minimum=1, maximum=64)] = 1
    interpreter: Annotated[
        str | None, Option(str, "ai-edge-litert, tflite-runtime or tensorflow. Default: the first installed.")
    ] = None
    ca: Annotated[
        str | Path | None,
        Option(
            Path,
            "PEM file of the authority that signed the certificate of an https:// or rtsps:// source. "
            "Default: the system's.",
        ),
    ] = None
    insecure: Annotated[
        bool, Option(bool, "Accept any certificate of the source: anyone in the network could pose as it.")
    ] = False
    width: Annotated[
        int | None, Option(int, "Frame width in pixels to request from the source.", minimum=1, maximum=16384)
    ] = None
    height: Annotated[
        int | None, Option(int, "Frame height in pixels to request from the source.", minimum=1, maximum=16384)
    ] = None
    fps: Annotated[float | None, Option(float, "Frame rate (fps) to request from the source.", above=0)] = None
    rotate: Annotated[int, Option(int, "Rotate frames clockwise by 0, 90, 180 or 270 degrees.")] = 0
    mirror: Annotated[bool, Option(bool, "Mirror frames horizontally.")] = False
    roi: Annotated[
        str | None, Option(str, "Region of interest, in pixels or percent (10%,10%,80%,80%).", metavar="X,Y,W,H")
    ] = None
    threshold: Annotated[
        float | None,
        Option(float, 'Score below which the label is "unknown", 0 to 1. Default: the model\'s.', minimum=0, maximum=1),
    ] = None
    smoothing: Annotated[
        bool | None,
        Option(bool, "Smooth scores over time. Default: for streams and videos, not for images.", python_only=True),
    ] = None
    realtime: Annotated[bool, Option(bool, "Read a file at its own frame rate, dropping frames when late.")] = False
    max_failures: Annotated[
        int | None,
        Option(
            int,
            "Exit with code 3 after N consecutive failures to read or open the source. Default: never.",
            above=0,
        ),
    ] = None
    frames: Annotated[int | None, Option(int, "Stop after N results.", above=0)] = None
    seconds: Annotated[float | None, Option(float, "Stop after N seconds.", above=0)] = None
    max_fps: Annotated[float | None, Option(float, "Maximum inference rate (fps). Default: unlimited.", above=0)] = None
    idle_fps: Annotated[
        float | None,
        Option(
            float,
            "Without motion, check N frames per second, 1 or more, and repeat the last result. Default: off.",
            minimum=1,
        ),
    ] = None
    serve: Annotated[
        str | bool | None,
        Option(
            str,
            "Show results in a browser. Without an address: 127.0.0.1:8000, for this machine only.",
            metavar="[HOST:PORT]",
        ),
    ] = None
    allow_host: Annotated[
        str | None,
        Option(
            str,
            "Further host names that the page answers to, separated by commas: of a proxy, or in DNS. Accepted without "
            "it: localhost; if the page listens beyond this machine, all IP addresses and this machine's own names.",
            metavar="NAME",
        ),
    ] = None
    no_token: Annotated[
        bool,
        Option(
            bool,
            "Do not require a token. Default: a page for other machines asks for $EDGE_FMNIST_TOKEN, or for a new "
            "token in each run.",
        ),
    ] = False
    tls_cert: Annotated[
        str | Path | None, Option(Path, "PEM file with the certificate of the page, which is then at https://.")
    ] = None
    tls_key: Annotated[
        str | Path | None, Option(Path, "PEM file with the private key. Default: in the file of --tls-cert.")
    ] = None
    mqtt: Annotated[
        str | None,
        Option(
            str,
            "Publish to the broker at mqtt://HOST[:PORT][/PREFIX], or mqtts://… for TLS. User and password come from "
            "$EDGE_FMNIST_MQTT_USER and $EDGE_FMNIST_MQTT_PASSWORD.",
            metavar="URL",
        ),
    ] = None
    mqtt_ca: Annotated[
        str | Path | None,
        Option(Path, "PEM file of the authority that signed the broker's certificate. Default: the system's."),
    ] = None
    show: Annotated[bool, Option(bool, "Show results in a window.")] = False
    jsonl: Annotated[
        str | Path | None,
        Option(str, "Append a line of JSON per result to a file; - is standard output.", metavar="FILE|-"),
    ] = None
    overwrite: Annotated[bool, Option(bool, "Empty the file of --jsonl instead of appending to it.")] = False
    jsonl_max_bytes: Annotated[
        int | None,
        Option(
            int,
            "Rename the file of --jsonl to FILE.1 when it would exceed N bytes, 4096 or more. Default: no limit.",
            minimum=4096,
        ),
    ] = None
    jsonl_keep: Annotated[
        int, Option(int, "Number of renamed files that --jsonl-max-bytes keeps.", minimum=0, maximum=1000)
    ] = 5
    save: Annotated[str | Path | None, Option(Path, "Write the annotated video, .mp4, .mkv or .avi.")] = None
    save_segment: Annotated[
        float | None, Option(float, "Start a new, numbered video every N seconds. Default: one video.", minimum=1)
    ] = None
    snapshot: Annotated[
        str | Path | None, Option(Path, "Write images into this folder whenever the label changes.")
    ] = None
    collect: Annotated[
        str | Path | None,
        Option(
            Path,
            "Store frames in this folder, one subfolder per class, as photographs to teach from: those chosen on the "
            "page (--serve), and those below --collect-below.",
            metavar="DIR",
        ),
    ] = None
    collect_below: Annotated[
        float | None,
        Option(
            float,
            "Store frames with a score below this, 0 to 1, in the subfolder unsorted of --collect. Default: none.",
            minimum=0,
            maximum=1,
        ),
    ] = None
    collect_max_frames: Annotated[int, Option(int, "Most frames in the subfolder unsorted.", above=0)] = 500
    collect_max_mb: Annotated[
        float, Option(float, "Most megabytes in the subfolder unsorted.", minimum=1, maximum=100_000)
    ] = 200.0

    def __post_init__(self) -> None:
        for name, option in options().items():
            value, types = getattr(self, name), _types()[name]
            if value is None and option.type in (int, float) and not isinstance(value, types):
                raise UsageError("expected a number, got None", setting=name)
            option.check(value, name, types)
        if self.watch_model and (not isinstance(self.model, (str, Path)) or str(self.model) in shipped_models()):
            raise UsageError("expected a .tflite file as the model, which can be replaced", setting="watch_model")
        for name in ("threads", "interpreter") if isinstance(self.model, Classifier) else ():
            if getattr(self, name) != getattr(LiveSettings, name):
                raise UsageError("the given Classifier has its own; expected none here", setting=name)
        if self.collect is not None and self.collect_below is None and self.serve in (None, False):
            raise UsageError("needs --serve or --collect-below", setting="collect")
        _ = self.adjustment

    @property
    def adjustment(self) -> Adjustment:
        """Rotation, mirroring and region of interest."""
        return Adjustment(self.rotate, self.mirror, None if self.roi is None else parse_roi(self.roi))


@cache
def options() -> dict[str, Option]:
    """Return the option of each setting, by name."""
    hints = get_type_hints(LiveSettings, include_extras=True)
    return {name: get_args(hints[name])[1] for name in (field.name for field in fields(LiveSettings))}


@cache
def _types() -> dict[str, Any]:
    """Return the types of each setting; the source and the classifier check what they are given."""
    return {**get_type_hints(LiveSettings), "source": object, "model": object}


@contextmanager
def caused_by(setting: str) -> Iterator[None]:
    """Attach the name of a setting to errors in the block that have none.

    Raises:
        EdgeFmnistError: the error.
    """
    try:
        yield
    except EdgeFmnistError as error:
        error.setting = error.setting or setting
        raise
