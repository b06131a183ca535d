"""Columns that a table computes by itself: read like any other, never written, and no key of a load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ematix_nb import PostgresConnection, ematix, register_connection
from ematix_nb.declare import registry
from ematix_nb.errors import SchemaDriftError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.api import Pipeline

VIRTUAL_FROM = 180_000
MODES: dict[str, dict[str, Any]] = {
    "append": {},
    "truncate": {},
    "merge": {"keys": ("n",)},
    "scd2": {"keys": ("n",)},
}
VERSIONED = ", valid_from timestamptz, valid_to timestamptz, is_current boolean, row_hash bytea"
ALL = "SELECT id, n, name, twice FROM src"


class Computed:
    """Two databases; in the first one a source with computed columns."""

    def __init__(self, *urls: str) -> None:
        self.connections = [psycopg.connect(url, autocommit=True) for url in urls]
        virtual = self.connections[0].info.server_version >= VIRTUAL_FROM
        self.kind = "VIRTUAL" if virtual else "STORED"
        self.run(
            0,
            "CREATE TABLE src (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer CONSTRAINT given NOT NULL,"
            f" name text, twice integer GENERATED ALWAYS AS (n * 2) {self.kind})",
        )
        self.run(0, "INSERT INTO src (n) VALUES (10), (20)")

    def run(self, database: int, statement: str) -> list[tuple[Any, ...]]:
        """One statement; its rows."""
        cursor = self.connections[database].execute(statement.encode())
        return cursor.fetchall() if cursor.description else []

    def load(
        self, database: int, mode: str, sql: str = "SELECT id, n, name, twice FROM src", **options: Any
    ) -> Pipeline:
        """A pipeline into the table `tgt` of a database."""
        target = f"db{database}:public.tgt"
        return ematix.pipeline(name="load", source_connection="db0", target=target, mode=mode, **options)(lambda _: sql)


@pytest.fixture
def computed(pg_url: str, pg_url2: str) -> Iterator[Computed]:
    with registry.scratch():
        for number, url in enumerate((pg_url, pg_url2)):
            register_connection(PostgresConnection(name=f"db{number}", url=url))
        made = Computed(pg_url, pg_url2)
        yield made
        for connection in made.connections:
            connection.close()


@pytest.mark.parametrize("database", [0, 1], ids=["same database", "other database"])
def test_a_source_gives_computed_columns_like_others(computed: Computed, database: int) -> None:
    computed.load(database, "merge", keys=("id",)).sync()
    assert computed.run(database, "SELECT id, n, twice FROM tgt ORDER BY id") == [(1, 10, 20), (2, 20, 40)]
    computed.run(0, "UPDATE src SET n = 11 WHERE id = 1")
    assert computed.load(database, "merge", keys=("id",)).sync().counts["rows_updated"] == 1
    assert computed.run(database, "SELECT twice FROM tgt ORDER BY id") == [(22,), (40,)]


@pytest.mark.parametrize(("mode", "database"), [("merge", 0), *((mode, 1) for mode in MODES)])
def test_a_target_computes_its_own(computed: Computed, mode: str, database: int) -> None:
    versioned = VERSIONED if mode == "scd2" else ""
    computed.run(
        database,
        f"CREATE TABLE tgt (id bigint GENERATED ALWAYS AS IDENTITY (START 100), n integer NOT NULL{versioned},"
        f" name text, twice integer NOT NULL GENERATED ALWAYS AS (n * -2) {computed.kind})",
    )
    pipeline = computed.load(database, mode, **MODES[mode])
    assert pipeline.dry_run().counts["rows_inserted"] == 2
    assert computed.run(database, "SELECT count(*) FROM tgt") == [(0,)]
    result = pipeline.sync()
    assert result.counts["rows_inserted"] == 2
    warnings = result.targets[0].warnings
    assert [f"column `{name}` is computed by the target and is not written" in warnings for name in ("id", "twice")]
    assert computed.run(database, "SELECT n, twice, id > 99 FROM tgt ORDER BY n") == [(10, -20, True), (20, -40, True)]
    frozen = computed.load(database, mode, "SELECT n, name FROM src", on_drift="freeze", **MODES[mode])
    assert frozen.sync().status == "success"


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("key", {"mode": "merge", "keys": ("id",)}),
        ("key", {"mode": "scd2", "keys": ("id",)}),
        ("watermark", {"mode": "append", "incremental": True, "watermark_column": "id"}),
    ],
)
def test_what_a_load_goes_by_is_not_computed(computed: Computed, what: str, options: dict[str, Any]) -> None:
    computed.run(
        0, f"CREATE TABLE tgt (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer, name text{VERSIONED})"
    )
    with pytest.raises(SchemaDriftError, match=f"{what} `id` is computed by the target `public.tgt`"):
        computed.load(0, **options).sync()
    assert computed.run(0, "SELECT count(*) FROM tgt") == [(0,)]


def test_an_identity_that_is_only_a_default_is_written(computed: Computed) -> None:
    computed.run(0, "CREATE TABLE tgt (id bigint GENERATED BY DEFAULT AS IDENTITY (START 100) PRIMARY KEY, n integer)")
    computed.load(0, "merge", "SELECT id, n FROM src", keys=("id",)).sync()
    assert computed.run(0, "SELECT id, n FROM tgt ORDER BY id") == [(1, 10), (2, 20)]


def test_columns_left_out_by_policy_do_not_travel(computed: Computed) -> None:
    computed.run(1, "CREATE TABLE tgt (id bigint PRIMARY KEY, n integer)")
    result = computed.load(1, "merge", keys=("id",), on_drift="warn").sync()
    plan = result.targets[0].plan
    assert plan is not None
    assert (result.counts["rows_inserted"], plan.route) == (2, "copy-through")
    assert computed.run(1, "SELECT id, n FROM tgt ORDER BY id") == [(1, 10), (2, 20)]
