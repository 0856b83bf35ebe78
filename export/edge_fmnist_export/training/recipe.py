"""Recipes: everything that decides how a model is trained, in one TOML file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    field_validator,
    model_validator,
)

from edge_fmnist.data.files import parse_toml, read_toml
from edge_fmnist.errors import RecipeError, UsageError
from edge_fmnist_export import architectures
from edge_fmnist_export.architectures.efficientnet import IMAGENET
from edge_fmnist_export.architectures.registry import CLASSES


def _known(architecture: str) -> str:
    try:
        architectures.builder(architecture)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return architecture


def _renamed(name: str, former: str) -> Any:
    """Return a field that also loads by the name that it had in earlier versions."""
    return Field(validation_alias=AliasChoices(name, former))


# TOML has no tuples.
ALLOW_LIST = Strict(False)
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# As the option --seed.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Architecture = Annotated[str, AfterValidator(_known)]


class Section(BaseModel):
    """Base class of all parts of a recipe: immutable; unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSettings(Section):
    """How the training images are split and batched.

    Attributes:
        validation: number of training images held out for validation.
        split_seed: random seed of the split. It is separate from the recipe's seed, so that runs with different
            seeds, and a teacher and its students, hold out the same images.
        train_on_validation: train on the images held out, too. It is for the last run of a recipe that validation has
            chosen: the figures on these images then say nothing about new ones. The temperature is that of the run in
            ``init_from``, which held them out.
        batch_size: images in a batch.
    """

    validation: Annotated[int, Field(gt=0)] = 5000
    split_seed: Seed = 1
    train_on_validation: bool = False
    batch_size: Annotated[int, Field(gt=0)] = 128

    def same_split(self, other: DataSettings) -> bool:
        """Return whether other settings hold out the same images."""
        return (self.validation, self.split_seed) == (other.validation, other.split_seed)


class Augmentation(Section):
    """Augmentation of the training images; 0 or false switches a setting off.

    Attributes:
        shift: maximum shift in pixels, in each direction on both axes.
        flip: flip left to right with probability 1/2.
        erasing: probability of random erasing (Zhong et al. 2017, arXiv:1708.04896).
        erasing_area: minimum and maximum area of an erased, dropped or leaked rectangle, as a share of the image.
        dropping: probability that a rectangle turns black, as where segmentation misses a part of the garment.
        leaking: probability that a rectangle turns one grey, as where segmentation includes background.
    """

    shift: Annotated[int, Field(ge=0, le=14)] = 0
    flip: bool = False
    erasing: Share = 0.0
    erasing_area: Annotated[tuple[Share, Share], ALLOW_LIST] = (0.02, 0.25)
    dropping: Share = 0.0
    leaking: Share = 0.0

    @model_validator(mode="before")
    @classmethod
    def _without_former_settings(cls, values: Any) -> Any:
        """Accept the recipes of earlier runs, which have settings for mixup and CutMix, if these are off."""
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value or key not in ("mixup", "cutmix")}

    @field_validator("erasing_area")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("expected [smallest, largest] with 0 < smallest <= largest")
        return value


class PhotoSettings(Section):
    """How photographs join the training images; 0 views leave them out.

    Attributes:
        views: number of views of each photograph: the photograph itself and augmented copies.
        unknown: loss weight of garments outside the classes and of background, which are trained towards the uniform
            distribution (outlier exposure, Hendrycks et al. 2019, arXiv:1812.04606).
        false_reject_rate: share of correct predictions on the validation photographs that the threshold may reject
            as "unknown".
        classes: the classes of a network that is trained on photographs alone, in the order of its outputs; empty
            where photographs join the images of a data set. ``edge-fmnist train`` sets it to the folders of --photos.
    """

    views: Annotated[int, Field(ge=0)] = 0
    unknown: Share = 0.5
    false_reject_rate: Annotated[Share, _renamed("false_reject_rate", "lost")] = 0.05
    classes: Annotated[tuple[str, ...], ALLOW_LIST] = ()

    @model_validator(mode="after")
    def _has_views(self) -> PhotoSettings:
        if self.classes and not self.views:
            raise ValueError("classes of your own need photographs: set views above 0")
        return self


class DistillSettings(Section):
    """Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531); off without teachers.

    The student trains on a fixed set of augmented views, for which the teachers' logits are computed once and cached
    (fast knowledge distillation, Shen and Xing 2022, arXiv:2112.01528).

    Attributes:
        teachers: shipped checkpoints or run folders; the probabilities of several are averaged.
        weight: weight of the teachers' loss against the loss on the targets.
        temperature: divides the logits of teacher and student before they are compared.
        views: augmented views of each image; later epochs reuse them.
        view_seed: random seed of the views, separate from the recipe's seed, so that runs with other seeds share the
            cached logits.
    """

    teachers: Annotated[tuple[str, ...], ALLOW_LIST] = ()
    weight: Annotated[float, Field(gt=0, le=1)] = 0.9
    temperature: Positive = 2.0
    views: Annotated[int, Field(gt=0)] = 16
    view_seed: Seed = 1


class PhaseSettings(Section):
    """Settings of both training phases.

    Attributes:
        weight_decay: decoupled: each step shrinks the kernels by learning rate times weight decay. Biases and batch
            normalization are excluded.
        schedule_share: share of the cosine schedule that is run; below 1, training ends before the learning rate
            reaches 0, and with it before the network memorizes its images, which a teacher should not.
        dropout: factor on the dropout rates of the architecture.
        ema: decay, from epoch to epoch, of a moving average of the weights, which is validated and kept; 0 is off.
        keep: weights that are kept: of the epoch with the best validation accuracy, or of the last epoch. In the latter
            case, validation is not used for model selection and measures without bias.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    schedule_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dropout: Share = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    keep: Literal["best", "last"] = "best"
    epochs: int
    learning_rate: Positive

    @model_validator(mode="after")
    def _schedule_is_used(self) -> PhaseSettings:
        if self.schedule == "constant" and (self.warmup_epochs or self.schedule_share != 1):
            raise ValueError('schedule = "constant" has no warmup_epochs and no schedule_share')
        return self


class FloatPhase(PhaseSettings):
    """How the float model is trained.

    Attributes:
        precision: of the layers during training; weights stay float32. Without bfloat16 hardware it is float32.
        batch_norm_momentum: share that the moving statistics of batch normalization keep at each step. 0.99 averages
            over about a hundred steps, which is too slow for training of a few hundred steps.
        weight_bits: with 4, kernels of convolutions, except for the first, are rounded to 15 values for each channel
            during training, for ``export --int4``. Needs Keras on torch, and no QAT, which would move them.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    batch_norm_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    weight_bits: Literal[4, 8] = 8

    epochs: Annotated[int, Field(gt=0)] = 30
    learning_rate: Positive = 0.1


class QatPhase(PhaseSettings):
    """How quantization-aware training continues from the float model; 0 epochs switch it off."""

    epochs: Annotated[int, Field(ge=0)] = 3
    learning_rate: Positive = 0.005
    augmentation: bool = True


class Recipe(Section):
    """A complete recipe.

    Attributes:
        init_from: shipped checkpoint or run folder whose float weights initialize training, of the same architecture;
            ``imagenet`` for weights trained on ImageNet, empty for random initialization.
        flip_tta: flip test-time augmentation: the trained model averages its logits over an image and its mirror
            image (as in Krizhevsky et al. 2012).
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    description: str = ""
    architecture: Architecture
    init_from: Annotated[str, _renamed("init_from", "initial")] = ""
    flip_tta: Annotated[bool, _renamed("flip_tta", "mirrored")] = False
    seed: Seed = 0
    data: DataSettings = DataSettings()
    augmentation: Augmentation = Augmentation()
    photos: PhotoSettings = PhotoSettings()
    distill: DistillSettings = DistillSettings()
    training: FloatPhase = FloatPhase()
    qat: QatPhase = QatPhase()

    @model_validator(mode="after")
    def _fit_for_four_bits(self) -> Recipe:
        if self.training.weight_bits == 4 and self.qat.epochs:
            raise ValueError("training.weight_bits = 4 needs qat.epochs = 0: QAT of eight bits would undo it")
        if self.training.weight_bits == 4 and self.training.optimizer != "sgd":
            raise ValueError('training.weight_bits = 4 needs training.optimizer = "sgd"')
        return self

    @model_validator(mode="after")
    def _validation_is_left_for_selection(self) -> Recipe:
        if self.data.train_on_validation:
            phases = [self.training, self.qat] if self.qat.epochs else [self.training]
            if any(phase.keep == "best" for phase in phases):
                raise ValueError('data.train_on_validation needs keep = "last": images trained on choose no epoch')
            if self.photos.views or self.init_from in ("", IMAGENET):
                raise ValueError("data.train_on_validation needs init_from, for the temperature, and photos.views = 0")
        return self

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return len(self.photos.classes) or CLASSES

    def with_changes(self, **sections: dict[str, Any]) -> Recipe:
        """Return a validated copy in which the named sections have the given values.

        Example: ``recipe.with_changes(training={"epochs": 3})``.

        Raises:
            RecipeError: a value is out of range or unknown.
        """
        merged = self.model_dump()
        for section, values in sections.items():
            merged[section] = {**merged[section], **values}
        return _validated(merged, "the recipe as changed on the command line")

    def to_toml(self) -> str:
        """Return the recipe as TOML, with every setting written out."""
        return tomli_w.dumps(self.model_dump(mode="json"))


def _validated(values: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{where}: {'; '.join(map(_problem, error.errors()))}") from error


def _problem(issue: Any) -> str:
    if not issue["loc"]:
        # Settings that do not fit each other: the message names them.
        return str(issue["msg"]).removeprefix("Value error, ")
    return f"{'.'.join(map(str, issue['loc']))}: {issue['msg']} (got {issue['input']!r})"


def parse_recipe(text: str, where: str) -> Recipe:
    """Parse the TOML ``text`` of a recipe; ``where`` names it in messages.

    Raises:
        RecipeError: not TOML, an unknown key, or a value out of range.
    """
    try:
        values = parse_toml(text, where)
    except UsageError as error:
        raise RecipeError(str(error)) from error
    return _validated(values, where)


def shipped_recipes() -> dict[str, Recipe]:
    """Return the recipes in the package, by name."""
    folder = files("edge_fmnist_export") / "recipes"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".toml")), key=lambda path: path.name)
    return {path.name.removesuffix(".toml"): parse_recipe(path.read_text("utf-8"), path.name) for path in paths}


def load_recipe(name_or_path: str) -> Recipe:
    """Return a shipped recipe by name, or one from a TOML file.

    Raises:
        RecipeError: neither a shipped recipe nor a readable TOML file, or an invalid setting.
    """
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(f"{name_or_path}: neither a file nor a shipped recipe ({', '.join(shipped)})")
    try:
        values = read_toml(path)
    except UsageError as error:
        raise RecipeError(str(error)) from error
    return _validated(values, str(path))
