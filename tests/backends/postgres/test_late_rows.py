"""`late_rows="snapshot"`: rows found by their transaction, what is refused, and horizons that say nothing any more."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ematix_nb import (
    DuckDBConnection,
    ObjectStoreLocalConnection,
    PostgresConnection,
    SQLiteConnection,
    ematix,
    register_connection,
)
from ematix_nb.api import declared
from ematix_nb.backends.postgres.late import USABLE, WRAP, Horizon, newer, unusable
from ematix_nb.declare import registry
from ematix_nb.declare.cells import build_cell_pipeline, parse_cell
from ematix_nb.declare.fingerprint import difference, fingerprint
from ematix_nb.declare.pipelines import build_pipeline, override
from ematix_nb.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.api import Pipeline
    from ematix_nb.types import BigInt, Text

SQL = "SELECT id, at, note FROM src"
TARGETS = {"postgres": "pg:public.tgt", "sqlite": "lite:tgt", "duckdb": "duck:main.tgt", "files": "lake:tgt"}


class Place:
    """The source `src` in PostgreSQL, with a session that commits at once and one that does not."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now = psycopg.connect(url, autocommit=True)
        self.slow = psycopg.connect(url)
        self.now.execute("CREATE TABLE src (id int, at bigint, note text)")
        self.add(self.now, (1, 100, "a"), (2, 200, "b"))

    def add(self, session: psycopg.Connection[Any], *rows: tuple[int, int | None, str], table: str = "src") -> None:
        for row in rows:
            session.execute(f"INSERT INTO {table} VALUES (%s, %s, %s)".encode(), row)

    def state(self) -> tuple[str, Any]:
        """Watermark and horizon in the target `pg`."""
        found = self.now.execute("SELECT last_value, horizon FROM ematix_flow.watermarks").fetchone()
        assert found is not None
        return found[0], found[1]


@pytest.fixture
def place(pg_url: str, tmp_path: Path) -> Iterator[Place]:
    with registry.scratch():
        register_connection(PostgresConnection(name="pg", url=pg_url))
        register_connection(SQLiteConnection(name="lite", path=str(tmp_path / "t.sqlite")))
        register_connection(DuckDBConnection(name="duck", path=str(tmp_path / "t.duckdb")))
        register_connection(ObjectStoreLocalConnection(name="lake", path=str(tmp_path / "lake"), format="parquet"))
        made = Place(pg_url)
        yield made
        made.slow.close()
        made.now.close()


def pipeline(target: str = "pg:public.tgt", *, sql: str = SQL, source: str = "pg", **options: Any) -> Pipeline:
    options = {"mode": "append", "watermark_column": "at", "late_rows": "snapshot", **options}
    return declared(build_pipeline(sql=sql, name="late", target=target, source_connection=source, **options))


def window(result: Any) -> Any:
    """What was planned to be read."""
    return result.targets[0].plan.window


def ids(result: Any) -> Counter[int]:
    return Counter(result.to_arrow()["id"].to_pylist())


@pytest.mark.integration
@pytest.mark.parametrize(
    ("target", "mode"), [*((name, "append") for name in TARGETS), ("postgres", "merge"), ("sqlite", "merge")]
)
def test_a_late_row_arrives_once(place: Place, target: str, mode: str) -> None:
    keys: dict[str, Any] = {"keys": ("id",)} if mode == "merge" else {}
    load = pipeline(TARGETS[target], mode=mode, **keys)
    load.sync()
    place.add(place.slow, (3, 50, "late"))
    place.add(place.now, (4, 400, "d"))
    assert ids(load.sync()) == Counter([1, 2, 4])
    place.slow.commit()
    result = load.sync()
    assert ids(result) == Counter([1, 2, 3, 4])
    assert window(result).late == "1 row below 400 committed late or changed, the oldest at 50"
    again = load.sync()
    assert ids(again) == Counter([1, 2, 3, 4])
    assert (again.counts["rows_read"], again.counts["rows_inserted"]) == (1, 0)


@pytest.mark.integration
def test_equal_rows_without_a_key_are_counted(place: Place) -> None:
    """A late row that equals one which is there is a row of its own."""
    load = pipeline()
    load.sync()
    place.add(place.slow, (1, 100, "a"), (1, 100, "a"))
    place.add(place.now, (4, 400, "d"))
    load.sync()
    place.slow.commit()
    assert ids(load.sync()) == Counter({1: 3, 2: 1, 4: 1})
    assert ids(load.sync()) == Counter({1: 3, 2: 1, 4: 1})


@pytest.mark.integration
def test_a_subtransaction_is_as_late_as_its_transaction(place: Place) -> None:
    load = pipeline()
    load.sync()
    place.slow.execute("SAVEPOINT one")
    place.add(place.slow, (3, 50, "inside"))
    place.slow.execute("RELEASE SAVEPOINT one")
    place.add(place.now, (4, 400, "d"))
    load.sync()
    load.sync()
    place.slow.commit()
    assert ids(load.sync()) == Counter([1, 2, 3, 4])


@pytest.mark.integration
def test_an_update_that_leaves_the_watermark_alone(place: Place) -> None:
    load = pipeline(mode="merge", keys=("id",))
    load.sync()
    place.now.execute("UPDATE src SET note = 'changed' WHERE id = 1")
    assert load.sync().counts["rows_updated"] == 1
    place.now.execute("VACUUM FREEZE src")
    assert load.sync().counts["rows_updated"] == 0


@pytest.mark.integration
def test_a_table_in_parts(place: Place) -> None:
    place.now.execute("CREATE TABLE parts (id int, at bigint, note text) PARTITION BY RANGE (at)")
    place.now.execute("CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (100)")
    place.now.execute("CREATE TABLE high PARTITION OF parts FOR VALUES FROM (100) TO (1000)")
    place.add(place.now, (1, 300, "a"), table="parts")
    load = pipeline(sql="SELECT p.id, p.at AS at, p.note FROM parts AS p WHERE p.id > 0")
    load.sync()
    place.add(place.slow, (2, 50, "low"), (3, 150, "high"), table="parts")
    place.add(place.now, (4, 400, "d"), table="parts")
    load.sync()
    place.slow.commit()
    assert ids(load.sync()) == Counter([1, 2, 3, 4])


@pytest.mark.integration
@pytest.mark.parametrize("partitions", [1, 3])
def test_a_read_in_ranges(place: Place, partitions: int) -> None:
    load = declared(
        build_pipeline(
            sql=SQL, name="late", target="lite:tgt", source_connection="pg", watermark_column="at",
            late_rows="snapshot", partition_column="id", partitions=partitions,
        )
    )  # fmt: skip
    load.sync()
    place.add(place.slow, (3, 50, "late"))
    place.add(place.now, (4, 400, "d"))
    load.sync()
    place.slow.commit()
    assert ids(load.sync()) == Counter([1, 2, 3, 4])


REFUSED = [
    ("SELECT id, at, note FROM seen", "`seen`: it is a view"),
    ("SELECT id, at, note FROM kept", "`kept`: it is a materialized view"),
    ("SELECT s.id, s.at, o.note FROM src s JOIN src o ON o.id = s.id", "it joins tables"),
    ("SELECT s.id, s.at, o.note FROM src s, src o", "it joins tables"),
    ("SELECT id, max(at) AS at FROM src GROUP BY id", "it groups, numbers or limits rows"),
    ("SELECT id, at, row_number() OVER () AS note FROM src", "it groups, numbers or limits rows"),
    ("SELECT DISTINCT id, at FROM src", "it groups, numbers or limits rows"),
    ("SELECT id, at FROM src LIMIT 5", "it groups, numbers or limits rows"),
    ("SELECT id, at FROM src UNION ALL SELECT id, at FROM src", "more than one SELECT"),
    ("WITH x AS (SELECT id, at FROM src) SELECT id, at FROM x", "more than one SELECT"),
    ("SELECT id, at FROM (SELECT id, at FROM src) AS x", "it does not read a plain table"),
    ("SELECT id, at FROM src WHERE id IN (SELECT id FROM src)", "it has a SELECT inside"),
    ("SELECT g AS id, g AS at FROM generate_series(1, 3) AS g", "it does not read a plain table"),
    ("SELECT 1 AS id, 2 AS at", "it does not read a plain table"),
    ("TABLE src", "it does not begin with SELECT"),
]


@pytest.mark.integration
@pytest.mark.parametrize(("sql", "why"), REFUSED)
def test_queries_whose_rows_have_no_transaction(place: Place, sql: str, why: str) -> None:
    place.now.execute("CREATE VIEW seen AS SELECT * FROM src")
    place.now.execute("CREATE MATERIALIZED VIEW kept AS SELECT * FROM src")
    with pytest.raises(DeclarationError, match=why) as caught:
        pipeline(sql=sql).sync()
    assert "select from" in (caught.value.hint or "")
    assert "late_rows='overlap'" in (caught.value.hint or "")
    assert place.now.execute("SELECT to_regclass('tgt')::text, to_regnamespace('ematix_flow')::text").fetchone() == (
        None,
        None,
    )


def test_another_source_is_refused(tmp_path: Path) -> None:
    with registry.scratch():
        sqlite3.connect(tmp_path / "t.sqlite").close()
        register_connection(SQLiteConnection(name="lite", path=str(tmp_path / "t.sqlite")))
        register_connection(DuckDBConnection(name="duck", path=str(tmp_path / "t.duckdb")))
        load = pipeline("duck:main.tgt", sql="SELECT 1 AS id, 2 AS at", source="lite")
        with pytest.raises(DeclarationError, match="does not work on `lite`") as caught:
            load.sync()
        assert "'snapshot' is for tables in PostgreSQL" in (caught.value.hint or "")


@pytest.mark.integration
def test_an_append_needs_the_watermark_in_the_target(place: Place) -> None:
    @ematix.table(schema="public")
    class Narrow:
        id: BigInt
        note: Text | None

    load = declared(
        build_pipeline(
            sql=SQL, name="late", target=Narrow, target_connection="pg", watermark_column="at", late_rows="snapshot"
        )
    )
    with pytest.raises(DeclarationError, match="needs the watermark column `at` in the target"):
        load.sync()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("horizon", "why"),
    [
        ("nonsense", "was restored, promoted or exchanged"),
        ("1/1/1:5", "was restored, promoted or exchanged"),
        ("{place}:99999999999", "was restored, promoted or exchanged"),
    ],
)
def test_a_horizon_that_says_nothing(place: Place, horizon: str, why: str) -> None:
    load = pipeline()
    load.sync()
    here = place.state()[1].rpartition(":")[0]
    place.now.execute("UPDATE ematix_flow.watermarks SET horizon = %s", (horizon.format(place=here),))
    place.add(place.now, (3, 50, "late"))
    result = load.sync()
    assert ids(result) == Counter([1, 2, 3])
    assert result.counts["rows_deduplicated"] == 2
    assert any(why in warning for warning in result.targets[0].warnings)
    assert place.state()[1].startswith(f"{here}:")
    assert load.sync().targets[0].warnings == ()


@pytest.mark.integration
def test_changing_over_from_overlap_and_back(place: Place) -> None:
    pipeline(late_rows="overlap").sync()
    assert place.state() == ("200", None)
    place.add(place.now, (3, 50, "late"))
    result = pipeline().sync()
    assert "took no note of transactions" in result.targets[0].warnings[0]
    assert ids(result) == Counter([1, 2])
    place.add(place.now, (5, 50, "late"))
    assert ids(pipeline().sync()) == Counter([1, 2, 3, 5])
    pipeline(late_rows="overlap").sync()
    assert place.state() == ("200", None)


@pytest.mark.integration
def test_state_tables_of_an_older_version(place: Place) -> None:
    load = pipeline(late_rows="overlap")
    load.sync()
    place.now.execute("ALTER TABLE ematix_flow.watermarks DROP COLUMN horizon")
    place.now.execute("UPDATE ematix_flow.state_version SET version = 2")
    assert window(load.preview()).stored == "200"
    pipeline().sync()
    value, horizon = place.state()
    assert value == "200"
    assert horizon
    assert place.now.execute("SELECT version FROM ematix_flow.state_version").fetchall() == [(3,)]


@pytest.mark.integration
def test_the_horizon_moves_on_when_no_row_is_read(place: Place) -> None:
    load = pipeline()
    load.sync()
    before = place.state()
    place.now.execute("DELETE FROM src")
    assert load.sync().counts["rows_read"] == 0
    after = place.state()
    assert after[0] == before[0]
    assert int(after[1].rpartition(":")[2]) > int(before[1].rpartition(":")[2])


@pytest.mark.integration
def test_plan_and_preview_tell(place: Place) -> None:
    load = pipeline()
    load.sync()
    place.add(place.now, (3, 50, "late"), (4, 60, "late"))
    result = load.preview()
    words = "2 rows below 200 committed late or changed, the oldest at 50"
    assert f"at >= 50 (stored 200, overlap none (ties are read again); {words})" in result.to_text()
    assert result.targets[0].plan.as_dict()["watermark"]["late_rows"] == words
    assert ids(load.sync()) == Counter([1, 2, 3, 4])


@pytest.mark.integration
@pytest.mark.parametrize("since", [5, WRAP - 7, WRAP, WRAP + 2, 3 * WRAP - 1, 3 * WRAP + 12345])
def test_numbers_of_32_bits_are_told_apart(place: Place, since: int) -> None:
    """Of every transaction near the horizon, on either side of a wrap, the condition says what 64 bits say."""
    following = since + 40
    written = [number for number in range(since - 60, following) if number % WRAP > 2 and number > 2]
    xmins = ", ".join(f"('{number % WRAP}'::xid, {number})" for number in written)
    asked = newer("xmin_of", since, str(following))
    rows = place.now.execute(f"SELECT number, {asked} FROM (VALUES {xmins}) AS v (xmin_of, number)".encode()).fetchall()
    assert dict(rows) == {number: number >= since for number in written}


def test_a_horizon_is_used_while_32_bits_tell() -> None:
    assert unusable(Horizon("a", 10), "a", 10 + USABLE - 1) == ""
    assert "two billion" in unusable(Horizon("a", 10), "a", 10 + USABLE)
    assert "restored" in unusable(Horizon("a", 11), "a", 10)
    assert "restored" in unusable(Horizon("b", 1), "a", 10)
    assert "restored" in unusable(None, "a", 10)


def test_one_declaration_in_all_spellings() -> None:
    options: dict[str, Any] = {"name": "o", "target": "wh:o", "watermark_column": "at"}
    python = build_pipeline(sql="SELECT at FROM t", late_rows="snapshot", **options)
    cell = build_cell_pipeline(
        parse_cell("pipeline o --to wh:o --watermark at --late-rows snapshot", "SELECT at FROM t")
    )
    plain = build_pipeline(sql="SELECT at FROM t", **options)
    said = build_pipeline(sql="SELECT at FROM t", late_rows="overlap", **options)
    assert fingerprint(python) == fingerprint(cell) == fingerprint(override(plain, late_rows="snapshot"))
    assert fingerprint(plain) == fingerprint(said) != fingerprint(python)
    assert difference(plain, python) == ["late_rows: overlap -> snapshot"]
    assert difference(python, plain) == ["late_rows: snapshot -> overlap"]


def test_words_that_are_none() -> None:
    with pytest.raises(DeclarationError, match="late_rows is `snapshots`"):
        build_pipeline(sql="SELECT 1", name="o", target="wh:o", watermark_column="at", late_rows="snapshots")
    with pytest.raises(DeclarationError, match="late_rows is an option of incremental loads"):
        build_pipeline(sql="SELECT 1", name="o", target="wh:o", late_rows="snapshot")
