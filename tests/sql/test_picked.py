"""Queries that only pick columns of one table, told from those that do more."""

from __future__ import annotations

import pytest

from ematix_nb.sql.check import check_select


def pairs(sql: str) -> object:
    found = check_select(sql, "datafusion").picked
    return None if found is None else (found.columns if found.columns is None else dict(found.columns))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select Id, name as Label from t", {"id": "id", "name": "label"}),
        ('select "Id", name as "Label" from x.t as q', {"Id": "Id", "name": "Label"}),
        ("select n from (select name as n, id from t) as s", {"name": "n"}),
        ('with u as (select * from "a/*.csv"), v as (select id as k from u) select k from v', {"id": "k"}),
        ("with T as (select b as a from x) select A from t -- end", {"b": "a"}),
    ],
)
def test_picks(sql: str, expected: dict[str, str]) -> None:
    assert pairs(sql) == expected


def test_all_columns() -> None:
    found = check_select("select * from (select * from t) as s;", "datafusion").picked
    assert found is not None
    assert found.of(("a", "b")) == (("a", "a"), ("b", "b"))
    assert found.of(("a", "a")) is None


@pytest.mark.parametrize(
    "sql",
    [
        "select distinct a from t",
        "select a from t limit 1",
        "select a from t offset 1",
        "select a + 1 from t",
        "select a::text from t",
        "select 'a' from t",
        "select t.a from t",
        "select *, a from t",
        "select * exclude (a) from t",
        "select a from t, u",
        "select a from t join u using (a)",
        "select a from t where a > 1",
        "select a from t order by a",
        "select a from t group by a",
        "select a from t as q(a)",
        "select a from t union all select a from t",
        "select count(*) from t",
        "select a from t tablesample 10 percent",
        "select a from t qualify row_number() over () = 1",
        "select a from (select a from t limit 1) as s",
        "with u as (select a from t where a = 1) select a from u",
        "with u as (select a from t), w as (select a from other) select a from u",
        "with u(b) as (select a from t) select b from u",
        "select b from (select a from t) as s",
        "select 1",
        "values (1)",
    ],
)
def test_more_than_picking(sql: str) -> None:
    assert pairs(sql) is None


def test_a_column_that_is_not_there() -> None:
    found = check_select("select a, b from t", "datafusion").picked
    assert found is not None
    assert found.of(("a",)) is None
    assert found.of(("b", "c", "a")) == (("a", "a"), ("b", "b"))
