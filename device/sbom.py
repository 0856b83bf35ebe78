"""Print a software bill of materials of this environment, as CycloneDX JSON: ``python device/sbom.py > sbom.json``.

Run it with the Python whose packages are to be listed; it needs none but the standard library:
``/opt/edge-fmnist/venv/bin/python device/sbom.py``.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from importlib.metadata import Distribution, distributions
from typing import Any

NAME = "edge-fmnist"
# What a distribution is compared by: PEP 503.
SEPARATORS = re.compile(r"[-_.]+")


def normalized(name: str) -> str:
    """Return the name of a distribution in the form that package URLs have."""
    return SEPARATORS.sub("-", name).lower()


def component(package: Distribution) -> dict[str, Any]:
    """Return the description of a distribution: https://cyclonedx.org/docs/1.6/json/#components."""
    name = normalized(package.metadata["Name"])
    url = f"pkg:pypi/{name}@{package.version}"
    licence = package.metadata.get("License-Expression") or package.metadata.get("License")
    described = {"type": "library", "bom-ref": url, "name": name, "version": package.version, "purl": url}
    # Some metadata holds the whole text of the licence.
    if licence and "\n" not in licence:
        described["licenses"] = [{"license": {"name": licence}}]
    return described


def bill(packages: list[Distribution]) -> dict[str, Any]:
    """Return the bill of materials: https://cyclonedx.org/docs/1.6/json/.

    Of several packages with the same name, Python imports the first.
    """
    found: dict[str, Distribution] = {}
    for package in packages:
        # Without a name: what an interrupted pip leaves.
        if package.metadata["Name"] is None:
            continue
        found.setdefault(normalized(package.metadata["Name"]), package)
    components = {name: component(package) for name, package in sorted(found.items())}
    dependencies = [
        {
            "ref": components[name]["bom-ref"],
            "dependsOn": sorted({components[required]["bom-ref"] for required in _required(found[name], components)}),
        }
        for name in components
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**components[NAME], "type": "application"}},
        "components": [described for name, described in components.items() if name != NAME],
        "dependencies": dependencies,
    }


def _required(package: Distribution, installed: dict[str, Any]) -> list[str]:
    """Return which of the installed packages a package requires, with any of its extras."""
    names = (normalized(re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0]) for each in package.requires or ())
    return [name for name in names if name in installed]


if __name__ == "__main__":
    # A reader that leaves, such as head, ends the program without a message.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        print(json.dumps(bill(list(distributions())), indent=2))
    except KeyError:
        sys.exit(f"{NAME} is not installed for {sys.executable}; run this with the Python of its environment")
