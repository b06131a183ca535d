"""`{{name}}` in cells: the notebook's variables as values."""

from __future__ import annotations

from typing import Any

import pytest

from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.errors import DeclarationError, SqlError, UnknownNameError
from ematix_nb.export.module import export_notebook
from tests.support.notebooks import notebook_cells

CELL = (
    "%%flow pipeline some --from src --to tgt:some --mode merge --keys id\n"
    "SELECT id, '{{name}} 5%' AS text, name::text AS name FROM t -- {{no}}\nWHERE id IN {{ids}} OR name = {{name}}\n"
)
VALUES = "ids = [1, 2]\nname = 'name 7'\n"


def test_a_pipeline_takes_the_values_that_the_variables_have_when_its_cell_runs(notebook: Any) -> None:
    notebook.cell(VALUES)
    card = notebook.cell(CELL)
    assert "  parameter    name = name 7" in card.to_text().splitlines()
    notebook.cell("ids = [9]")
    rows = notebook.cell("%flow preview some").to_arrow().to_pylist()
    assert [(row["id"], row["text"]) for row in rows] == [(1, "{{name}} 5%"), (2, "{{name}} 5%"), (7, "{{name}} 5%")]
    changed = 'params: {"ids": [1, 2], "name": "name 7"} -> {"ids": [9], "name": "name 7"}'
    assert notebook.cell(CELL).replaced == (changed,)


def test_a_query_cell_takes_them(notebook: Any) -> None:
    notebook.cell('least, wanted = 2, "name 3\' OR 1=1 --"')
    notebook.cell("%%flow query found --from src\nSELECT id FROM t WHERE id < {{least}} OR name = {{ wanted }}")
    assert notebook.shell.user_ns["found"]["id"].to_list() == [0, 1]


@pytest.mark.parametrize(
    ("cell", "kind", "message"),
    [
        ("SELECT {{nmae}} AS x", UnknownNameError, "`{{nmae}}` has no value: no variable `nmae` is set"),
        ("SELECT {{odd}} AS x", DeclarationError, "the value of `{{odd}}` is a object, which cannot be bound"),
        ("SELECT 1 AS x;\nSELECT {{name}} AS x", SqlError, ""),
    ],
)
def test_what_is_wrong_is_one_clear_error(notebook: Any, cell: str, kind: type[Exception], message: str) -> None:
    notebook.cell("name = 'x'; odd = object()")
    for first in ("pipeline p --from src --to tgt:p", "query q --from src"):
        result, shown = notebook.run(f"%%flow {first}\n{cell}")
        assert isinstance(result.error_in_exec, kind)
        assert message in shown
    assert "p" not in registry.pipelines()


def test_the_variables_come_along_into_the_module(notebook: Any, tmp_path: Any) -> None:
    notebook.cell(VALUES)
    notebook.cell(CELL)
    text = export_notebook(notebook_cells(VALUES, CELL)).text
    assert 'params={"ids": ids, "name": name},' in text
    assert text.index("ids = [1, 2]") < text.index("@ematix.pipeline")
    (tmp_path / "some_module.py").write_text(text)
    in_cell = fingerprint(registry.get_pipeline("some"))
    with registry.scratch():
        exec(compile(text, "some_module.py", "exec"), {})
        assert fingerprint(registry.get_pipeline("some")) == in_cell


def test_the_limit_is_a_setting(notebook: Any) -> None:
    notebook.cell("%config FlowMagics.limit = 2")
    assert notebook.cell("%flow preview src:t").to_arrow().num_rows == 2
    assert notebook.cell("%flow preview src:t --limit 3").to_arrow().num_rows == 3
    notebook.cell("%config FlowMagics.limit = 50")


def test_a_plan_counts_when_it_is_asked(notebook: Any) -> None:
    notebook.cell("%flow run orders")
    notebook.cell(
        "%%flow pipeline orders --from src --to tgt:orders --mode merge --keys id\n"
        "SELECT id, CASE WHEN id = 2 THEN 'new' ELSE name END AS name, amount FROM t WHERE id < 7\n"
    )
    assert notebook.cell("p = %flow plan orders\n(p.inserts, p.updates, p.deletes)") == (2, 1, 0)
    counted = notebook.cell("%flow plan orders --counts")
    assert counted.to_text().splitlines()[-1] == (
        "counts: 7 read, 2 inserted, 1 updated, 4 unchanged (executed and rolled back)"
    )
    assert counted.to_dict()["counts"]["rows_inserted"] == 2
    assert "counts:" not in notebook.cell("%flow plan orders").to_text()
    assert [run.status for run in notebook.cell("%flow runs orders").records] == ["success"]
