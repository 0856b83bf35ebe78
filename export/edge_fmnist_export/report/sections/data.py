"""Section Data: what the model learned from and is tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.data.dataset import is_fashion_mnist
from edge_fmnist_export.report import duplicates, figures
from edge_fmnist_export.report.base import Context, Figure, Section, Table
from edge_fmnist_export.report.duplicates import FARTHEST, Pair
from edge_fmnist_export.training import training_data as material

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

VERSION = 2
SPRITE_COLUMNS, PAIRS_DRAWN, PAIRS_LISTED = 11, 6, 20
HISTOGRAM_BINS = 32
# Root mean square differences that near-duplicates are counted up to, in grey levels of 255.
LEVELS = (2, 5, 10, FARTHEST)
COLOURS = {"train": figures.BLUE, "validation": figures.AMBER, "test": figures.RED}


def build(context: Context) -> Section:
    """Look at the images: counts, samples, means, brightness, duplicates."""
    splits = targets_by_split(context)
    counts = {name: np.bincount(targets, minlength=len(context.labels)) for name, targets in splits.items()}
    context.progress("drawing samples", 0.0)
    drawn = [
        Figure("classes", _counts_chart(counts, context.labels), "How many images of each class each split holds."),
        Figure("sprite", _sprite(context), "Train images of each class, drawn at random."),
        Figure("means", _means(context), "The mean of all train images of each class."),
        Figure(
            "pixels",
            _pixel_histogram(context),
            "How often each brightness occurs, black background included; the scale is logarithmic.",
        ),
    ]
    context.progress("looking for near-duplicates", 0.3)
    pairs = duplicates.near_pairs(context.train.images, context.test.images)
    if pairs:
        drawn.append(
            Figure(
                "near-duplicates",
                _pair_tiles(pairs, context),
                "The test images (left of each pair) closest to a train image (right), "
                "with the root mean square of the differences of their pixels.",
            )
        )
    facts = _duplicate_facts(context, pairs)
    return Section(
        "Data",
        text=_text(context, counts, facts, pairs),
        figures=drawn,
        tables=[_counts_table(counts, context), _duplicates_table(facts, pairs), _pairs_table(pairs, context)],
        summary={
            "images": {name: len(targets) for name, targets in splits.items()},
            "sha256": {"train": list(context.train.sha256), "test": list(context.test.sha256)},
            "duplicates": facts,
            "near_duplicates": {f"{level:g}": _test_images_within(pairs, level) for level in LEVELS},
        },
    )


def targets_by_split(context: Context) -> dict[str, np.ndarray]:
    """Return the targets of each split by name; validation is apart where the run says which images it took."""
    train = context.train
    if context.run is None or context.run.read_json("run.json", {}).get("data_sha256") != list(train.sha256):
        return {"train": train.targets, "test": context.test.targets}
    rest, validation = material.split(context.run.recipe, train)
    return {"train": rest.targets, "validation": validation.targets, "test": context.test.targets}


def _text(context: Context, counts: dict[str, np.ndarray], facts: dict[str, int], pairs: list[Pair]) -> list[str]:
    what = "Fashion-MNIST, checked by hash" if is_fashion_mnist(context.train) else "a data set of the same shape"
    sizes = ", ".join(f"{int(count.sum()):,} {name}" for name, count in counts.items())
    dark = float((context.train.images == 0).mean())
    closest = f"The closest pair differs by {pairs[0].difference:.1f} grey levels. " if pairs else ""
    return [
        f"{what[0].upper()}{what[1:]}: {sizes} images of 28 x 28 grey pixels. {dark:.0%} of all train pixels are "
        f"black; the mean brightness is {context.train.images.mean():.0f} of 255.",
        f"{facts['between train and test'] or 'No'} test images are byte for byte in the train split. Near-duplicates "
        f"are pairs whose pixels differ by at most {FARTHEST:g} grey levels of 255, as root mean square; "
        f"{_test_images_within(pairs, FARTHEST):,} of {len(context.test):,} test images have one. {closest}"
        f"Candidates come from a search in {duplicates.COMPONENTS} principal components, the pixels decide, and no "
        "pair is missed, since a projection never lengthens a distance. Shifted, mirrored or brightened copies are "
        "not found this way.",
    ]


def _duplicate_facts(context: Context, pairs: list[Pair]) -> dict[str, int]:
    train, test = context.train, context.test
    return {
        "within train": duplicates.repeated(train.images),
        "within test": duplicates.repeated(test.images),
        "between train and test": duplicates.shared(train.images, test.images),
        "near pairs with different labels": sum(int(train.targets[p.train] != test.targets[p.test]) for p in pairs),
    }


def _test_images_within(pairs: list[Pair], level: float) -> int:
    return len({pair.test for pair in pairs if pair.difference <= level})


def _counts_chart(counts: dict[str, np.ndarray], labels: tuple[str, ...]) -> Drawing:
    axes = figures.new_axes(3.6, grid="x")
    height = 0.8 / len(counts)
    for number, (name, count) in enumerate(counts.items()):
        places = np.arange(len(labels)) + (number + 0.5) * height - 0.4
        axes.barh(places, count, height * 0.9, color=COLOURS[name], label=name)
    axes.set_yticks(range(len(labels)), [figures.shortened(label) for label in labels])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("images")
    figure = figures.figure_of(axes)
    figure.legend(loc="outside upper center", ncols=len(counts))
    return figure


def _sprite(context: Context) -> Drawing:
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


def _means(context: Context) -> Drawing:
    present = [index for index in range(len(context.labels)) if (context.train.targets == index).any()]
    means = [context.train.images[context.train.targets == index].mean(axis=0) for index in present]
    names = [figures.shortened(context.labels[index]) for index in present]
    return figures.image_tiles(np.round(means).astype(np.uint8), names, columns=5)


def _pixel_histogram(context: Context) -> Drawing:
    axes = figures.new_axes(2.8)
    edges = np.linspace(0, 256, HISTOGRAM_BINS + 1)
    for name, split in (("train", context.train), ("test", context.test)):
        # Counting bytes first: a histogram of 47 million floats would take a gigabyte.
        counts = np.bincount(split.images.ravel(), minlength=256)
        shares = counts.reshape(HISTOGRAM_BINS, -1).sum(axis=1) / counts.sum()
        axes.stairs(shares, edges, color=COLOURS[name], label=name, linewidth=1.6, baseline=None)
    axes.set_yscale("log")
    axes.set_xlim(0, 256)
    axes.set_xlabel("brightness, 0 black to 255 white")
    axes.set_ylabel(f"share of pixels, {256 // HISTOGRAM_BINS} levels a step")
    axes.legend()
    return figures.figure_of(axes)


def _pair_tiles(pairs: list[Pair], context: Context) -> Drawing:
    # Each test image once, with its closest.
    closest = {pair.test: pair for pair in reversed(pairs)}
    shown = sorted(closest.values(), key=lambda pair: pair.difference)[:PAIRS_DRAWN]
    train, test = context.train, context.test
    labels = [figures.shortened(label) for label in context.labels]
    images = [image for pair in shown for image in (test.images[pair.test], train.images[pair.train])]
    captions = [
        text
        for pair in shown
        for text in (
            f"test {pair.test}\n{labels[test.targets[pair.test]]}\ndiffers by {pair.difference:.1f}",
            f"train {pair.train}\n{labels[train.targets[pair.train]]}\n",
        )
    ]
    return figures.image_tiles(np.array(images), captions, columns=4)


def _counts_table(counts: dict[str, np.ndarray], context: Context) -> Table:
    train = context.train
    rows = []
    for index, label in enumerate(context.labels):
        images = train.images[train.targets == index]
        seen = len(images) > 0
        covered = float((images > 0).mean()) if seen else None
        rows.append(
            [
                label,
                *(int(count[index]) for count in counts.values()),
                float(images.mean()) if seen else None,
                covered,
            ]
        )
    return Table(
        "classes",
        ["class", *counts, "mean brightness", "share not black"],
        rows,
        "Images of each class; mean brightness (0 to 255) and share of pixels that are not black, of the train split.",
    )


def _duplicates_table(facts: dict[str, int], pairs: list[Pair]) -> Table:
    equal = [[f"equal images {where}", count] for where, count in facts.items() if not where.startswith("near")]
    near = [
        [f"test images within {level:g} grey levels of a train image", _test_images_within(pairs, level)]
        for level in LEVELS
    ]
    differing = ["near pairs with different labels", facts["near pairs with different labels"]]
    return Table("duplicates", ["what", "count"], [*equal, *near, differing], "Duplicates and near-duplicates.")


def _pairs_table(pairs: list[Pair], context: Context) -> Table:
    labels, train, test = context.labels, context.train, context.test
    rows = [
        [pair.test, labels[test.targets[pair.test]], pair.train, labels[train.targets[pair.train]], pair.difference]
        for pair in pairs
    ]
    return Table(
        "near-duplicates",
        ["test image", "its label", "train image", "its label there", "difference"],
        rows,
        "Pairs that differ by little, as root mean square in grey levels; positions count from 0.",
        shown=PAIRS_LISTED,
    )
