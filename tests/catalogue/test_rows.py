"""Rows 96 to 127 of the catalogue: wrong queries, tables and values, told alike by `flow`, cells and Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from tests.catalogue.case import SETTINGS, Case, check_message
from tests.catalogue.conftest import lay_out
from tests.catalogue.told import RUN, told

if TYPE_CHECKING:
    from pathlib import Path

    from tests.catalogue.conftest import Flow, Notebook

FILE = 'SELECT * FROM "{}"'
OTHER = """
[connections.closed]
kind = "duckdb"
path = "warehouse.duckdb"
read_only = true

[connections.lite]
kind = "sqlite"
path = "lite.db"
"""
DIM = """\
@ematix.table(schema="main")
class Dim:
    id: Annotated[BigInt, pk()]
    {}


"""
TO_DIM = 'target=Dim, target_connection="warehouse", mode="append"'


@dataclass(frozen=True)
class Problem:
    """A pipeline that cannot load, and what has to be said."""

    row: str
    sql: str
    says: tuple[str, ...]
    hint: str = ""
    code: int = 1
    source: str = "lake"
    options: str = 'target="warehouse:main.t", mode="append"'
    table: str = ""
    """A declared table's second column."""
    files: dict[str, str | bytes] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    """Statements that make the warehouse what it is."""

    def module(self) -> str:
        """The pipeline `p`."""
        options = TO_DIM if self.table else self.options
        head = DIM.format(self.table) if self.table else ""
        text = (
            f'@ematix.pipeline({options}, source_connection="{self.source}")\ndef p(conn):\n    return {self.sql!r}\n'
        )
        return head + text


KEYED = 'target="warehouse:main.t", mode="merge", keys=("id",)'
LITE = 'target="lite:t", mode="append"'
CLOSED = 'target="closed:main.t", mode="append"'
FROZEN = 'target="warehouse:main.t", mode="append", on_drift="freeze"'
ONE_KEY = f'{KEYED}, on_duplicate_key="error"'
CONVERT = "convert it in the SELECT"


def of_query(row: str, sql: str, says: tuple[str, ...], hint: str, code: int = 2, **more: Any) -> Problem:
    """A query that cannot be."""
    return Problem(row, sql, says, hint, code, **more)


def of_file(
    row: str, content: str | bytes, says: tuple[str, ...], hint: str, name: str = "x.csv", **more: Any
) -> Problem:
    """A file that cannot be loaded."""
    return Problem(row, FILE.format(name), says, hint, files={f"data/{name}": content}, **more)


def of_table(row: str, sql: str, made: str, says: tuple[str, ...], hint: str, **more: Any) -> Problem:
    """A target that is there already, and does not fit."""
    return Problem(row, f'{sql} FROM "orders.csv"', says, hint, before=(made,), **more)


PROBLEMS = [
    of_query("96", "SELECT id FROM keptt", ("keptt",), "did you mean `kept`?", source="warehouse", options=LITE),
    of_query("96b", "SELECT idd FROM kept", ("idd",), "columns: id", source="warehouse", options=LITE),
    of_query("97", 'SELECT id FROM "orders.csv"', ("`closed` is read-only",), "name another", options=CLOSED),
    of_query("98", "SELECT id, name AS id FROM kept", ("named `id`",), "an alias", source="warehouse", options=LITE),
    of_query("98b", 'SELECT id, name AS id FROM "orders.csv"', ("id",), "with AS"),
    of_table("99", "SELECT id", "CREATE VIEW t AS SELECT 1 AS id", ("`main.t` is a view",), "name a table"),
    of_table(
        "100",
        "SELECT id",
        "CREATE TABLE t (id BIGINT, must TEXT NOT NULL)",
        ("column `must` of `main.t` is NOT NULL",),
        "select `must`",
    ),
    of_table(
        "103",
        'SELECT id, name AS "NAME"',
        "CREATE TABLE t (id BIGINT, name TEXT)",
        ("column `NAME` of the source is `name` in the target",),
        'name it AS "name"',
    ),
    of_table(
        "105",
        "SELECT id, name",
        "CREATE TABLE t (id BIGINT, name BIGINT)",
        ("column `name`, row 1: 'ann' does not fit bigint",),
        CONVERT,
    ),
    of_table(
        "106",
        "SELECT id, name, amount",
        "CREATE TABLE t (id BIGINT, name TEXT)",
        ("the target `main.t` does not fit", "amount"),
        "on_drift='evolve'",
        options=FROZEN,
    ),
    of_file("108", "id,name\n1,a\n,b\n", ("1 row has no value in a key column (id)",), "filter", options=KEYED),
    of_file("109", "id,name\n1,a\n1,b\n", ("rows with the same key (id): 1",), "unique", options=ONE_KEY),
    of_file("112", b"id,name\n1,\xff\xfe\n", ("x.csv", "the text is not UTF-8"), "convert the file"),
    of_file(
        "113",
        "id,name\n9223372036854775808,a\n",
        ("column `id`, row 1: '9223372036854775808' does not fit bigint",),
        CONVERT,
        table="name: Text | None",
    ),
    of_file(
        "114", "id,amount\n1,123456.789\n", ("`amount`, row 1", "numeric(4,2)"), CONVERT, table="amount: Numeric[4, 2]"
    ),
    of_file("117", "id,when\n1,2026-13-01\n", ("`when`, row 1: '2026-13-01'",), CONVERT, table="when: Date | None"),
    of_file("119", "id,flag\n1,maybe\n", ("`flag`, row 1: 'maybe'",), CONVERT, table="flag: Boolean | None"),
    of_file("121", "id,name\n1,a\n2,b,c\n", ("x.csv, line 3", "Expected 2 columns, got 3"), "`csv_delimiter`"),
    of_file("121b", 'id,name\n1,"a\n2,b\n', ("x.csv, line 2", "never closed"), "correct the file"),
    of_file("121c", "id,id\n1,2\n", ("x.csv, line 1", "`id` stands twice"), "correct the header"),
    of_file("122", '{"id": 1}\n{"id": 2\n', ("x.jsonl", "line 2"), "cut off", "x.jsonl"),
    of_file("122b", '[{"id": 1}]\n', ("x.jsonl, line 1", "found list"), "one object a line", "x.jsonl"),
    of_file("123", b"", ("no data files in `x.parquet`",), "0 bytes", "x.parquet"),
    of_file("123b", b"no parquet at all", ("x.parquet: not a Parquet file",), "remove it", "x.parquet"),
    of_file("123c", b"PAR1" + b"\0" * 40 + b"PAR1", ("x.parquet: the footer is broken",), "again", "x.parquet"),
    Problem(
        "124",
        FILE.format("x/*.csv"),
        ("column `id` is bigint in x/a.csv and boolean in x/b.csv",),
        "separate patterns",
        files={"data/x/a.csv": "id\n1\n", "data/x/b.csv": "id\ntrue\n"},
    ),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.row)
def test_a_load_that_cannot_be(
    problem: Problem, project: Path, flow: Flow, bare: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"from ematix_nb.types import Date\n\n{problem.module()}"
    case = Case(problem.row, RUN, (), module=module, settings=SETTINGS + OTHER, files=problem.files)
    lay_out(project, case, monkeypatch)
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        for statement in problem.before:
            warehouse.execute(statement)
    before = stored(project)
    for text in told(problem.code, flow, bare).values():
        check_message(text, problem.says, problem.hint)
    assert stored(project) == before


def stored(project: Path) -> dict[str, object]:
    """The warehouse's tables with their columns and rows, but for the engine's own."""
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        columns = warehouse.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'main' ORDER BY ALL"
        ).fetchall()
        return {
            table: (
                [row for row in columns if row[0] == table],
                warehouse.execute(f"SELECT t::text FROM main.{table} AS t").fetchall(),
            )
            for table in sorted({row[0] for row in columns})
        }


def test_markers_and_hidden_files_are_skipped_row_125(
    project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, str | bytes] = {"data/x/a.csv": "id\n1\n", "data/x/_SUCCESS": b"", "data/x/.a.csv.crc": b"x"}
    problem = Problem("125", FILE.format("x/*"), ())
    lay_out(project, Case("125", RUN, (), module=problem.module(), files=files), monkeypatch)
    found = flow("preview", "p")
    assert found.code == 0, found
    assert "1 (all rows of the source)" in found.out
    assert flow(*RUN).code == 0


def test_an_empty_source_keeps_the_target_row_127(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem("127", FILE.format("x.csv"), (), options='target="warehouse:main.t", mode="truncate"')
    lay_out(project, Case("127", RUN, (), module=problem.module(), files={"data/x.csv": "id\n1\n"}), monkeypatch)
    assert flow(*RUN).code == 0
    before = stored(project)["t"]
    (project / "data" / "x.csv").write_text("id\n")
    found = flow(*RUN)
    assert (found.code, stored(project)["t"]) == (0, before)
    assert "warning" in found.out
    assert "kept" in found.out
