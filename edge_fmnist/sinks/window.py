"""Window with the annotated frames."""

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
from edge_fmnist.subprocesses import code_command

TITLE = "edge-fmnist"
CLOSE_KEYS = (ord("q"), ord("Q"), 27)
MAX_SIZE = (1280, 720)
PROBE_SECONDS = 15.0
PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyWindow('probe')"
ALTERNATIVE = "use --serve to watch in a browser"
# The wheel of OpenCV ships Qt without fonts, and Qt warns about that at every start.
QUIET_QT = ("QT_LOGGING_RULES", "default.warning=false")


class Window(Sink):
    """Shows the annotated frames until Q, Escape or the close button is pressed.

    Create, write to and close it in the main thread, as window systems require.
    """

    main_thread = True

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
            raise SinkError(f"cannot open a window ({error.err}); {ALTERNATIVE}") from error

    def write(self, result: LiveResult) -> None:
        """Show one frame.

        Raises:
            SinkClosedError: the user closed the window.
            SinkError: the frame cannot be shown.
        """
        picture = annotate(result)
        try:
            if not self._sized:
                self._sized = True
                scale = min(1.0, MAX_SIZE[0] / picture.shape[1], MAX_SIZE[1] / picture.shape[0])
                width, height = (max(1, round(side * scale)) for side in (picture.shape[1], picture.shape[0]))
                cv2.resizeWindow(self._title, width, height)
            cv2.imshow(self._title, picture)
            key = cv2.waitKey(1) & 0xFF
        except cv2.error as error:
            raise SinkError(f"cannot show the frame ({error.err}); {ALTERNATIVE}") from error
        if key in CLOSE_KEYS or not self._visible():
            raise SinkClosedError("the window was closed")

    def close(self) -> None:
        """Close the window."""
        if not self._open:
            return
        self._open = False
        # The user may have closed it already.
        with contextlib.suppress(cv2.error):
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)

    def _visible(self) -> bool:
        try:
            return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:
            return False


def _check_display() -> None:
    """Try a window in a child process: without a display, Qt aborts the process that opens one."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SinkError(f"no display for a window (neither DISPLAY nor WAYLAND_DISPLAY is set); {ALTERNATIVE}")
    try:
        probe = subprocess.run(  # noqa: S603 - the running interpreter and a constant
            code_command(PROBE),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SinkError(f"the display did not respond within {PROBE_SECONDS:.0f} s; {ALTERNATIVE}") from error
    except OSError as error:
        raise SinkError(f"cannot test the display ({error.strerror or error}); {ALTERNATIVE}") from error
    if probe.returncode:
        lines = [line.strip() for line in probe.stderr.decode(errors="replace").splitlines()]
        causes = [line for line in lines if "error" in line.lower() or "could not" in line.lower()]
        raise SinkError(f"cannot open a window on this display ({(causes or ['no reason given'])[0]}); {ALTERNATIVE}")
