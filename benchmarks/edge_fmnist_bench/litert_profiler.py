"""Run a model under LiteRT's own profiler and print its events as JSON; started by ``profile.py``.

``python -m edge_fmnist_bench.litert_profiler MODEL.tflite WARM_UP CALLS``. LiteRT's Python interface does not reach
the profiler, so this calls the C interface of the library in its wheel, in a separate process: a version with
another interface then ends this process only. See litert/c/litert_profiler_event.h and litert_compiled_model.h in
https://github.com/google-ai-edge/LiteRT.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

POINTER, SIZE = ctypes.c_void_p, ctypes.c_size_t
CPU = 1
# Bits of the event types: an operator of the graph, and an operator inside a delegate (XNNPACK).
GRAPH_OPERATOR, DELEGATE_OPERATORS = 2, (4, 8)
OPTIONS, ENABLE = b"runtime_options_string", b"enable_profiling = true\n"
# A LiteRtRankedTensorType has an element type, the rank in 7 bits, then the dimensions; this is more than its size.
TYPE_INTS, RANK_MASK = 64, 0x7F
# The profiler's buffer holds a few thousand events.
CALLS_PER_READ = 20


class Event(ctypes.Structure):
    """``ProfiledEventData``."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("index", ctypes.c_uint64),
        ("metadata", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


class Profiler:
    """A model compiled for the CPU, with one thread, in LiteRT's C interface; lives as long as the process."""

    def __init__(self, path: str) -> None:
        """Compile a model file with profiling enabled."""
        spec = find_spec("ai_edge_litert")
        if spec is None or spec.origin is None:
            raise SystemExit("ai-edge-litert is not installed")
        self._library = ctypes.CDLL(str(Path(spec.origin).with_name("libLiteRt.so")))
        self._environment, self._model, self._compiled, self._profiler = (POINTER() for _ in range(4))
        options, opaque, signature = (POINTER() for _ in range(3))
        self._payload = ctypes.create_string_buffer(ENABLE)
        self._destructor = ctypes.CFUNCTYPE(None, POINTER)(lambda _: None)
        at = ctypes.byref
        self._do("CreateEnvironment", ctypes.c_int(0), None, at(self._environment))
        self._do("CreateModelFromFile", self._environment, path.encode(), at(self._model))
        self._do("CreateOptions", at(options))
        self._do("SetOptionsHardwareAccelerators", options, ctypes.c_int(CPU))
        self._do("CreateOpaqueOptions", OPTIONS, self._payload, self._destructor, at(opaque))
        self._do("AddOpaqueOptions", options, opaque)
        self._do("CreateCompiledModel", self._environment, self._model, options, at(self._compiled))
        self._do("CompiledModelGetProfiler", self._compiled, at(self._profiler))
        self._do("GetModelSignature", self._model, SIZE(0), at(signature))
        self._inputs, self._outputs = (self._buffers(kind, signature) for kind in ("Input", "Output"))

    def _do(self, name: str, *arguments: object) -> None:
        """Call a function of the library; end the process if it fails."""
        if code := getattr(self._library, f"LiteRt{name}")(*arguments):
            raise SystemExit(f"LiteRt{name} failed with status {code}")

    def _buffers(self, kind: str, signature: ctypes.c_void_p) -> ctypes.Array[ctypes.c_void_p]:
        """Return buffers for the inputs or the outputs, with the batch size 1."""
        count = SIZE()
        self._do(f"GetNumSignature{kind}s", signature, ctypes.byref(count))
        buffers = (POINTER * count.value)()
        for index in range(count.value):
            tensor, requirements, buffer = (POINTER() for _ in range(3))
            tensor_type = (ctypes.c_int32 * TYPE_INTS)()
            self._do(f"GetSignature{kind}TensorByIndex", signature, SIZE(index), ctypes.byref(tensor))
            self._do("GetRankedTensorType", tensor, tensor_type)
            for dimension in range(2, 2 + (tensor_type[1] & RANK_MASK)):
                # -1 for an open batch size.
                tensor_type[dimension] = abs(tensor_type[dimension])
            place = self._compiled, SIZE(0), SIZE(index), ctypes.byref(requirements)
            self._do(f"GetCompiledModel{kind}BufferRequirements", *place)
            made = self._environment, tensor_type, requirements, ctypes.byref(buffer)
            self._do("CreateManagedTensorBufferFromRequirements", *made)
            buffers[index] = buffer.value
        return buffers

    def run(self, calls: int) -> None:
        """Run the model; inputs are zeros."""
        buffers = SIZE(len(self._inputs)), self._inputs, SIZE(len(self._outputs)), self._outputs
        for _ in range(calls):
            self._do("RunCompiledModel", self._compiled, SIZE(0), *buffers)

    def events(self, calls: int) -> list[Event]:
        """Run the model under the profiler and return its events."""
        self._do("ResetProfiler", self._profiler)
        self._do("StartProfiler", self._profiler)
        self.run(calls)
        self._do("StopProfiler", self._profiler)
        count = ctypes.c_int()
        self._do("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (Event * count.value)()
        self._do("GetProfilerEvents", self._profiler, count, events)
        return list(events)


def main() -> None:
    """Print ``[{"operator", "delegate", "index", "time_us"}]``: the mean time of each operator, in order."""
    path, warm_up, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    profiler = Profiler(path)
    profiler.run(warm_up)
    times: dict[tuple[bool, int, str], list[int]] = defaultdict(list)
    for _ in range(max(1, calls // CALLS_PER_READ)):
        for event in profiler.events(min(calls, CALLS_PER_READ)):
            if event.type == GRAPH_OPERATOR or event.type in DELEGATE_OPERATORS:
                times[event.type != GRAPH_OPERATOR, event.index, event.tag.decode()].append(event.elapsed_us)
    rows = [
        {"operator": tag, "delegate": delegate, "index": index, "time_us": sum(taken) / len(taken)}
        for (delegate, index, tag), taken in times.items()
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
