"""Writes constraints.txt: the exact versions installed here that the extras `dev`, `lab` and `spark` ask for."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
HEAD = """\
# The exact versions that `make test`, `make test-nightly`, `make demo` and `make lab` install; by `make constraints`.
"""


def closure(name: str, extras: set[str]) -> dict[str, str]:
    """The versions of everything that the installed distribution `name` with `extras` needs, itself left out."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        current, extra = waiting.pop()
        if (current, extra) in seen:
            continue
        seen.add((current, extra))
        distribution = importlib.metadata.distribution(current)
        if current != name:
            versions[canonicalize_name(current)] = distribution.version
        for text in distribution.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = canonicalize_name(requirement.name)
                waiting += [(needed, wanted) for wanted in ("", *requirement.extras)]
    return versions


def main() -> None:
    """Replaces constraints.txt."""
    versions = closure("ematix-nb", {"dev", "lab", "spark"})
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    CONSTRAINTS.write_text(HEAD + "".join(lines))


if __name__ == "__main__":
    main()
