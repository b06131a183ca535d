"""Servers of other versions than the machine's: every fixture that asks for PostgreSQL gets one of those here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from ematix_nb.declare import registry

# the fixtures of the tests that are run again here
from tests.backends.postgres.conftest import other, session
from tests.backends.postgres.test_generated import computed
from tests.backends.postgres.test_merge_counts import url as merging
from tests.backends.postgres.test_partitions import url as ranged
from tests.conftest import missing
from tests.conftest import pg_server as machine_server
from tests.crash.conftest import _pg_shared, _sources, make_world
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "_pg_shared",
    "_sources",
    "computed",
    "machine_server",
    "make_world",
    "merging",
    "other",
    "ranged",
    "session",
]

VERSIONS = (16, 18)


@contextlib.contextmanager
def started(version: int) -> Iterator[str]:
    """The URL of an own server of that version."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgres.server_of(version))
        except postgres.ServerUnavailableError as error:
            missing(str(error))
        yield server.url


@pytest.fixture(scope="session", params=VERSIONS, ids=[f"PostgreSQL {version}" for version in VERSIONS])
def pg_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server of each version in turn."""
    with started(request.param) as url:
        yield url


@pytest.fixture
def machine_url(machine_server: str) -> Iterator[str]:
    """The URL of an empty database on the server that all other tests use."""
    with postgres.fresh_database(machine_server) as url:
        yield url


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    with registry.scratch():
        yield
