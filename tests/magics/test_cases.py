"""`%%flow test`: a pipeline is tried on a few rows, in DuckDB, whatever its systems are."""

from __future__ import annotations

from typing import Any

import pytest

from ematix_nb.declare import registry
from ematix_nb.errors import DeclarationError, FlowError, RunError, UnknownNameError, UsageError

GOOD = """%%flow test orders --name second
given t
id, name, amount
1, one, 10
2, two, 20
7, seven, 70

target
id, name, amount
1, old, 1
9, nine, 9

expect
id, name, amount
1, one, 10
2, two, 20
9, nine, 9
"""


def test_a_test_that_passes(notebook: Any) -> None:
    found = notebook.cell(GOOD)
    assert found.to_text() == "test orders / second: passed (3 rows)"
    assert found.passed
    assert found.to_dict()["counts"]["rows_updated"] == 1
    assert "passed (3 rows)" in found.to_html()
    assert notebook.cell("%flow status").pipelines[0].states == ("never ran",)


def test_a_test_that_fails_shows_the_cells_that_differ_and_fails_the_cell(notebook: Any) -> None:
    result, shown = notebook.run(GOOD.replace("1, one, 10\n2, two, 20\n9", "1, eins, 10\n3, drei, 30\n9"))
    assert isinstance(result.error_in_exec, RunError)
    assert "test orders / second: failed: 2 rows missing, 2 rows not expected" in shown
    assert "  ~ id=1: name is one, expected eins\n" in shown
    assert "  - id=3, name=drei, amount=30\n" in shown
    assert "  + id=2, name=two, amount=20\n" in shown


@pytest.mark.parametrize(
    ("old", "new", "kind", "message"),
    [
        ("given t\n", "given tt\n", UnknownNameError, "the test gives no rows of `t`"),
        ("id, name, amount\n1, one, 10\n2, two, 20\n9", "id, nmae, amount\n1, one, 10\n2, two, 20\n9", UnknownNameError,
         "the target has no column `nmae`"),
        ("1, one, 10\n2, two, 20\n9", "x, one, 10\n2, two, 20\n9", UsageError, "row 1 of `expect` does not fit"),
        ("test orders", "test ordres", UnknownNameError, "there is no pipeline `ordres`"),
        ("expect\n", "", DeclarationError, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_clear_error(
    notebook: Any, old: str, new: str, kind: type[FlowError], message: str
) -> None:
    result, shown = notebook.run(GOOD.replace(old, new))
    assert isinstance(result.error_in_exec, kind)
    assert message in shown
    assert len(shown.strip().splitlines()) <= 6


def test_queries_of_other_systems_are_translated(notebook: Any) -> None:
    notebook.cell("%%flow connection far\nkind = 'postgres'\nurl = 'postgres://me@127.0.0.1:1/none'\n")
    notebook.cell("%%flow connection files\nkind = 'object_store_local'\npath = 'nowhere'\nformat = 'parquet'\n")
    notebook.cell(
        "%%flow pipeline shop --from far --to far:analytics.shop --mode scd2 --keys id --late-rows overlap\n"
        "SELECT o.id, o.status::text || '!' AS status, to_char(o.at, 'YYYY') AS year FROM raw.orders o\n"
    )
    found = notebook.cell(
        "%%flow test shop\ngiven raw.orders\nid, status, at timestamp\n1, new, 2026-01-01 00:00:00\n\n"
        "target\nid, status, year, valid_from timestamptz, valid_to timestamptz, is_current boolean, row_hash bytes\n\n"
        "expect\nid, status, year, is_current\n1, new!, 2026, true\n"
    )
    assert found.passed
    notebook.cell('%%flow pipeline lake --from files --to far:lake\nSELECT n FROM "events/*.parquet" WHERE n > 1\n')
    assert notebook.cell("%%flow test lake\ngiven events/*.parquet\nn\n1\n2\n\nexpect\nn\n2\n").passed
    notebook.cell(
        "%%flow pipeline lines --from files --to files:out --mode append\n"
        'SELECT a.n, b.name FROM "a.csv" AS a JOIN things AS b ON a.n = b.n\n'
    )
    assert notebook.cell(
        '%%flow test lines\ngiven "a.csv"\nn\n1\n2\n\ngiven things\nn, name\n2, two\n\nexpect\nn, name\n2, two\n'
    ).passed


def test_functions_and_values_are_tested_too(notebook: Any) -> None:
    notebook.cell(
        "from ematix_nb import ematix\n\n"
        "@ematix.pipeline(target='tgt:made', source_connection='src')\n"
        "def made(conn):\n"
        "    (least,) = conn.fetch('SELECT min(id) FROM t')[0]\n"
        "    return f'SELECT id FROM t WHERE id > {least}'\n"
    )
    assert notebook.cell("%%flow test made\ngiven t\nid\n3\n4\n\nexpect\nid\n4\n").passed
    notebook.cell("least = 4")
    notebook.cell("%%flow pipeline some --from src --to tgt:some\nSELECT id FROM t WHERE id >= {{least}}")
    assert notebook.cell("%%flow test some\ngiven t\nid\n3\n4\n\nexpect\nid\n4\n").passed
    assert "some" in registry.pipelines()
