"""Section Quantization: ranges and scales of each layer, its noise, and the layer that costs most accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_fmnist_export.report import figures
from edge_fmnist_export.report.analysis.quantization import QuantizationAnalysis, analyse
from edge_fmnist_export.report.base import ReportContext, ReportFigure, ReportSection, ReportTable
from edge_fmnist_export.training import training_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

VERSION = 4
TITLE = "Quantization"
# Inches for each layer, and for everything around the layers.
ROW, AROUND = 0.2, 0.75
COLUMNS = (
    "layer",
    "operator",
    "output",
    "smallest weight",
    "largest weight",
    "smallest weight scale",
    "largest weight scale",
    "output scale",
    "zero point",
    "SNR, dB",
    "SNR of this layer alone, dB",
    "score divergence, 1/1000 nats",
    "points of top-1 lost",
    "unchanged predictions",
)


def build(context: ReportContext) -> ReportSection:
    """Compare the file with the float model, layer by layer."""
    if context.run is None or context.float_scorer is None:
        return ReportSection(TITLE, text=["Without the training run there is no float model to compare with."])
    train, validation = training_data.split(
        training_data.scaled_validation(context.run.recipe, len(context.train)), context.train
    )
    found = analyse(
        context.model_path.read_bytes(),
        str(context.model_path),
        context.float_scorer.network,
        train,
        validation,
        context.progress,
    )
    return section_of(found)


def section_of(found: QuantizationAnalysis) -> ReportSection:
    """Return the section about an analysis."""
    if not any(layer.scale for layer in found.layers):
        return ReportSection(TITLE, text=["The file computes in float: it is not quantized."])
    ratios = [layer.snr for layer in found.layers if layer.snr is not None]
    return ReportSection(
        TITLE,
        text=_text(found),
        figures=_figures(found),
        tables=[_table(found)],
        summary={
            "least_snr_db": round(min(ratios), 2) if ratios else None,
            "costliest_layer": found.costliest.name if found.costliest else None,
            "all_layers_top1": found.all_cost.top1 if found.all_cost else None,
            "float_top1": found.float_cost.top1,
            "images": found.cost_images,
        },
    )


def _text(found: QuantizationAnalysis) -> list[str]:
    text = [
        "Each operator of the file is matched with the float layer that has the most similar output. The "
        f"signal-to-noise ratio (SNR) compares both on {found.noise_images} training images: at 20 dB, the noise is a "
        "tenth of the signal. It includes the noise of all layers before, and weight changes by quantization-aware "
        "training. The second SNR is that of this layer alone: the float output, rounded and clipped as in the file. "
        "The interpreter's built-in kernels are used, since XNNPACK does not keep intermediate results.",
        f"The cost of a layer is measured on {found.cost_images} validation images: only this layer's weights and "
        "output are rounded, all others are float. The divergence of the scores (Kullback-Leibler) is more sensitive "
        "than changes of predictions.",
    ]
    if found.costliest is not None and found.all_cost is not None:
        text.append(
            f"Rounding {found.costliest.name} has the largest effect on the scores and costs "
            f"{found.costliest.points_lost or 0.0:.2f} points of top-1. Rounding all layers changes the float model's "
            f"accuracy from {found.float_cost.top1:.2%} to {found.all_cost.top1:.2%} on these images; "
            f"{found.all_cost.agreement:.1%} of its predictions are unchanged."
        )
    unmatched = [layer.name for layer in found.layers if layer.layer is None]
    if unmatched:
        text.append(f"No float layer matches {', '.join(unmatched)}.")
    return text


def _figures(found: QuantizationAnalysis) -> list[ReportFigure]:
    drawn = []
    matched = [layer for layer in found.layers if layer.snr is not None]
    if matched:
        axes = _layer_axes([layer.name for layer in matched], "signal-to-noise ratio, dB", "both")
        places = range(len(matched))
        axes.plot([layer.snr or 0.0 for layer in matched], places, "o", color=figures.BLUE, label="all layers so far")
        own = [float("nan") if layer.own_snr is None else layer.own_snr for layer in matched]
        axes.plot(own, places, "o", color=figures.AMBER, markerfacecolor="none", label="this layer alone")
        axes.set_xlim(left=0)
        figures.figure_of(axes).legend(loc="outside upper right", ncols=2)
        caption = (
            "Signal-to-noise ratio of each layer against the float model, in dB: with the noise of all layers so far "
            "(dot), and of this layer alone (ring). Higher is better."
        )
        drawn.append(ReportFigure("signal-to-noise", figures.figure_of(axes), caption))
    measured = [layer for layer in found.layers if layer.divergence is not None]
    if measured:
        axes = _layer_axes([layer.name for layer in measured], "divergence of the scores, 1/1000 nats", "x")
        values = [1000 * (layer.divergence or 0.0) for layer in measured]
        axes.barh(range(len(measured)), values, height=0.65, color=figures.RED)
        caption = "Divergence of the scores on validation images when only this layer is rounded, in 1/1000 nats."
        drawn.append(ReportFigure("layer-cost", figures.figure_of(axes), caption))
    return drawn


def _layer_axes(names: Sequence[str], xlabel: str, grid: str) -> Axes:
    axes = figures.new_axes(AROUND + ROW * len(names), grid=grid)
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlabel=xlabel)
    return axes


def _table(found: QuantizationAnalysis) -> ReportTable:
    rows = []
    for layer in found.layers:
        weights, divergence = layer.weights, layer.divergence
        scales = weights.scales if weights else ()
        rows.append(
            [
                layer.name,
                layer.operator,
                " x ".join(map(str, layer.shape)),
                *(_rounded(value, 5) for value in ((weights.low, weights.high) if weights else (None, None))),
                *(_rounded(value, 5) for value in (min(scales, default=None), max(scales, default=None), layer.scale)),
                layer.zero_point,
                _rounded(layer.snr, 1),
                _rounded(layer.own_snr, 1),
                _rounded(None if divergence is None else 1000 * divergence, 4),
                _rounded(layer.points_lost, 2),
                _rounded(layer.agreement, 4),
            ]
        )
    return ReportTable("layers", COLUMNS, rows, "Operators of the file, compared with the layers of the float model.")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
