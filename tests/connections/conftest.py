"""An empty home, an empty working directory, no variables and no registered connections."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ematix_nb.connections import clear_connections, use_profile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Places(NamedTuple):
    """Where settings may stand."""

    project: Path
    user: Path

    def write_project(self, text: str) -> Path:
        """Write ``./.ematix-flow.toml``."""
        return _write(self.project, text)

    def write_user(self, text: str) -> Path:
        """Write ``~/.ematix-flow/connections.toml``."""
        return _write(self.user, text)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    for variable in list(os.environ):
        if variable.startswith("EMATIX_FLOW"):
            monkeypatch.delenv(variable)
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    clear_connections()
    use_profile(None)
    yield Places(work / ".ematix-flow.toml", home / ".ematix-flow" / "connections.toml")
    clear_connections()
    use_profile(None)
