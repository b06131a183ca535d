"""The target's schema: made, grown, refused."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from ematix_nb import ematix
from ematix_nb.declare.data_types import BIGINT, INTEGER, TEXT, DataType
from ematix_nb.declare.spec import TableRef
from ematix_nb.errors import FlowError, SchemaDriftError
from ematix_nb.types import Integer, Text  # noqa: TC001  the annotations of a declared table are looked up
from tests.conformance.conftest import pairs, refusal
from tests.conformance.matrix import Postgres, SqlSystem, System
from tests.conformance.run import Bench, counts, declare

if TYPE_CHECKING:
    from ematix_nb.api import Pipeline
    from ematix_nb.declare.spec import Column

MERGE = pairs("merge", same=False, sql=True)
KEYED = pairs("merge", same=False)
APPEND = pairs("append", same=False)
SMALL = {"id": INTEGER, "name": TEXT}


def sql_target(bench: Bench) -> SqlSystem:
    """The target, when it is one with SQL."""
    assert isinstance(bench.target, SqlSystem)
    return bench.target


def columns(bench: Bench) -> dict[str, Column]:
    """The target's columns as the catalogue tells them."""
    info = sql_target(bench).info(bench.table)
    assert info is not None
    return {column.name: column for column in info.columns}


@pytest.mark.parametrize("bench", MERGE, indirect=True)
def test_the_table_is_made_with_its_key_and_the_engines_columns(bench: Bench) -> None:
    bench.give(SMALL, [(1, "a")])
    bench.pipeline("merge", keys=("id",)).sync()
    found = columns(bench)
    assert list(found) == ["id", "name", "_loaded_at", "_batch_id"]
    assert [found[name].type.kind for name in found] == ["integer", "text", "timestamptz", "uuid"]
    assert [found[name].nullable for name in found] == [False, True, False, False]


@pytest.mark.parametrize("bench", MERGE, indirect=True)
def test_a_schema_is_made_where_it_is_missing_and_only_there(bench: Bench) -> None:
    bench.give(SMALL, [(1, "a")])
    dialect = sql_target(bench).dialect
    select = f"SELECT * FROM {bench.source.source('src')}"
    schema = f"new_place_{uuid.uuid4().hex[:8]}"
    pipeline = into(bench.target, f"{schema}.numbers", select, source=bench.source, mode="merge", keys=("id",))

    def told() -> list[str]:
        return [change.text for change in pipeline.preview().targets[0].plan.schema_changes if "schema" in change.text]

    assert told() == ([f"create schema {schema}"] if dialect.create_schema("x") else [])
    assert counts(pipeline.sync()) == {"read": 1, "inserted": 1}
    sql_target(bench).execute(f"DROP TABLE {dialect.table(TableRef(schema, 'numbers'))}")
    assert told() == []
    assert counts(pipeline.sync()) == {"read": 1, "inserted": 1}
    if bench.target.name == "mysql":  # a database beside the test's own, which nobody else removes
        sql_target(bench).execute(f"DROP DATABASE {schema}")


def test_schemas_that_are_there_need_no_right_to_make_one(pg_url: str) -> None:
    import psycopg
    from psycopg import sql

    role = f"loader_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(pg_url, autocommit=True) as server:
        names = {"role": sql.Identifier(role), "database": sql.Identifier(server.info.dbname)}

        def do(text: str) -> None:
            server.execute(sql.SQL(text).format(**names))

        do("CREATE ROLE {role} LOGIN PASSWORD 'only-here'")
        try:
            do("CREATE SCHEMA here AUTHORIZATION {role}")
            do("CREATE SCHEMA ematix_flow AUTHORIZATION {role}")
            do("REVOKE CREATE ON DATABASE {database} FROM PUBLIC")
            place = Postgres(make_url(pg_url, role, "only-here"))
            assert counts(into(place, "here.numbers", "SELECT 1 AS n").sync()) == {"read": 1, "inserted": 1}
            with pytest.raises(FlowError, match="permission denied"):
                into(place, "elsewhere.numbers", "SELECT 1 AS n").sync().raise_for_status()
        finally:
            do("DROP OWNED BY {role}")
            do("DROP ROLE {role}")


def into(place: System, table: str, sql: str, *, source: System | None = None, **options: Any) -> Pipeline:
    """A pipeline into a table that is named with its schema."""

    def query(_: object) -> str:
        return sql

    return ematix.pipeline(
        name=table.replace(".", "_"),
        target=table,
        target_connection=place.connection,
        source_connection=(source or place).connection,
        **options,
    )(query)


def make_url(url: str, user: str, password: str) -> str:
    """The same database under another login."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))


@pytest.mark.parametrize("bench", APPEND, indirect=True)
def test_a_new_column_of_the_source_joins_the_target(bench: Bench) -> None:
    bench.give(SMALL, [(1, "a")])
    bench.pipeline("append").sync()
    bench.give({**SMALL, "more": TEXT}, [(2, "b", "c")])
    with pytest.raises(SchemaDriftError, match="column `more`"):
        bench.pipeline("append", on_drift="error").sync()
    result = bench.pipeline("append").sync()
    assert counts(result) == {"read": 1, "inserted": 1}
    assert bench.rows("id", "more") == [(1, None), (2, "c")]
    bench.check()


@pytest.mark.parametrize("bench", MERGE, indirect=True)
def test_warned_drift_leaves_the_table_as_it_is(bench: Bench) -> None:
    bench.give(SMALL, [(1, "a")])
    bench.pipeline("append").sync()
    bench.give({"id": BIGINT, "name": TEXT, "more": TEXT}, [(2, "b", "c")])
    result = bench.pipeline("append", on_drift="warn").sync()
    assert "column `more` (text) is missing in the target" in result.targets[0].warnings
    assert [(name, column.type.kind) for name, column in columns(bench).items()][:3] == [
        ("id", "integer"), ("name", "text"), ("_loaded_at", "timestamptz"),
    ]  # fmt: skip
    assert bench.rows("id", "name") == [(1, "a"), (2, "b")]
    bench.give({"id": BIGINT, "name": TEXT}, [(2**40, "b")])
    with pytest.raises(FlowError, match="`id`"):
        bench.pipeline("append", on_drift="warn").sync()
    with pytest.raises(SchemaDriftError, match=r"no unique index on the keys \(id\)"):
        bench.pipeline("merge", keys=("id",), on_drift="warn").sync()
    bench.check()


NOT_GROWN = {"sqlite": refusal(SchemaDriftError, "SQLite cannot change the type of a column")}


@pytest.mark.parametrize("bench", pairs("merge", same=False, sql=True, refused=NOT_GROWN), indirect=True)
def test_a_type_grows(bench: Bench) -> None:
    bench.give(SMALL, [(1, "a")])
    bench.pipeline("append").sync()
    bench.give({"id": BIGINT, "name": TEXT}, [(2**40, "b")])
    pipeline = bench.pipeline("append")
    assert counts(pipeline.sync()) == {"read": 1, "inserted": 1}
    assert columns(bench)["id"].type.kind == "bigint"
    assert bench.rows("id", "name") == [(1, "a"), (2**40, "b")]
    bench.check()


@pytest.mark.parametrize("bench", APPEND, indirect=True)
def test_a_type_that_does_not_fit_is_refused(bench: Bench) -> None:
    bench.give({"id": INTEGER, "v": DataType("date")}, [(1, None)])
    bench.pipeline("append").sync()
    bench.give({"id": INTEGER, "v": DataType("boolean")}, [(1, True)])
    with pytest.raises(FlowError, match="`v`"):
        bench.pipeline("append").sync()
    assert len(bench.rows("id")) == 1
    bench.check()


@pytest.mark.parametrize("bench", MERGE, indirect=True)
def test_a_merge_into_a_table_without_a_unique_index_makes_one(bench: Bench) -> None:
    bench.target.make("tgt", SMALL, [(1, "old"), (2, "same")])
    bench.give(SMALL, [(1, "new"), (2, "same"), (3, "three")])
    pipeline = bench.pipeline("merge", keys=("id",))
    assert counts(pipeline.sync()) == {"read": 3, "inserted": 1, "updated": 1, "unchanged": 1}
    assert bench.rows("id", "name") == [(1, "new"), (2, "same"), (3, "three")]
    info = sql_target(bench).info("tgt")
    assert info is not None
    assert ("id",) in info.unique_keys
    assert counts(pipeline.sync()) == {"read": 3, "unchanged": 3}
    bench.check()


@pytest.mark.parametrize("bench", KEYED, indirect=True)
def test_a_merge_into_a_table_whose_keys_repeat_is_refused(bench: Bench) -> None:
    bench.target.make("tgt", SMALL, [(1, "a"), (1, "b")])
    bench.give(SMALL, [(1, "new")])
    with pytest.raises(FlowError, match=r"(?i)unique|duplicate"):
        bench.pipeline("merge", keys=("id",)).sync()
    assert bench.rows("id", "name") == [(1, "a"), (1, "b")]
    bench.check()


@pytest.mark.parametrize("bench", MERGE, indirect=True)
def test_a_column_that_must_not_be_null_must_be_given(bench: Bench) -> None:
    bench.give(SMALL, [(1, "a")])
    sql_target(bench).execute("CREATE TABLE tgt (id INTEGER, name TEXT, must TEXT NOT NULL)")
    with pytest.raises(
        SchemaDriftError, match=r"column `must` of `(public.)?tgt` is NOT NULL and the source does not give it"
    ):
        bench.pipeline("append").sync()
    sql_target(bench).execute("DROP TABLE tgt")

    @ematix.table(schema="", name="tgt")
    class Strict:
        id: Integer
        must: Text

    pipeline = declare(
        bench.source, bench.target, f"SELECT id FROM {bench.source.source('src')}", Strict, mode="append"
    )
    with pytest.raises(FlowError, match=r"`must`.*NOT NULL"):
        pipeline.sync()


@pytest.mark.parametrize("bench", MERGE, indirect=True)
def test_a_view_is_no_target(bench: Bench) -> None:
    bench.give(SMALL, [(1, "a")])
    sql_target(bench).execute("CREATE VIEW tgt AS SELECT 1 AS id, 'x' AS name")
    with pytest.raises(SchemaDriftError, match="tgt` is a view; only tables can be loaded"):
        bench.pipeline("append").sync()


@pytest.mark.parametrize("bench", MERGE, indirect=True)
def test_names_that_differ_only_by_case_are_not_mixed_up(bench: Bench) -> None:
    quote = bench.target.quote
    sql_target(bench).execute(f"CREATE TABLE tgt ({quote('Id')} INTEGER, {quote('Name')} TEXT)")
    bench.give(SMALL, [(1, "a")])
    with pytest.raises(SchemaDriftError, match="column `id` of the source is `Id` in the target"):
        bench.pipeline("append").sync()
    quote = bench.source.quote
    sql = f"SELECT id AS {quote('Id')}, name AS {quote('Name')} FROM {bench.source.source('src')}"
    assert counts(bench.pipeline("append", sql=sql).sync()) == {"read": 1, "inserted": 1}
    assert bench.rows("Id", "Name") == [(1, "a")]


@pytest.mark.parametrize("bench", pairs("merge"), indirect=True)
def test_whole_numbers_into_decimals_stay_unchanged_when_merged_again(bench: Bench) -> None:
    bench.target.make("tgt", {"id": BIGINT, "v": DataType("numeric", precision=38, scale=10)}, [])
    bench.give({"id": BIGINT, "v": BIGINT}, [(1, 5), (2, None)])
    pipeline = bench.pipeline("merge", keys=("id",))
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 2}
    assert counts(pipeline.sync()) == {"read": 2, "unchanged": 2}
    assert str(min(bench.rows("id", "v"))[1]) == "5.0000000000"
