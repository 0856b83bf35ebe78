"""The model in headless Chromium, by LiteRT.js (needs npm's files: ``edge-fmnist export --web`` gets them)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_fmnist.model.registry import read_model
from edge_fmnist_bench.images import Images
from edge_fmnist_bench.protocol import SingleStream
from edge_fmnist_bench.timing import Samples
from edge_fmnist_bench.variants.base import BenchmarkVariant, Runner, VariantError
from edge_fmnist_bench.variants.edge import model_file, quantization


class BrowserVariant(BenchmarkVariant):
    """The page's classifier, from the image to the output tensor, timed by the page's own clock."""

    def __init__(self, model: str) -> None:
        from edge_fmnist_export.web.litertjs import VERSION

        kind = quantization(read_model(model))
        self.name, self.title = f"litertjs-{kind}", f"LiteRT.js {VERSION} in Chromium, {kind}"
        self.device, self.file = "CPU", model_file(model)
        self._model = model

    def open(self, *, threads: int, batch: int) -> Runner:  # noqa: ARG002
        """See :meth:`BenchmarkVariant.open`.

        Raises:
            VariantError: always: a call from here would include the time to the browser and back.
        """
        raise VariantError("measured inside the browser only")

    def measure(self, images: Images, settings: SingleStream) -> tuple[Samples, dict[str, Any] | None]:
        """Return the times of all calls, in as many rounds as the others have, and the accuracy.

        Raises:
            EdgeFmnistError: no browser, no files of LiteRT.js, or a model without this package's metadata.
        """
        from edge_fmnist_export.web import browser

        inputs = images.batch(settings.warm_up + settings.iterations) if images.split is None else images.images
        measured = browser.measure(self._model, inputs)
        nanoseconds = (measured.milliseconds * 1e6).astype(np.int64)
        rounds = np.array_split(nanoseconds[settings.warm_up :], settings.rounds)
        samples = Samples(int(nanoseconds[0]), [times.tolist() for times in rounds])
        if images.split is None:
            return samples, None
        right = int((measured.outputs.argmax(axis=1) == images.split.targets).sum())
        return samples, {"top1": round(right / len(inputs), 6), "images": len(inputs), "batch": 1}
