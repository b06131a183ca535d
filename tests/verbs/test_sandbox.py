"""`run --sandbox`: the rows go into a local copy of the target's schema, and the target is as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.connections import clear_connections, connection_from_settings, get_connection, register_connection
from ematix_nb.declare import registry
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import UsageError
from ematix_nb.verbs.grammar import invoke, parse
from ematix_nb.verbs.read import query
from ematix_nb.verbs.run import run
from ematix_nb.verbs.sandbox import SandboxResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    clear_connections()
    with registry.scratch():
        register_connection(connection_from_settings("src", {"kind": "duckdb", "path": ":memory:"}))
        yield tmp_path
    clear_connections()


def sandboxed(*words: str) -> SandboxResult:
    found = invoke(parse(["run", "p", "--sandbox", *words]), registry_ready=True)
    assert isinstance(found, SandboxResult)
    return found


def pipeline(sql: str, target: str, **options: Any) -> None:
    spec = build_pipeline(name="p", sql=sql, target=target, source_connection="src", **options)
    registry.register_pipeline(spec)


def test_the_schema_of_a_postgres_target_is_copied_and_its_rows_stay(pg_url: str) -> None:
    import psycopg

    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA shop")
        connection.execute(
            "CREATE TABLE shop.orders (id int PRIMARY KEY, no bigint GENERATED ALWAYS AS IDENTITY,"
            " amount numeric(9,2) NOT NULL, where_at point, note text DEFAULT 'none' NOT NULL)"
        )
        connection.execute("INSERT INTO shop.orders (id, amount) VALUES (1, 1.5)")
    register_connection(connection_from_settings("wh", {"kind": "postgres", "url": pg_url}))
    pipeline("SELECT i AS id, 2.25 AS amount FROM range(1, 4) r(i)", "wh:shop.orders", mode="merge", keys=("id",))
    found = sandboxed().raise_for_status()
    assert (found.status, found.inserts) == ("success", 3)
    rows = query(get_connection("sandbox"), "SELECT id, amount, note FROM shop.orders ORDER BY id").to_pylist()
    assert [(row["id"], str(row["amount"]), row["note"]) for row in rows] == [(n, "2.25", None) for n in (1, 2, 3)]
    with psycopg.connect(pg_url) as connection:
        assert connection.execute("SELECT id, amount::text FROM shop.orders").fetchall() == [(1, "1.50")]
        assert connection.execute("SELECT to_regclass('ematix_flow.watermarks')").fetchone() == (None,)
    assert "the target was not touched; the rows are in" in found.to_text()
    assert found.to_dict()["sandbox"].endswith("p.duckdb")


@pytest.mark.parametrize("kind", ["object_store_local", "delta_local", "sqlite", "duckdb"])
def test_any_target_can_be_tried(place: Path, kind: str) -> None:
    path = place / "wh"
    if kind.endswith("_local"):
        path.mkdir()
    more = {"format": "parquet"} if kind == "object_store_local" else {}
    steps = [] if kind.endswith("_local") else ["SELECT 1"]
    register_connection(connection_from_settings("wh", {"kind": kind, "path": str(path), **more}))
    pipeline("SELECT 1 AS id, 'a' AS name", "wh:things", mode="append", transforms_post=steps)
    first = sandboxed()
    assert (first.inserts, first.addresses, first.left_out) == (1, ("sandbox:things",), len(steps))
    run("p").raise_for_status()
    assert sandboxed().inserts == 1
    assert query("sandbox", "SELECT count(*) AS n FROM things").to_pylist() == [{"n": 1}]


def test_a_sandbox_is_new_each_time_and_has_no_watermark(place: Path) -> None:
    register_connection(connection_from_settings("wh", {"kind": "duckdb", "path": str(place / "wh.duckdb")}))
    pipeline("SELECT i AS id FROM range(5) r(i)", "wh:t", mode="append", incremental=True, watermark_column="id")
    run("p").raise_for_status()
    assert [sandboxed().inserts, sandboxed().inserts] == [5, 5]
    assert run("p").raise_for_status().inserts == 0


def test_a_failed_run_is_a_failed_run(place: Path) -> None:
    register_connection(connection_from_settings("wh", {"kind": "duckdb", "path": str(place / "wh.duckdb")}))
    pipeline("SELECT NULL::INT AS id, 1 AS x", "wh:t", mode="merge", keys=("id",))
    found = sandboxed()
    assert (found.status, found.exit_code) == ("failed", 1)


def test_a_connection_of_that_name_is_left_alone(place: Path) -> None:
    register_connection(connection_from_settings("wh", {"kind": "duckdb", "path": str(place / "wh.duckdb")}))
    mine = register_connection(
        connection_from_settings("sandbox", {"kind": "duckdb", "path": str(place / "mine.duckdb")})
    )
    pipeline("SELECT 1 AS id", "wh:t")
    assert sandboxed().inserts == 1
    assert get_connection("sandbox") == mine


@pytest.mark.parametrize("flag", ["--with-parents", "--full-refresh"])
def test_an_option_that_means_nothing_is_refused(place: Path, flag: str) -> None:
    register_connection(connection_from_settings("wh", {"kind": "duckdb", "path": str(place / "wh.duckdb")}))
    pipeline("SELECT 1 AS id", "wh:t")
    with pytest.raises(UsageError, match=f"`{flag}` means nothing with `--sandbox`"):
        sandboxed(flag)
