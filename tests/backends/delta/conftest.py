"""A place for Delta tables, with a registry of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb.declare import registry
from tests.conformance.matrix import Delta, open_system
from tests.conformance.run import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    with registry.scratch():
        yield


@pytest.fixture
def lake(tmp_path: Path) -> Delta:
    """A folder for tables."""
    return Delta(tmp_path / "lake", "lake")


@pytest.fixture
def bench(lake: Delta, tmp_path: Path) -> Bench:
    """Rows of a SQLite table into a Delta table."""
    return Bench(lake, open_system("sqlite", tmp_path / "source", None, label="source"))
