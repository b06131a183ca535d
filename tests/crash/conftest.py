"""Worlds to crash in."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.crash.places import Places
from tests.crash.world import World, make_source, second
from tests.support import mariadb, postgres
from tests.support.messages import Line, line_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.crash import world


@pytest.fixture(scope="session")
def _sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[str, str]]:
    """Both versions of the source for a target's kind and a mode: of another system, so that rows travel."""
    folder = tmp_path_factory.mktemp("sources")
    made: dict[tuple[str, str], tuple[str, str]] = {}

    def get(kind: str, mode: str) -> tuple[str, str]:
        source = "sqlite" if kind == "duckdb" else "duckdb"
        if (source, mode) not in made:
            from tests.crash.world import FIRST

            made[source, mode] = (
                make_source(folder / f"{mode}1.{source}", source, FIRST),
                make_source(folder / f"{mode}2.{source}", source, second(mode)),
            )
        return made[source, mode]

    return get


@pytest.fixture(scope="session")
def _pg_shared(pg_server: str) -> Iterator[str]:
    """One database for many worlds: each has tables of its own."""
    with postgres.fresh_database(pg_server) as url:
        yield url


@pytest.fixture(scope="session")
def _mysql_shared(mysql_server: str) -> Iterator[str]:
    """As `_pg_shared`."""
    with mariadb.fresh_database(mysql_server) as url:
        yield url


@pytest.fixture(scope="session")
def places() -> Iterator[Places]:
    """Places to try one fault after another in; in memory where the system has a file system there."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory, ignore_cleanup_errors=True) as folder:
        made = Places(Path(folder))
        yield made
        made.close()


@pytest.fixture(scope="session")
def line_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], tuple[Line, str]]]:
    """A line to a database of `postgres` or `mysql` that can be cut, and the URL without it."""
    servers: dict[str, Any] = {"postgres": ("pg_server", postgres), "mysql": ("mysql_server", mariadb)}
    found: dict[str, tuple[Line, str]] = {}
    with contextlib.ExitStack() as stack:

        def get(kind: str) -> tuple[Line, str]:
            if kind not in found:
                server, support = servers[kind]
                url = stack.enter_context(support.fresh_database(request.getfixturevalue(server)))
                found[kind] = (stack.enter_context(line_to(url)), url)
            return found[kind]

        yield get


@pytest.fixture
def make_world(
    _sources: Callable[[str, str], tuple[str, str]], tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., world.World]:
    """Makes a world: `make_world(kind, mode)`."""

    def make(kind: str, mode: str, **options: Any) -> World:
        urls = {
            "duckdb": f"duckdb:///{tmp_path}/target.duckdb",
            "sqlite": f"sqlite:///{tmp_path}/target.sqlite",
            "delta": f"delta:///{tmp_path}/lake",
            "files": f"file:///{tmp_path}/lake?format=parquet",
        }
        shared = {"postgres": "_pg_shared", "mysql": "_mysql_shared"}
        url = urls[kind] if kind in urls else request.getfixturevalue(shared[kind])
        if kind == "files":
            (tmp_path / "lake").mkdir()
        made = World(kind, mode, tmp_path, url, _sources(kind, mode), **options)
        made.prepare()
        return made

    return make
