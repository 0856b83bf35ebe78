"""Commands that run Python in a child process, which imports what this process would.

``python -m`` and ``python -c`` alone would import modules of the working folder before installed ones.
"""

from __future__ import annotations

import sys

# How lines of LiteRT's log and of valgrind begin.
LOG = ("INFO:", "WARNING:", "VERBOSE:", "I0000", "W0000", "==")


def code_command(code: str) -> list[str]:
    """Return the command that runs Python code."""
    return [sys.executable, "-c", f"import sys\nsys.path[:] = {[entry for entry in sys.path if entry]!r}\n{code}"]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module or package as a program."""
    return [*code_command(f"import runpy\nrunpy.run_module({module!r}, None, '__main__', True)"), *arguments]


def last_line(text: str) -> str:
    """Return the last line that is not of LiteRT's log or of valgrind: usually the reason of a failure."""
    return next((line for line in reversed(text.strip().splitlines()) if not line.startswith(LOG)), "")
