"""`%%flow check`, `%flow check` and `--no-checks`, and the module that a notebook with checks becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.errors import CheckFailedError, UnknownNameError, UsageError
from ematix_nb.export.module import export_notebook
from tests.support.notebooks import module_fingerprints, notebook_cells, ruff

if TYPE_CHECKING:
    from pathlib import Path

CELLS = [
    '%%flow connection wh\nkind = "duckdb"\npath = "wh.duckdb"',
    '%%flow pipeline orders --from wh --to wh:orders --check "not_null(id)"\nSELECT 1 AS id, -5 AS amount',
    (
        "%%flow check orders\n# what accounting asked for\nwarn: id > 1\namount >= 0\n"
        "SELECT id FROM target WHERE amount = '\"x\"'"
    ),
]


@pytest.fixture
def checked(notebook: Any, tmp_path: Path) -> Any:
    import duckdb

    duckdb.connect(str(tmp_path / "wh.duckdb")).close()
    for cell in CELLS[:2]:
        notebook.cell(cell)
    return notebook


def test_a_cell_adds_checks_and_a_failing_one_blocks_the_run(checked: Any) -> None:
    card = checked.cell(CELLS[2].replace(" WHERE amount = '\"x\"'", " WHERE id = 7"))
    assert card.to_text().splitlines()[:3] == [
        "check orders: declared",
        '  check        sql("id > 1", on_fail="warn")',
        '  check        sql("amount >= 0")',
    ]
    shown = checked.cell("%flow check orders")
    assert shown.exit_code == 1
    assert [row[2:5] for row in shown.rows] == [
        ('not_null("id")', "passed", 0),
        ('sql("id > 1", on_fail="warn")', "warned", 1),
        ('sql("amount >= 0")', "failed", 1),
        ('sql("SELECT id FROM target WHERE id = 7")', "passed", 0),
    ]
    assert shown.rows[2][5] == "1 row breaks it: id=1, amount=-5"
    failed, text = checked.run("%flow run orders")
    assert isinstance(failed.error_in_exec, CheckFailedError)
    assert "id=1, amount=-5" in text
    assert checked.cell("%flow run orders --no-checks").status == "success"
    assert checked.cell("%%flow check orders\namount < 0").state() == "replaced"
    assert checked.cell("%flow run orders").status == "success"
    assert checked.cell("%flow check orders").exit_code == 0


def test_checks_of_an_unknown_pipeline_are_refused(checked: Any) -> None:
    failed, _ = checked.run("%%flow check oders\nid > 0")
    assert isinstance(failed.error_in_exec, UnknownNameError)


def test_completion(checked: Any) -> None:
    from ematix_nb.magics.cells import complete_cell

    assert complete_cell(["ch"]) == ["check"]
    assert complete_cell(["check", "or"]) == ["orders"]
    assert "--check" in complete_cell(["pipeline", "orders", "--ch"])


def test_an_export_says_the_same(checked: Any, tmp_path: Path) -> None:
    checked.cell(CELLS[2])
    made = export_notebook(notebook_cells(*CELLS)).text
    assert "ematix.check(\n" in made
    assert ruff("format", "--check", text=made) == ""
    (tmp_path / "made.py").write_text(made)
    assert module_fingerprints(tmp_path, "made")["orders"] == fingerprint(registry.get_pipeline("orders"))
    with pytest.raises(UsageError, match="the checks are those of pipeline `orders`, which no exported cell declares"):
        export_notebook(notebook_cells(CELLS[0], CELLS[2]))
