"""A hot standby as the source: late rows are found by the transactions that it replayed, also when it is promoted."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ematix_nb import PostgresConnection, SQLiteConnection, register_connection
from ematix_nb.api import declared
from ematix_nb.declare import registry
from ematix_nb.declare.pipelines import build_pipeline
from tests.conftest import missing
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.nightly]
PATIENCE_S = 60


@pytest.fixture
def servers() -> Iterator[tuple[str, str]]:
    """A server and its standby."""
    with contextlib.ExitStack() as stack:
        try:
            primary = stack.enter_context(postgres.server_of(15))
            standby = stack.enter_context(postgres.standby_of(primary.url))
        except postgres.ServerUnavailableError as error:
            missing(str(error))
        yield primary.url, standby


def wait_until(session: psycopg.Connection[Any], question: str, *values: object) -> None:
    """Ask until the answer is true."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = session.execute(question.encode(), values).fetchone()
        if found is not None and found[0]:
            return
        time.sleep(0.02)
    message = f"not true after {PATIENCE_S} s: {question}"
    raise AssertionError(message)


def test_a_standby_is_read_and_promoted(servers: tuple[str, str], tmp_path: Path) -> None:
    primary, standby = servers
    with (
        psycopg.connect(primary, autocommit=True) as now,
        psycopg.connect(primary) as slow,
        psycopg.connect(standby, autocommit=True) as copy,
        registry.scratch(),
    ):
        register_connection(PostgresConnection(name="src", url=standby))
        register_connection(SQLiteConnection(name="lite", path=str(tmp_path / "t.sqlite")))
        load = declared(
            build_pipeline(
                sql="SELECT id, at FROM src", name="late", target="lite:tgt", source_connection="src",
                watermark_column="at", late_rows="snapshot",
            )
        )  # fmt: skip

        def replayed() -> None:
            found = now.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
            assert found is not None
            wait_until(copy, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", found[0])

        def ids() -> Counter[int]:
            result = load.sync()
            assert all("promoted" in text for text in result.targets[0].warnings)
            return Counter(result.to_arrow()["id"].to_pylist())

        now.execute("CREATE TABLE src (id int, at int)")
        now.execute("INSERT INTO src VALUES (1, 100)")
        replayed()
        assert ids() == Counter([1])
        slow.execute("INSERT INTO src VALUES (2, 50)")
        now.execute("INSERT INTO src VALUES (3, 200)")
        replayed()
        assert ids() == Counter([1, 3])
        slow.commit()
        replayed()
        assert ids() == Counter([1, 2, 3])
        slow.execute("INSERT INTO src VALUES (4, 60)")
        slow.execute("SELECT txid_current()")
        replayed()
        copy.execute("SELECT pg_promote()")
        wait_until(copy, "SELECT NOT pg_is_in_recovery()")
        copy.execute("INSERT INTO src VALUES (5, 40), (1, 100)")
        copy.execute("CHECKPOINT")
        assert ids() == Counter([1, 1, 2, 3, 5])
        assert ids() == Counter([1, 1, 2, 3, 5])
        slow.rollback()
