"""The state of a search: one JSON file, written after each candidate, from which the same command goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from edge_fmnist.errors import RunError
from edge_fmnist.files import write_text
from edge_fmnist_export.training.recipe import Architecture, Section

FILE = "state.json"

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]
Quantity = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(Section):
    """What decides which candidates come and how they are compared; the same for a whole search.

    Attributes:
        seed: of all chance.
        population: how many candidates are drawn before the front grows by mutation.
        epochs: how long each is trained.
        images: how many training and validation images are used together; 0 for all.
        data_sha256: of the data set's image and label file.
        reference_sha256: of the model file that latencies are compared with.
    """

    seed: Annotated[int, Field(ge=0)]
    population: Count
    epochs: Count
    images: Annotated[int, Field(ge=0)]
    data_sha256: tuple[str, str]
    reference_sha256: str


class Measured(Section):
    """What the written int8 file of a candidate is.

    Attributes:
        accuracy: top-1 on the validation images, 0 to 1.
        ratio: latency as a multiple of the reference's, measured in turns with it.
        microseconds: p50 of one image on one thread.
        bytes: size of the file.
        parameters: of the network, as Keras counts them.
        macs: multiply-accumulates for one image.
    """

    accuracy: Share
    ratio: Quantity
    microseconds: Quantity
    bytes: Count
    parameters: Count
    macs: Count


class Candidate(Section):
    """A network that was tried.

    Attributes:
        number: its place in the search, from 1.
        architecture: its name, as a recipe takes it.
        parent: the number of the candidate it was mutated from; None where it was drawn.
        seconds: how long training and measuring took.
        measured: what came of it; None where it failed.
        failure: why it failed; empty where it did not.
    """

    number: Count
    architecture: Architecture
    parent: Count | None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    measured: Measured | None
    failure: str = ""


class State(Section):
    """Settings, and the candidates so far in their order."""

    settings: Settings
    candidates: tuple[Candidate, ...] = ()

    @model_validator(mode="after")
    def _numbered(self) -> State:
        if [candidate.number for candidate in self.candidates] != list(range(1, len(self.candidates) + 1)):
            raise ValueError("the candidates are not numbered 1, 2, 3 and so on")
        return self

    @property
    def seconds(self) -> float:
        """How long the candidates took in all."""
        return sum(candidate.seconds for candidate in self.candidates)

    def with_candidate(self, candidate: Candidate) -> State:
        """Return the state with one candidate more."""
        return State(settings=self.settings, candidates=(*self.candidates, candidate))


def save_state(folder: Path, state: State) -> None:
    """Write the state, moved into place when it is whole."""
    write_text(folder / FILE, state.model_dump_json(indent=2) + "\n")


def load_state(folder: Path) -> State | None:
    """Return the state of the search in a folder, or None where there is none yet.

    Raises:
        RunError: its file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return State.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        else:
            reason = str(error)
        raise RunError(
            f"{path}: expected the state of a search, but it is damaged ({reason}); "
            "bring it back, or start anew with another --output"
        ) from error


def check_same(folder: Path, before: Settings, now: Settings) -> None:
    """Check that a search goes on with the settings that it was started with.

    Raises:
        RunError: one differs.
    """
    ours, theirs = now.model_dump(), before.model_dump()
    if changed := [key for key in ours if ours[key] != theirs[key]]:
        differences = "; ".join(f"{key} was {theirs[key]}, now {ours[key]}" for key in changed)
        raise RunError(
            f"{folder}: holds a search with other settings ({differences}); "
            "give the same options to go on, or start anew with another --output"
        )
