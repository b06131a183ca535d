"""The test harness itself: the guard against foreign connections, the servers, and the database fixtures."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests import conftest
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent


def test_guard_stops_a_foreign_connection() -> None:
    with socket.socket() as client, pytest.raises(pytest.fail.Exception, match="tests talk to"):
        client.connect(("192.0.2.1", 9))
    assert conftest._foreign_addresses == ["('192.0.2.1', 9)"]
    conftest._foreign_addresses.clear()


def test_guard_lets_loopback_through() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        socket.create_connection(listener.getsockname()).close()


def test_missing_server_is_a_skip_here_and_an_error_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="missing: a server"):
        conftest.missing("a server")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="missing in CI: a server"):
        conftest.missing("a server")


def test_two_fresh_databases_know_nothing_of_each_other(pg_url: str, pg_url2: str) -> None:
    import psycopg

    with psycopg.connect(pg_url) as one, psycopg.connect(pg_url2) as two:
        one.execute("CREATE TABLE t (a int)")
        one.commit()
        assert two.execute("SELECT to_regclass('t')").fetchone() == (None,)


def test_database_is_dropped_with_the_sessions_left_in_it(pg_server: str) -> None:
    import psycopg

    with postgres.fresh_database(pg_server) as url:
        leftover = psycopg.connect(url)
    name = urlsplit(url).path.lstrip("/")
    with pytest.raises(psycopg.OperationalError, match="terminat"):
        leftover.execute("SELECT 1")
    leftover.close()
    with psycopg.connect(pg_server) as admin:
        assert admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None


def test_named_server_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(postgres.URL_VARIABLE, f"postgresql://postgres@127.0.0.1:{postgres.free_port()}/postgres")
    with (
        pytest.raises(postgres.ServerUnavailableError, match="EMATIX_TEST_PG_URL is set, but no connection"),
        postgres.server(),
    ):
        pass


def test_own_server_ends_with_the_process_that_started_it() -> None:
    programs = postgres._system_programs() or postgres._wheel_programs()
    if programs is None:
        conftest.missing("the programs of PostgreSQL")
    code = (
        "import os, pathlib, psycopg; from tests.support import postgres\n"
        f"with postgres.own_server(pathlib.Path({str(programs)!r})) as url, psycopg.connect(url) as connection:\n"
        "    print(url, *connection.execute('SHOW data_directory').fetchone(), flush=True)\n"
        "    os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == -9
    url, data = result.stdout.split()
    assert _becomes_true(lambda: postgres._unusable(url) is not None)
    assert _becomes_true(lambda: not Path(data).parent.exists())


def _becomes_true(condition: Callable[[], bool]) -> bool:
    """Asks for 10 s at most; pauses by waiting on a pipe that never speaks."""
    reader, writer = os.pipe()
    try:
        for _ in range(200):
            if condition():
                return True
            select.select([reader], [], [], 0.05)
    finally:
        os.close(reader)
        os.close(writer)
    return False
