"""Each test gets its systems fresh, with a registry of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare import registry
from ematix_nb.errors import DeclarationError
from tests.conformance.matrix import BUCKETS, SERVERS, SYSTEMS, System, open_system, url_of
from tests.conformance.run import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ematix_nb.errors import FlowError

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
NONE: Mapping[str, Any] = {}


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    with registry.scratch():
        yield


NO_SUCH_MODE = "files hold no keys to be found by: they are appended to or replaced as a whole"


def pairs(
    mode: str, *, same: bool = True, sql: bool = False, all_targets: bool = False, refused: Mapping[str, Any] = NONE
) -> list[Any]:
    """Parameters for `bench`: each target that has the mode, from its own system and from another one.

    Args:
        mode: A target takes part when it has it.
        same: Also from its own system.
        sql: Leave out the targets that have no catalogue to ask.
        all_targets: The others too, where the load is refused.
        refused: Target -> a mark (`refusal`) that says why the load is refused there.
    """
    found = []
    for name, system in SYSTEMS.items():
        if mode in system.modes and (system.is_sql or not sql):
            sources = (name, OTHER[name]) if same else (OTHER[name],)
            marks = [refused[name]] if name in refused else []
            found += [pytest.param((name, source), id=f"{source}-to-{name}", marks=marks) for source in sources]
        elif all_targets and mode not in system.modes:
            marks = [refusal(DeclarationError, NO_SUCH_MODE)]
            found.append(pytest.param((name, OTHER[name]), id=f"{OTHER[name]}-to-{name}", marks=marks))
    return found


def refusal(error: type[FlowError], reason: str) -> pytest.MarkDecorator:
    """The test ends with this error, and has to; the reason stands in `docs/matrix.md`."""
    return pytest.mark.xfail(strict=True, raises=error, reason=reason)


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
