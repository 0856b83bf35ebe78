"""Run a command and write its peak memory: ``python peak_memory.py FILE COMMAND...``.

Under qemu-user the figure includes the emulator, which is part of the process.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run the command, write ``{"peak_bytes": ...}``, and return the command's exit code."""
    file, *command = sys.argv[1:]
    done = subprocess.run(command, check=False)  # noqa: S603 - running a given command is the purpose
    # KiB on Linux.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    Path(file).write_text(json.dumps({"peak_bytes": peak}) + "\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
