"""Rows as frames of the notebook: `%%flow query`, and a frame in place of a pipeline's target."""

from __future__ import annotations

import datetime as dt
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ematix_nb import ematix
from ematix_nb.declare import registry
from ematix_nb.errors import DeclarationError, FlowError, MissingDriverError, SqlError, UnknownNameError, UsageError
from ematix_nb.export.module import export_notebook
from tests.support.notebooks import notebook_cells

ODD = (
    "SELECT 9223372036854775807 AS id, CAST('12345678901234567890.12' AS DECIMAL(22, 2)) AS amount,\n"
    "  NULL::date AS day, TIMESTAMPTZ '2026-10-25 00:30:00.000001+00' AS at, [1, NULL] AS list, 'é😀' AS name"
)
ROW = {
    "id": 2**63 - 1,
    "amount": Decimal("12345678901234567890.12"),
    "day": None,
    "at": dt.datetime(2026, 10, 25, 0, 30, 0, 1, tzinfo=dt.UTC),
    "list": [1, None],
    "name": "é😀",
}
KINDS = {"polars": pl.DataFrame, "pandas": pd.DataFrame, "arrow": pa.Table}


def as_rows(frame: Any) -> list[dict[str, Any]]:
    """The rows in Python's types."""
    if isinstance(frame, pd.DataFrame):
        frame = pa.Table.from_pandas(frame)
    rows: list[dict[str, Any]] = frame.to_arrow().to_pylist() if isinstance(frame, pl.DataFrame) else frame.to_pylist()
    return rows


@pytest.mark.parametrize("library", KINDS)
def test_a_query_gives_a_variable_its_rows_exactly(notebook: Any, library: str) -> None:
    card = notebook.cell(f"%%flow query odd --from src --into {library}\n{ODD}\n")
    frame = notebook.shell.user_ns["odd"]
    assert type(frame) is KINDS[library]
    assert as_rows(frame) == [ROW]
    assert card.to_text().splitlines()[:3] == [
        f"frame odd: 1 row, 6 columns ({library})",
        "  id      int64",
        "  amount  decimal128(22, 2)",
    ]
    assert "<b>frame odd: 1 row, 6 columns" in card.to_html()


def test_polars_and_all_rows_unless_said_otherwise(notebook: Any) -> None:
    notebook.cell("%%flow query some --from src\nSELECT id FROM t ORDER BY id -- all of them\n")
    assert notebook.cell("some['id'].to_list()") == list(range(60))
    notebook.cell("%%flow query some --from src --limit 3\nSELECT id FROM t ORDER BY id\n")
    assert notebook.cell("some['id'].to_list()") == [0, 1, 2]


def test_a_pipeline_goes_into_a_frame_in_place_of_its_target(notebook: Any) -> None:
    assert notebook.cell("rows = %flow run orders --into pandas") is None
    rows = notebook.shell.user_ns["rows"]
    assert isinstance(rows, pd.DataFrame)
    assert rows["name"].tolist() == [f"name {number}" for number in range(5)]
    assert not Path("tgt.duckdb").exists()


def test_a_pipeline_of_a_module(notebook: Any) -> None:
    Path("more.py").write_text(
        "from ematix_nb import ematix\n"
        "@ematix.pipeline(target='tgt:more', source_connection='src')\ndef more():\n    return 'SELECT 7 AS id'\n"
    )
    notebook.cell("rows = %flow run more --module more.py --into arrow")
    assert notebook.shell.user_ns["rows"].to_pylist() == [{"id": 7}]


def test_the_same_by_the_handle_in_python(notebook: Any) -> None:
    @ematix.pipeline(target="tgt:out", source_connection="src", mode="truncate", column_map={"number": "id"})
    def handled() -> str:
        return "SELECT id, name FROM t ORDER BY id"

    frame = handled.sync(into="polars", limit=2)
    assert frame.to_dict(as_series=False) == {"number": [0, 1], "name": ["name 0", "name 1"]}
    assert str(handled.sync(into="pandas", limit=1, arrow_types=False).dtypes["number"]) == "int64"
    assert isinstance(handled.sync(into="arrow"), pa.Table)
    assert not Path("tgt.duckdb").exists()
    with pytest.raises(DeclarationError, match="frames of polars have no option `mode`"):
        handled.sync(into="polars", mode="append")


def test_a_frame_is_a_source(notebook: Any) -> None:
    """Out of one system by SQL, through polars, into another."""
    notebook.cell("%%flow query few --from src\nSELECT id, amount FROM t WHERE id < 3\n")
    notebook.cell(
        "from ematix_nb import ematix\n"
        "@ematix.pipeline(target='tgt:scores', source_connection='src', mode='truncate')\n"
        "def scores(conn):\n    return few.with_columns(score=few['amount'] * 2)\n"
    )
    assert notebook.cell("scores.sync().rows_inserted") == 3
    assert notebook.cell("scores.sync(into='polars')['score'].to_list()") == [0, 20, 40]


@pytest.mark.parametrize(
    ("cell", "error", "message"),
    [
        ("%%flow query x --from src --into polrs\nSELECT 1", DeclarationError, "`polrs` is no library.*`polars`"),
        ("%%flow query x --from src --to tgt\nSELECT 1", UsageError, "unknown option `--to`"),
        ("%%flow query x --from src --source src\nSELECT 1", UsageError, "unknown option `--source`.*`--from`"),
        ("%%flow query x\nSELECT 1", UsageError, "`--from` is missing"),
        ("%%flow query --from src\nSELECT 1", UsageError, "the name of the query is missing"),
        ("%%flow query my-rows --from src\nSELECT 1", DeclarationError, "`my-rows` is not a name.*`my_rows` is one"),
        ("%%flow query class --from src\nSELECT 1", DeclarationError, "`class` is not a name for a query"),
        ("%%flow query x --from srk\nSELECT 1", UnknownNameError, "srk.*`src`"),
        ("%%flow query x --from src\n-- later\n", DeclarationError, "there are only comments in the cell"),
        ("%%flow query x --from src\nDELETE FROM t", SqlError, "only SELECT"),
        ("%%flow query x --from src\nSELECT\n  nosuch FROM t", SqlError, "nosuch"),
        ("%%flow query x --from src --limit 0\nSELECT 1 AS a", UsageError, "limit must be a whole number from 1"),
        ("%flow run orders --into spark", UsageError, "spark.*polars"),
        ("%flow run orders --into", UsageError, "--into"),
        ("%flow run nosuch --into polars", UnknownNameError, "nosuch"),
        ("%flow run orders orders --into polars", UsageError, "--into takes one pipeline, got 2"),
        ("%flow run orders --into polars --full-refresh", UsageError, "`--full-refresh` means nothing with `--into`"),
        ("%flow run orders --into polars --format json", UsageError, "`--format` means nothing with `--into`"),
        ("%flow run orders --into polars --profile nosuch", FlowError, "nosuch"),
        ("%flow run orders --into polars --bg", UsageError, "`--bg` means nothing with `--into`"),
    ],
)
def test_wrong_lines_leave_everything_as_it_was(notebook: Any, cell: str, error: type[FlowError], message: str) -> None:
    notebook.shell.user_ns["x"] = "kept"
    result, _ = notebook.run(cell)
    with pytest.raises(error, match=f"(?s){message}"):
        result.raise_error()
    assert notebook.shell.user_ns["x"] == "kept"
    assert not Path("tgt.duckdb").exists()


@pytest.mark.parametrize(
    "line", ["%%flow query x --from src --into pandas\nSELECT 1 AS a", "%flow run orders --into pandas"]
)
def test_a_library_that_is_not_there(notebook: Any, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    result, _ = notebook.run(line)
    with pytest.raises(MissingDriverError, match=r"pandas is not installed\nhint: pip install pandas"):
        result.raise_error()


def test_completion_and_help(notebook: Any) -> None:
    complete = notebook.shell.find_line_magic("flow").__self__.complete
    assert complete(["query", "x", "--"], "") == ["--from", "--into", "--limit"]
    assert complete(["query", "x", "--into", "p"], "") == ["pandas", "polars", "preview", "pyspark"]
    assert complete(["query", "x", "--from", "s"], "") == ["src"]
    assert complete(["run", "orders", "--into", "a"], None) == ["arrow"]
    assert "--bg" in complete(["run", "orders", "--"], None)
    assert "--into LIBRARY" in notebook.run("%flow help run")[1]
    assert "%%flow query NAME" in notebook.run("%flow")[1]


def test_an_export_leaves_queries_out_and_names_a_frame_that_it_needs(notebook: Any) -> None:
    cells = [
        "%%flow connection src\nkind = 'duckdb'\npath = 'src.duckdb'",
        "%%flow query few --from src\nSELECT 1 AS id",
        "%%flow pipeline orders --from src --to src:orders2\nSELECT * FROM t",
    ]
    exported = export_notebook(notebook_cells(*cells))
    assert exported.pipelines == ("orders",)
    assert "few" not in exported.text
    needing = "@ematix.pipeline(target='src:x', source_connection='src')\ndef needing(conn):\n    return few\n"
    with pytest.raises(UsageError, match="`few` is a frame that a query read in cell 2"):
        export_notebook(notebook_cells(*cells, f"from ematix_nb import ematix\n{needing}"))


def test_nothing_is_declared(notebook: Any) -> None:
    before = registry.pipelines()
    notebook.cell("%%flow query few --from src\nSELECT 1 AS id\n")
    assert registry.pipelines() == before


@pytest.mark.parametrize("library", KINDS)
def test_a_frame_in_a_variable_can_be_looked_at(notebook: Any, library: str) -> None:
    notebook.cell(f"%%flow query some --from src --into {library}\nSELECT range AS n, range % 3 AS k FROM range(100)\n")
    shown = notebook.cell("%flow preview some --limit 7")
    assert (shown.name, shown.sample.num_rows, shown.complete) == ("some", 7, False)
    assert shown.model.sort("-k", "n").page(0, 3).rows["n"].to_pylist() == [2, 5, 8]
    assert notebook.cell("p = %flow preview some\np.covers") == ("the first 50 rows of the source; it has more")
    assert (
        notebook.cell("p.arrow().schema.metadata[b'ematix_nb.covers']")
        == b"the first 50 rows of the source; it has more"
    )
    assert notebook.cell("p.pandas(limit=2).attrs['covers']") == "rows 1 to 2; there are more"
    assert notebook.cell("p.polars().height") == 50


def test_a_pipeline_comes_before_a_frame_of_its_name(notebook: Any) -> None:
    notebook.cell("%%flow pipeline both --from src --to src:out\nSELECT 1 AS id\n")
    notebook.shell.user_ns["both"] = pa.table({"x": [1, 2]})
    assert notebook.cell("%flow preview both").sample.column_names == ["id"]


def test_what_is_no_frame_is_no_preview(notebook: Any) -> None:
    notebook.shell.user_ns["number"] = 5
    with pytest.raises(UnknownNameError, match="there is no pipeline `number`"):
        notebook.cell("%flow preview number")
    notebook.shell.user_ns["frame"] = pa.table({"x": [1]})
    with pytest.raises(UsageError, match="`frame` is a frame, which holds no versions"):
        notebook.cell("%flow preview frame --as-of 2026-01-01")


def test_a_query_can_be_looked_at_without_its_rows(notebook: Any) -> None:
    shown = notebook.cell(
        "%%flow query big --from src --into preview --limit 3\nSELECT range AS n FROM range(100000)\n"
    )
    assert notebook.shell.user_ns["big"] is shown
    assert (shown.name, shown.sample["n"].to_pylist(), shown.complete) == ("big", [0, 1, 2], False)
    assert shown.model.sort("-n").page(0, 1).rows["n"].to_pylist() == [99_999]
    with pytest.raises(SqlError, match="only SELECT can be a source"):
        notebook.cell("%%flow query big --from src --into preview\nDELETE FROM t\n")
