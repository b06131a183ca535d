"""A request to stop ends a slow statement within two seconds, and a lost connection ends a run clearly."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from ematix_nb.config import connect
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.load import failpoints
from ematix_nb.load.cancel import REPEAT_S, CancelToken
from ematix_nb.verbs.run import run
from tests.crash.world import World, rows_after, run_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ematix_nb.verbs.results import RunResult

SLOW = {
    "postgres": "SELECT 1 AS id, pg_sleep(30)::text AS name",
    "mysql": "SELECT 1 AS id, CAST(SLEEP(30) AS CHAR) AS name",
    "duckdb": "SELECT count(*) AS id, 'x' AS name FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = -1",
    "sqlite": "SELECT CAST(n AS BIGINT) AS id, 'x' AS name FROM (WITH RECURSIVE c(n) AS"
    " (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000000000) SELECT max(n) AS n FROM c)",
}


@pytest.fixture(autouse=True)
def _no_failpoints() -> Iterator[None]:
    yield
    failpoints.install(None)


def stopped(world: World, sql: str, source: str) -> tuple[RunResult, float]:
    """A run that is asked to stop once it has been reading for a moment; seconds from the request to the end."""
    connect(world.url, name="target")
    connect(source, name="source")
    options = {**world.options(), "sql": sql, "mode": "append", "incremental": False, "transforms_post": []}
    options.pop("watermark_column", None)
    options.pop("keys", None)
    token, asked = CancelToken(), [0.0]

    def ask() -> None:
        asked[0] = time.monotonic()
        token.cancel()

    def reached(step: str) -> None:
        if step == "open_source":
            threading.Timer(0.4, ask).start()

    failpoints.install(reached)
    result = run(build_pipeline(**options), token=token)
    return result, time.monotonic() - asked[0]


def test_a_request_that_came_before_the_session_is_kept_up() -> None:
    """What is opened after the request is interrupted until it has noticed: one interrupt may find it idle."""
    token, calls, often = CancelToken(), list[float](), threading.Event()

    def hook() -> None:
        calls.append(time.monotonic())
        if len(calls) == 3:
            often.set()

    token.cancel()
    token.on_cancel(hook)
    assert len(calls) >= 1
    assert often.wait(30)
    token.noticed()
    done = len(calls)
    token.cancel()
    time.sleep(REPEAT_S * 2)
    assert len(calls) == done


@pytest.mark.parametrize("target", ["sqlite", "postgres", "mysql", "delta"])
@pytest.mark.parametrize("source", ["postgres", "mysql", "duckdb"])
def test_slow_source(
    source: str, target: str, make_world: Callable[..., World], request: pytest.FixtureRequest
) -> None:
    world = make_world(target, "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    shared = {"postgres": "_pg_shared", "mysql": "_mysql_shared"}
    url = request.getfixturevalue(shared[source]) if source in shared else f"duckdb:///{world.folder}/slow.duckdb"
    if source == "duckdb":
        import duckdb

        duckdb.connect(f"{world.folder}/slow.duckdb").close()
    result, seconds = stopped(world, SLOW[source], url)
    assert (result.status, seconds < 2.0) == ("cancelled", True), seconds
    assert world.rows() == sorted(rows_after("append", 1), key=repr)
    assert world.statuses() == ["success", "cancelled"]
    assert world.errors()[-1] == "FLOW-250 cancelled; nothing was written"
    assert str(result.targets[0].error) == world.errors()[-1]
    assert (world.lease(), world.leftovers()) == ("", [])


@pytest.mark.parametrize("kind", ["postgres", "mysql", "duckdb"])
def test_slow_statement_in_the_target(kind: str, make_world: Callable[..., World]) -> None:
    """Source and target are one database: the rows never leave it."""
    world = make_world(kind, "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    result, seconds = stopped(world, SLOW[kind], world.url)
    assert (result.status, seconds < 2.0) == ("cancelled", True), seconds
    assert world.rows() == sorted(rows_after("append", 1), key=repr)
    assert world.statuses() == ["success", "cancelled"]
    assert world.errors()[-1] == "FLOW-250 cancelled; nothing was written"
    assert str(result.targets[0].error) == world.errors()[-1]
    assert (world.lease(), world.leftovers()) == ("", [])


def test_connection_cut_in_mid_copy(make_world: Callable[..., World]) -> None:
    """Another session ends ours while rows are on their way."""
    world = make_world("postgres", "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    connect(world.url, name="target")
    connect(world.sources[1], name="source")

    def cut(step: str) -> None:
        if step == "fetch":
            world.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    failpoints.install(cut)
    result = run(build_pipeline(**world.options()))
    failpoints.install(None)
    assert result.status == "failed"
    assert "terminating connection due to administrator command" in str(result.targets[0].error)
    assert world.rows() == sorted(rows_after("append", 1), key=repr)
    assert world.statuses() == ["success", "failed"]
    assert world.lease() == ""
    assert run(build_pipeline(**world.options())).status == "success"
    assert world.rows() == sorted(rows_after("append", 2), key=repr)
    assert world.leftovers() == []
