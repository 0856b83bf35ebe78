from __future__ import annotations

import inspect
import pickle
import re
from typing import Any

import edge_fmnist
from edge_fmnist import errors
from edge_fmnist.errors import MissingExtraError

CLASSES: dict[str, Any] = {
    name: thing for name, thing in vars(errors).items() if inspect.isclass(thing) and issubclass(thing, Exception)
}


def drawn() -> dict[str, tuple[str | None, int]]:
    """Return each class in the docstring's tree with its parent and its exit code, its own or inherited."""
    tree: dict[str, tuple[str | None, int]] = {}
    parents: list[str] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        match = re.fullmatch(r"    ([│├└─ ]*)(\w+Error) +(?:exit code (\d+))?.*", line)
        if match is None:
            continue
        branch, name, code = match.groups()
        del parents[len(branch) // 4 :]
        parent = parents[-1] if parents else None
        tree[name] = (parent, int(code) if code else tree[str(parent)][1])
        parents.append(name)
    return tree


def test_every_class_is_as_drawn_and_exported() -> None:
    assert sorted(drawn()) == sorted(CLASSES)
    for name, (parent, code) in drawn().items():
        assert CLASSES[name].__base__ is (CLASSES[parent] if parent else Exception)
        assert CLASSES[name].exit_code == code
        assert getattr(edge_fmnist, name) is CLASSES[name]
        assert name in edge_fmnist.__all__


def test_a_missing_extra_says_how_to_install_it() -> None:
    error = MissingExtraError("export", "tensorflow", "training")
    assert "pip install 'edge-fmnist[export]'" in str(error)
    assert "training" in str(error)
    assert "tensorflow" in str(error)
    assert error.extra == "export"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.extra) == (str(error), "export")
