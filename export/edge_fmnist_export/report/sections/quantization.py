"""Section Quantization: ranges and steps of each layer, the noise in it, and which layer costs accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_fmnist_export.report import figures
from edge_fmnist_export.report.analysis.quantization import LayerQuantization, Quantization, analyse
from edge_fmnist_export.report.base import Context, Figure, Section, Table
from edge_fmnist_export.training import training_data as material
from edge_fmnist_export.training.batches import Subset

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

VERSION = 2
TITLE = "Quantization"
# Inches for each layer and for what lies around them.
ROW, AROUND = 0.2, 0.75
COLUMNS = (
    "layer",
    "operator",
    "output",
    "least weight",
    "largest weight",
    "least weight step",
    "largest weight step",
    "output step",
    "zero point",
    "SNR, dB",
    "SNR of this step alone, dB",
    "score divergence, 1/1000 nats",
    "points of top-1 lost",
    "same answer as float",
)


def build(context: Context) -> Section:
    """Compare the file with the float model, layer by layer."""
    if context.run is None or context.float_model is None:
        return Section(TITLE, text=["Without the run that the file came from there is no float model to compare with."])
    train, validation = material.split(context.run.recipe, context.train)
    found = analyse(
        context.model_path.read_bytes(),
        str(context.model_path),
        context.float_model,
        Subset(train.images, train.targets),
        validation,
        context.progress,
    )
    return section_of(found)


def section_of(found: Quantization) -> Section:
    """Return the section on what was found."""
    if not any(layer.scale for layer in found.layers):
        return Section(TITLE, text=["The file computes in floats: nothing in it is quantized."])
    return Section(TITLE, text=_text(found), figures=_figures(found), tables=[_table(found)], summary=_summary(found))


def _text(found: Quantization) -> list[str]:
    text = [
        "Each operator of the file is matched with the float layer whose output it is nearest to. The signal-to-noise "
        f"ratio compares the two on {found.noise_images} training images: 20 dB is noise of a tenth of the signal. It "
        "holds the noise of all layers before, and what quantization-aware training changed in the weights. The "
        "second figure of a layer is the noise of its own step alone: the float output, rounded and clipped as the "
        "file does. The interpreter's own kernels ran, without XNNPACK, which keeps no intermediate results.",
        f"What a layer costs was measured on {found.cost_images} validation images: the float model ran with this "
        "layer's weights and output rounded, and all others in float. How far that moves the scores "
        "(Kullback-Leibler divergence) tells layers apart long before an answer changes.",
    ]
    if found.costliest is not None and found.all_cost is not None:
        answer, everything = found.costliest, found.all_cost
        text.append(
            f"Of all layers, {answer.name} moves the scores most when it is rounded, and costs "
            f"{answer.points_lost or 0.0:.2f} points of top-1. "
            f"All layers together take the float model from {found.float_cost.top1:.2%} to {everything.top1:.2%} on "
            f"these images; {everything.agreement:.1%} of its answers stay."
        )
    unmatched = [layer.name for layer in found.layers if layer.layer is None]
    if unmatched:
        text.append(f"No float layer comes near {', '.join(unmatched)}.")
    return text


def _figures(found: Quantization) -> list[Figure]:
    matched = [layer for layer in found.layers if layer.snr is not None]
    measured = [layer for layer in found.layers if layer.divergence is not None]
    drawn = []
    if matched:
        drawn.append(
            Figure(
                "signal-to-noise",
                _noise(matched),
                "Signal-to-noise ratio of each layer beside the float model, in dB: all the noise up to there (dot), "
                "and that of its own step alone (ring). More is better.",
            )
        )
    if measured:
        drawn.append(
            Figure(
                "layer-cost",
                _costs(measured),
                "How far rounding one layer alone moves the scores on validation images, in thousandths of a nat.",
            )
        )
    return drawn


def _noise(layers: Sequence[LayerQuantization]) -> Drawing:
    axes = figures.new_axes(AROUND + ROW * len(layers), grid="both")
    places = range(len(layers))
    own = [(place, layer.own_snr) for place, layer in enumerate(layers) if layer.own_snr is not None]
    axes.plot([layer.snr or 0.0 for layer in layers], places, "o", color=figures.BLUE, label="up to here")
    axes.plot(
        [ratio for _, ratio in own],
        [place for place, _ in own],
        "o",
        color=figures.AMBER,
        markerfacecolor="none",
        label="own step alone",
    )
    axes.set_yticks(places, [layer.name for layer in layers])
    axes.set(ylim=(len(layers) - 0.4, -0.6), xlabel="signal-to-noise ratio, dB")
    axes.set_xlim(left=0)
    figures.figure_of(axes).legend(loc="outside upper right", ncols=2)
    return figures.figure_of(axes)


def _costs(layers: Sequence[LayerQuantization]) -> Drawing:
    axes = figures.new_axes(AROUND + ROW * len(layers), grid="x")
    places = range(len(layers))
    axes.barh(places, [1000 * (layer.divergence or 0.0) for layer in layers], height=0.65, color=figures.RED)
    axes.set_yticks(places, [layer.name for layer in layers])
    axes.set(ylim=(len(layers) - 0.4, -0.6), xlabel="divergence of the scores, 1/1000 nats")
    return figures.figure_of(axes)


def _table(found: Quantization) -> Table:
    rows = [
        [
            layer.name,
            layer.operator,
            " x ".join(map(str, layer.shape)),
            *(
                _digits(value, 5)
                for value in (layer.weight_low, layer.weight_high, layer.weight_step_low, layer.weight_step_high)
            ),
            _digits(layer.scale, 5),
            layer.zero_point,
            _digits(layer.snr, 1),
            _digits(layer.own_snr, 1),
            _digits(None if layer.divergence is None else 1000 * layer.divergence, 4),
            _digits(layer.points_lost, 2),
            _digits(layer.agreement, 4),
        ]
        for layer in found.layers
    ]
    return Table("layers", COLUMNS, rows, "Each operator of the file beside its layer of the float model.")


def _digits(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _summary(found: Quantization) -> dict[str, object]:
    ratios = [layer.snr for layer in found.layers if layer.snr is not None]
    return {
        "least_snr_db": round(min(ratios), 2) if ratios else None,
        "costliest_layer": found.costliest.name if found.costliest else None,
        "all_layers_top1": found.all_cost.top1 if found.all_cost else None,
        "float_top1": found.float_cost.top1,
        "images": found.cost_images,
    }
