"""Each test gets its systems fresh, with a registry of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare import registry
from tests.conformance.matrix import BUCKETS, SERVERS, SYSTEMS, System, open_system, url_of
from tests.conformance.run import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTHER = {
    "postgres": "duckdb",
    "mysql": "postgres",
    "duckdb": "sqlite",
    "sqlite": "duckdb",
    "parquet": "duckdb",
    "csv": "sqlite",
    "jsonl": "sqlite",
    "orc": "sqlite",
    "s3": "duckdb",
    "s3-csv": "sqlite",
    "azure": "sqlite",
    "azure-jsonl": "duckdb",
    "gcs": "duckdb",
    "gcs-orc": "sqlite",
    "delta": "sqlite",
}
"""For each target a source of another kind."""


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    with registry.scratch():
        yield


def pairs(mode: str, *, same: bool = True, sql: bool = False) -> list[Any]:
    """Parameters for `bench`: each target that has the mode, from its own system and from another one.

    ``sql`` leaves out the targets that have no catalogue to ask.
    """
    found = []
    for name, system in SYSTEMS.items():
        if mode in system.modes and (system.is_sql or not sql):
            found += [(name, name)] if same else []
            found.append((name, OTHER[name]))
    return [pytest.param(pair, id=f"{pair[1]}-to-{pair[0]}") for pair in found]


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """A target and a source; the parameter names their systems (target, source)."""
    target, source = request.param

    def opened(name: str, place: str) -> System:
        bucket = request.getfixturevalue("fresh_bucket")(BUCKETS[name]) if name in BUCKETS else None
        return open_system(name, tmp_path / place, url_of(name, request), label=f"{place}_place", bucket=bucket)

    there = opened(target, "target")
    return Bench(there, there if source == target else opened(source, "source"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests whose parameter names a server."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        named = [str(value) for value in parameters.values() if not isinstance(value, System)]
        if any(server in text for text in named for server in (*SERVERS, *BUCKETS.values())):
            item.add_marker(pytest.mark.integration)
