"""``live --collect``: the folder, unsure frames, the routes of the page."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from edge_fmnist import LABELS, LiveLoop, LiveResult, live
from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.sinks.collect import Collector, capture
from edge_fmnist.sinks.web.collect import MAX_RECENT_SHOWN, CollectPage
from edge_fmnist.sources.demo import Scene
from edge_fmnist.teaching.background import BackgroundTeacher
from edge_fmnist.teaching.collection import CollectedFrame, Collection, folder_name, perceptual_hash
from edge_fmnist.teaching.photographs import MAX_CLASSES

MakeResult = Callable[..., LiveResult]
NOON = 1_800_000_000.25


def frame(number: int = 0, score: float = 0.9, size: int = 100) -> CollectedFrame:
    """Return a frame that looks like no other, with a JPEG that is not one."""
    answer = {"label": "Coat", "score": score, "scores": {"Coat": score}}
    return CollectedFrame(bytes(size), NOON + number, random.Random(number).getrandbits(64), answer)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "collected.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------- the folder


def test_a_frame_is_stored_with_its_time_and_what_was_answered(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "new" / "photos")
    assert collection.add(frame(), "My hat") == "My hat"
    assert collection.add(frame(), "my HAT") == "My hat"
    assert files(collection.folder) == [
        "My hat/20270115T080000250-1.jpg",
        "My hat/20270115T080000250.jpg",
        "collected.jsonl",
    ]
    assert collection.counts() == {"My hat": 2}
    line = log(collection.folder)[0]
    assert line.pop("hash") == f"{frame().hash:016x}"
    assert line == {
        "time": "2027-01-15T08:00:00.250+00:00",
        "file": "My hat/20270115T080000250.jpg",
        "answer": {"label": "Coat", "score": 0.9, "scores": {"Coat": 0.9}},
    }


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("T-shirt/top", "T-shirt-top"),
        ("../../etc/passwd", "-..-etc-passwd"),
        ("..\\up", "-up"),
        (" two   words ", "two words"),
        (".hidden.", "hidden"),
        ("Mu\u0308tze", "M\u00fctze"),
        ("C:", "C-"),
    ],
)
def test_the_name_of_a_class_is_one_visible_folder(label: str, name: str) -> None:
    assert folder_name(label) == name


@pytest.mark.parametrize(
    "label",
    [
        *("", " . ", "a\x00b", "a\x1b[31m", "\u202ea", "x" * 61),
        *("Unsorted", "unknown", "unused 1", "Collected.jsonl", "Taught.tflite", "taught.former.tflite"),
    ],
)
def test_names_that_no_class_can_have(label: str, tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    with pytest.raises(UsageError):
        collection.add(frame(), label)
    assert files(tmp_path) == []


def test_the_number_of_classes_is_bounded(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    for number in range(MAX_CLASSES):
        (tmp_path / f"class {number}").mkdir()
    collection.add(frame(), "class 7")
    with pytest.raises(UsageError, match="at most 100 classes"):
        collection.add(frame(), "one more")


def test_undo_takes_back_each_step_and_leaves_no_empty_class(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    collection.add_unsorted(frame(1, 0.4))
    collection.add(frame(2), "hat")
    collection.sort("20270115T080001250.jpg", "belt")
    assert collection.counts() == {"hat": 1, "belt": 1}
    assert (collection.last, collection.undo()) == ("belt", "belt")
    assert collection.counts() == {"hat": 1}
    assert [name for name, _ in collection.unsorted()] == ["20270115T080001250.jpg"]
    assert collection.undo() == "hat"
    assert (collection.last, collection.undo()) == (None, None)
    assert files(tmp_path) == ["collected.jsonl", "unsorted/20270115T080001250.jpg"]
    assert not (tmp_path / "hat").exists()


def test_a_frame_that_was_undone_may_be_stored_again(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    for _ in range(2):
        collection.add(frame(1), "hat")
        assert not collection.add_unsorted(frame(1))
        collection.undo()
    assert Collection(tmp_path).add_unsorted(frame(1))
    assert collection.add_unsorted(frame(1))
    collection.add(frame(2), "hat")
    collection.add(frame(3), "hat")
    collection.undo()
    assert not collection.add_unsorted(frame(2))


def test_a_file_of_the_same_name_is_kept(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    for folder in ("hat", "unsorted"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "IMG_1.jpg").write_text(folder)
    collection.sort("IMG_1.jpg", "hat")
    assert {path.name: path.read_text() for path in (tmp_path / "hat").iterdir()} == {
        "IMG_1.jpg": "hat",
        "IMG_1-1.jpg": "unsorted",
    }
    collection.undo()
    assert files(tmp_path) == ["collected.jsonl", "hat/IMG_1.jpg", "unsorted/IMG_1.jpg"]


def test_a_class_may_be_a_link_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    collection = Collection(tmp_path / "photos")
    (tmp_path / "photos" / "hat").symlink_to(tmp_path / "disk")
    collection.add(frame(), "hat")
    assert (collection.counts(), len(files(tmp_path / "disk"))) == ({"hat": 1}, 1)
    assert (collection.undo(), collection.counts()) == ("hat", {"hat": 0})


@pytest.mark.parametrize("sorted_frame", [False, True])
def test_a_log_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, sorted_frame: bool) -> None:
    collection = Collection(tmp_path)
    collection.add_unsorted(frame(1))
    before = files(tmp_path / "unsorted")
    (tmp_path / "collected.jsonl").unlink()
    (tmp_path / "collected.jsonl").mkdir()
    with pytest.raises(SinkError, match="cannot store frames"):
        collection.sort(before[0], "hat") if sorted_frame else collection.add(frame(2), "hat")
    assert files(tmp_path / "unsorted") == before
    assert not (tmp_path / "hat").exists()


def test_unsure_frames_are_few_and_different(tmp_path: Path) -> None:
    warnings: list[str] = []
    collection = Collection(tmp_path, 3, 1000, warnings.append)
    for number, score in ((1, 0.5), (2, 0.3)):
        assert collection.add_unsorted(frame(number, score))
        assert not collection.add_unsorted(frame(number, score))
    assert [answer["score"] for _, answer in collection.unsorted()] == [0.3, 0.5]
    assert not collection.add_unsorted(frame(3, size=900))
    assert "full, with 2 frames" in warnings.pop()
    # A later run knows what an earlier one has stored.
    later = Collection(tmp_path, 3, 1000, warnings.append)
    assert not later.add_unsorted(frame(2))
    assert [answer["score"] for _, answer in later.unsorted()] == [0.3, 0.5]
    assert later.add_unsorted(frame(4))
    assert [later.add_unsorted(frame(number)) for number in (5, 6)] == [False, False]
    # One warning until there is room again.
    assert len(warnings) == 1
    later.sort(later.unsorted()[0][0], "hat")
    assert [later.add_unsorted(frame(number)) for number in (5, 6)] == [True, False]
    assert len(warnings) == 2
    assert len(later.unsorted()) == 3
    assert later.counts() == {"hat": 1}


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, file_size_limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    collection = Collection(tmp_path)
    collection.add(frame(0), "hat")
    with file_size_limit(1000), pytest.raises(SinkError, match=r"cannot store frames .*; what is stored stays"):
        collection.add(frame(1, size=5000), "hat")
    assert collection.counts() == {"hat": 1}
    assert files(tmp_path) == ["collected.jsonl", "hat/20270115T080000250.jpg"]


def test_a_damaged_log_loses_no_photograph(tmp_path: Path) -> None:
    Collection(tmp_path).add_unsorted(frame(1))
    with (tmp_path / "collected.jsonl").open("ab") as file:
        file.write(b'{"file": 3}\n[]\n{"file": "unsorted/x.jpg", "answer": 1, "hash": "z"}\n')
        for score in (b'"x"', b"NaN", b"1e999", b"-1"):
            line = b'{"file": "unsorted/y.jpg", "answer": {"label": null, "score": %s, "scores": {}}}\n'
            file.write(line % score)
        file.write(b'\xff\x00{"ti')
    (tmp_path / "unsorted" / "y.jpg").touch()
    collection = Collection(tmp_path)
    assert [(name, answer["score"]) for name, answer in collection.unsorted()] == [
        ("y.jpg", 0.0),
        ("20270115T080001250.jpg", 0.9),
    ]
    assert not collection.add_unsorted(frame(1))


def test_a_torn_line_of_the_log_costs_no_other(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    collection.add(frame(1), "hat")
    path = tmp_path / "collected.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    collection.add_unsorted(frame(2, 0.3))
    again = Collection(tmp_path)
    assert [answer["score"] for _, answer in again.unsorted()] == [0.3]
    assert not again.add_unsorted(frame(2))
    assert len(path.read_bytes().splitlines()) == 2


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").write_text("")
    with pytest.raises(UsageError, match="expected a folder to collect in, got a file"):
        Collection(tmp_path / "photos")


def test_the_hash_changes_with_the_garment_and_not_with_noise() -> None:
    generator = np.random.default_rng(3)
    coat, bag = np.zeros((28, 28), np.uint8), np.zeros((28, 28), np.uint8)
    cv2.circle(coat, (14, 14), 10, 180, -1)
    cv2.rectangle(bag, (2, 8), (25, 12), 220, -1)
    noisy = np.clip(coat.astype(int) + generator.integers(-3, 4, coat.shape), 0, 255).astype(np.uint8)
    assert (perceptual_hash(coat) ^ perceptual_hash(noisy)).bit_count() <= 6
    assert (perceptual_hash(coat) ^ perceptual_hash(bag)).bit_count() > 6


# ---------------------------------------------------------------- the sink


def test_unsure_frames_are_stored_and_others_kept_for_the_page(tmp_path: Path, make_result: MakeResult) -> None:
    generator = np.random.default_rng(1)

    def result(index: int, label: str | None, score: float) -> LiveResult:
        made = make_result(index, label, score)
        made.garment.image[:] = cv2.resize(generator.integers(0, 256, (6, 6), np.uint8), (28, 28))
        return made

    collection = Collection(tmp_path)
    with Collector(collection, 0.6, interval=0) as collector:
        for index, (label, score) in enumerate([("Coat", 0.9), ("unknown", 0.4), (None, 0.0), ("Coat", 0.7)]):
            collector.write(result(index, label, score))
        assert [each.answer["score"] for each in collector.recent().values()] == [0.9, 0.7]
    (name, answer), *others = collection.unsorted()
    assert others == []
    assert (answer["label"], answer["score"], len(answer["scores"])) == ("unknown", 0.4, 3)
    stored = np.asarray(cv2.imread(str(tmp_path / "unsorted" / name)))
    assert np.abs(stored.astype(int) - make_result().frame.picture).mean() < 15


def test_a_collector_that_cannot_store_fails_like_any_output(
    tmp_path: Path, make_result: MakeResult, file_size_limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    collector = Collector(Collection(tmp_path), 0.6, interval=0)
    with file_size_limit(1000), pytest.raises(SinkError, match="cannot store frames"):
        collector.write(make_result(score=0.3))


def test_live_collects_without_a_page(tmp_path: Path) -> None:
    for _ in live([Scene(320, 240).draw(3.0)], collect=tmp_path, collect_below=1.0):
        pass
    assert [name.split("/")[0] for name in files(tmp_path)] == ["collected.jsonl", "unsorted"]


# ---------------------------------------------------------------- the page


class Page:
    """A page with a loop that has one result, and a teacher that does not teach."""

    def __init__(self, folder: Path, result: LiveResult, page_class: Any) -> None:
        self.collection = Collection(folder)
        self.collector = Collector(self.collection, interval=0)
        loop = cast(LiveLoop, SimpleNamespace(classifier=SimpleNamespace(source="camera"), labels=LABELS))
        collect = CollectPage(self.collector, BackgroundTeacher(folder, loop), lambda: LABELS)
        self.web = page_class(port=0, collect=collect)
        self.web.write(result)
        assert self.web.ask("/frame.jpg?after=0").status == 200

    def post(self, **command: object) -> Any:
        return self.web.ask("/collect", "POST", json.dumps(command).encode(), Content_Type="application/json")


@pytest.fixture
def page(tmp_path: Path, make_result: MakeResult, page_class: Any) -> Iterator[Page]:
    page = Page(tmp_path / "photos", make_result(label="T-shirt/top"), page_class)
    yield page
    page.web.close()
    page.collector.close()


def counts(answer: Any) -> dict[str, int]:
    return {each["name"]: each["count"] for each in answer.json()["classes"] if each["count"]}


def test_the_page_stores_and_undoes(page: Page, make_result: MakeResult) -> None:
    assert b'id="classes"' in page.web.ask("/").body
    assert [page.web.ask(path).status for path in ("/collect.js", "/collect.css")] == [200, 200]
    assert counts(page.web.ask("/collect.json")) == {}
    answer = page.post(action="store", name="T-shirt/top")
    assert (answer.status, answer.json()["said"], answer.json()["undo"]) == (
        200,
        "Stored as T-shirt-top: 1",
        "T-shirt-top",
    )
    # The folder counts for the model's label; a new class comes after the model's.
    assert counts(page.post(action="store", name="my hat")) == {"T-shirt/top": 1, "my hat": 1}
    answer = page.post(action="undo")
    assert counts(answer) == {"T-shirt/top": 1}
    assert [each["name"] for each in answer.json()["classes"]] == [*LABELS, "none"]
    stored = np.asarray(cv2.imread(str(next((page.collection.folder / "T-shirt-top").iterdir()))))
    assert np.abs(stored.astype(int) - make_result().frame.picture).mean() < 15


def test_the_strip_offers_no_class_that_only_a_former_model_has(page: Page, make_result: MakeResult) -> None:
    former = (*(f"class {index}" for index in range(8)), "Coat", "Bag")
    page.collection.add_unsorted(capture(make_result(label="class 3", labels=former)))
    (entry,) = page.web.ask("/collect.json").json()["strip"]
    assert {*entry["best"]} <= {"Coat", "Bag"}


def test_the_strip_shows_the_latest_frames(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    recent = {number: frame(number) for number in range(MAX_RECENT_SHOWN + 3)}
    monkeypatch.setattr(page.collector, "recent", lambda: recent)
    page.collection.add_unsorted(frame(99))
    state = page.web.ask("/collect.json").json()
    shown = {entry["id"] for entry in state["strip"]}
    assert shown == {"f-20270115T080139250.jpg", *(f"r-{number}" for number in range(3, len(recent)))}
    assert state["unsorted"] == 1


def test_the_strip_is_sorted_by_score_and_corrected(page: Page, make_result: MakeResult) -> None:
    page.collection.add_unsorted(capture(make_result(label="Coat", score=0.8)))
    page.collector.write(make_result(label="Bag", score=0.5))
    strip = page.web.ask("/collect.json").json()["strip"]
    assert [(entry["label"], entry["score"], entry["best"][0]) for entry in strip] == [
        ("Bag", 0.5, "Bag"),
        ("Coat", 0.8, "Coat"),
    ]
    for entry in strip:
        assert page.web.ask(f"/collect/{entry['id']}.jpg").body[:2] == b"\xff\xd8"
        assert page.post(action="store", name="belt", id=entry["id"]).status == 200
        # A second tap on the same picture stores nothing.
        assert page.post(action="store", name="belt", id=entry["id"]).status == 400
    answer = page.web.ask("/collect.json")
    assert (answer.json()["strip"], counts(answer)) == ([], {"belt": 2})


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are valid Unicode")
def test_a_file_name_that_is_not_unicode(page: Page) -> None:
    folder = page.collection.folder / "unsorted"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9 #1%2f.jpg")).write_bytes(
        cv2.imencode(".jpg", np.zeros((9, 9, 3), np.uint8))[1].tobytes()
    )
    (entry,) = page.web.ask("/collect.json").json()["strip"]
    assert page.web.ask(f"/collect/{quote(entry['id'], safe='')}.jpg").status == 200
    assert counts(page.post(action="store", name="hat", id=entry["id"])) == {"hat": 1}


def test_frames_of_another_run_have_other_ids(page: Page, make_result: MakeResult) -> None:
    first, second = (Collector(page.collection, interval=0) for _ in range(2))
    for collector in (first, second):
        collector.write(make_result(label="Bag"))
    assert not first.recent().keys() & second.recent().keys()


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"[]", "Application/JSON; charset=utf-8", 400),
        (b'{"action": "undo"}', "text/plain", 415),
        (b'{"action": "undo"}', "application/x-www-form-urlencoded", 415),
        (b'{"action": "' + b"x" * 5000, "application/json", 413),
        (b"[" * 4000, "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"action": "__class__"}', "application/json", 400),
        (b'{"action": "store"}', "application/json", 400),
        (b'{"action": "store", "name": 3}', "application/json", 400),
        (b'{"action": "store", "name": "a\\u0000"}', "application/json", 400),
        (b'{"action": "store", "name": "\\ud800"}', "application/json", 400),
        (b'{"action": "store", "name": "a", "id": "f-../collected.jsonl"}', "application/json", 400),
        (b'{"action": "store", "name": "a", "id": "r-99"}', "application/json", 400),
        (b'{"action": "use"}', "application/json", 400),
        (b'{"action": "restore"}', "application/json", 400),
    ],
)
def test_requests_that_change_nothing(page: Page, body: bytes, content_type: str, status: int) -> None:
    answer = page.web.ask("/collect", "POST", body, Content_Type=content_type)
    assert (answer.status, list(answer.json())) == (status, ["error"])
    assert files(page.collection.folder) == []


@pytest.mark.parametrize("name", ["f-..%2Fcollected.jsonl", "f-x.jpg", "r-1", "r-x", "x"])
def test_there_are_no_other_pictures(page: Page, name: str) -> None:
    assert page.web.ask(f"/collect/{name}.jpg").status == 404


def test_without_collect_the_page_has_none_of_it(page_class: Any) -> None:
    with closing(page_class(port=0)) as web:
        for path, status in (("/collect.json", 404), ("/collect.js", 404), ("/", 200)):
            answer = web.ask(path)
            assert answer.status == status
            assert b"collect.js" not in answer.body


def test_rejects_are_one_class_whatever_the_case(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    assert [collection.add(frame(index), name) for index, name in enumerate(("None", "NONE", "none"))] == ["none"] * 3
    # Of an earlier version.
    (tmp_path / "none").rename(tmp_path / "None")
    assert collection.add(frame(3), "none") == "none"


def test_other_files_are_not_counted(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    collection.add(frame(), "hat")
    for name in ("Thumbs.db", "IMG_1.HEIC"):
        (tmp_path / "hat" / name).touch()
    assert collection.counts() == {"hat": 2}


def test_the_log_says_what_was_taken_back(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    collection.add(frame(), "hat")
    collection.undo()
    stored, undone = log(tmp_path)
    assert (undone["file"], undone["undone"]) == (stored["file"], True)


def test_the_strip_has_no_answers_of_a_former_model(tmp_path: Path, make_result: MakeResult) -> None:
    collector = Collector(Collection(tmp_path), interval=0)
    collector.write(make_result(size=(200, 150)))
    assert len(collector.recent()) == 1
    other = tuple(f"class {index}" for index in range(10))
    collector.write(make_result(1, size=(150, 200), labels=other))
    assert all(set(each.answer["scores"]) <= set(other) for each in collector.recent().values())


def test_the_limit_of_the_folder_is_in_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def collection(*arguments: Any) -> Collection:
        made.append(arguments)
        return Collection(*arguments)

    monkeypatch.setattr("edge_fmnist.teaching.collection.Collection", collection)
    list(live([Scene(64, 48).draw(3.0)], model="nano", collect=tmp_path, collect_below=0.5, collect_max_mb=2.5))
    assert made[0][:3] == (tmp_path, 500, 2_500_000)


def test_few_frames_are_kept_and_seldom(tmp_path: Path, make_result: MakeResult) -> None:
    generator = np.random.default_rng(1)
    for interval, kept in ((60, 1), (0, 24)):
        collector = Collector(Collection(tmp_path), interval=interval)
        for index in range(30):
            made = make_result(index, size=(64, 48))
            made.garment.image[:] = cv2.resize(generator.integers(0, 256, (6, 6), np.uint8), (28, 28))
            collector.write(made)
        assert len(collector.recent()) == kept


def test_a_disk_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = Collection(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=32 << 20))
    with pytest.raises(SinkError, match="less than 32 MiB free"):
        collection.add(frame(), "hat")
    assert files(tmp_path) == []


def test_a_photograph_that_was_deleted_can_be_taken_back(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    collection.add(frame(), "hat")
    next((tmp_path / "hat").iterdir()).unlink()
    assert collection.undo() == "hat"


def test_a_page_without_a_frame_stores_none(tmp_path: Path, page_class: Any) -> None:
    loop = cast(LiveLoop, SimpleNamespace(classifier=SimpleNamespace(source="camera"), labels=LABELS))
    collect = CollectPage(Collector(Collection(tmp_path)), BackgroundTeacher(tmp_path, loop), lambda: LABELS)
    with closing(page_class(port=0, collect=collect)) as web:
        answer = web.ask("/collect", "POST", b'{"action": "store", "name": "hat"}', Content_Type="application/json")
    assert (answer.status, answer.json()) == (400, {"error": "expected a frame, none has arrived yet"})


def test_the_page_cancels(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[bool] = []
    monkeypatch.setattr(BackgroundTeacher, "cancel", lambda _: cancelled.append(True))
    assert page.post(action="cancel").json()["said"] == "Discarded"
    assert len(cancelled) == 1
    page.web.close()
    assert len(cancelled) == 2


def test_the_page_teaches_with_and_without_the_classes_of_the_model(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[bool] = []
    monkeypatch.setattr(BackgroundTeacher, "start", lambda _, add: started.append(add))
    assert [page.post(action="teach", add=add).status for add in (True, False)] == [200, 200]
    assert started == [True, False]
