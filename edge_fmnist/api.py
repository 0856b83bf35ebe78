"""The function :func:`edge_fmnist.live`: a source, a model and outputs put together."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from edge_fmnist.errors import UsageError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import CAMERA_MODEL
from edge_fmnist.pipeline.loop import LiveLoop, ResultWriter
from edge_fmnist.pipeline.observer import Observer
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.settings import LiveSettings, caused_by, options
from edge_fmnist.pipeline.stills import StillClassifier, model_for
from edge_fmnist.sources.base import ENCRYPTED, CaptureSettings, Source, Warn, log_warning


def live(
    source: Any = "auto",
    *,
    on_result: Callable[[LiveResult], object] | None = None,
    warn: Warn = log_warning,
    observer: Observer | None = None,
    watcher: Observer | None = None,
    **settings: Any,
) -> LiveLoop:
    """Classify clothing live from a camera, a stream, a video or images.

    Example:
        >>> import edge_fmnist
        >>> for result in edge_fmnist.live(source="0"):  # doctest: +SKIP
        ...     print(result.label, result.score)

    Args:
        source: ``auto``, ``demo``, ``picamera``, a camera's index or ``/dev/videoN``, an ``http://`` or ``rtsp://``
            URL, a video or image file, a folder or glob of images; an opened ``cv2.VideoCapture``; a list or generator
            of frames (uint8, shape (H, W, 3), BGR); or a :class:`edge_fmnist.sources.Source` of your own.
        on_result: called with each result.
        warn: receives problems that do not end the loop; by default the logger ``edge_fmnist``.
        observer: receives what the loop is doing; by default only passes on warnings.
        watcher: former name of ``observer``.
        **settings: fields of :class:`edge_fmnist.pipeline.settings.LiveSettings`:

    Returns:
        A loop to iterate over, not yet open.

    Raises:
        UsageError: an argument that cannot be used.
        SourceError: the source or the model does not exist.
        ModelError: the model cannot be used.
        InterpreterError: no interpreter can be used.
        MissingExtraError: an output needs a package that is not installed.
    """
    from edge_fmnist.sinks.outputs import OutputReport, Outputs

    checked = LiveSettings(source=source, **settings)
    outputs = Outputs(checked, OutputReport(warn))
    return make_loop(checked, outputs, on_result=on_result, warn=warn, observer=observer or watcher)


def make_loop(settings: LiveSettings, outputs: ResultWriter, *, warn: Warn, **arguments: Any) -> LiveLoop:
    """Return a loop with the source and the model of the settings; see :func:`live`."""
    with caused_by("source"):
        source = _source(settings, warn)
    models: StillClassifier | None = None

    def load(name: str | Path | bytes) -> Classifier:
        with caused_by("interpreter"):
            interpreters.choose(settings.interpreter)
        with caused_by("model"):
            model = Classifier.load(name, threads=settings.threads, interpreter=settings.interpreter)
        for assumption in model.assumptions:
            warn(assumption)
        return model

    model = settings.model
    if model is None:
        first = source.first_picture()
        if first is None:
            model = CAMERA_MODEL
        else:
            # As classify does.
            models = StillClassifier(None, load)
            model = models.named(model_for(first))
    if not isinstance(model, Classifier):
        model = load(model)
    return LiveLoop(source, model, settings, models=models, outputs=outputs, warn=warn, **arguments)


def _source(settings: LiveSettings, warn: Warn) -> Source:
    source = settings.source
    for name in ("ca", "insecure"):
        if getattr(settings, name) and not str(source).startswith(ENCRYPTED):
            raise UsageError("expected an encrypted source, https:// or rtsps://", setting=name)
    if settings.ca and settings.insecure:
        raise UsageError("expected no authority where any certificate is accepted, or no insecure", setting="ca")
    if isinstance(source, Source):
        return source
    if isinstance(source, (str, int, Path)):
        from edge_fmnist.sources import parse_source

        capture = CaptureSettings(
            settings.width, settings.height, settings.fps, ca=settings.ca, insecure=settings.insecure
        )
        return parse_source(str(source), capture, warn=warn)
    from edge_fmnist.sources.frames import from_python

    return from_python(source, settings.fps if settings.realtime else None)


def _document() -> None:
    """Add the settings to the signature and the docstring of :func:`live`."""
    signature = inspect.signature(live)
    keyword = inspect.Parameter.KEYWORD_ONLY
    described = {name: option for name, option in options().items() if name != "source"}
    annotations = get_type_hints(LiveSettings)
    added = [
        inspect.Parameter(name, keyword, default=getattr(LiveSettings, name), annotation=annotations[name])
        for name in described
    ]
    source, *others = signature.parameters.values()
    parameters = [source, *added, *(one for one in others if one.kind is keyword)]
    live.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    lines = "\n".join(f"            {name}: {option.help}" for name, option in described.items())
    anchor = "settings.LiveSettings`:\n"
    live.__doc__ = (live.__doc__ or "").replace(anchor, f"{anchor}\n{lines}\n")


_document()
