from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist.errors import ModelError, RunError, SourceError, UsageError
from edge_fmnist_export.bulk import plan
from edge_fmnist_export.bulk.engine import GRACE, Engine
from edge_fmnist_export.bulk.files import read_photos
from edge_fmnist_export.bulk.labeller import Labeller, LabelOptions
from edge_fmnist_export.bulk.parts import Task, write_manifest
from edge_fmnist_export.bulk.plan import prepare
from edge_fmnist_export.bulk.pool import Pool
from edge_fmnist_export.bulk.ray_workers import label_task
from edge_fmnist_export.bulk.sources import open_source

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.fs")
parquet = pytest.importorskip("pyarrow.parquet")

Cli = Callable[..., Any]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with a subfolder: five 28x28 images and a damaged one."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(5):
        image = np.zeros((28, 28), np.uint8)
        image[4:24, 8:20] = 80 + 35 * number
        place = folder / "more" if number > 2 else folder
        assert cv2.imwrite(str(place / f"{number}.png"), image)
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    return folder


def rows(output: Path) -> list[dict[str, Any]]:
    """Return the rows of all parts, in the order of the parts."""
    return [row for part in sorted(output.glob("part-*.parquet")) for row in parquet.read_table(part).to_pylist()]


def command(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edge_fmnist", "label", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_label_gives_the_rows_of_classify(photos: Path, tmp_path: Path, cli: Cli) -> None:
    # Nothing in it: neither command gives a score.
    assert cv2.imwrite(str(photos / "plain.png"), np.full((120, 160, 3), 180, np.uint8))
    output = tmp_path / "labels"
    result = cli("label", photos, "--output", output, "--partition-size", "2", "--workers", "1", "--json")
    assert result.exit_code == 0, result.stderr
    end = json.loads(result.stdout.splitlines()[-1])
    assert end["status"] == {"ok": 5, "undecodable": 1, "no_garment": 1}
    assert end == {"event": "end", **json.loads((output / "summary.json").read_text())}
    classified = {
        value["file"]: value
        for value in map(json.loads, cli("classify", photos, photos / "more", "--json").stdout.splitlines())
    }
    labelled = rows(output)
    assert [row["id"] for row in labelled] == list(range(7))
    assert {row["path"] for row in labelled} == classified.keys()
    for row in labelled:
        expected = classified[row["path"]]
        assert row["error"] == expected.get("error")
        assert [row[key] for key in ("answer", "label", "score")] == [
            expected.get(key) for key in ("answer", "label", "score")
        ]
    assert {row["width"] for row in labelled if row["status"] == "ok"} == {28}
    (plain,) = (row for row in labelled if row["status"] == "no_garment")
    assert (plain["score"], plain["top"], plain["width"], plain["height"]) == (None, [], 160, 120)


def test_tables_carry_their_columns_through(photos: Path, tmp_path: Path, cli: Cli) -> None:
    # Labels of the source, an identifier with leading zeros, and a name that is not UTF-8.
    weird = os.fsdecode(b"photos/\xff.png")
    (tmp_path / weird).write_bytes((photos / "0.png").read_bytes())
    table = tmp_path / "catalogue.csv"
    table.write_bytes(
        b"image;label;source_label;sku\n"
        + os.fsencode(weird)
        + b";Bag;a;007\nphotos/missing.png;Coat;b;8\nphotos/1.png\n"
    )
    output = tmp_path / "labels"
    result = cli("label", table, "--column", "image", "-o", output, "--workers", "1", "-k", "2", "--threshold", "1")
    assert result.exit_code == 0, result.stderr
    found = rows(output)
    assert [row["path"] for row in found] == ["photos/\\xff.png", "photos/missing.png", "photos/1.png"]
    assert [row["status"] for row in found] == ["ok", "unreadable", "ok"]
    # A column with the name of a result is renamed.
    carried = [[row[name] for name in ("source_source_label", "source_label", "sku")] for row in found]
    assert carried == [["Bag", "a", "007"], ["Coat", "b", "8"], ["", "", ""]]
    assert found[0]["answer"] == "unknown"
    assert len(found[0]["top"]) == 2


def test_without_pyarrow_parts_are_json_lines(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    output = tmp_path / "labels"
    assert cli("label", photos, "--output", output, "--workers", "1").exit_code == 0
    lines = (output / "part-000000.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(6))
    # An interrupted run goes on with the same command, and refuses others.
    (output / "part-000000.jsonl").unlink()
    assert cli("label", photos, "--output", output, "--workers", "1").exit_code == 0
    assert (output / "part-000000.jsonl").read_text().splitlines() == lines
    for arguments, message in (
        (("--top-k", "1"), "--top-k 3, not 1"),
        (("--model", "edge"), "--model unset, not edge"),
        (("--ray", "auto"), "edge-fmnist[ray]"),
    ):
        refused = cli("label", photos, "--output", output, *arguments)
        assert refused.exit_code == 2
        assert message in refused.stderr
    assert "edge-fmnist[bulk]" in cli("label", "s3://bucket/photos", "--output", tmp_path / "other").stderr


def test_unusable_arguments(photos: Path, tmp_path: Path, cli: Cli, closed_port: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("file,name\n")
    (tmp_path / "excel.csv").write_text("path\nphotos/0.png\n", "utf-16")
    (tmp_path / "paper.pdf").write_text("%PDF-1.4\nabc\n")
    (tmp_path / "table.parquet").mkdir()
    port = closed_port.removeprefix("http://").strip("/")
    for arguments, code, message in (
        ((tmp_path / "missing",), 3, "no such file or folder"),
        ((tmp_path / "empty",), 3, "no photographs"),
        ((tmp_path / "table.csv",), 3, "--column (columns: file, name)"),
        ((photos, "--column", "file"), 2, "CSV and Parquet"),
        ((tmp_path / "table.parquet", "--column", "file"), 2, "CSV and Parquet"),
        ((tmp_path / "excel.csv",), 3, "excel.csv: is UTF-16; expected UTF-8, in Excel: CSV UTF-8"),
        ((tmp_path / "paper.pdf",), 3, "paper.pdf: PDF; expected a picture"),
        ((photos, "--ray", "ray://127.0.0.1:10001"), 2, "HOST:PORT"),
        ((photos, "--ray", port), 2, "nothing answers there"),
        ((photos, "--model", "missing"), 3, "missing"),
    ):
        result = cli("label", *arguments, "--output", tmp_path / "labels")
        assert result.exit_code == code, result.stderr
        assert message in result.stderr
        assert not (tmp_path / "labels").exists()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for output, message in (
        (photos, "not empty"),
        *((tmp_path / name, "expected a folder") for name in ("pipe", "dangling")),
    ):
        refused = cli("label", photos, "--output", output)
        assert (refused.exit_code, message in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    "names",
    [
        *(("job.json", "index.html"), ("manifest.parquet",), ("manifest.webmanifest",)),
        *(("part-000000.parquet",), ("part-000000.jsonl", "job.json")),
    ],
)
@pytest.mark.parametrize("options", [(), ("--restart",)])
def test_files_of_others_are_neither_deleted_nor_replaced(
    photos: Path, tmp_path: Path, cli: Cli, names: tuple[str, ...], options: tuple[str, ...]
) -> None:
    output = tmp_path / "labels"
    output.mkdir()
    for name in names:
        (output / name).write_text('{"mine": 1}')
    result = cli("label", photos, "-o", output, *options)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert {path.name: path.read_text() for path in output.iterdir()} == dict.fromkeys(names, '{"mine": 1}')


def test_a_job_with_a_damaged_part_can_be_restarted(photos: Path, tmp_path: Path, cli: Cli) -> None:
    output = tmp_path / "labels"
    arguments = ("label", photos, "-o", output, "--workers", "1")
    assert cli(*arguments).exit_code == 0
    (output / "part-000000.parquet").write_bytes(b"")
    assert cli(*arguments, "--restart").exit_code == 0
    assert len(rows(output)) == 6


def test_results_are_not_labelled_into_their_own_folder(photos: Path, tmp_path: Path, cli: Cli) -> None:
    output = tmp_path / "labels"
    assert cli("label", photos, "-o", output, "--workers", "1").exit_code == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    (tmp_path / "link").symlink_to(output)
    part = output / "part-000000.parquet"
    for source, to in (
        (part, output),
        (part.as_uri(), output),
        (tmp_path / "link" / part.name, output),
        (part, output.as_uri()),
    ):
        refused = cli("label", source, "-o", to, "--restart")
        assert (refused.exit_code, "would be replaced by the results" in refused.stderr) == (2, True)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_a_folder_by_uri_is_the_folder(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    photos.rename(folder)
    (folder / "0.png").rename(folder / "a%20b.png")
    plain, by_uri = (list(open_source(name, None, None, pytest.fail).rows) for name in (str(folder), folder.as_uri()))
    assert by_uri == plain
    assert by_uri[0][0].endswith("my photos/1.png")
    with pytest.raises(UsageError, match="expected file:///PATH"):
        open_source("file://photos/a.png", None, None, pytest.fail)


def test_a_list_that_begins_as_a_picture_does(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("P1 2024/0.png\n", "utf-8")
    assert list(open_source(str(tmp_path / "list.txt"), None, None, pytest.fail).rows) == [("P1 2024/0.png", ())]


def test_unusual_images_are_named(tmp_path: Path, cli: Cli, capfd: pytest.CaptureFixture[str]) -> None:
    assert cv2.imwrite(str(tmp_path / "white.png"), np.full((28, 28), 255, np.uint8))
    assert cli("label", tmp_path / "white.png", "-o", tmp_path / "labels", "--workers", "1").exit_code == 0
    assert "white.png: bright border" in capfd.readouterr().err


def test_restart_keeps_other_files_and_deletes_nothing_before_the_source_is_read(
    photos: Path, tmp_path: Path, cli: Cli
) -> None:
    output = tmp_path / "labels"
    assert cli("label", photos, "-o", output, "--workers", "1").exit_code == 0
    (output / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text('path,name\nphotos/1.png,a\nphotos/2.png,"b\n')
    for source, code in ((tmp_path / "empty", 3), (tmp_path / "bad.csv", 3)):
        assert cli("label", source, "-o", output, "--restart").exit_code == code
        assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert cli("label", photos, "-o", output, "--restart", "--workers", "1", "-k", "1").exit_code == 0
    assert {len(row["top"]) for row in rows(output) if row["status"] == "ok"} == {1}
    assert (output / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("job.json", b"[]", "job.json: damaged"),
        ("job.json", b'{"options": null}', "job.json: damaged"),
        ("manifest.parquet", b"", "its manifest is damaged"),
        ("part-000000.parquet", b"", "part-000000.parquet is damaged"),
    ],
)
def test_damaged_files_of_a_job(
    photos: Path, tmp_path: Path, cli: Cli, name: str, content: bytes, message: str
) -> None:
    output = tmp_path / "labels"
    assert cli("label", photos, "-o", output, "--workers", "1").exit_code == 0
    (output / name).write_bytes(content)
    result = cli("label", photos, "-o", output, "--workers", "1")
    assert (result.exit_code, message in result.stderr) == (2 if "part" not in name else 1, True), result.stderr
    if "part" not in name:
        assert cli("label", photos, "-o", output, "--workers", "1", "--restart").exit_code == 0


def test_a_pipe_among_the_photographs_is_unreadable(photos: Path, tmp_path: Path, cli: Cli) -> None:
    os.mkfifo(photos / "pipe.jpg")
    output = tmp_path / "labels"
    assert cli("label", photos, "-o", output, "--workers", "1").exit_code == 0
    (row,) = (row for row in rows(output) if row["path"].endswith("pipe.jpg"))
    assert (row["status"], "not a regular file" in row["error"]) == ("unreadable", True)


def test_paths_as_uris_in_a_list(photos: Path, tmp_path: Path, cli: Cli) -> None:
    os.mkfifo(photos / "pipe.jpg")
    local = (photos / "0.png").as_uri().replace("file://", "file://localhost")
    (tmp_path / "list.txt").write_text(f"{(photos / 'pipe.jpg').as_uri()}\n{local}\nfile://host/a.png\n", "utf-8")
    assert cli("label", tmp_path / "list.txt", "-o", tmp_path / "labels", "--workers", "1").exit_code == 0
    labelled = rows(tmp_path / "labels")
    assert [row["status"] for row in labelled] == ["unreadable", "ok", "unreadable"]
    assert ["not a regular file" in labelled[0]["error"], "file:///PATH" in labelled[2]["error"]] == [True, True]


@pytest.mark.parametrize("pattern", ["", "/**"])
def test_folders_nested_too_deeply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    def walk(*_: object, **__: object) -> Iterator[Any]:
        yield str(tmp_path), [], []
        raise RecursionError

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(SourceError, match="folders are nested too deeply"):
        list(open_source(f"{tmp_path}{pattern}", None, None, pytest.fail).rows)


def test_a_heading_that_is_not_utf8(photos: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "excel.csv").write_bytes(b"path,gr\xf6\xdfe\nphotos/1.png,1\n")
    output = tmp_path / "labels"
    assert cli("label", tmp_path / "excel.csv", "-o", output, "--workers", "1").exit_code == 0
    assert rows(output)[0]["gr\\xf6\\xdfe"] == "1"


def test_rows_that_do_not_fit_their_heading(photos: Path, tmp_path: Path, cli: Cli) -> None:
    table = b"path,name,price\nphotos/1.png,Gr\xfcn,1\nphotos/2.png,x,12,50\nphotos/3.png,Gr\xc3\xbcn,1,\n"
    (tmp_path / "excel.csv").write_bytes(table)
    for options in ((), ("--limit", "3")):
        result = cli(
            "label", tmp_path / "excel.csv", "-o", tmp_path / "labels", "--workers", "1", "--restart", *options
        )
        assert result.exit_code == 0
        assert "excel.csv: 1 rows have more cells than the heading" in result.stderr
        assert "excel.csv: 1 lines are not UTF-8" in result.stderr


def test_values_that_cannot_be_carried_through(tmp_path: Path, cli: Cli) -> None:
    flags = pyarrow.ExtensionArray.from_storage(pyarrow.bool8(), pyarrow.array([1], pyarrow.int8()))
    year_10000 = pyarrow.array([253402300800000000], pyarrow.timestamp("us"))
    # Arrow cannot read the first back, and Python does not have the second.
    for column in (flags, year_10000):
        parquet.write_table(pyarrow.table({"path": ["1.png"], "column": column}), tmp_path / "catalogue.parquet")
        result = cli("label", tmp_path / "catalogue.parquet", "-o", tmp_path / "labels")
        assert (result.exit_code, "cannot be carried through" in result.stderr) == (3, True), result.stderr


def test_files_that_a_killed_run_had_not_finished_are_removed(photos: Path, tmp_path: Path, cli: Cli) -> None:
    output = tmp_path / "labels"
    output.mkdir()
    ours = (".part-000000.parquet.abc123_x.parquet", "..manifest.new.12345678.new", ".job.json.abcdefgh.json")
    others = (".notes.txt", ".notes.txt.12345678.txt", ".job.json.original", ".job.json.20260101")
    for name in (*ours, *others):
        (output / name).touch()
    assert cli("label", photos, "-o", output, "--workers", "1").exit_code == 0
    assert {path.name for path in output.glob(".*")} == {*others}


def test_nothing_is_removed_from_a_folder_that_is_refused(photos: Path, tmp_path: Path, cli: Cli) -> None:
    for name in ("notes.txt", ".job.json.abcdefgh.json"):
        (tmp_path / name).touch()
    before = sorted(tmp_path.iterdir())
    assert cli("label", photos, "-o", tmp_path).exit_code == 2
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_while_planning_names_the_file(
    photos: Path, tmp_path: Path, cli: Cli, file_size_limit: Callable[[int], Any]
) -> None:
    with file_size_limit(100):
        result = cli("label", photos, "--output", tmp_path / "labels")
    assert result.exit_code == 1
    assert f"--output: {tmp_path / 'labels' / '.manifest.new'}: File too large" in result.stderr
    assert not (tmp_path / "labels").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_killed_driver_takes_its_workers_along_and_the_same_command_goes_on(photos: Path, tmp_path: Path) -> None:
    paths, output = tmp_path / "paths.txt", tmp_path / "labels"
    paths.write_text("photos/0.png\n" * 20 + "photos/missing.png\n")
    arguments = (paths, "--output", output, "--workers", "1", "--partition-size", "7", "--json")
    with command(*arguments) as running:
        worker = os.pidfd_open(worker_of(running))
        running.kill()
    # The descriptor is readable when the process has ended.
    assert select.select([worker], [], [], 60)[0]
    os.close(worker)
    with command(*arguments) as again:
        worker = os.pidfd_open(worker_of(again))
        again.send_signal(signal.SIGINT)
        _, err = again.communicate()
    assert select.select([worker], [], [], 60)[0]
    os.close(worker)
    assert again.returncode == 130
    assert err == f"Interrupted. What is finished is in {output}; run the same command to go on.\n"
    with command(*arguments) as last:
        # A lost worker is replaced.
        os.kill(worker_of(last), signal.SIGKILL)
        _, err = last.communicate()
    assert last.returncode == 0, err
    found = rows(output)
    assert [row["id"] for row in found] == list(range(21))
    assert [row["status"] for row in found] == ["ok"] * 20 + ["unreadable"]


class Scripted:
    """Workers of a test: they lose what holds ``poison``, and let what holds ``queued`` wait until it is dropped."""

    attempts = 2

    def __init__(self, labeller: Labeller) -> None:
        self.labeller, self.handed_out = labeller, Counter[str]()

    def capacity(self) -> int:
        return 2

    def submit(self, task: Task) -> Future[Any]:
        self.handed_out.update(task.paths)
        future: Future[Any] = Future()
        if any("poison" in path for path in task.paths):
            future.set_exception(BrokenExecutor("SIGSEGV"))
        elif task.overdue or not any("queued" in path for path in task.paths):
            future.set_result(self.labeller.run(task))
        return future

    def result(self, future: Future[Any]) -> Any:
        return future.result()


def test_lost_work_is_halved_and_overdue_work_is_handed_out_again(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(12)]
    names[3] = names[9] = "poison.png"
    names[10] = "queued.png"
    (tmp_path / "paths.txt").write_text("\n".join(names))
    plan = prepare(LabelOptions(str(tmp_path / "paths.txt"), str(tmp_path / "labels"), partition_size=8))
    workers = Scripted(Labeller(plan.spec))
    counts: Counter[tuple[str, str | None]] = Counter()
    with closing(plan):
        # All deadlines have passed.
        Engine(workers, plan, counts.update, patience=-GRACE - 100).run()
    assert counts == {("crashed", None): 2, ("unreadable", None): 10}
    found = rows(tmp_path / "labels")
    assert [row["id"] for row in found] == list(range(12))
    assert [row["path"] for row in found if row["status"] == "crashed"] == ["poison.png"] * 2
    assert "SIGSEGV" in found[3]["error"]
    assert max(workers.handed_out.values()) < 20


def worker_of(running: subprocess.Popen[str]) -> int:
    """Wait for a worker process of a command, and return its number."""
    while running.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            # Each thread has its children; a thread or a child may end meanwhile.
            for thread in Path(f"/proc/{running.pid}/task").iterdir():
                for child in (thread / "children").read_text().split():
                    if b"spawn_main" in Path("/proc", child, "cmdline").read_bytes():
                        return int(child)
        time.sleep(0.01)
    raise AssertionError(running.communicate())


@pytest.mark.slow
@pytest.mark.usefixtures("poison")
def test_a_photograph_that_kills_its_worker_becomes_a_row(photos: Path, tmp_path: Path) -> None:
    (photos / "poison.png").write_bytes((photos / "0.png").read_bytes())
    arguments = ("--output", tmp_path / "labels", "--workers", "1", "--partition-size", "2")
    with command(photos, *arguments) as running:
        _, err = running.communicate()
    assert running.returncode == 0, err
    status = {Path(row["path"]).name: row["status"] for row in rows(tmp_path / "labels")}
    assert status.pop("poison.png") == "crashed"
    assert status == {**{f"{number}.png": "ok" for number in range(5)}, "damaged.jpg": "undecodable"}


@pytest.mark.slow
def test_a_parquet_file_by_uri_keeps_types(photos: Path, tmp_path: Path, cli: Cli) -> None:
    parquet.write_table(
        pyarrow.table({"path": [(photos / "0.png").as_uri(), (photos / "missing.png").as_uri()], "price": [1.5, None]}),
        tmp_path / "table.parquet",
    )
    source = (tmp_path / "table.parquet").as_uri()
    result = cli("label", source, "--output", (tmp_path / "labels").as_uri(), "--workers", "1")
    assert result.exit_code == 0, result.stderr
    assert [(row["status"], row["price"]) for row in rows(tmp_path / "labels")] == [("ok", 1.5), ("unreadable", None)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """Return the settings of a stand-in for Google Cloud Storage whose objects are files, as the query of a URI."""
    script = Path(__file__).with_name("gcs_stand_in.py")
    with subprocess.Popen([sys.executable, script, tmp_path], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"endpoint_override=127.0.0.1:{server.stdout.readline().strip()}&scheme=http&retry_limit_seconds=5"
        server.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("photos")
def test_google_cloud_storage(store: str, tmp_path: Path, cli: Cli) -> None:
    source, output = (f"gs://anonymous@shop/{folder}?{store}" for folder in ("photos", "labels"))
    # The second run finds nothing left to do, and the third deletes what is there.
    for more, labelled, total in (((), 6, 6), ((), 0, 6), (("--restart", "--limit", "2"), 2, 2)):
        arguments = ("--output", output, "--workers", "1", "--partition-size", "3", *more)
        result = cli("label", source, *arguments, "--json")
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout.splitlines()[-1])["this_run"]["photographs"] == labelled
        found = rows(tmp_path / "labels")
        assert [row["status"] for row in found] == ["ok", "ok", "ok", "undecodable", "ok", "ok"][:total]
    assert found[0]["path"] == "gs://anonymous@shop/photos/0.png"


@pytest.mark.slow
def test_a_folder_of_a_store_with_a_space_and_other_files(store: str, tmp_path: Path, photos: Path) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    (photos / "0.png").rename(folder / "a%20b.png")
    (folder / "notes").touch()
    warnings: list[str] = []
    source = open_source(f"gs://anonymous@shop/my%20photos?{store}", None, None, warnings.append)
    assert [path for path, _ in source.rows] == ["gs://anonymous@shop/my photos/a%20b.png"]
    assert isinstance(next(read_photos(["gs://anonymous@shop/my photos/a%20b.png"], source.base)), bytes)
    assert "1 files skipped" in warnings[0]


def test_two_runs_do_not_write_to_one_folder(photos: Path, tmp_path: Path) -> None:
    options = LabelOptions(str(photos), str(tmp_path / "labels"))
    with closing(prepare(options)):
        for other, restart in ((options, False), (replace(options, top_k=1), True)):
            with pytest.raises(UsageError, match="another run writes to this folder"):
                prepare(other, restart)
    prepare(options).close()


def test_a_second_run_is_refused_while_the_first_lists(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, refused = LabelOptions(str(photos), str(tmp_path / "labels")), []

    def listed(*arguments: Any) -> int:
        with pytest.raises(UsageError, match="another run writes to this folder") as error:
            prepare(options)
        refused.append(error)
        return write_manifest(*arguments)

    monkeypatch.setattr(plan, "write_manifest", listed)
    prepare(options).close()
    assert len(refused) == 1
    # A source without photographs leaves no folder.
    with pytest.raises(SourceError):
        prepare(LabelOptions(str(tmp_path / "none"), str(tmp_path / "new" / "labels")))
    assert not (tmp_path / "new" / "labels").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "path\ttitle, colour, size\nphotos/a, brown.png\tx\n"),
        ("b.tsv", "path\nphotos/a, brown.png\n"),
        ("c.csv", 'path,"a; b; c; d"\n"photos/a, brown.png",x\n'),
        ("d.csv", "title;path\n1,5;photos/a, brown.png\n"),
        ("e.csv", "\n\r\ntitle;path\n1,5;photos/a, brown.png\n"),
        # Excel's first line, and columns without names.
        ("f.csv", "sep=;\r\ntitle;path;;\n1,5;photos/a, brown.png;;\n"),
        ("g.csv", '"sep=|"\r\ntitle|path\n1|photos/a, brown.png\n'),
    ],
)
def test_delimiters_in_names(photos: Path, tmp_path: Path, cli: Cli, name: str, content: str) -> None:
    (photos / "0.png").rename(photos / "a, brown.png")
    (tmp_path / name).write_text(content, "utf-8")
    result = cli("label", tmp_path / name, "-o", tmp_path / "labels", "--workers", "1")
    assert result.exit_code == 0, result.stderr
    assert [(row["path"], row["status"]) for row in rows(tmp_path / "labels")] == [("photos/a, brown.png", "ok")]


def test_another_job_in_the_folder_is_refused(photos: Path, tmp_path: Path) -> None:
    first = LabelOptions(str(photos), str(tmp_path / "labels"))
    prepare(first).close()
    for other, named in (
        (replace(first, threshold=0.5), r"a job with --threshold unset, not 0\.5"),
        (replace(first, source=str(tmp_path / "*.png"), top_k=2), r"a job with SOURCE .*photos, not .*png"),
    ):
        with pytest.raises(UsageError, match=named):
            prepare(other)


def test_a_node_with_another_version_is_named() -> None:
    with pytest.raises(RunError, match=r"node .* expected 0\.0: install the same version"):
        label_task("0.0", [], Task(0, 0, []))


def test_a_node_that_does_not_share_the_output_folder_is_named(photos: Path, tmp_path: Path) -> None:
    plan = prepare(LabelOptions(str(photos), str(tmp_path / "labels")))
    plan.close()
    (tmp_path / "labels" / "job.json").unlink()
    with pytest.raises(RunError, match=r"labels: not shared by the node .* use a network folder"):
        Labeller(plan.spec)


def test_maps_in_a_table_are_carried_through(photos: Path, tmp_path: Path, cli: Cli) -> None:
    sizes = pyarrow.array([[("s", 1), ("gr\xf6\xdfe", 2)]], pyarrow.map_(pyarrow.string(), pyarrow.int64()))
    parquet.write_table(pyarrow.table({"path": ["photos/0.png"], "sizes": sizes}), tmp_path / "catalogue.parquet")
    result = cli("label", tmp_path / "catalogue.parquet", "-o", tmp_path / "labels", "--workers", "1")
    assert result.exit_code == 0, result.stderr
    assert rows(tmp_path / "labels")[0]["sizes"] == [("s", 1), ("gr\xf6\xdfe", 2)]


@pytest.mark.parametrize("kind", ["large_string", "string_view", "large_binary", "binary_view", "categories"])
def test_types_of_paths(photos: Path, tmp_path: Path, kind: str) -> None:
    paths = pyarrow.array(["photos/0.png", "photos/1.png", None])
    column = paths.dictionary_encode() if kind == "categories" else paths.cast(getattr(pyarrow, kind)())
    parquet.write_table(pyarrow.table({"path": column}), tmp_path / "catalogue.parquet")
    found = open_source(str(tmp_path / "catalogue.parquet"), None, None, pytest.fail)
    assert [path for path, _ in found.rows] == ["photos/0.png", "photos/1.png", ""]


def test_photographs_of_a_last_partition_that_is_smaller_are_counted(photos: Path, tmp_path: Path) -> None:
    plan = prepare(LabelOptions(str(photos), str(tmp_path / "labels"), partition_size=4))
    with closing(plan):
        assert plan.photographs == 6
        assert replace(plan, done=frozenset({0, 1})).photographs_done == 6
    for number in (0, 7):
        (tmp_path / "labels" / f"part-{number:06}.parquet").write_bytes(b"")
    with closing(prepare(LabelOptions(str(photos), str(tmp_path / "labels")))) as plan:
        # A part that somebody copied there is none of the job's.
        assert (plan.done, plan.photographs_done) == (frozenset({0}), 4)
        with pytest.raises(RunError, match="1 of 2 parts are not in"):
            plan.summarize(Counter(), 1)


def test_a_photograph_alone_is_tried_twice(tmp_path: Path) -> None:
    (tmp_path / "paths.txt").write_text("0.png\n1.png\n")
    plan = prepare(LabelOptions(str(tmp_path / "paths.txt"), str(tmp_path / "labels")))

    class Unlucky(Scripted):
        """Workers that are lost three times in a row, whatever they read."""

        losses = 3

        def submit(self, task: Task) -> Future[Any]:
            self.losses -= 1
            if self.losses < 0:
                return super().submit(task)
            future: Future[Any] = Future()
            future.set_exception(BrokenExecutor("SIGKILL"))
            return future

    with closing(plan):
        Engine(Unlucky(Labeller(plan.spec)), plan, lambda _: None).run()
    assert [row["status"] for row in rows(tmp_path / "labels")] == ["unreadable"] * 2


def test_a_list_of_photographs_that_are_gone_is_finished(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "list.txt").write_text(f"{tmp_path}/gone/1.jpg\n{tmp_path}/gone/2.jpg\n")
    assert cli("label", tmp_path / "list.txt", "--output", tmp_path / "labels", "--workers", "1").exit_code == 0
    assert [row["status"] for row in rows(tmp_path / "labels")] == ["unreadable"] * 2


def test_photographs_that_disappear_during_a_run(photos: Path, tmp_path: Path, cli: Cli) -> None:
    folder, output = tmp_path / "mounted", tmp_path / "labels"
    shutil.copytree(photos, folder)
    for empty in (False, True):
        plan = prepare(LabelOptions(str(folder), str(output)))
        folder.rename(tmp_path / "elsewhere")
        if empty:
            folder.mkdir()
        with closing(plan), pytest.raises(RunError, match=f"{folder}: not there any more, so that none"):
            Engine(Scripted(Labeller(plan.spec)), plan, lambda _: None).run()
        if empty:
            folder.rmdir()
        (tmp_path / "elsewhere").rename(folder)
    assert cli("label", folder, "--output", output, "--workers", "1").exit_code == 0
    assert "unreadable" not in {row["status"] for row in rows(output)}


def test_a_photograph_whose_result_never_comes_becomes_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Scripted):
        """Workers of which nothing comes back."""

        def submit(self, task: Task) -> Future[Any]:
            self.handed_out.update(task.paths)
            assert self.handed_out.total() < 20
            return Future()

    monkeypatch.setattr("edge_fmnist_export.bulk.engine.POLL", 0.01)
    (tmp_path / "paths.txt").write_text("0.png\n")
    with closing(prepare(LabelOptions(str(tmp_path / "paths.txt"), str(tmp_path / "labels")))) as made:
        Engine(Silent(Labeller(made.spec)), made, lambda _: None, patience=-GRACE - 100).run()
    (row,) = rows(tmp_path / "labels")
    assert (row["status"], "no result within" in row["error"]) == ("crashed", True)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_partition_may_be_several_groups_of_the_manifest(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(plan, "LEAST_PARTITION", 2)
    monkeypatch.setattr(plan, "MOST_PARTITIONS", 2)
    if suffix == "jsonl":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    with closing(prepare(LabelOptions(str(photos), str(tmp_path / "labels")))) as made:
        assert made.manifest.layout.suffix == suffix
        tasks = [made.manifest.task(number) for number in range(len(made.manifest))]
    assert [(task.first, len(task.photos)) for task in tasks] == [(0, 4), (4, 2)]
    source = open_source(str(photos), None, None, pytest.fail)
    assert [photo for task in tasks for photo in task.photos] == list(source.rows)


def test_a_job_keeps_its_labels(photos: Path, tmp_path: Path) -> None:
    options = LabelOptions(str(photos), str(tmp_path / "labels"), labels=tuple("abcdefghij"))
    with closing(prepare(options)) as made:
        Labeller(made.spec).run(made.manifest.task(0))
    assert {row["label"] for row in rows(tmp_path / "labels") if row["status"] == "ok"} <= {*"abcdefghij"}
    prepare(options).close()
    with pytest.raises(UsageError, match=r'a job with --labels \["a", .*, not unset'):
        prepare(replace(options, labels=None))


def test_a_model_that_fails_ends_the_job(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ModelError("edge: failed while running, so the file is damaged")

    plan = prepare(LabelOptions(str(photos), str(tmp_path / "labels")))
    with closing(plan):
        monkeypatch.setattr("edge_fmnist.model.classifier.Classifier.predict", fail)
        with pytest.raises(ModelError, match="so the file is damaged"):
            Labeller(plan.spec).run(plan.manifest.task(0))
    assert rows(tmp_path / "labels") == []


def test_a_model_that_cannot_be_loaded_ends_the_job(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepare(LabelOptions(str(photos), str(tmp_path / "labels")))
    with closing(plan):
        for module in ("ai_edge_litert", "tflite_runtime", "tensorflow"):
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ModelError, match=r"cannot be loaded on .*no TensorFlow Lite interpreter is installed"):
            Labeller(plan.spec).run(plan.manifest.task(0))
    assert rows(tmp_path / "labels") == []


def test_a_worker_that_was_ended_is_replaced(photos: Path, tmp_path: Path) -> None:
    plan = prepare(LabelOptions(str(photos), str(tmp_path / "labels")))
    with closing(plan), Pool(plan.spec, 1) as pool:
        task = plan.manifest.task(0)
        with pytest.raises(BrokenExecutor, match="no result within 0 s"):
            pool.submit(task).result()
        counts, _ = pool.submit(replace(task, seconds=60.0)).result()
        assert counts.total() == 6


def test_another_size_of_partitions_is_refused(photos: Path, tmp_path: Path) -> None:
    options = LabelOptions(str(photos), str(tmp_path / "labels"), partition_size=2)
    prepare(options).close()
    prepare(replace(options, partition_size=None)).close()
    with pytest.raises(UsageError, match="a job with --partition-size 2, not 3"):
        prepare(replace(options, partition_size=3))


def test_the_summary_of_a_job_that_was_interrupted_is_of_all_photographs(photos: Path, tmp_path: Path) -> None:
    options = LabelOptions(str(photos), str(tmp_path / "labels"), partition_size=2)
    for labelled in (6, 2):
        plan, counts = prepare(options), Counter[tuple[str, str | None]]()
        with closing(plan):
            Engine(Scripted(Labeller(plan.spec)), plan, counts.update).run()
            summary = plan.summarize(counts, 2.0)
        found = rows(tmp_path / "labels")
        assert (summary["photographs"], summary["failures"], summary["parts"]) == (6, 1, 3)
        assert summary["status"] == {"ok": 5, "undecodable": 1}
        assert summary["answers"] == Counter(row["answer"] for row in found if row["answer"] is not None)
        assert summary["this_run"] == {"photographs": labelled, "seconds": 2.0, "photographs_per_second": labelled / 2}
        (tmp_path / "labels" / "part-000001.parquet").unlink()


def test_a_job_of_another_model_or_version_is_refused(photos: Path, tmp_path: Path) -> None:
    options, job = LabelOptions(str(photos), str(tmp_path / "labels")), tmp_path / "labels" / "job.json"
    prepare(options).close()
    planned = json.loads(job.read_text())
    for change, message in (
        ({"models": dict.fromkeys(planned["models"], "ab")}, "the model's SHA-256"),
        ({"versions": {**planned["versions"], "edge-fmnist": "0.0"}}, "a job with edge-fmnist 0.0, not"),
    ):
        job.write_text(json.dumps({**planned, **change}))
        with pytest.raises(UsageError, match=message):
            prepare(options)
    job.write_text(json.dumps({**planned, "versions": {**planned["versions"], "numpy": "0.9"}}))
    warnings: list[str] = []
    prepare(options, warn=warnings.append).close()
    assert len(warnings) == 1
    assert "and 0.9 labelled the first part of this job: answers may differ" in warnings[0]


def test_what_a_folder_holds_besides_pictures(photos: Path, tmp_path: Path) -> None:
    (photos / ".cache").mkdir()
    (photos / "labels").mkdir()
    for name in (".hidden.png", ".cache/a.png", "labels/a.png", "notes.txt", "B.PNG"):
        (photos / name).write_bytes((photos / "0.png").read_bytes() if name != "notes.txt" else b"notes")
    warnings: list[str] = []
    source = open_source(str(photos), None, str(photos / "labels"), warnings.append)
    names = [os.path.relpath(path, photos) for path, _ in source.rows]
    assert names == ["0.png", "1.png", "2.png", "B.PNG", "damaged.jpg", "more/3.png", "more/4.png"]
    assert warnings == [f"{photos}: 1 files skipped that are not pictures"]


def test_a_glob_is_sorted_and_names_files_only(photos: Path) -> None:
    (photos / "a.png").mkdir()
    source = open_source(str(photos / "*.png"), None, None, pytest.fail)
    assert [Path(path).name for path, _ in source.rows] == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"a\0b\n", "expected a picture, a table or a text file"),
        ("a.txt", b"a" * 70_000, "expected a picture, a table or a text file"),
        ("a.csv", b"path,a,a\n", "two columns of the same name"),
        ("a.jsonl", b"{}\n", "JSON is not read"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list(open_source(str(tmp_path / name), None, None, pytest.fail).rows)


def test_an_output_folder_is_known_from_any_working_folder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(prepare(LabelOptions("photos", "labels"))) as made:
        assert (made.spec.options.output, made.spec.base) == (str(tmp_path / "labels"), str(tmp_path))


def test_a_list_of_windows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa b.png\r\n\r\nc.png\r\n")
    assert [path for path, _ in open_source(str(tmp_path / "a.txt"), None, None, pytest.fail).rows] == [
        "a b.png",
        "c.png",
    ]


def test_a_row_has_what_the_model_answered(photos: Path, tmp_path: Path) -> None:
    plan = prepare(LabelOptions(str(photos), str(tmp_path / "labels"), top_k=2))
    with closing(plan):
        Labeller(plan.spec).run(plan.manifest.task(0))
    job = json.loads((tmp_path / "labels" / "job.json").read_text())
    for row in rows(tmp_path / "labels"):
        if row["status"] == "ok":
            assert row["model_sha256"] == job["models"]["edge"]
            assert row["top"][0] == {"label": row["label"], "score": row["score"]}
            assert row["top"][0]["score"] > row["top"][1]["score"]
            assert 0 < row["confidence"] <= 1
