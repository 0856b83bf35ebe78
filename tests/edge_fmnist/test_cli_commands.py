"""Every command without arguments and with its help, and the command line in unusual environments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from edge_fmnist.cli import console
from edge_fmnist.cli.app import COMMANDS as RUNTIME
from edge_fmnist.cli.app import app, plug_ins
from edge_fmnist.cli.signals import interrupted_by_signals

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]

COMMANDS = [*RUNTIME, "models info", "models list", "models verify", *sorted(plug_ins())]
NO_TEMPORARY_FOLDER = (
    "import tempfile, edge_fmnist.cli.app as app\n"
    "def none(): raise FileNotFoundError(2, 'No usable temporary directory found')\n"
    "tempfile._get_default_tempdir = none\n"
    "app.main()"
)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(run_cli: Callable[..., Any], command: str) -> None:
    long, short = (run_cli(*command.split(), option).stdout for option in ("--help", "-h"))
    assert long == short
    assert long.startswith("Usage: ")


@pytest.mark.parametrize("command", ["evaluate", "models info", *sorted({"bench", "report", "web"} & set(plug_ins()))])
def test_the_model_is_an_argument_or_an_option(run_cli: Callable[..., Any], command: str) -> None:
    for words in (["missing.tflite"], ["--model", "missing.tflite"]):
        assert "missing.tflite" in run_cli(*command.split(), *words, code=3).stderr
    if command != "evaluate":
        assert "one model, got" in run_cli(*command.split(), "nano", "--model", "edge", code=2).stderr


ENVIRONMENT = {**os.environ, "EDGE": f"{sys.executable} -m edge_fmnist"}


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run ``$EDGE`` in a shell."""
    command = ["sh", "-c", script]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, timeout=60, env=ENVIRONMENT
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_without_arguments(start: Callable[..., Any], command: str, tmp_path: Path) -> None:
    """A result, or one message; what takes long has at least started, without a traceback."""
    ended = start(f"$EDGE {command}", tmp_path, ENVIRONMENT)
    assert "Traceback" not in ended.stderr
    # One that is about to exit dies of the signal.
    assert ended.returncode in (*range(5), 130, -signal.SIGINT), ended.stderr
    assert ended.stdout or ended.stderr


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the words and the object of every command in a group."""
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield from commands(command, (*path, name)) if isinstance(command, TyperGroup) else [((*path, name), command)]


def options_alone() -> Iterator[list[str]]:
    """Yield each command with each option; files and data to work on are missing, so that none takes long."""
    for path, command in commands(typer.main.get_command(app)):
        arguments = ["missing" for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option"]
        inputs = {each.name: each.opts[0] for each in options if each.name in ("model", "source")}
        for option in options:
            number = option.type.name.startswith(("int", "float"))
            value = [] if option.is_flag else ["1" if number else "missing"]
            others = [word for name, given in inputs.items() if name != option.name for word in (given, "missing")]
            for name in (*option.opts[:1], *option.secondary_opts[:1]):
                yield [*path, name, *value, *others, *arguments]


@pytest.mark.parametrize("line", ["samples --output=~/made", "live --source=demo --frames=1 --jsonl=~/made"])
def test_a_home_folder_that_the_shell_leaves(
    run_cli: Callable[..., Any], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run_cli(*line.split())
    assert (tmp_path / "made").exists()


def test_a_home_folder_in_a_settings_file(
    run_cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "live.toml").write_text('source = "demo"\nframes = 1\njsonl = "~/made"\n')
    run_cli("live", "--config", tmp_path / "live.toml")
    assert (tmp_path / "made").exists()


@pytest.mark.slow
def test_each_option_alone(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer or one message, never a traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_FMNIST_DATA", "missing")
    failures = {}
    for arguments in options_alone():
        ended = cli(*arguments)
        if not isinstance(ended.exception, SystemExit | None) or not ended.output.strip():
            failures[" ".join(arguments)] = repr(ended.exception)
    assert failures == {}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("$EDGE doctor 2>&-", id="standard error closed"),
        pytest.param("$EDGE doctor 2>/dev/full", id="standard error on a full disk"),
        pytest.param("$EDGE models verify <&- >&1", id="standard input closed"),
        pytest.param("env -u HOME -u XDG_CACHE_HOME $EDGE doctor --json", id="no home folder"),
        pytest.param("HOME=/nonexistent/home XDG_CACHE_HOME= $EDGE doctor", id="a home folder that does not exist"),
        pytest.param(f'{sys.executable} -c "{NO_TEMPORARY_FOLDER}" doctor', id="no temporary folder"),
        pytest.param("PYTHONIOENCODING=ascii LC_ALL=C $EDGE doctor", id="only ASCII"),
        pytest.param("$EDGE models --json | head -c 1", id="a reader that stops"),
    ],
)
def test_unusual_environments(script: str) -> None:
    ended = shell(script)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "command", ["models", "models list --json", "models info edge", "doctor", "--help", "--version"]
)
def test_a_reader_that_closes_the_pipe_before_the_results(command: str, unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as broken:
        ended = subprocess.run(
            [sys.executable, "-m", "edge_fmnist", *command.split()],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=broken,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_ctrl_c_while_the_command_line_is_imported(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n", "utf-8")
    script = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]["edge-fmnist"]
    module, _, function = script.partition(":")
    ended = subprocess.run(
        [sys.executable, "-c", f"from {module} import {function}; {function}()"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (130, b"Interrupted.\n")


def test_ctrl_c_in_a_callback_of_native_code_prints_no_traceback() -> None:
    script = (
        "import ctypes, os, signal\n"
        "from edge_fmnist.cli import console\n"
        "callback = ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "with console.exit_codes():\n"
        "    callback()\n"
        "    raise RuntimeError('what the library makes of it')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (130, b"Interrupted.\n")


def test_errors_reach_a_closed_standard_error_as_exit_codes() -> None:
    for redirection in ("2>&-", "2>/dev/full"):
        assert shell(f"$EDGE models info no-such-model {redirection}").returncode == 3


@pytest.mark.parametrize("python", ["PYTHONUNBUFFERED=", "PYTHONUNBUFFERED=1"])
@pytest.mark.parametrize("command", ["models list", "models list --json", "models info edge", "--help", "--version"])
def test_results_on_a_full_disk(python: str, command: str) -> None:
    ended = shell(f"{python} $EDGE {command} >/dev/full")
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: [Errno 28]")
    assert ended.stderr.count("\n") == 1


def test_a_problem_that_nobody_reads_has_its_exit_code() -> None:
    problem = "EDGE_FMNIST_INTERPRETER=absent $EDGE doctor"
    assert shell(f"({problem}; echo $? >&2) | true").stderr.splitlines()[-1] == "1"


def test_file_names_that_are_not_utf8() -> None:
    ended = shell("$EDGE models verify $(printf 'caf\\351.tflite')")
    assert ended.returncode == 3
    assert r"caf\udce9.tflite: neither a file" in ended.stdout


@pytest.mark.data
def test_no_native_log_reaches_a_user(real_data: Path, model_path: Callable[[str], Path]) -> None:
    model = model_path("logits_uint8")
    ended = shell(f"$EDGE evaluate {model} --data {real_data} --threads 2")
    assert ended.returncode == 0
    assert not [line for line in ended.stderr.splitlines() if "INFO" in line or "XNNPACK" in line]


@pytest.mark.parametrize("line", ["W1126 04:00:00.1 12 torch/_inductor.py:118] No CUDA runtime", "kept"])
def test_log_lines_that_libraries_print_from_python(line: str) -> None:
    program = (
        "import logging, sys; from edge_fmnist.cli import console; console.prepare_streams(); "
        "logging.basicConfig(format='%(message)s'); logging.warning(sys.argv[1])"
    )
    ended = subprocess.run([sys.executable, "-c", program, line], capture_output=True, text=True, check=True)
    assert ended.stderr == ("kept\n" if line == "kept" else "")


@pytest.mark.parametrize(
    "error", [ValueError("in the original function"), ImportError("initialization failed"), OSError()]
)
def test_an_error_that_follows_ctrl_c_is_an_interruption(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        with console.exit_codes():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as interruption:
                assert console.was_interrupted()
                # As native code does with an exception that it cannot raise.
                sys.excepthook(type(interruption), interruption, interruption.__traceback__)
                raise error from interruption

    hook = sys.excepthook
    with pytest.raises(SystemExit, match="130"):
        interrupted()
    assert capsys.readouterr().err == "Interrupted.\n"
    assert sys.excepthook is hook
    assert not console.was_interrupted()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_other_signals_interrupt_as_ctrl_c_does_also_where_that_is_ignored(number: int, ctrl_c: Any) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(number)
    signal.signal(signal.SIGINT, ctrl_c)
    # Ignored if the tests run under nohup.
    signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
            signal.raise_signal(number)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(number)) == (ctrl_c, signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(number, before[1])


def test_a_command_that_reports_ctrl_c_itself_reports_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        with console.exit_codes():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                console.say("Interrupted. Run the same command to go on.")
                raise typer.Exit(130) from None

    with pytest.raises(typer.Exit):
        interrupted()
    assert capsys.readouterr().err == "Interrupted. Run the same command to go on.\n"


def test_an_error_without_ctrl_c_is_a_fault() -> None:
    with pytest.raises(ValueError, match="fault"), console.exit_codes():
        raise ValueError("a fault")


def test_no_home_folder_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    # Path.home() for a user that the system does not know, as `--install-completion` calls it.
    with pytest.raises(SystemExit, match="1"), console.exit_codes():
        raise RuntimeError("Could not determine home directory.")
    assert capsys.readouterr().err == (
        "Error: Could not determine home directory. Set the environment variable HOME.\n"
    )


def test_a_missing_library_of_the_system_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    missing = "libxcb.so.1: cannot open shared object file: No such file or directory"
    with pytest.raises(SystemExit, match="2"), console.exit_codes():
        raise ImportError(missing)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert missing in error
    assert "opencv-python-headless" in error


def test_samples_replace_no_other_files(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "bag.png").write_bytes(b"my only copy")
    result = run_cli("samples", "--output", tmp_path, code=2)
    assert "bag.png: another file of this name exists" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bag.png"]
    assert (tmp_path / "bag.png").read_bytes() == b"my only copy"
