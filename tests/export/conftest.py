"""No connection, declaration or executed cell of one test reaches the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb.connections import clear_connections
from ematix_nb.declare import registry
from ematix_nb.export.session import LOG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, nothing declared."""
    monkeypatch.chdir(tmp_path)
    with registry.scratch():
        yield tmp_path
    clear_connections()
    LOG.clear()
