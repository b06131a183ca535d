"""`{{name}}` in SQL: found where a value can stand, and never anything but a value."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from typing import Any

import pytest

from ematix_nb.backends.mysql.dialect import DIALECT as MYSQL
from ematix_nb.backends.sqlite.dialect import DIALECT as SQLITE
from ematix_nb.connections import Connection, connection_from_settings
from ematix_nb.declare.fingerprint import difference, fingerprint
from ematix_nb.declare.parameters import check_parameters, names_in, read_parameters
from ematix_nb.declare.pipelines import build_pipeline, override
from ematix_nb.errors import DeclarationError
from ematix_nb.sql.parameters import bind
from ematix_nb.verbs.read import query
from ematix_nb.verbs.run import run

HOSTILE = ["'; DROP TABLE t; --", "\\' OR 1=1 -- ", "a\\", '"', "{{b}}", "%s $1 :x ?", "zoë 日本", "/* */", ""]


@pytest.mark.parametrize(
    ("sql", "dialect", "expected"),
    [
        ("SELECT {{a}}, {{ b }}, {{a}}", "", ("a", "b")),
        ("SELECT '{{a}}', \"{{b}}\" -- {{c}}\n, {{d}} /* {{e}} */", "", ("d",)),
        ("SELECT 'it''s {{a}}', {{b}}", "", ("b",)),
        ("SELECT $$ {{a}} $$, $x$ ' {{b}} $x$, {{c}}", "postgres", ("c",)),
        (r"SELECT E'it\'s {{a}}', {{b}}", "postgres", ("b",)),
        (r"SELECT 'it\'s {{a}}', {{b}} # don't {{c}}", "mysql", ("b",)),
        ("SELECT [it's {{a}}], `{{b}}`, {{c}}", "sqlite", ("c",)),
        ("SELECT 'never closed {{a}}", "", ()),
        ("SELECT {'a': {'b': 1}}, '{}'::json, x::int, 5 % 2", "duckdb", ()),
        ("SELECT {{1}}, {{a b}}, {{}}, {a}", "", ()),
    ],
)
def test_a_name_counts_where_a_value_can_stand(sql: str, dialect: str, expected: tuple[str, ...]) -> None:
    assert names_in(sql, dialect) == expected


def test_a_comment_within_a_comment_hides_nothing() -> None:
    with pytest.raises(DeclarationError, match="has parameters, and a comment within a comment"):
        bind("SELECT 1 /* x /* ' */ ' */, {{a}}", {"a": 1}, SQLITE)


@pytest.fixture(params=["duckdb", "sqlite", "files", "postgres", "mysql"])
def system(request: pytest.FixtureRequest, tmp_path: Any) -> Connection:
    """A connection that answers SELECT."""
    if request.param in ("postgres", "mysql"):
        url = request.getfixturevalue("pg_url" if request.param == "postgres" else "mysql_url")
        return connection_from_settings("src", {"kind": request.param, "url": url})
    if request.param == "files":
        (tmp_path / "lake").mkdir()
        (tmp_path / "lake" / "one.csv").write_text("n\n1\n")
        settings = {"kind": "object_store_local", "path": str(tmp_path / "lake"), "format": "csv"}
        return connection_from_settings("src", settings)
    return connection_from_settings("src", {"kind": request.param, "path": ":memory:"})


def test_every_text_arrives_as_it_is(system: Connection) -> None:
    for text in HOSTILE:
        (row,) = query(system, "SELECT {{a}} AS x", params={"a": text}).to_pylist()
        assert row == {"x": text}, text


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("1 = {{a}}", 1),
        ("1 - {{a}} = 3", -2),
        ("CAST('1.10' AS decimal(5, 2)) = {{a}}", decimal.Decimal("1.10")),
        ("0.5 = {{a}}", 0.5),
        ("'b' IN {{a}}", ["a", "b'"[0]]),
        ("2 IN {{a}}", (1, 2)),
        ("{{a}} IS NULL", None),
        ("{{a}}", True),
    ],
)
def test_a_value_compares_as_its_type(system: Connection, condition: str, value: object) -> None:
    assert query(system, f"SELECT 7 AS x WHERE {condition}", params={"a": value}).to_pylist() == [{"x": 7}]


def test_moments_compare_as_moments(pg_url: str) -> None:
    for connection in (
        connection_from_settings("src", {"kind": "duckdb", "path": ":memory:"}),
        connection_from_settings("src", {"kind": "postgres", "url": pg_url}),
    ):
        values: dict[str, object] = {
            "day": dt.date(2026, 1, 2),
            "local": dt.datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - one without a zone
            "at": dt.datetime(2026, 1, 2, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            "id": uuid.UUID(int=7),
        }
        sql = "SELECT {{day}} AS day, {{local}} AS local, {{at}} AS at, {{id}} AS id"
        (row,) = query(connection, sql, params=values).to_pylist()
        assert (row["day"], row["local"]) == (values["day"], values["local"])
        assert row["at"] == dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
        assert str(row["id"]) == str(values["id"])


@pytest.mark.parametrize(
    "value",
    [object(), b"x", {"a": 1}, [], [[1]], "a\x00b", 2**63, math.inf, math.nan, decimal.Decimal("NaN"), {1}],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_bound_is_refused_without_repeating_it(value: object) -> None:
    with pytest.raises(DeclarationError, match=r"the value of `{{a}}`"):
        read_parameters({"a": value})


def test_numbers_and_times_of_numpy_and_pandas_are_values() -> None:
    import numpy as np
    import pandas as pd

    found = read_parameters({"a": np.int64(3), "b": pd.Timestamp("2026-01-01T00:00Z"), "c": np.bool_(True)})
    assert found == (("a", 3), ("b", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)), ("c", True))
    for bad in (pd.NaT, pd.Timestamp(1)):
        with pytest.raises(DeclarationError, match="cannot be bound"):
            read_parameters({"a": bad})


def test_names_and_values_belong_together() -> None:
    with pytest.raises(DeclarationError, match=r"`{{sinc}}` has no value") as missing:
        check_parameters("SELECT {{sinc}}", ["since"])
    assert missing.value.hint == "did you mean `since`?"
    with pytest.raises(DeclarationError, match=r"params gives `a`, and the SQL has no `{{a}}`"):
        build_pipeline(name="p", sql="SELECT '{{a}}' AS x", target="wh:p", params={"a": 1})
    with pytest.raises(DeclarationError, match="source_table reads a whole table"):
        build_pipeline(name="p", source_table="t", target="wh:p", params={"a": 1})
    with pytest.raises(DeclarationError, match=r"`{{a}}` has no value"):
        bind("SELECT {{a}}", {}, MYSQL)


def test_a_value_is_part_of_the_declaration() -> None:
    one = build_pipeline(name="p", sql="SELECT {{a}} AS x", target="wh:p", params={"a": 1})
    two = override(one, params={"a": 2})
    assert fingerprint(one) != fingerprint(two)
    assert difference(one, two) == ['params: {"a": 1} -> {"a": 2}']
    plain = build_pipeline(name="p", sql="SELECT 1 AS x", target="wh:p")
    assert fingerprint(plain) == fingerprint(build_pipeline(name="p", sql="SELECT 1 AS x", target="wh:p", params={}))


def test_a_run_loads_by_its_values(tmp_path: Any) -> None:
    connection = connection_from_settings("wh", {"kind": "duckdb", "path": str(tmp_path / "wh.db")})
    sql = "SELECT i AS id, {{name}} AS name FROM range(10) r(i) WHERE i IN {{ids}}"
    spec = build_pipeline(
        name="p", sql=sql, target="wh:p", target_connection=connection, params={"ids": [2, 4], "name": "it's"}
    )
    assert run(spec).raise_for_status().inserts == 2
    rows = query(connection, "SELECT * FROM p ORDER BY id").to_pylist()
    assert [(row["id"], row["name"]) for row in rows] == [(2, "it's"), (4, "it's")]


def test_sql_that_a_function_returns_takes_values_too(tmp_path: Any) -> None:
    connection = connection_from_settings("wh", {"kind": "duckdb", "path": str(tmp_path / "wh.db")})

    def worked_out(conn: Any) -> str:
        return f"SELECT {'{{n}}'} AS n -- {conn.kind}"

    spec = build_pipeline(worked_out, target="wh:p", target_connection=connection, params={"n": 5})
    assert run(spec).raise_for_status().inserts == 1
