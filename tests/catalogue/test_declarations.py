"""Rows 75 to 91 of the catalogue: tables and pipelines that are declared wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from tests.catalogue.case import SETTINGS, Case, check_message, contents
from tests.catalogue.conftest import lay_out

if TYPE_CHECKING:
    from pathlib import Path

    from tests.catalogue.conftest import Flow

LIST = ("list",)
RUN = ("run", "p")
SELECT = """'SELECT id, name, amount FROM "orders.csv"'"""


def pipeline(options: str, function: str = f"def p(conn):\n    return {SELECT}\n", table: str = "") -> str:
    """A module with a pipeline `p`; without a table its decorator stands in line 8."""
    return f"{table}@ematix.pipeline({options})\n{function}"


TO = 'target="warehouse:main.t", source_connection="lake"'
MERGE = f'{TO}, mode="merge", keys=("id",)'
DIM = """\
@ematix.table(schema="main")
class Dim:
    id: Annotated[BigInt, pk()]
    name: Text | None
    amount: Double | None


"""
TO_DIM = 'target=Dim, target_connection="warehouse", source_connection="lake"'


def query(sql: str) -> str:
    """A function that returns a query."""
    return f"def p(conn):\n    return {sql!r}\n"


def table(*lines: str, options: str = 'schema="main"') -> str:
    """A declared table, beginning in line 8."""
    return "\n".join([f"@ematix.table({options})", "class Dim:", *(f"    {line}" for line in lines), "", "", ""])


CASES = [
    Case(
        "75",
        LIST,
        ("both source_table and SQL are given", "shop.py:8"),
        "`pass`",
        module=pipeline(f'{TO}, source_table="a.b"'),
    ),
    Case(
        "76",
        LIST,
        ("unknown option `watermark_colum`", "shop.py:8"),
        "did you mean `watermark_column`?",
        module=pipeline(f'{TO}, watermark_colum="id"'),
    ),
    Case(
        "77",
        RUN,
        ("returned int",),
        "return a SELECT",
        module=pipeline(TO, "def p(conn):\n    return len(conn.name)\n"),
    ),
    Case("77b", LIST, ("returns None", "shop.py:8"), "source_table", module=pipeline(TO, "def p(conn):\n    pass\n")),
    Case(
        "77c", RUN, ("returned list",), "return a SELECT", module=pipeline(TO, "def p(conn):\n    return [conn.name]\n")
    ),
    Case(
        "77d",
        LIST,
        ("`p` is a generator", "shop.py:8"),
        "instead of yielding",
        module=pipeline(TO, 'def p(conn):\n    yield "SELECT 1"\n'),
    ),
    Case(
        "77e", RUN, ("returned NoneType",), "return a SELECT", module=pipeline(TO, "def p(conn):\n    len(conn.kind)\n")
    ),
    Case(
        "79",
        LIST,
        ("`p` takes 3 arguments", "shop.py:8"),
        "0, 1 (source) or 2",
        module=pipeline(TO, f"def p(a, b, c):\n    return {SELECT}\n"),
    ),
    Case("80", LIST, ("`p` is a class",), "function", module=pipeline(TO, "class p:\n    pass\n")),
    Case(
        "80b",
        LIST,
        ("`p` is a method", "shop.py:"),
        "functions",
        module="class Jobs:\n    " + pipeline(TO, f"    def p(self, conn):\n        return {SELECT}\n"),
    ),
    Case(
        "80c",
        LIST,
        ("a lambda has no name", "shop.py:8"),
        "name=",
        module=f'ematix.pipeline({TO})(lambda conn: "SELECT 1")\n',
    ),
    Case("81", LIST, ("neither is given", "shop.py:8"), 'write target="', module=pipeline('mode="append"')),
    Case(
        "81b",
        LIST,
        ("both are given", "shop.py:8"),
        "take one of them away",
        module=pipeline(f'{TO}, targets=[Target(table="a.b")]'),
    ),
    Case("82", LIST, ("table `main.dim` has no columns", "shop.py:8"), "`id: BigInt`", module=table("pass")),
    Case(
        "82b",
        LIST,
        ("`name` of `Dim` has no type", "shop.py:8"),
        "`name: Text`",
        module=table("id: BigInt", 'name = "x"'),
    ),
    Case(
        "82c",
        LIST,
        ("NameError: name 'Strng' is not defined", "shop.py:11"),
        "correct that line",
        module=table("id: BigInt", "name: Strng[5]"),
    ),
    Case(
        "82d",
        LIST,
        ("column `name`: unknown type `Strng`", "shop.py:8"),
        "did you mean `String`?",
        module=table("id: BigInt", 'name: "Strng"'),
    ),
    Case(
        "83",
        LIST,
        ("key `name`", "may be NULL", "shop.py:"),
        "| None",
        module=pipeline(f'{TO_DIM}, mode="merge", keys=("name",)', table=DIM),
    ),
    Case(
        "83b",
        LIST,
        ("column `id`: a primary key cannot be NULL", "shop.py:8"),
        "`| None`",
        module=table("id: Annotated[BigInt | None, pk()]"),
    ),
    Case(
        "84",
        LIST,
        ("`name`", "`Name`", "case", "shop.py:8"),
        "rename one",
        module=table("id: BigInt", "name: Text", "Name: Text"),
    ),
    Case(
        "84b",
        RUN,
        ("`id` and `ID` differ only by case",),
        "AS",
        module=pipeline(MERGE, query('SELECT 1 AS id, 2 AS "ID"')),
    ),
    Case(
        "85",
        LIST,
        ("`valid_from`", "reserved", "shop.py:"),
        "column_map",
        module=pipeline(
            f'{TO_DIM}, mode="scd2"', table=table("id: Annotated[BigInt, pk()]", "valid_from: TimestampTZ")
        ),
    ),
    Case(
        "85b",
        LIST,
        ("`_batch_id`", "reserved", "shop.py:"),
        "column_map",
        module=pipeline(f'{TO_DIM}, mode="scd2"', table=table("id: Annotated[BigInt, pk()]", "_batch_id: Text")),
    ),
    Case(
        "85c",
        RUN,
        ("`is_current` is reserved",),
        "column_map",
        module=pipeline(f'{TO}, mode="scd2", keys=("id",)', query('SELECT id, name AS is_current FROM "orders.csv"')),
    ),
    Case(
        "86",
        LIST,
        ("Numeric[4, 10]: the scale is larger than the precision", "shop.py:11"),
        "`Numeric[14, 10]`",
        module=table("id: BigInt", "amount: Numeric[4, 10]"),
    ),
    Case(
        "87",
        LIST,
        ("String[0]: the length is a whole number from 1", "shop.py:11"),
        "`Text` has no limit",
        module=table("id: BigInt", "name: String[0]"),
    ),
    Case(
        "88",
        LIST,
        ("compare_columns holds the key `id`", "shop.py:"),
        "take it out",
        module=pipeline(f'{MERGE}, compare_columns=["id", "name"]'),
    ),
    Case(
        "88b",
        LIST,
        ('"nmae" is not among id, name, amount', "shop.py:"),
        "did you mean `name`?",
        module=pipeline(f'{TO_DIM}, mode="merge", compare_columns=["nmae"]', table=DIM),
    ),
    Case(
        "88c",
        RUN,
        ("compare or update column `nmae`",),
        "did you mean `name`?",
        module=pipeline(f'{MERGE}, compare_columns=["nmae"]'),
    ),
    Case(
        "90",
        RUN,
        ("`ts` is not a column of the query",),
        "id, name, amount",
        module=pipeline(f'{MERGE}, watermark_column="ts"'),
    ),
    Case(
        "90b",
        RUN,
        ("overlap is 5", "watermark column `name` is text"),
        "leave the overlap out",
        module=pipeline(f'{MERGE}, watermark_column="name", overlap=5'),
    ),
    Case(
        "90c",
        RUN,
        ("watermark column `amount` is double",),
        "cast it",
        module=pipeline(
            f'{MERGE}, watermark_column="amount"',
            query('SELECT id, CAST(amount AS double) AS amount FROM "orders.csv"'),
        ),
    ),
    Case(
        "90d",
        RUN,
        ("watermark column `flag` is boolean",),
        "cast it",
        module=pipeline(f'{MERGE}, watermark_column="flag"', query('SELECT id, id > 1 AS flag FROM "orders.csv"')),
    ),
    Case(
        "90e",
        LIST,
        ("incremental=True needs watermark_column", "shop.py:8"),
        "watermark_column=",
        module=pipeline(f"{MERGE}, incremental=True"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.says[0]}"[:50])
def test_a_wrong_declaration(case: Case, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(project, case, monkeypatch)
    before = contents(project.parent)
    found = flow(*case.words)
    check_message(found.err, case.says, case.hint)
    assert (found.code, found.out) == (case.code, "")
    assert contents(project.parent) == before


def test_one_argument_is_the_source_row_78(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "def p(conn):\n    return f\"SELECT id, '{conn.name}' AS name FROM kept\"\n"
    other = SETTINGS + '[connections.other]\nkind = "duckdb"\npath = "other.duckdb"\n'
    module = pipeline('target="other:main.t", source_connection="warehouse"', body)
    lay_out(project, Case("78", RUN, (), module=module, settings=other), monkeypatch)
    assert flow(*RUN).code == 0
    assert stored(project / "other.duckdb", "SELECT name FROM main.t") == [("warehouse",)]


def test_two_arguments_are_source_and_target_row_78(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "def p(a, b):\n    return f\"SELECT 1 AS id, '{a.name} {b.name}' AS name\"\n"
    lay_out(project, Case("78", RUN, (), module=pipeline(TO, body)), monkeypatch)
    assert flow(*RUN).code == 0
    assert stored(project / "warehouse.duckdb", "SELECT name FROM main.t") == [("lake warehouse",)]


@pytest.mark.parametrize(
    "function",
    [f"async def p(conn):\n    return {SELECT}\n", "p = lambda conn: 'SELECT 1 AS id'\n"],
    ids=["async", "lambda"],
)
def test_what_works_as_a_function_row_80(
    function: str, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pipeline(TO, function)
    if "lambda" in function:
        module = f'ematix.pipeline({TO}, name="p")({function.partition("= ")[2].strip()})\n'
    lay_out(project, Case("80", RUN, (), module=module), monkeypatch)
    assert flow(*RUN).code == 0
    assert stored(project / "warehouse.duckdb", "SELECT min(id) FROM main.t") == [(1,)]


def test_a_time_of_versions_that_is_also_a_column_row_89(
    project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    dim = DIM.replace("amount: Double | None", "changed: TimestampTZ")
    options = f'{TO_DIM}, mode="scd2", compare_columns=["name"], event_timestamp_column="changed"'
    sql = "SELECT id, name, TIMESTAMPTZ '2026-01-01 00:00:00+00' AS changed FROM kept"
    module = pipeline(options.replace('"lake"', '"warehouse"'), query(sql), table=dim)
    lay_out(project, Case("89", RUN, (), module=module), monkeypatch)
    assert flow(*RUN).code == 0
    rows = "SELECT id, name, changed = valid_from, is_current FROM main.dim"
    assert stored(project / "warehouse.duckdb", rows) == [(1, "one", True, True)]


def test_a_watermark_of_another_type_row_91(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(project, Case("91", RUN, (), module=pipeline(f'{MERGE}, watermark_column="id"')), monkeypatch)
    assert flow(*RUN).code == 0
    sql = "SELECT CAST('2026-01-01' AS timestamp) AS id, name FROM \"orders.csv\""
    lay_out(project, Case("91", RUN, (), module=pipeline(f'{MERGE}, watermark_column="id"', query(sql))), monkeypatch)
    before = stored(project / "warehouse.duckdb", "SELECT id, name FROM main.t ORDER BY id")
    found = flow(*RUN)
    check_message(found.err, ("the stored watermark 3", "is bigint, the column is now timestamp"), "--full-refresh")
    assert found.code == 1
    assert stored(project / "warehouse.duckdb", "SELECT id, name FROM main.t ORDER BY id") == before


def test_rows_without_a_watermark_are_read_each_time_row_90(
    project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(project, Case("90", RUN, (), module=pipeline(f'{MERGE}, watermark_column="amount"')), monkeypatch)
    for amount in ("9.5", "10.5"):
        (project / "data" / "orders.csv").write_text(f"id,name,amount\n1,ann,\n2,bob,{amount}\n")
        assert flow(*RUN).code == 0
    assert stored(project / "warehouse.duckdb", "SELECT id, amount::text FROM main.t ORDER BY id") == [
        (1, None),
        (2, "10.5"),
    ]


def stored(file: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a DuckDB file."""
    with duckdb.connect(str(file), read_only=True) as connection:
        found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return found
