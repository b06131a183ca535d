"""What servers do to a load: sessions that are ended, locks that are held, logs of statements."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.config import connect
from ematix_nb.declare import registry
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.load import failpoints
from ematix_nb.verbs.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with registry.scratch():
        yield
    failpoints.install(None)


def pipeline(url: str, sql: str, **options: Any) -> Any:
    """From DuckDB's memory into the table `t`."""
    connect(url, name="target")
    connect("duckdb:///:memory:", name="source")
    options = {"name": "p", "target": "target:t", "source_connection": "source", "mode": "append", **options}
    return build_pipeline(sql=sql, **options)


ROWS = "SELECT i AS id, repeat('x', 50) AS v FROM range(70000) AS r (i)"


@pytest.mark.parametrize("step", ["fetch", "apply", "before_commit"])
def test_a_session_that_the_server_ends(mysql_url: str, admin: Any, step: str) -> None:
    spec = pipeline(mysql_url, ROWS, mode="merge", keys=("id",))
    assert run(pipeline(mysql_url, "SELECT 1 AS id, 'old' AS v", mode="merge", keys=("id",))).status == "success"

    def cut(reached: str) -> None:
        if reached == step:
            failpoints.install(None)
            admin.execute(
                "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
            for (number,) in admin.fetchall():
                admin.execute(f"KILL {number}")

    failpoints.install(cut)
    result = run(spec)
    assert result.status == "failed"
    assert "connection to 127.0.0.1:" in str(result.targets[0].error)
    admin.execute("SELECT id, v FROM t")
    assert admin.fetchall() == ((1, "old"),)
    admin.execute("SELECT status FROM ematix_flow_run_history ORDER BY started_at")
    assert admin.fetchall() == (("success",), ("failed",))
    assert run(spec).status == "success"
    admin.execute("SELECT count(*), min(v) = max(v) FROM t")
    assert admin.fetchall() == ((70_000, 1),)


def test_a_reader_sees_the_old_rows_until_the_commit(mysql_url: str, admin: Any) -> None:
    assert run(pipeline(mysql_url, "SELECT 1 AS id", mode="truncate")).status == "success"
    seen = []

    def look(reached: str) -> None:
        if reached in ("tx_begin", "apply", "before_commit", "commit"):
            admin.execute("SELECT id FROM t")
            seen.append((reached, admin.fetchall()))

    failpoints.install(look)
    assert run(pipeline(mysql_url, "SELECT 2 AS id", mode="truncate")).status == "success"
    assert seen == [("tx_begin", ((1,),)), ("apply", ((1,),)), ("before_commit", ((1,),)), ("commit", ((2,),))]


def test_a_table_that_somebody_reads_for_long_is_not_waited_for_without_end(
    mysql_url: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ematix_nb.backends.mysql.io.DDL_LOCK_TIMEOUT_S", 1)
    assert run(pipeline(mysql_url, "SELECT 1 AS id")).status == "success"
    admin.execute("BEGIN")
    admin.execute("SELECT * FROM t")
    result = run(pipeline(mysql_url, "SELECT 2 AS id, 'new' AS v"))
    assert result.status == "failed"
    assert "waited too long for a lock" in str(result.targets[0].error)
    admin.execute("COMMIT")
    assert run(pipeline(mysql_url, "SELECT 2 AS id, 'new' AS v")).status == "success"


def test_a_run_that_is_stopped_leaves_no_table(mysql_url: str, admin: Any) -> None:
    from ematix_nb.load.cancel import CancelToken

    token = CancelToken()

    def stop(reached: str) -> None:
        if reached == "fetch":
            threading.Timer(0.05, token.cancel).start()

    failpoints.install(stop)
    result = run(pipeline(mysql_url, ROWS.replace("70000", "30000000")), token=token)
    assert result.status == "cancelled"
    admin.execute("SHOW TABLES LIKE 't'")
    assert admin.fetchall() == ()
