"""A session on an empty database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb.backends.postgres import BACKEND
from ematix_nb.connections.kinds import PostgresConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.backends.postgres.io import PostgresSession


@pytest.fixture
def session(pg_url: str) -> Iterator[PostgresSession]:
    opened = BACKEND.open(PostgresConnection(name="wh", url=pg_url))
    yield opened
    opened.close()


@pytest.fixture
def other(pg_url: str) -> Iterator[PostgresSession]:
    """A second session on the same database."""
    opened = BACKEND.open(PostgresConnection(name="wh2", url=pg_url))
    yield opened
    opened.close()
