"""Commands that run Python in a child process, whatever files are in the working folder.

``python -m`` and ``python -c`` import modules of the working folder before installed ones. ``-P`` prevents that from
Python 3.11 on.
"""

from __future__ import annotations

import sys

WITHOUT_WORKING_FOLDER = "import sys\nif sys.path[0] == '':\n    del sys.path[0]\n"


def code_command(code: str) -> list[str]:
    """Return the command that runs Python code."""
    return [sys.executable, "-c", WITHOUT_WORKING_FOLDER + code]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module or package as a program."""
    return [*code_command(f"import runpy\nrunpy.run_module({module!r}, None, '__main__', True)"), *arguments]
