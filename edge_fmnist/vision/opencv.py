"""Differences between versions of OpenCV."""

from __future__ import annotations

SILENT = 0


def silence() -> None:
    """Stop OpenCV from logging to standard error, where this version can.

    The function moved from ``cv2`` to ``cv2.utils.logging`` (gh:opencv/opencv#27812). Debian 12, whose OpenCV is used
    on 32-bit ARM, has the older one. A build with neither keeps logging.
    """
    import cv2

    logging = getattr(getattr(cv2, "utils", None), "logging", cv2)
    set_level = getattr(logging, "setLogLevel", None)
    if set_level is not None:
        set_level(SILENT)
