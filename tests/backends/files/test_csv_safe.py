"""`csv_safe`: no text in a CSV file begins like a formula, and each is read as it was written (X22)."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ematix_nb import DuckDBConnection, ObjectStoreLocalConnection, Target, register_connection
from ematix_nb.connections import connection_from_url
from ematix_nb.declare import registry
from ematix_nb.declare.data_types import TEXT
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import DeclarationError
from ematix_nb.verbs.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.verbs.results import RunResult

SIGNS = ("=", "+", "-", "@", "\t", "\r")
NOTES = ["=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\tx", "\rx", "'=1", "''", "'it is", "a=b", "", None]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A DuckDB table `src` with an id, a note and a number."""
    with registry.scratch():
        with duckdb.connect(str(tmp_path / "s.duckdb")) as source:
            source.execute("CREATE TABLE src (id INT, note VARCHAR, number INT)")
            source.executemany("INSERT INTO src VALUES (?, ?, ?)", [(i, note, -i) for i, note in enumerate(NOTES)])
        register_connection(DuckDBConnection(name="duck", path=str(tmp_path / "s.duckdb")))
        register_connection(ObjectStoreLocalConnection(name="lake", path=str(tmp_path), format="csv"))
        register_connection(ObjectStoreLocalConnection(name="safe", path=str(tmp_path), format="csv", csv_safe=True))
        yield tmp_path


def load(target: Any, sql: str = "SELECT id, note, number FROM src", **options: Any) -> RunResult:
    """Append the table."""
    given = {"mode": "append", "source_connection": "duck", "name": "p", **options}
    return run(build_pipeline(sql=sql, target=target, **given)).raise_for_status()


def cells(folder: Path) -> list[list[str]]:
    """What a spreadsheet would find below the header."""
    (file,) = (folder / "out").glob("*.csv")
    return list(csv.reader(io.StringIO(file.read_bytes().decode(), newline="")))[1:]


@pytest.mark.parametrize("target", ["safe:out", Target(table="lake:out", csv_safe=True)], ids=["connection", "target"])
def test_no_text_begins_like_a_formula(target: Any, folder: Path) -> None:
    load(target)
    found = cells(folder)
    assert [row[1] for row in found][:7] == [f"'{note}" for note in NOTES[:7]]
    assert [row[1] for row in found][7:] == [note or "" for note in NOTES[7:]]
    assert not [row for row in found if row[1].startswith(SIGNS)]
    assert found[3][2] == "-3", "numbers stay numbers"


def test_without_it_texts_are_written_as_they_are(folder: Path) -> None:
    load("lake:out")
    assert [row[1] for row in cells(folder)] == [note or "" for note in NOTES]


def test_what_is_read_is_what_was_written(folder: Path) -> None:
    load("safe:out")
    load("duck:main.back", 'SELECT id, note FROM "out"', source_connection="safe", name="back")
    with duckdb.connect(str(folder / "s.duckdb")) as back:
        assert back.execute("SELECT note FROM back ORDER BY id").fetchall() == [(note,) for note in NOTES]


def test_rows_of_the_overlap_are_known_again(folder: Path) -> None:
    """A row that was made safe equals the one of the source."""
    options: dict[str, Any] = {"incremental": True, "watermark_column": "id", "overlap": 100}
    assert load("safe:out", **options).counts["rows_inserted"] == len(NOTES)
    assert load("safe:out", **options).counts["rows_inserted"] == 0


def test_a_column_that_begins_like_a_formula_is_refused(folder: Path) -> None:
    with pytest.raises(
        DeclarationError, match="column `=x` begins like a formula, and `csv_safe` is set\nhint: give it"
    ):
        load("safe:out", 'SELECT id, note AS "=x" FROM src')
    assert not list((folder / "out").glob("*.csv"))


def test_in_a_url() -> None:
    assert connection_from_url("lake", "file:///data?format=csv&csv_safe=true").csv_safe is True  # type: ignore[attr-defined]


@given(st.text(st.sampled_from([*SIGNS, "'", "a", "\n", "😀"]), max_size=6))
def test_any_text_comes_back(text: str) -> None:
    import pyarrow as pa

    from ematix_nb.backends.files.csv_files import _as_written, _safe

    safe = _safe(pa.array([text]), TEXT)
    assert not safe[0].as_py().startswith(SIGNS)
    assert _as_written(safe, TEXT)[0].as_py() == text
