"""The annotated frames in a window."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import cv2

from edge_fmnist.errors import SinkClosedError, SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import annotate
from edge_fmnist.sinks.base import Sink

TITLE = "edge-fmnist"
CLOSING_KEYS = (ord("q"), ord("Q"), 27)
LARGEST = (1280, 720)
PROBE_SECONDS = 15.0
PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyWindow('probe')"
INSTEAD = "use --serve to watch in a browser"
# Its wheel brings OpenCV's Qt no fonts, of which Qt complains at each start.
QUIET_QT = ("QT_LOGGING_RULES", "default.warning=false")


class Window(Sink):
    """Shows the annotated frames until Q, Escape or the window's own button closes it.

    To be made, written to and closed in the main thread, as window systems ask.
    """

    def __init__(self, title: str = TITLE) -> None:
        """Open the window.

        Raises:
            SinkError: there is no display, or OpenCV cannot open a window on it.
        """
        _check_display()
        self._title = title
        self._sized = False
        self._open = True
        os.environ.setdefault(*QUIET_QT)
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise SinkError(f"no window can be opened ({error.err}); {INSTEAD}") from error

    def write(self, result: LiveResult) -> None:
        """Show one frame.

        Raises:
            SinkClosedError: a person closed the window.
            SinkError: the frame cannot be shown.
        """
        picture = annotate(result)
        try:
            if not self._sized:
                self._sized = True
                cv2.resizeWindow(self._title, *_window_size(picture.shape[1], picture.shape[0]))
            cv2.imshow(self._title, picture)
            key = cv2.waitKey(1) & 0xFF
        except cv2.error as error:
            raise SinkError(f"the frame cannot be shown ({error.err}); {INSTEAD}") from error
        if key in CLOSING_KEYS or not self._visible():
            raise SinkClosedError("the window was closed")

    def close(self) -> None:
        """Close the window."""
        if not self._open:
            return
        self._open = False
        # A window that a person has closed is gone already.
        with contextlib.suppress(cv2.error):
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)

    def _visible(self) -> bool:
        try:
            return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:
            return False


def _check_display() -> None:
    """Raise where no window can be opened: Qt, which OpenCV uses, ends the whole process when it finds no display."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SinkError(f"there is no display for a window (neither DISPLAY nor WAYLAND_DISPLAY is set); {INSTEAD}")
    try:
        probe = subprocess.run(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-c", PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SinkError(f"the display did not answer within {PROBE_SECONDS:.0f} seconds; {INSTEAD}") from error
    except OSError as error:
        raise SinkError(f"the display cannot be tried ({error.strerror or error}); {INSTEAD}") from error
    if probe.returncode:
        raise SinkError(f"no window can be opened on this display ({_reason(probe.stderr)}); {INSTEAD}")


def _reason(stderr: bytes) -> str:
    """Return the line of Qt's or OpenCV's complaint that says most."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines()]
    telling = [line for line in lines if "error" in line.lower() or "could not" in line.lower()]
    return telling[0] if telling else "it gave no reason"


def _window_size(width: int, height: int) -> tuple[int, int]:
    """Return the frame's size, or one of the same shape that fits on most screens."""
    scale = min(1.0, LARGEST[0] / width, LARGEST[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))
