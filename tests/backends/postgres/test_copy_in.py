"""COPY into a server that stops answering, with and without saying so."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from ematix_nb.backends.postgres import BACKEND, io
from ematix_nb.connections.kinds import PostgresConnection
from ematix_nb.errors import CancelledError, TransientError
from tests.support.lines import line_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.lines import Line

COPY = "COPY t FROM STDIN"
LINE = b"x" * 65_535 + b"\n"
MANY = 2000
"""Lines of 64 KiB: far more than all buffers on the way hold."""


@pytest.fixture
def line(pg_url: str) -> Iterator[Line]:
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (x text)")
    with line_to(pg_url) as made:
        yield made


def chunks(act: Callable[[], None], number: int = MANY) -> Iterator[bytes]:
    """Lines, and something happens after the tenth."""
    for at in range(number):
        if at == 10:
            act()
        yield LINE


def test_a_line_that_hangs_up_without_an_error(line: Line, pg_url: str) -> None:
    session = BACKEND.open(PostgresConnection(name="wh", url=line.url))
    with pytest.raises(TransientError, match="was lost"):
        session.copy_in(COPY, chunks(line.hang_up))
    session.close()
    with psycopg.connect(pg_url) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_an_interrupt_gets_through_when_the_line_stalls(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request to stop the COPY takes the same line, and is not answered either."""
    monkeypatch.setattr(io, "CANCEL_TIMEOUT_S", 0.5)
    session = BACKEND.open(PostgresConnection(name="wh", url=line.url))

    def stall() -> None:
        line.stall()
        threading.Timer(0.2, session.interrupt).start()

    with pytest.raises(CancelledError):
        session.copy_in(COPY, chunks(stall))
    session.close()


def test_more_than_the_buffers_hold(line: Line, pg_url: str) -> None:
    session = BACKEND.open(PostgresConnection(name="wh", url=line.url))
    assert session.copy_in(COPY, chunks(lambda: None)) == MANY
    session.close()
    with psycopg.connect(pg_url) as connection:
        assert connection.execute("SELECT count(*), sum(length(x)) FROM t").fetchone() == (MANY, MANY * 65_535)
