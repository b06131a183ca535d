"""Places to load into, in memory where the system has such a folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ematix_nb.declare import registry
from tests.conformance.matrix import SERVERS, url_of
from tests.properties.child import stop_clock
from tests.properties.places import Place, open_place

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: how long a disk takes to write says nothing about rows."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(prefix="ematix-test-", dir=MEMORY))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def place(request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    """The place that the parameter names; the clock of runs stands still."""
    name: str = request.param
    restore = stop_clock()
    with registry.scratch():
        yield open_place(name, folder, url_of(name, request))
    restore()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests whose place is a server."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if item.path.parent == Path(__file__).parent and parameters.get("place") in SERVERS:
            item.add_marker(pytest.mark.integration)
