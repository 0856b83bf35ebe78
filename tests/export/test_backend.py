"""Back ends: precision, interruptions while they start, and memory."""

from __future__ import annotations

import platform
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.model import processor
from edge_fmnist_export.training import backend


def on(device: str) -> SimpleNamespace:
    """Return a Keras whose tensors are on a device."""
    return SimpleNamespace(ops=SimpleNamespace(zeros=lambda shape: SimpleNamespace(device=device)))


@pytest.mark.parametrize(
    ("device", "flags", "expected"),
    [
        ("cuda:0", "flags\t\t: fpu avx2", True),
        ("cpu", "flags\t\t: fpu avx512f amx_bf16 amx_int8", True),
        ("TFRT_CPU_0", "Features\t: fp asimd bf16 i8mm", True),
        ("cpu", "flags\t\t: fpu avx512f avx512_vnni", False),
        ("cpu", "bugs\t\t: amx_bf16", False),
        ("cpu", None, False),
    ],
)
def test_bfloat16_is_taken_where_there_is_hardware_for_it(
    device: str, flags: str | None, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\n{flags}\npower management:\n", "utf-8")
    monkeypatch.setattr(processor, "CPUINFO", cpuinfo)
    assert backend.has_bfloat16(on(device)) is expected


def test_ctrl_c_waits_for_the_end_of_a_start() -> None:
    finished = []

    def start() -> None:
        with interrupted_later():
            signal.raise_signal(signal.SIGINT)
            finished.append(True)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert finished
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def faults(keep: bool) -> None:
    """Print how many pages the system hands out while blocks of memory are taken and freed in turn."""
    import resource

    from edge_fmnist_export.training.memory import keep_freed_memory

    if keep:
        keep_freed_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        # Larger than what glibc learns to keep by itself.
        bytearray(b"x") * (48 << 20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_taken_again(spawn_calls: Callable[..., list[Any]]) -> None:
    (given_back,), (kept,) = spawn_calls((faults, False)), spawn_calls((faults, True))
    # 20 blocks against one.
    assert 5 * kept < given_back
