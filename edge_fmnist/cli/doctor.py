"""``edge-fmnist doctor``: what this machine has."""

from __future__ import annotations

from typing import Any

import typer

from edge_fmnist.cli import console, options


def doctor(json: options.Json = False) -> None:
    """Report what this machine has.

    Python, platform, interpreter, XNNPACK, OpenCV, data, models and extras. Exit code 1 when something is broken.
    """
    from edge_fmnist.cli.environment import report

    with console.quiet_native_log():
        facts = report()
    if json:
        console.emit_json(facts)
    else:
        _show(facts)
    if facts["problems"]:
        raise typer.Exit(1)


def _show(facts: dict[str, Any]) -> None:
    running, opencv, data = facts["interpreter"], facts["opencv"], facts["data"]
    rows = [
        ("edge-fmnist", facts["edge_fmnist"]),
        ("Python", f"{facts['python']} ({facts['executable']})"),
        ("platform", f"{facts['platform']}, {facts['cores']} cores"),
        ("NumPy", facts["numpy"]),
        ("interpreter", f"{running['name']} {running['version']}" if running else "none"),
        ("XNNPACK", "in use" if running and running["xnnpack"] else "not in use"),
        ("threads", running["threads_available"] if running else "-"),
        ("also installed", ", ".join(f"{n} {v}" for n, v in facts["interpreters_installed"].items())),
        ("OpenCV", f"{opencv['version']} ({', '.join(opencv['video_backends'])})" if opencv else "none"),
        ("data", data["folder"] if data["found"] else f"not found: {data['why']}"),
        ("models", ", ".join(f"{n} {'ok' if ok else 'BROKEN'}" for n, ok in facts["models"].items()) or "none"),
        ("extras", ", ".join(f"{n} {'present' if ok else 'absent'}" for n, ok in facts["extras"].items())),
    ]
    console.show_table("edge-fmnist doctor", ["", ""], rows, numbers_from=2)
    for problem in facts["problems"]:
        console.say(f"Problem: {problem}")
