"""Section Data: the images that the model was trained and tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.data.dataset import is_fashion_mnist
from edge_fmnist_export.report import duplicates, figures
from edge_fmnist_export.report.base import ReportContext, ReportFigure, ReportSection, ReportTable
from edge_fmnist_export.report.duplicates import FARTHEST, NearPair
from edge_fmnist_export.training import training_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERSION = 4
SPRITE_COLUMNS, PAIRS_DRAWN, PAIRS_LISTED = 11, 6, 20
HISTOGRAM_BINS = 32
# Root mean square differences for counting near-duplicates, in grey levels of 255.
LEVELS = (2, 5, 10, FARTHEST)
COLOURS = {"train": figures.BLUE, "validation": figures.AMBER, "test": figures.RED}


def build(context: ReportContext) -> ReportSection:
    """Show counts, samples, means, brightness and duplicates."""
    splits = targets_by_split(context)
    counts = {name: np.bincount(targets, minlength=len(context.labels)) for name, targets in splits.items()}
    context.progress("drawing samples", 0.0)
    drawn = [
        ReportFigure("classes", _counts_chart(counts, context.labels), "Images of each class in each split."),
        ReportFigure("sprite", _sprite(context), "Random training images of each class."),
        ReportFigure("means", _means(context), "Mean of all training images of each class."),
        ReportFigure(
            "pixels",
            _pixel_histogram(context),
            "Histogram of pixel values, with the black background; logarithmic scale.",
        ),
    ]
    context.progress("searching for near-duplicates", 0.3)
    train, test = context.train, context.test
    pairs = duplicates.near_pairs(train.images, test.images)
    near = {level: len({pair.test for pair in pairs if pair.difference <= level}) for level in LEVELS}
    facts = {
        "within train": duplicates.repeated(train.images),
        "within test": duplicates.repeated(test.images),
        "between train and test": duplicates.shared(train.images, test.images),
        "near pairs with different labels": sum(int(train.targets[p.train] != test.targets[p.test]) for p in pairs),
    }
    if pairs:
        caption = (
            "The test images (left of each pair) that are most similar to a training image (right), with the root mean "
            "square difference of their pixels."
        )
        drawn.append(ReportFigure("near-duplicates", _pair_tiles(pairs, context), caption))
    return ReportSection(
        "Data",
        text=_text(context, counts, facts["between train and test"], near[FARTHEST], pairs),
        figures=drawn,
        tables=[_counts_table(counts, context), _duplicates_table(facts, near), _pairs_table(pairs, context)],
        summary={
            "images": {name: len(targets) for name, targets in splits.items()},
            "sha256": {"train": list(train.sha256), "test": list(test.sha256)},
            "duplicates": facts,
            "near_duplicates": {f"{level:g}": count for level, count in near.items()},
        },
    )


def targets_by_split(context: ReportContext) -> dict[str, np.ndarray]:
    """Return the targets of each split; with validation if the run was trained on this data."""
    train = context.train
    if context.run is None or training_data.recorded_data(context.run) != list(train.sha256):
        return {"train": train.targets, "test": context.test.targets}
    rest, validation = training_data.split(context.run.recipe, train)
    return {"train": rest.targets, "validation": validation.targets, "test": context.test.targets}


def _text(
    context: ReportContext, counts: dict[str, np.ndarray], equal: int, near: int, pairs: list[NearPair]
) -> list[str]:
    images = context.train.images
    name = "Fashion-MNIST, verified by hash" if is_fashion_mnist(context.train) else "A data set of the same shape"
    sizes = ", ".join(f"{int(count.sum()):,} {split}" for split, count in counts.items())
    closest = f" The most similar pair differs by {pairs[0].difference:.1f}." if pairs else ""
    return [
        f"{name}: {sizes} images of 28 x 28 grey pixels. {(images == 0).mean():.0%} of all training pixels are black; "
        f"the mean brightness is {images.mean():.0f} of 255.",
        f"{equal or 'No'} test images are identical to a training image. Near-duplicates are pairs with a root mean "
        f"square difference of at most {FARTHEST:g} grey levels of 255; {near:,} of {len(context.test):,} test images "
        f"have one.{closest} Candidates are searched in {duplicates.COMPONENTS} principal components and then compared "
        "by pixels. The search is complete, since a projection never increases a distance, but does not find shifted, "
        "mirrored or brightened copies.",
    ]


def _counts_chart(counts: dict[str, np.ndarray], labels: tuple[str, ...]) -> Figure:
    axes = figures.new_axes(3.6, grid="x")
    height = 0.8 / len(counts)
    for number, (name, count) in enumerate(counts.items()):
        places = np.arange(len(labels)) + (number + 0.5) * height - 0.4
        axes.barh(places, count, height * 0.9, color=COLOURS[name], label=name)
    figures.class_axis(axes, labels)
    axes.set_xlabel("images")
    figure = figures.figure_of(axes)
    figure.legend(loc="outside upper center", ncols=len(counts))
    return figure


def _sprite(context: ReportContext) -> Figure:
    rng = np.random.default_rng(context.seed)
    train, labels = context.train, context.labels
    sheet = np.zeros((len(labels), 28, SPRITE_COLUMNS, 28), np.uint8)
    for index in range(len(labels)):
        chosen = rng.permutation(np.flatnonzero(train.targets == index))[:SPRITE_COLUMNS]
        sheet[index, :, : len(chosen)] = train.images[chosen].transpose(1, 0, 2)
    axes = figures.new_axes(0.37 * len(labels))
    axes.grid(visible=False)
    axes.imshow(sheet.reshape(28 * len(labels), -1), cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.set_yticks(np.arange(len(labels)) * 28 + 13.5, [figures.shortened(label) for label in labels])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figures.figure_of(axes)


def _means(context: ReportContext) -> Figure:
    present = np.unique(context.train.targets)
    means = [context.train.images[context.train.targets == index].mean(axis=0) for index in present]
    names = [figures.shortened(context.labels[index]) for index in present]
    return figures.image_tiles(np.round(means).astype(np.uint8), names, columns=5)


def _pixel_histogram(context: ReportContext) -> Figure:
    axes = figures.new_axes(2.8)
    edges = np.linspace(0, 256, HISTOGRAM_BINS + 1)
    for name, split in (("train", context.train), ("test", context.test)):
        # bincount takes bytes; np.histogram would convert 47 million pixels to float64.
        counts = np.bincount(split.images.ravel(), minlength=256)
        shares = counts.reshape(HISTOGRAM_BINS, -1).sum(axis=1) / counts.sum()
        axes.stairs(shares, edges, color=COLOURS[name], label=name, linewidth=1.6, baseline=None)
    figures.logarithmic(axes.yaxis)
    axes.set(xlim=(0, 256), xlabel="pixel value, 0 black to 255 white", ylabel="share of pixels")
    axes.legend()
    return figures.figure_of(axes)


def _pair_tiles(pairs: list[NearPair], context: ReportContext) -> Figure:
    # Each test image once, with the most similar training image.
    closest = {pair.test: pair for pair in reversed(pairs)}
    train, test = context.train, context.test
    labels = [figures.shortened(label) for label in context.labels]
    images, captions = [], []
    for pair in sorted(closest.values(), key=lambda pair: pair.difference)[:PAIRS_DRAWN]:
        images += [test.images[pair.test], train.images[pair.train]]
        captions += [
            f"test {pair.test}\n{labels[test.targets[pair.test]]}\ndiffers by {pair.difference:.1f}",
            f"train {pair.train}\n{labels[train.targets[pair.train]]}\n",
        ]
    return figures.image_tiles(np.array(images), captions, columns=4)


def _counts_table(counts: dict[str, np.ndarray], context: ReportContext) -> ReportTable:
    rows = []
    for index, label in enumerate(context.labels):
        images = context.train.images[context.train.targets == index]
        brightness = [float(images.mean()), float((images > 0).mean())] if len(images) else [None, None]
        rows.append([label, *(int(count[index]) for count in counts.values()), *brightness])
    caption = "Images of each class; mean brightness (0 to 255) and share of non-black pixels of the training split."
    return ReportTable("classes", ["class", *counts, "mean brightness", "share not black"], rows, caption)


def _duplicates_table(facts: dict[str, int], near: dict[float, int]) -> ReportTable:
    equal = [[f"identical images {where}", count] for where, count in facts.items() if not where.startswith("near")]
    within = [[f"test images within {level:g} grey levels of a training image", count] for level, count in near.items()]
    differing = ["near pairs with different labels", facts["near pairs with different labels"]]
    rows = [*equal, *within, differing]
    return ReportTable("duplicates", ["kind", "count"], rows, "Duplicates and near-duplicates.")


def _pairs_table(pairs: list[NearPair], context: ReportContext) -> ReportTable:
    labels, train, test = context.labels, context.train, context.test
    rows = [
        [pair.test, labels[test.targets[pair.test]], pair.train, labels[train.targets[pair.train]], pair.difference]
        for pair in pairs
    ]
    return ReportTable(
        "near-duplicates",
        ["test image", "label", "training image", "label of the training image", "difference"],
        rows,
        "Near-duplicates by root mean square difference in grey levels; images are numbered from 0.",
        shown=PAIRS_LISTED,
    )
