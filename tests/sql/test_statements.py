"""The statements of the modes, each run alone against two small tables."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.mysql.dialect import DIALECT as MYSQL
from ematix_nb.backends.postgres.dialect import PostgresDialect
from ematix_nb.backends.registry import open_session
from ematix_nb.connections.kinds import DuckDBConnection, SQLiteConnection
from ematix_nb.declare.data_types import BIGINT, BOOLEAN, BYTES, TEXT, TIMESTAMPTZ
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.sql.statements import CHAIN, NEW_VERSIONS, LoadStatements
from tests.conformance.values import canon

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ematix_nb.sql.dialect import Dialect

POSTGRES = PostgresDialect()
STAGE, TARGET = TableRef(None, "staged"), TableRef(None, "target")
ID, NAME, NOTE, AT = Column("id", BIGINT), Column("name", TEXT), Column("note", TEXT), Column("at", TIMESTAMPTZ)
BATCH, LOADED = Column("_batch_id", TEXT), Column("_loaded_at", TIMESTAMPTZ)
VERSION = (
    Column("valid_from", TIMESTAMPTZ),
    Column("valid_to", TIMESTAMPTZ),
    Column("is_current", BOOLEAN),
    Column("row_hash", BYTES),
)
NOW = dt.datetime(2024, 2, 1, tzinfo=dt.UTC)


def day(number: int) -> dt.datetime:
    """A day of January 2024."""
    return dt.datetime(2024, 1, number, tzinfo=dt.UTC)


@dataclass
class Tables:
    """A staging table and a target in one database, and the statements between them."""

    session: Any
    statements: LoadStatements
    kinds: dict[str, Column] = field(default_factory=dict)

    @property
    def dialect(self) -> Any:
        return self.session.dialect

    def insert(self, table: TableRef, rows: Sequence[dict[str, object]]) -> None:
        for row in rows:
            values = ", ".join(self.dialect.literal(value, self.kinds[name].type) for name, value in row.items())
            self.session.execute(
                f"INSERT INTO {self.dialect.table(table)} ({self.dialect.columns(list(row))}) VALUES ({values})"
            )

    def stage(self, *rows: dict[str, object]) -> None:
        self.insert(STAGE, rows)

    def hold(self, *rows: dict[str, object]) -> None:
        self.insert(TARGET, rows)

    def run(self, *statements: str) -> list[int]:
        return [self.session.execute(statement) for statement in statements]

    def moment(self, name: str, value: Any) -> Any:
        return canon(value, TIMESTAMPTZ) if self.kinds[name].type == TIMESTAMPTZ else value

    def rows(self, *names: str, table: TableRef = TARGET) -> list[tuple[Any, ...]]:
        """Some columns of all rows; moments as such, whatever they are kept as; sorted, NULLs last."""
        found = self.session.fetch(f"SELECT {self.dialect.columns(names)} FROM {self.dialect.table(table)}")
        shown = [tuple(map(self.moment, names, row)) for row in found]
        return sorted(shown, key=lambda row: [(value is None, str(value)) for value in row])


@pytest.fixture(params=["sqlite", "duckdb"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    kinds = {"sqlite": SQLiteConnection, "duckdb": DuckDBConnection}
    found = open_session(kinds[request.param](name="t", path=str(tmp_path / "t.db")))
    yield found
    found.close()


def tables(
    session: Any,
    *columns: Column,
    meta: Sequence[tuple[Column, str]] = ((BATCH, "'new'"),),
    versions: bool = False,
    unique: bool = False,
    **options: Any,
) -> Tables:
    """Both tables, empty, with some data columns."""
    statements = LoadStatements(session.dialect, TARGET, STAGE, columns, tuple(meta), **options)
    kept = [column for column in columns if column.name in statements.names]
    kept += [column for column, _ in meta]
    kept += VERSION if versions else ()
    session.execute(session.dialect.create_table(STAGE, columns, temporary=True))
    session.execute(session.dialect.create_table(TARGET, kept))
    if unique:
        session.execute(session.dialect.unique_index(TARGET, "target_key", options["keys"]))
    return Tables(session, statements, {column.name: column for column in (*columns, *kept)})


# -- rows of a query and of the stage ----------------------------------------------------------------------------


def test_rows_of_a_query_are_appended(session: Any) -> None:
    found = tables(session, ID, NAME, NOTE, hidden=frozenset({"note"}))
    found.run(found.statements.insert_select("SELECT 'x' AS note, 'a' AS name, 1 AS id -- the end"))
    assert found.rows("id", "name", "_batch_id") == [(1, "a", "new")]


def test_the_stage_is_filled_from_a_query(session: Any) -> None:
    found = tables(session, ID, NAME, NOTE, hidden=frozenset({"note"}))
    found.run(found.statements.stage_select("SELECT 'x' AS note, 'a' AS name, 1 AS id -- the end"))
    assert found.rows("id", "name", "note", table=STAGE) == [(1, "a", "x")]


@pytest.mark.parametrize(("where", "expected"), [((), [1, 2]), (('"id" > 1',), [2])])
def test_staged_rows_are_appended_and_counted(session: Any, where: tuple[str, ...], expected: list[int]) -> None:
    found = tables(session, ID, NOTE, hidden=frozenset({"note"}))
    found.stage({"id": 1, "note": "x"}, {"id": 2, "note": "y"})
    assert session.fetch(found.statements.count_stage(*where)) == [(len(expected),)]
    found.run(found.statements.append_stage(*where))
    assert found.rows("id", "_batch_id") == [(number, "new") for number in expected]


def test_of_the_overlap_only_what_is_missing_is_appended(session: Any) -> None:
    found = tables(session, ID, NAME)
    found.stage(*({"id": 1, "name": "a"} for _ in range(3)), {"id": 2, "name": None}, {"id": 3, "name": "c"})
    found.stage({"id": 4, "name": "out of the range"})
    found.hold(*({"id": 1, "name": "a", "_batch_id": "old"} for _ in range(2)), {"id": 2, "_batch_id": "old"})
    found.hold({"id": 3, "name": "c", "_batch_id": "another's"})
    found.run(found.statements.append_overlap('"id" < 4', "\"_batch_id\" = 'old'"))
    assert [row for row in found.rows("id", "name", "_batch_id") if row[2] == "new"] == [
        (1, "a", "new"),
        (3, "c", "new"),
    ]


@pytest.mark.parametrize(("where", "expected"), [((), "10"), (('"id" < 10',), "9"), (('"id" > 10',), None)])
def test_the_largest_value_as_text(session: Any, where: tuple[str, ...], expected: str | None) -> None:
    found = tables(session, ID)
    found.stage({"id": 9}, {"id": 10}, {"id": None})
    assert session.fetch(found.statements.maximum("id", STAGE, *where)) == [(expected,)]


# -- keys ---------------------------------------------------------------------------------------------------------

PAIR: dict[str, Any] = {"keys": ("id", "name")}


def test_rows_without_a_key_are_counted(session: Any) -> None:
    found = tables(session, ID, NAME, NOTE, **PAIR)
    found.stage({"id": 1, "name": "a", "note": None}, {"id": None, "name": "a"}, {"id": 1, "name": None})
    assert session.fetch(found.statements.null_keys()) == [(2,)]


@pytest.mark.parametrize(
    ("more", "extra", "doubtful"),
    [
        ({"id": 1, "name": "b"}, (), False),
        ({"id": 1, "name": "a"}, (), True),
        ({"id": None, "name": "b"}, (), True),
        ({"id": 2, "name": None}, (), True),
        ({"id": 1, "name": "a", "note": "y"}, ("note",), False),
        ({"id": 1, "name": "a", "note": "x"}, ("note",), True),
    ],
)
def test_a_look_tells_whether_keys_are_in_doubt(
    session: Any, more: dict[str, object], extra: tuple[str, ...], *, doubtful: bool
) -> None:
    found = tables(session, ID, NAME, NOTE, **PAIR)
    found.stage({"id": 1, "name": "a", "note": "x"}, more)
    assert session.fetch(found.statements.doubtful_keys(extra)) == ([(1,)] if doubtful else [])


def test_keys_that_are_there_twice_are_shown(session: Any) -> None:
    found = tables(session, ID, NAME, NOTE, **PAIR)
    for number, times in enumerate((1, 2, 3, 2, 2)):
        found.stage(*({"id": number, "name": "a", "note": f"{each}"} for each in range(times)))
    assert set(session.fetch(found.statements.duplicate_keys())) < {
        ("1", "a", 2), ("2", "a", 3), ("3", "a", 2), ("4", "a", 2)
    }  # fmt: skip
    assert len(session.fetch(found.statements.duplicate_keys())) == 3
    assert len(session.fetch(found.statements.duplicate_keys(limit=2))) == 2
    assert session.fetch(found.statements.duplicate_keys(("note",))) == []
    found.stage({"id": 2, "name": "a", "note": "0"})
    assert session.fetch(found.statements.duplicate_keys(("note",))) == [("2", "a", "0", 2)]


@pytest.mark.parametrize(
    ("order", "extra", "expected"),
    [
        ((), (), [(1, "last"), (2, "x")]),
        (("at",), (), [(1, "first"), (2, "x")]),
        (("id", "at"), (), [(1, "first"), (2, "x")]),
        (("id", "note"), (), [(1, "none"), (2, "x")]),
        (("note",), (), [(1, "none"), (2, "x")]),
        ((), ("note",), [(1, "first"), (1, "last"), (1, "none"), (2, "x")]),
    ],
)
def test_the_last_row_of_a_key_is_kept(
    session: Any, order: tuple[str, ...], extra: tuple[str, ...], expected: list[tuple[Any, ...]]
) -> None:
    found = tables(session, ID, NOTE, AT, keys=("id",))
    found.stage({"id": 2, "note": "x", "at": day(1)}, {"id": 1, "note": "first", "at": day(2)})
    found.stage({"id": 1, "note": "none", "at": None}, {"id": 1, "note": "last", "at": day(1)})
    touched = found.run(*found.statements.keep_last(order, extra))
    assert found.rows("id", "note", table=STAGE) == expected
    assert touched[-1] == 4 - len(expected)


def test_keys_whose_row_is_younger_are_shown(session: Any) -> None:
    found = tables(session, ID, NAME, meta=((LOADED, "NULL"),), keys=("id", "name"))
    rows = [(1, "a", 1), (2, "a", 2), (3, "a", 3), (4, "a", 4)]
    found.stage(*({"id": number, "name": name} for number, name, _ in rows), {"id": 5, "name": "a"})
    found.hold(*({"id": number, "name": name, "_loaded_at": day(at)} for number, name, at in rows))
    found.hold({"id": 1, "name": "b", "_loaded_at": day(9)})
    assert sorted(session.fetch(found.statements.changed_later(day(2), 9))) == [("3", "a"), ("4", "a")]
    assert len(session.fetch(found.statements.changed_later(day(2), 1))) == 1


# -- merge --------------------------------------------------------------------------------------------------------

MERGED: dict[str, Any] = {"keys": ("id",), "update_columns": ("name", "note"), "unique": True}


def test_staged_rows_that_the_target_has_newer_are_dropped(session: Any) -> None:
    found = tables(session, ID, AT, keys=("id",))
    found.stage(*({"id": number, "at": day(5)} for number in range(1, 6)))
    found.hold({"id": 1, "at": day(4)}, {"id": 2, "at": day(5)}, {"id": 3, "at": day(6)}, {"id": 4, "at": None})
    assert found.run(found.statements.drop_overtaken(("at",))) == [1]
    assert [row[0] for row in found.rows("id", table=STAGE)] == [1, 2, 4, 5]


def test_rows_are_compared_by_one_column_after_the_other(session: Any) -> None:
    found = tables(session, ID, AT, NOTE, keys=("id",))
    held = [(day(5), "b"), (day(5), "B"), (day(5), "c"), (day(6), "a"), (day(4), "z"), (day(6), None), (None, "z")]
    for number, (at, note) in enumerate(held, 1):
        found.stage({"id": number, "at": day(5), "note": "b"})
        found.hold({"id": number, "at": at, "note": note})
    assert found.run(found.statements.drop_overtaken(("at", "note"))) == [2]
    assert [row[0] for row in found.rows("id", table=STAGE)] == [1, 2, 5, 6, 7]


@pytest.mark.parametrize(
    ("compare", "expected"), [((), (1, 3, 1)), (("name",), (1, 2, 2))], ids=["all columns", "one column"]
)
def test_a_merge_is_counted_and_touches_what_it_counted(
    session: Any, compare: tuple[str, ...], expected: tuple[int, ...]
) -> None:
    found = tables(session, ID, NAME, NOTE, compare_columns=compare, **MERGED)
    assert session.fetch(found.statements.count_merge()) == [(0, 0, 0)]
    found.hold(*({"id": number, "name": "a", "note": "a", "_batch_id": "old"} for number in range(1, 5)))
    found.hold({"id": 9, "name": "not in the source", "_batch_id": "old"})
    found.stage({"id": 1, "name": "a", "note": "a"}, {"id": 2, "name": "b", "note": "a"})
    found.stage({"id": 3, "name": None, "note": "a"}, {"id": 4, "name": "a", "note": None}, {"id": 5, "name": "new"})
    assert session.fetch(found.statements.count_merge()) == [expected]
    assert sum(found.run(*found.statements.upserts())) == sum(expected[:2])
    fourth = (4, "a", "a", "old") if compare else (4, "a", None, "new")
    assert found.rows("id", "name", "note", "_batch_id") == [
        (1, "a", "a", "old"),
        (2, "b", "a", "new"),
        (3, None, "a", "new"),
        fourth,
        (5, "new", None, "new"),
        (9, "not in the source", None, "old"),
    ]


def test_only_the_columns_to_update_are_updated(session: Any) -> None:
    found = tables(session, ID, NAME, NOTE, keys=("id", "name"), update_columns=("note",), unique=True)
    found.hold({"id": 1, "name": "a", "note": "old"}, {"id": 1, "name": "b", "note": "old"})
    found.stage({"id": 1, "name": "b", "note": "new"}, {"id": 2, "name": "b", "note": "new"})
    assert session.fetch(found.statements.count_merge()) == [(1, 1, 0)]
    found.run(*found.statements.upserts())
    assert found.rows("id", "name", "note") == [(1, "a", "old"), (1, "b", "new"), (2, "b", "new")]


def test_a_merge_of_keys_alone_adds_what_is_new(session: Any) -> None:
    found = tables(session, ID, keys=("id",), unique=True)
    found.hold({"id": 1, "_batch_id": "old"})
    found.stage({"id": 1}, {"id": 2})
    assert session.fetch(found.statements.count_merge()) == [(1, 0, 1)]
    assert found.run(*found.statements.upserts()) == [1]
    assert found.rows("id", "_batch_id") == [(1, "old"), (2, "new")]


def test_new_rows_alone_are_inserted(session: Any) -> None:
    found = tables(session, ID, NAME, NOTE, hidden=frozenset({"note"}), keys=("id",))
    found.hold({"id": 1, "name": "a"})
    found.stage({"id": 1, "name": "b", "note": "x"}, {"id": 2, "name": "c", "note": "x"})
    assert found.run(found.statements.insert_new()) == [1]
    assert found.rows("id", "name", "_batch_id") == [(1, "a", None), (2, "c", "new")]


@pytest.mark.parametrize("update", [("name",), ()])
def test_a_target_is_made_of_its_rows_as_they_are_updated(session: Any, update: tuple[str, ...]) -> None:
    made = TableRef(None, "made")
    found = tables(session, ID, NAME, NOTE, keys=("id",), update_columns=update)
    old: list[dict[str, object]] = [
        {"id": number, "name": "a", "note": "a", "_batch_id": "old"} for number in (1, 2, 3)
    ]
    found.hold(*old)
    found.stage({"id": 2, "name": "b", "note": "b"}, {"id": 3, "name": "a", "note": "b"}, {"id": 4, "name": "new"})
    statements = LoadStatements(session.dialect, made, STAGE, (ID, NAME, NOTE), ((BATCH, "'new'"),), ("id",), update)
    found.run(statements.merged(TARGET, (ID, NAME, NOTE, BATCH)))
    second = (2, "b", "a", "new") if update else (2, "a", "a", "old")
    assert found.rows("id", "name", "note", "_batch_id", table=made) == [
        (1, "a", "a", "old"),
        second,
        (3, "a", "a", "old"),
    ]


def test_rows_that_the_source_does_not_have_are_counted_and_deleted(session: Any) -> None:
    found = tables(session, ID, NAME, **PAIR)
    found.stage({"id": 1, "name": "a"})
    found.hold({"id": 1, "name": "a"}, {"id": 1, "name": "b"}, {"id": 2, "name": "a"}, {"id": None, "name": "a"})
    assert session.fetch(found.statements.count_missing()) == [(3,)]
    assert session.fetch(found.statements.count_missing('t."id" = 1')) == [(1,)]
    assert found.run(found.statements.delete_missing()) == [3]
    assert found.rows("id", "name") == [(1, "a")]


# -- versions -----------------------------------------------------------------------------------------------------

VERSIONED: dict[str, Any] = {"keys": ("id",), "compare_columns": ("name",), "now": NOW, "versions": True}


def version(number: int, name: str | None, begins: int, ends: int | None = None) -> dict[str, object]:
    """A version that a run has written, but for its hash."""
    return {
        "id": number,
        "name": name,
        "valid_from": day(begins),
        "valid_to": day(ends) if ends else None,
        "is_current": ends is None,
    }


def versions(found: Tables) -> list[tuple[Any, ...]]:
    """``(id, name, from, to)`` of all versions; the mark of the current ones agrees with their end."""
    rows = found.rows("id", "name", "valid_from", "valid_to", "is_current")
    assert all(bool(row[4]) is (row[3] is None) for row in rows)
    return sorted((row[:4] for row in rows), key=lambda row: (row[0], row[2]))


def test_versions_close_and_open(session: Any) -> None:
    found = tables(session, ID, NAME, NOTE, **VERSIONED)
    assert session.fetch(found.statements.count_versions()) == [(0, 0, 0)]
    found.hold(version(1, "a", 1), version(2, "a", 1, 3), version(2, "b", 3), version(3, "a", 1, 2))
    found.hold(version(4, "a", 1), version(5, "a", 1))
    found.stage({"id": 1, "name": "a", "note": "x"}, {"id": 2, "name": "a"}, {"id": 3, "name": "a"})
    found.stage({"id": 4, "name": None}, {"id": 6, "name": "a"})
    assert session.fetch(found.statements.count_versions()) == [(2, 2, 1)]
    assert session.fetch(found.statements.count_later()) == [(0,)]
    assert found.run(found.statements.close_changed(), found.statements.insert_versions()) == [2, 4]
    assert versions(found) == [
        (1, "a", day(1), None),
        (2, "a", day(1), day(3)),
        (2, "b", day(3), NOW),
        (2, "a", NOW, None),
        (3, "a", day(1), day(2)),
        (3, "a", NOW, None),
        (4, "a", day(1), NOW),
        (4, None, NOW, None),
        (5, "a", day(1), None),
        (6, "a", NOW, None),
    ]
    new = found.rows("id", "_batch_id", "row_hash")
    assert [row[0] for row in new if row[1] == "new"] == [2, 3, 4, 6]
    hashes = {row[0]: bytes(row[2]) for row in new if row[1] == "new"}
    assert hashes[2] == hashes[3] == hashes[6] != hashes[4]


def test_current_versions_that_begin_later_are_counted(session: Any) -> None:
    found = tables(session, ID, NAME, **{**VERSIONED, "now": day(5)})
    for number, begins in ((1, 4), (2, 5), (3, 6)):
        found.hold(version(number, "a", begins))
        found.stage({"id": number, "name": "b"})
    found.hold(version(4, "a", 6), version(5, "a", 6, 7), version(6, "a", 6))
    found.stage({"id": 4, "name": "a"}, {"id": 5, "name": "b"})
    assert session.fetch(found.statements.count_later()) == [(2,)]


def test_versions_of_keys_that_are_gone_are_closed(session: Any) -> None:
    found = tables(session, ID, NAME, **VERSIONED)
    found.hold(version(1, "a", 1), version(2, "a", 1), version(3, "a", 1, 2))
    found.stage({"id": 1, "name": "b"})
    assert found.run(found.statements.close_missing()) == [1]
    assert versions(found) == [(1, "a", day(1), None), (2, "a", day(1), NOW), (3, "a", day(1), day(2))]


def test_versions_past_their_time_are_closed(session: Any) -> None:
    found = tables(session, ID, NAME, **VERSIONED)
    found.hold(version(1, "a", 1), version(2, "a", 4), version(3, "a", 5), version(4, "a", 6), version(5, "a", 1, 2))
    found.stage({"id": 1, "name": "a"})
    assert found.run(found.statements.close_expired(day(5))) == [1]
    assert [row[0] for row in versions(found) if row[3] == NOW] == [2]


# -- versions with event times ------------------------------------------------------------------------------------

EVENTS: dict[str, Any] = {
    "keys": ("id", "note"),
    "compare_columns": ("name",),
    "now": NOW,
    "event_column": "at",
    "versions": True,
}


def event(name: str | None, at: int, number: int = 1) -> dict[str, object]:
    return {"id": number, "note": "k", "name": name, "at": day(at)}


def chained(found: Tables, *events: dict[str, object], close: Sequence[int] = ()) -> tuple[int, ...]:
    """Load events as a run does; how many versions were dropped, moved, inserted. Some keys are closed at the end."""
    dialect, statements = found.dialect, found.statements
    found.run(f"DELETE FROM {dialect.table(STAGE)}")
    found.stage(*events)
    for ref in (CHAIN, NEW_VERSIONS):
        found.run(dialect.create_table(ref, statements.chain_columns(), temporary=True))
    found.run(*statements.fill_chain(), statements.resolve_chain())
    touched = found.run(statements.drop_replaced(), statements.move_ends(), statements.insert_chain())
    found.run(*(dialect.drop_temporary(ref) for ref in (CHAIN, NEW_VERSIONS)))
    if close:
        found.run(f"DELETE FROM {dialect.table(STAGE)}")
        found.stage(*(row for row in events if row["id"] not in close))
        found.run(statements.close_missing())
    return tuple(touched)


CHAINS: dict[str, tuple[list[dict[str, object]], tuple[int, ...], list[tuple[Any, ...]]]] = {
    "a later one": ([event("c", 9)], (0, 1, 1), [("a", 1, 5), ("b", 5, 9), ("c", 9, None)]),
    "one between": ([event("c", 3)], (0, 1, 1), [("a", 1, 3), ("c", 3, 5), ("b", 5, None)]),
    "one before": ([event("c", 1)], (1, 0, 1), [("c", 1, 5), ("b", 5, None)]),
    "the same again": ([event("a", 1), event("b", 5)], (0, 0, 0), [("a", 1, 5), ("b", 5, None)]),
    "an equal one behind": ([event("a", 3), event("b", 7)], (0, 0, 0), [("a", 1, 5), ("b", 5, None)]),
    "a correction": ([event("c", 5)], (1, 0, 1), [("a", 1, 5), ("c", 5, None)]),
    "a correction that joins two": ([event("a", 5)], (1, 1, 0), [("a", 1, None)]),
    "nothing known": ([event(None, 3)], (0, 1, 1), [("a", 1, 3), (None, 3, 5), ("b", 5, None)]),
    "several": (
        [event("d", 7), event("c", 3), event("d", 8), event("c", 4)],
        (0, 2, 2),
        [("a", 1, 3), ("c", 3, 5), ("b", 5, 7), ("d", 7, None)],
    ),
}


@pytest.mark.parametrize("case", CHAINS)
def test_events_find_their_place(session: Any, case: str) -> None:
    events, touched, expected = CHAINS[case]
    found = tables(session, ID, NOTE, NAME, AT, hidden=frozenset({"at"}), **EVENTS)
    assert chained(found, event("a", 1), event("b", 5), event("x", 2, number=2)) == (0, 0, 3)
    assert chained(found, *events) == touched
    wanted = [(1, name, day(begins), day(ends) if ends else None) for name, begins, ends in expected]
    assert versions(found) == [*wanted, (2, "x", day(2), None)]
    assert chained(found, *events) == (0, 0, 0)
    assert {row[1:] for row in found.rows("id", "note", "_batch_id")} == {("k", "new")}


def test_an_event_time_may_be_kept_as_a_column(session: Any) -> None:
    found = tables(session, ID, NOTE, NAME, AT, **EVENTS)
    chained(found, event("a", 1), event("b", 5))
    assert found.rows("name", "at") == [("a", day(1)), ("b", day(5))]


def test_a_gap_stays_and_a_key_that_returns_begins_now(session: Any) -> None:
    found = tables(session, ID, NOTE, NAME, AT, hidden=frozenset({"at"}), **EVENTS)
    chained(found, event("a", 1), event("x", 1, number=2), close=[1])
    assert versions(found) == [(1, "a", day(1), NOW), (2, "x", day(1), None)]
    assert chained(found, event("b", 5), event("c", 7), event("x", 1, number=2)) == (0, 1, 2)
    assert versions(found)[:3] == [(1, "a", day(1), day(5)), (1, "b", day(5), day(7)), (1, "c", day(7), NOW)]
    assert found.run(found.statements.reopen()) == [1]
    assert versions(found)[3:] == [(1, "c", NOW, None), (2, "x", day(1), None)]


def test_equal_versions_on_both_sides_of_a_gap_stay_two(session: Any) -> None:
    found = tables(session, ID, NOTE, NAME, AT, hidden=frozenset({"at"}), **{**EVENTS, "now": day(5)})
    chained(found, event("a", 1), close=[1])
    assert chained(found, event("a", 5), event("a", 7)) == (0, 0, 1)
    assert versions(found) == [(1, "a", day(1), day(5)), (1, "a", day(5), None)]


def test_old_versions_that_are_equal_today_stay_two(session: Any) -> None:
    """They differed in a column that is not compared any more; a staged twin of the second changes nothing."""
    found = tables(session, ID, NOTE, NAME, AT, hidden=frozenset({"at"}), **EVENTS)
    chained(found, event("a", 1), event("b", 5))
    hashed = found.dialect.row_hash([NAME])
    found.run(f'UPDATE "target" SET "name" = \'a\', row_hash = {hashed.replace("name", "note")}')
    before = [(1, "a", day(1), day(5)), (1, "a", day(5), None)]
    assert versions(found) == before
    for events in ([event("a", 3)], [event("a", 5)], [event("a", 1), event("a", 5)], [event("a", 7)]):
        assert chained(found, *events) == (0, 0, 0)
        assert versions(found) == before
    assert chained(found, event("c", 9)) == (0, 1, 1)
    assert versions(found) == [(1, "a", day(1), day(5)), (1, "a", day(5), day(9)), (1, "c", day(9), None)]


def test_the_working_tables_are_searched_by_key_and_begin() -> None:
    statements = LoadStatements(POSTGRES, TARGET, STAGE, (ID, NOTE), (), ("id", "note"))
    assert statements.chain_index() == ("k0", "k1", "begins")


# -- statements of servers ----------------------------------------------------------------------------------------


def on(dialect: Dialect, **options: Any) -> LoadStatements:
    """Statements of a system that is not asked here; `tests/conformance` runs them."""
    return LoadStatements(dialect, TARGET, STAGE, (ID, NAME, NOTE), ((BATCH, "'new'"),), ("id",), **options)


def test_where_an_insert_cannot_update_there_are_two_statements() -> None:
    changed, new = on(MYSQL, update_columns=("name", "note"), compare_columns=("name",)).upserts()
    assert changed == (
        "UPDATE `target` AS t JOIN `staged` AS s ON s.`id` = t.`id`\n"
        "SET t.`name` = s.`name`, t.`note` = s.`note`, t.`_batch_id` = 'new'\n"
        f"WHERE ({MYSQL.distinct(MYSQL.comparable('t.`name`', TEXT), MYSQL.comparable('s.`name`', TEXT))})"
    )
    assert new.startswith("INSERT INTO `target` (`id`, `name`, `note`, `_batch_id`)\n")
    (only,) = on(MYSQL).upserts()
    assert only == on(MYSQL).insert_new() == new


def test_where_a_statement_tells_what_it_did_nothing_is_counted_before() -> None:
    statements = on(POSTGRES, update_columns=("name",), compare_columns=("name",), now=NOW)
    assert statements.counted_upsert() == (
        f"WITH touched AS (\n{statements.upsert()}\nRETURNING (t.xmax = 0) AS inserted\n)\n"
        "SELECT COALESCE(sum(CASE WHEN inserted THEN 1 ELSE 0 END), 0), count(*) FROM touched"
    )
    assert statements.counted_close() == (
        f"WITH closed AS (\n{statements.close_changed()}\n"
        f'RETURNING t."valid_from" >= {statements.moment} AS later\n)\n'
        "SELECT count(*), COALESCE(sum(CASE WHEN later THEN 1 ELSE 0 END), 0) FROM closed"
    )
