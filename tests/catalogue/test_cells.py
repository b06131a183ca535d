"""Rows 1 to 23 of the catalogue: cells and `%flow` lines of a notebook that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from ematix_nb.declare import registry
from tests.catalogue.case import check_message, contents

if TYPE_CHECKING:
    from pathlib import Path

    from tests.catalogue.conftest import Notebook

SELECT = 'SELECT id, name, amount FROM "orders.csv"\n'
TO = "--from lake --to warehouse:main.t"


class Cell(NamedTuple):
    """A wrong cell."""

    row: str
    source: str
    error: str
    """The class of the error."""
    says: tuple[str, ...]
    hint: str


CELLS = [
    Cell(
        "1",
        "%%flow\nSELECT 1\n",
        "UsageError",
        ("connection NAME", "table [SCHEMA.]NAME", "pipeline NAME"),
        "begin the cell with one of",
    ),
    Cell(
        "2", f"%%flow pipline p {TO}\n{SELECT}", "UsageError", ("unknown `%%flow pipline`",), "did you mean `pipeline`?"
    ),
    Cell(
        "3",
        f"%%flow pipeline\n{SELECT}",
        "UsageError",
        ("name of the pipeline is missing",),
        "%%flow pipeline NAME --to",
    ),
    Cell(
        "3b",
        f"%%flow pipeline {TO}\n{SELECT}",
        "UsageError",
        ("name of the pipeline is missing",),
        "%%flow pipeline NAME --to",
    ),
    Cell(
        "4",
        f"%%flow pipeline my pipe {TO}\n{SELECT}",
        "DeclarationError",
        ("`my pipe` is not a name",),
        "`my_pipe` is one",
    ),
    Cell(
        "4b", f"%%flow pipeline 1abc {TO}\n{SELECT}", "DeclarationError", ("`1abc` is not a name",), "`p_1abc` is one"
    ),
    Cell(
        "4c", f"%%flow pipeline class {TO}\n{SELECT}", "DeclarationError", ("`class` is not a name",), "`class_` is one"
    ),
    Cell("6", f"%%flow pipeline p {TO}\n\n", "DeclarationError", ("no SQL in the cell",), "write a SELECT"),
    Cell(
        "7",
        f"%%flow pipeline p {TO}\n-- later\n/* or never */\n",
        "DeclarationError",
        ("there are only comments in the cell",),
        "write a SELECT",
    ),
    Cell(
        "8",
        f"%%flow pipeline p --targett warehouse:main.t\n{SELECT}",
        "UsageError",
        ("unknown option `--targett`", "column 19"),
        "did you mean `--to`?",
    ),
    Cell(
        "8b",
        f"%%flow pipeline p {TO} --moed merge\n{SELECT}",
        "UsageError",
        ("unknown option `--moed`",),
        "did you mean `--mode`?",
    ),
    Cell(
        "9",
        f"%%flow pipeline p {TO} --mode append --mode merge\n{SELECT}",
        "UsageError",
        ("`--mode` is given twice: append, merge",),
        "once",
    ),
    Cell(
        "10", f'%%flow pipeline p --to "warehouse\n{SELECT}', "UsageError", ('unclosed `"` at column 24',), "close it"
    ),
    Cell("10b", '%flow preview "orders', "UsageError", ("No closing quotation",), "close the quote"),
    Cell(
        "11",
        f"%%flow pipeline p {TO} --mode upsert\n{SELECT}",
        "DeclarationError",
        ("`upsert`", "append, truncate, merge, scd2"),
        "merge",
    ),
    Cell(
        "12", f"%%flow pipeline p {TO} --mode merge\n{SELECT}", "DeclarationError", ("merge needs keys",), "--keys id"
    ),
    Cell(
        "73",
        f"%%flow pipeline p {TO} --schedule '61 * * * *'\n{SELECT}",
        "DeclarationError",
        ("minute `61` is not within 0-59", "cell line 1"),
        "such as `0`",
    ),
    Cell(
        "13",
        f"%%flow pipeline p {TO} --mode merge --keys idd\n{SELECT}\n%flow run p",
        "DeclarationError",
        ("`idd`", "id, name, amount"),
        "did you mean `id`?",
    ),
    Cell("14", "%flow preview orders --limit -5", "UsageError", ("`--limit` is `-5`", "1 to 100000"), "--limit 50"),
    Cell("14b", "%flow preview orders --limit abc", "UsageError", ("`--limit` is `abc`", "1 to 100000"), "--limit 50"),
    Cell("14c", "%flow preview orders --limit 1e9", "UsageError", ("`--limit` is `1e9`", "1 to 100000"), "--limit 50"),
    Cell("15", "%flow preview nope", "UnknownNameError", ("no pipeline `nope`",), "orders, stock"),
    Cell("15b", "%flow preview oders", "UnknownNameError", ("no pipeline `oders`",), "did you mean `orders`?"),
    Cell(
        "16",
        f"%%flow pipeline p --from nowhere --to warehouse:main.t\n{SELECT}\n%flow preview p",
        "UnknownNameError",
        ("`nowhere` is not configured", "looked in", "EMATIX_FLOW_DSN_NOWHERE", ".ematix-flow.toml"),
        "[connections.nowhere]",
    ),
    Cell(
        "16b",
        "%flow preview warehous:kept",
        "UnknownNameError",
        ("`warehous` is not configured",),
        "did you mean `warehouse`?",
    ),
    Cell(
        "20",
        f"%%flow pipeline p {TO}\nSELECT 1 AS a;\nSELECT 2 AS a\n",
        "SqlError",
        ("one SELECT only", "line 3, column 1"),
        "a pipeline of its own",
    ),
    Cell(
        "21",
        f"%%flow pipeline p {TO}\nDELETE FROM kept\n",
        "SqlError",
        ("SELECT", "DELETE"),
        "transforms_post",
    ),
    Cell(
        "21b",
        f"%%flow pipeline p {TO}\nDROP TABLE kept\n",
        "SqlError",
        ("SELECT", "DROP"),
        "transforms_post",
    ),
    Cell(
        "21c",
        f"%%flow pipeline p {TO}\nCREATE TABLE x AS SELECT 1\n",
        "SqlError",
        ("SELECT", "CREATE"),
        "transforms_post",
    ),
    Cell(
        "22",
        f'%%flow pipeline p {TO}\nSELECT id,\n  name FORM "orders.csv"\n',
        "SqlError",
        ("line 3, column 13", "              ^"),
        "did you mean `FROM` instead of `FORM`?",
    ),
    Cell(
        "22b",
        f'%%flow pipeline p {TO}\nSELECT id FROM "orders.csv" WHERE (id > 1\n',
        "SqlError",
        ("line 2, column 41",),
        "correct the query there",
    ),
    Cell(
        "22c",
        f'%%flow pipeline p {TO}\nSELECT nme FROM "orders.csv"\n%flow run p',
        "SqlError",
        ("there is no column `nme`",),
        "did you mean `name`?",
    ),
    Cell(
        "22d",
        f'%%flow pipeline p {TO}\nSELECT id FROM "ordres.csv"\n%flow run p',
        "UnknownNameError",
        ("ordres.csv",),
        "orders.csv",
    ),
]


def parts(source: str) -> list[str]:
    """A cell, and a last line of its own cell where it begins with `%flow`."""
    body, mark, line = source.rpartition("\n%flow ")
    return [body + "\n", f"%flow {line}"] if mark else [source]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.row}-{cell.source.splitlines()[0]}"[:50])
def test_a_wrong_cell(cell: Cell, notebook: Notebook, project: Path) -> None:
    before, known = contents(project.parent), sorted(registry.pipelines())
    *first, last = parts(cell.source)
    for source in first:
        notebook.cell(source)
    error, shown = notebook.run(last)
    assert type(error).__name__ == cell.error
    check_message(shown, cell.says, cell.hint)
    assert contents(project.parent) == before
    if not first:
        assert sorted(registry.pipelines()) == known


def test_the_same_name_in_another_cell_replaces_and_tells_what_changed_row_5(notebook: Notebook) -> None:
    shown = notebook.cell(f"%%flow pipeline orders --from lake --to warehouse:main.orders --mode truncate\n{SELECT}")
    assert "pipeline orders: replaced" in shown
    assert "mode: merge -> truncate" in shown


def test_without_the_extension_row_23(bare: Notebook) -> None:
    """IPython itself answers; the extension's name is the one that `pip install ematix-nb` gives."""
    _, shown = bare.run("%flow list")
    assert "%flow" in shown
    assert "not found" in shown
    error, _ = bare.run("%load_ext ematix_nb")
    assert error is None
    bare.cell("%unload_ext ematix_nb")
