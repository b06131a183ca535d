"""Sessions on a database of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.mysql import BACKEND
from ematix_nb.connections.kinds import MySQLConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.backends.mysql.io import MySQLSession


@pytest.fixture
def session(mysql_url: str) -> Iterator[MySQLSession]:
    opened = BACKEND.open(MySQLConnection(name="wh", url=mysql_url))
    yield opened
    opened.close()


@pytest.fixture
def other(mysql_url: str) -> Iterator[MySQLSession]:
    opened = BACKEND.open(MySQLConnection(name="wh2", url=mysql_url))
    yield opened
    opened.close()


@pytest.fixture
def admin(mysql_url: str) -> Iterator[Any]:
    """The driver's own cursor, as a user's program would have it."""
    import pymysql

    from tests.support.mariadb import arguments

    with pymysql.connect(**arguments(mysql_url), autocommit=True) as connection, connection.cursor() as cursor:
        yield cursor
