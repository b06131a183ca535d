"""The target's schema: made, grown, refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb import ematix
from ematix_nb.declare.data_types import BIGINT, INTEGER, TEXT, DataType
from ematix_nb.errors import FlowError, SchemaDriftError
from ematix_nb.types import Integer, Text  # noqa: TC001  the annotations of a declared table are looked up
from tests.conformance.conftest import pairs
from tests.conformance.matrix import SqlSystem
from tests.conformance.run import Bench, counts, declare

if TYPE_CHECKING:
    from ematix_nb.declare.spec import Column

MERGE = pairs("merge", same=False)
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


@pytest.mark.parametrize("bench", MERGE, indirect=True)
def test_a_type_grows(bench: Bench) -> None:
    bench.give(SMALL, [(1, "a")])
    bench.pipeline("append").sync()
    bench.give({"id": BIGINT, "name": TEXT}, [(2**40, "b")])
    pipeline = bench.pipeline("append")
    if bench.target.name == "sqlite":
        with pytest.raises(SchemaDriftError, match=r"column `id` of `.*tgt` would have to become bigint"):
            pipeline.sync()
        return
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


@pytest.mark.parametrize("bench", MERGE, indirect=True)
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
    sql_target(bench).execute('CREATE TABLE "tgt" (id INTEGER, name TEXT, must TEXT NOT NULL)')
    with pytest.raises(
        SchemaDriftError, match=r"column `must` of `(public.)?tgt` is NOT NULL and the source does not give it"
    ):
        bench.pipeline("append").sync()
    sql_target(bench).execute('DROP TABLE "tgt"')

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
    sql_target(bench).execute('CREATE TABLE "tgt" ("Id" INTEGER, "Name" TEXT)')
    bench.give(SMALL, [(1, "a")])
    with pytest.raises(SchemaDriftError, match="column `id` of the source is `Id` in the target"):
        bench.pipeline("append").sync()
    sql = f'SELECT id AS "Id", name AS "Name" FROM {bench.source.source("src")}'
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
