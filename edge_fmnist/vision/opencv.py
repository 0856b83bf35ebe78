"""What differs between versions of OpenCV."""

from __future__ import annotations

SILENT = 0


def silence() -> None:
    """Keep OpenCV from writing to standard error, where this version can be told to.

    The function moved from ``cv2`` to ``cv2.utils.logging`` (gh:opencv/opencv#27812); the levels stayed. Debian 12,
    where OpenCV for 32-bit ARM comes from, has the older place. A build with neither goes on writing.
    """
    import cv2

    logging = getattr(getattr(cv2, "utils", None), "logging", cv2)
    set_level = getattr(logging, "setLogLevel", None)
    if set_level is not None:
        set_level(SILENT)
