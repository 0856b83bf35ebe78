"""Print the sizes of the installed packages as JSON: the whole environment, and the base install without extras."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

PACKAGE = "edge-fmnist"
# Replacements made by the installer.
REPLACED = {"opencv-python": "opencv-python-headless"}


def bytes_of(package: Distribution) -> int:
    """Return the total size of a package's files, including compiled bytecode."""
    paths = (package.locate_file(file) for file in package.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())  # type: ignore[attr-defined]


def closure(name: str) -> set[str]:
    """Return the canonical names of a package and its installed dependencies, without extras."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = canonicalize_name(waiting.pop())
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:
            if name in REPLACED:
                waiting.append(REPLACED[name])
            continue
        if name not in found:
            found.add(name)
            needed = map(Requirement, requirements)
            waiting += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def main() -> None:
    """Print the sizes in bytes."""
    sizes: dict[str, int] = {canonicalize_name(package.name): bytes_of(package) for package in distributions()}
    base = {name: sizes[name] for name in sorted(closure(PACKAGE), key=lambda name: -sizes[name])}
    print(json.dumps({"base_bytes": sum(base.values()), "all_bytes": sum(sizes.values()), "base": base}, indent=1))


if __name__ == "__main__":
    main()
