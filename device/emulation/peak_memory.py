"""Run a command and write how much memory it took at most: ``python peak_memory.py FILE COMMAND...``.

Below qemu-user the emulator is part of the process, and its memory part of the figure.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run the command; write ``{"peak_bytes": ...}``; return the command's exit code."""
    file, *command = sys.argv[1:]
    done = subprocess.run(command, check=False)  # noqa: S603 - the command is what the caller wants run
    # On Linux in kibibytes.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    Path(file).write_text(json.dumps({"peak_bytes": peak}) + "\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
