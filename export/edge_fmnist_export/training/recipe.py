"""Recipes: everything that decides how a model is trained, in one TOML file."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edge_fmnist.errors import RecipeError, UsageError
from edge_fmnist_export import architectures

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _known(architecture: str) -> str:
    try:
        architectures.builder(architecture)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return architecture


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Architecture = Annotated[str, AfterValidator(_known)]
# Both parameters of a Beta distribution; 0 for none.
Alpha = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """What all parts of a recipe share: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(Section):
    """Which images train and how they are split and batched.

    Attributes:
        validation: how many of the training images validate instead.
        split_seed: decides which, apart from the recipe's seed, so that runs of several seeds, and a teacher and its
            students, keep the same images out.
        batch_size: images in a batch.
    """

    validation: Annotated[int, Field(gt=0)] = 5000
    split_seed: Annotated[int, Field(ge=0)] = 1
    batch_size: Annotated[int, Field(gt=0)] = 128


class Augmentation(Section):
    """How training images vary; a value of 0 or false switches one off.

    Attributes:
        shift: largest shift in pixels, each way, both axes.
        flip: mirror left to right with probability 1/2.
        erasing: probability of random erasing (Zhong et al. 2017, arXiv:1708.04896).
        erasing_area: smallest and largest share of the image that a rectangle takes, erased, dropped or leaked.
        dropping: probability that a rectangle turns black, as where segmentation misses a part of the garment.
        leaking: probability that a rectangle turns one grey, as where segmentation takes ground for garment.
        mixup: alpha of mixup's Beta distribution (Zhang et al. 2017, arXiv:1710.09412).
        cutmix: alpha of CutMix's Beta distribution (Yun et al. 2019, arXiv:1905.04899). Where both are on, each batch
            takes one of the two, drawn evenly.
    """

    shift: Annotated[int, Field(ge=0, le=14)] = 0
    flip: bool = False
    erasing: Share = 0.0
    erasing_area: tuple[Share, Share] = (0.02, 0.25)
    dropping: Share = 0.0
    leaking: Share = 0.0
    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0

    @field_validator("erasing_area")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("expected [smallest, largest] with 0 < smallest <= largest")
        return value

    @property
    def active(self) -> bool:
        """Whether anything is switched on."""
        return bool(self.shift or self.flip or self.erasing or self.dropping or self.leaking) or self.mixing

    @property
    def mixing(self) -> bool:
        """Whether images are mixed with others of their batch, and targets with them."""
        return bool(self.mixup or self.cutmix)

    def without_mixing(self) -> Augmentation:
        """Return the settings with mixup and CutMix switched off."""
        return self.model_copy(update={"mixup": 0.0, "cutmix": 0.0})


class PhotoSettings(Section):
    """How photographs join the training images; 0 views leave them out.

    Attributes:
        views: how many views of each photograph train: itself, and varied copies.
        unknown: weight of garments outside the classes and of bare ground,
            which are trained towards no class at all (outlier exposure,
            Hendrycks et al. 2019, arXiv:1812.04606).
        lost: share of right answers on the validation photographs that the threshold may turn into "unknown".
    """

    views: Annotated[int, Field(ge=0)] = 0
    unknown: Share = 0.5
    lost: Share = 0.05


class DistillSettings(Section):
    """Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531); without teachers there is none.

    The student trains on a fixed set of augmented views of each image, for which the
    teachers' answers are computed once and stored (fast knowledge distillation, Shen
    and Xing 2022, arXiv:2112.01528), in both phases. Of two views that mixup or CutMix
    mixes, the softened probabilities are mixed like the targets.

    Attributes:
        teachers: shipped checkpoints or run folders; several answer with the mean of their probabilities.
        weight: weight of the teachers' answer against the target's.
        temperature: what the logits are divided by before teacher and student are compared.
        views: how many augmented views of each image; epochs beyond see them again.
        view_seed: decides the views. The seed of the run does not, so that runs with other seeds share the answers.
    """

    teachers: tuple[str, ...] = ()
    weight: Share = 0.9
    temperature: Positive = 2.0
    views: Annotated[int, Field(gt=0)] = 16
    view_seed: Annotated[int, Field(ge=0)] = 1


class PhaseSettings(Section):
    """What the two training phases share.

    ``weight_decay`` is decoupled (each step shrinks weights by learning rate
    times weight decay) and leaves biases and batch normalization alone. ``ema`` is
    the decay, from epoch to epoch, of a moving average of the weights, which is then
    what is validated and kept. ``dropout`` multiplies the rates of the architecture's dropout
    layers: what needs them alone may need less beside augmentation and teachers.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dropout: Share = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    epochs: int
    learning_rate: Positive


class FloatPhase(PhaseSettings):
    """How the float model is trained.

    ``precision`` is that of its layers while it trains on the torch back end or with
    Keras' own mixed precision elsewhere; weights are float32 always. Where there is no
    hardware for bfloat16, layers compute in float32. ``batch_norm_momentum`` is the share that
    the moving statistics of batch normalization, which inference uses, keep at each step: 0.99
    looks back a hundred steps, which is too far where training takes a few hundred.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    batch_norm_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99

    epochs: Annotated[int, Field(gt=0)] = 30
    learning_rate: Positive = 0.1


class QatPhase(PhaseSettings):
    """How quantization-aware training goes on from the float model; 0 epochs switch it off."""

    epochs: Annotated[int, Field(ge=0)] = 3
    learning_rate: Positive = 0.005
    augmentation: bool = True


class Recipe(Section):
    """A whole recipe.

    Attributes:
        initial: the shipped checkpoint, or the run folder (from where the command runs), whose float weights
            training starts from; empty to start from chance. The run has the same architecture, or one that is
            wider inside its blocks (``resnet:...``), of which the channels that matter most are taken.
        mirrored: whether the trained model averages its logits over an image and its mirror image
            (test-time augmentation, as in Krizhevsky et al. 2012).
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    description: str = ""
    architecture: Architecture
    initial: str = ""
    mirrored: bool = False
    seed: Annotated[int, Field(ge=0)] = 0
    data: DataSettings = DataSettings()
    augmentation: Augmentation = Augmentation()
    photos: PhotoSettings = PhotoSettings()
    distill: DistillSettings = DistillSettings()
    training: FloatPhase = FloatPhase()
    qat: QatPhase = QatPhase()

    @model_validator(mode="after")
    def _photos_without_mixing(self) -> Recipe:
        if self.photos.views and self.augmentation.mixing:
            given = "mixup" if self.augmentation.mixup else "cutmix"
            raise ValueError(
                f"photos.views and augmentation.{given} exclude each other, since {given} blends targets and the loss "
                "for photographs takes whole ones; set one of them to 0"
            )
        return self

    @model_validator(mode="after")
    def _views_can_be_stored(self) -> Recipe:
        if self.distill.teachers and self.photos.views:
            raise ValueError("distill.teachers excludes photos.views, which no teacher knows; leave one out")
        return self

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
        """Return the recipe as TOML, every setting written out."""
        return tomli_w.dumps(self.model_dump(mode="json"))


def _validated(values: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, issue['loc']))}: {issue['msg']} (got {issue['input']!r})"
            # A problem between settings has no place, and its input is the whole recipe.
            if issue["loc"]
            else str(issue["msg"])
            for issue in error.errors()
        )
        raise RecipeError(f"{where}: {problems}") from error


def parse_recipe(text: str, where: str) -> Recipe:
    """Parse the TOML ``text`` of a recipe; ``where`` names it in messages.

    Raises:
        RecipeError: not TOML, an unknown key, or a value out of range.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not valid TOML: {error}") from error
    return _validated(values, where)


def shipped_recipes() -> dict[str, Recipe]:
    """Return the recipes that come with the package, by name."""
    folder = files("edge_fmnist_export") / "recipes"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".toml")), key=lambda path: path.name)
    return {path.name.removesuffix(".toml"): parse_recipe(path.read_text("utf-8"), path.name) for path in paths}


def load_recipe(name_or_path: str) -> Recipe:
    """Return a shipped recipe by name, or one from a TOML file.

    Raises:
        RecipeError: neither a shipped recipe nor a readable TOML file, or a wrong setting.
    """
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(f"{name_or_path}: neither a file nor a shipped recipe ({', '.join(shipped)})")
    try:
        return parse_recipe(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as text ({error})") from error
