from __future__ import annotations

import json
from typing import Any

import pytest

from ematix_nb.declare import registry
from ematix_nb.errors import DeclarationError, RunError, SqlError, UnknownNameError, UsageError
from ematix_nb.export.module import export_notebook
from ematix_nb.verbs.results import PreviewResult, RunResult
from tests.support.notebooks import notebook_cells


def rows_of(path: str, query: str) -> list[tuple[Any, ...]]:
    import duckdb

    with duckdb.connect(path, read_only=True) as connection:
        found: list[tuple[Any, ...]] = connection.execute(query).fetchall()
        return found


def test_flow_alone_lists_the_verbs(notebook: Any) -> None:
    _, shown = notebook.run("%flow")
    assert "preview                   show plan, rows and the changes a run would make; writes nothing" in shown
    assert "run NAME --bg             run in the background" in shown


def test_a_pipeline_cell_shows_what_it_declared(notebook: Any) -> None:
    card = notebook.cell(
        '%%flow pipeline daily --from src --to tgt:daily --mode merge --keys id --schedule "5 3 * * *"\nSELECT 1 AS id'
    )
    assert card.to_text().splitlines()[:-1] == [
        "pipeline daily: declared",
        "  source       src",
        "  target       tgt:daily",
        "  mode         merge on id",
        "  schedule     5 3 * * * (UTC)",
    ]
    assert "<b>pipeline daily</b>" in card.to_html()
    assert card.to_dict()["facts"]["mode"] == "merge on id"


def test_the_same_cell_again_changes_nothing_and_another_says_what(notebook: Any) -> None:
    cell = "%%flow pipeline orders --from src --to tgt:orders --mode {} --keys id\nSELECT * FROM t WHERE id < 5\n"
    assert notebook.cell(cell.format("merge")).state() == "unchanged"
    replaced = notebook.cell(cell.format("scd2"))
    assert replaced.state() == "replaced"
    assert replaced.replaced == ("mode: merge -> scd2",)


def test_a_table_cell_and_what_uses_it(notebook: Any) -> None:
    notebook.cell("%%flow table stock\nid bigint pk\nname text\n")
    notebook.cell("%%flow pipeline stock --from src --to tgt --table stock\nSELECT id, name FROM t\n")
    card = notebook.cell("%%flow table stock\nid bigint pk\nname text\namount bigint\n")
    assert card.to_text().splitlines() == [
        "table stock: replaced",
        "  id       bigint pk",
        "  name     text not null",
        "  amount   bigint not null",
        "  used by  stock",
        "  changed: column added: amount bigint",
    ]


def test_a_connection_cell_hides_and_warns_of_a_literal_secret(notebook: Any) -> None:
    result, shown = notebook.run(
        "%%flow connection far\nkind = 'postgres'\nurl = 'postgres://ann:hunter22@db.test/wh'\n"
    )
    assert "hunter22" not in shown
    assert "hunter22" not in result.result.to_html()
    assert "hunter22" not in json.dumps(result.result.to_dict())
    assert "`url` holds a secret in plain text" in shown


def test_a_preview_is_an_object(notebook: Any) -> None:
    assert notebook.cell("p = %flow preview orders --limit 3") is None
    preview = notebook.shell.user_ns["p"]
    assert isinstance(preview, PreviewResult)
    assert preview.to_arrow().num_rows == 3
    assert not preview.complete
    assert preview.targets[0].expected["insert"] == 3
    bundle = preview._repr_mimebundle_()
    assert sorted(bundle) == ["text/html", "text/plain"]
    assert "preview of orders: src -> tgt:orders (nothing was written)" in bundle["text/plain"]


def test_a_run_gives_its_result(notebook: Any) -> None:
    result, shown = notebook.run("r = %flow run orders\nr")
    assert isinstance(result.result, RunResult)
    assert result.result.rows_inserted == 5
    assert "orders -> tgt:orders: success" in shown
    assert rows_of("tgt.duckdb", "SELECT count(*), max(name) FROM orders") == [(5, "name 4")]


def test_json_gives_plain_values(notebook: Any) -> None:
    found = notebook.cell("%flow preview orders --limit 2 --format json")
    assert found["rows"] == [[0, "name 0", 0], [1, "name 1", 10]]


def test_a_cell_without_a_body_copies_a_table(notebook: Any) -> None:
    notebook.cell("%%flow pipeline copied --from src --to tgt:copied --source-table t")
    assert notebook.cell("%flow preview copied --limit 1").to_arrow().to_pylist() == [
        {"id": 0, "name": "name 0", "amount": 0}
    ]


def test_a_cell_names_what_a_changed_source_means(notebook: Any) -> None:
    line = "%%flow pipeline odd --from src --to tgt:odd --mode append --on-drift quarantine\n"
    notebook.cell(line + "SELECT id FROM t WHERE id < 2\n")
    notebook.cell("%flow run odd")
    notebook.cell(line + "SELECT id, name FROM t WHERE id < 2\n")
    _, shown = notebook.run("%flow preview odd")
    assert "rows go to odd__quarantine when `name` is not in the target" in shown
    assert "2 quarantine" in shown
    assert "2 rows did not fit and are in `odd__quarantine`" in notebook.run("%flow run odd")[1]
    assert rows_of("tgt.duckdb", "SELECT source_row FROM odd__quarantine ORDER BY 1") == [
        ('{"id": 0, "name": "name 0"}',), ('{"id": 1, "name": "name 1"}',),
    ]  # fmt: skip
    assert 'on_drift="quarantine"' in export_notebook(notebook_cells(line + "SELECT id FROM t\n")).text


def test_options_stay_on_the_first_line_and_the_body_stays_as_it_is(notebook: Any) -> None:
    notebook.cell(
        "%%flow pipeline odd --from src --to tgt:odd\n"
        "SELECT id::int AS id, '{name} $1 %d' AS name -- a comment\nFROM t WHERE id < 2\n"
    )
    preview = notebook.cell("%flow preview odd")
    assert preview.to_arrow().to_pylist() == [{"id": 0, "name": "{name} $1 %d"}, {"id": 1, "name": "{name} $1 %d"}]


@pytest.mark.parametrize(
    ("cell", "kind", "first"),
    [
        ("%flow preview ordres", UnknownNameError, "UnknownNameError: FLOW-130 there is no pipeline `ordres`"),
        ("%flow previw orders", UsageError, "UsageError: FLOW-100 %flow: unknown verb `previw`"),
        ("%flow preview orders --limt 3", UsageError, "UsageError: FLOW-100 %flow preview: unknown option `--limt`"),
        ("%flow preview 'orders", UsageError, "UsageError: FLOW-100 the line cannot be read: No closing quotation"),
        ("%flow run orders orders2 --bg", UsageError, "UsageError: FLOW-100 --bg runs one pipeline, got 2"),
        ("%flow run ordres --bg", UnknownNameError, "UnknownNameError: FLOW-130 there is no pipeline `ordres`"),
        ("%flow cancel orders", UnknownNameError, "UnknownNameError: FLOW-130 no run of `orders` is alive"),
        ("%flow debug now", UsageError, "UsageError: FLOW-100 debug takes nothing, got `now`"),
        ("%%flow pipline x --to tgt:x\nSELECT 1", UsageError, "UsageError: FLOW-100 unknown `%%flow pipline`"),
        ("%%flow pipeline x --to tgt:x --mode upsert\nSELECT 1", DeclarationError, "DeclarationError: FLOW-110 "),
        ("%%flow pipeline x --to tgt:x", DeclarationError, "DeclarationError: FLOW-110 there is no SQL in the cell"),
        ("%flow watermark reset orders", UsageError, "UsageError: FLOW-100 "),
    ],
)
def test_an_error_of_a_user_is_one_line_and_a_hint(notebook: Any, cell: str, kind: type[Exception], first: str) -> None:
    result, shown = notebook.run(cell)
    assert isinstance(result.error_in_exec, kind)
    assert shown.lstrip().startswith(first)
    assert "Traceback" not in shown
    assert "(%flow debug shows the traceback)" in shown
    assert len(shown.strip().splitlines()) <= 8


def test_wrong_sql_says_what_is_wrong(notebook: Any) -> None:
    notebook.cell("%%flow pipeline wrong --from src --to tgt:wrong\nSELECT nosuch FROM t\n")
    result, shown = notebook.run("%flow preview wrong")
    assert isinstance(result.error_in_exec, SqlError)
    assert "nosuch" in shown
    assert "Traceback" not in shown


def test_debug_shows_the_traceback_of_the_last_error(notebook: Any) -> None:
    assert notebook.run("%flow debug")[1].strip() == "no error has happened in this session"
    notebook.run("%flow preview ordres")
    _, shown = notebook.run("%flow debug")
    assert shown.startswith("Traceback (most recent call last):")
    assert "UnknownNameError: FLOW-130 there is no pipeline `ordres`" in shown


def test_an_error_in_a_python_cell_names_its_line(notebook: Any) -> None:
    _, shown = notebook.run("from ematix_nb.declare.registry import get_pipeline\n\nget_pipeline('ordres')")
    assert shown.strip().splitlines()[0] == (
        "UnknownNameError: FLOW-130 there is no pipeline `ordres` (line 3 of the cell)"
    )


def test_a_run_that_fails_fails_the_cell_and_shows_the_result(notebook: Any) -> None:
    notebook.cell(
        "%%flow pipeline twice --from src --to tgt:orders2 --mode merge --keys id\nSELECT NULL::int AS id, 1 AS x\n"
    )
    result, shown = notebook.run("r = %flow run twice")
    assert isinstance(result.error_in_exec, RunError)
    assert "twice -> tgt:orders2: failed" in shown
    assert "Traceback" not in shown
    assert "r" not in notebook.shell.user_ns


def test_a_decorated_cell_is_as_good_as_a_magic(notebook: Any) -> None:
    cell = (
        "from ematix_nb import ematix\n\n"
        "@ematix.pipeline(target='tgt:deco', source_connection='src', mode={!r}, keys=('id',))\n"
        "def deco(conn):\n    return 'SELECT id FROM t WHERE id < 2'\n"
    )
    assert notebook.run(cell.format("merge"))[1].strip() == ""
    assert registry.get_pipeline("deco").origin == registry.get_pipeline("orders").origin
    assert notebook.cell("%flow preview deco").to_arrow().num_rows == 2
    assert "mode: merge -> scd2" in notebook.run(cell.format("scd2"))[1]


def test_a_cell_magic_may_replace_what_a_decorator_declared(notebook: Any) -> None:
    notebook.cell(
        "from ematix_nb import ematix\n\n"
        "@ematix.pipeline(target='tgt:both', source_connection='src')\n"
        "def both(conn):\n    return 'SELECT id FROM t'\n"
    )
    assert notebook.cell("%%flow pipeline both --from src --to tgt:both\nSELECT id FROM t\n").state() == "unchanged"


def test_the_history_of_a_name_that_is_declared_no_more(notebook: Any) -> None:
    notebook.cell("%flow run orders")
    registry.remove_pipeline("orders")
    notebook.cell("%%flow pipeline sales --from src --to tgt:orders --mode merge --keys id\nSELECT * FROM t\n")
    (record,) = notebook.cell("%flow runs orders").records
    assert (record.pipeline, record.status) == ("orders", "success")
    assert notebook.cell("%flow runs list orders --last 5").records == (record,)
    result, shown = notebook.run("%flow runs ordres")
    assert isinstance(result.error_in_exec, UnknownNameError)
    assert "no run of `ordres` is recorded, and nothing declares it" in shown


def test_the_runs_have_bars_and_show_tells_of_one(notebook: Any) -> None:
    run = notebook.cell("%flow run orders")
    notebook.cell("%flow run orders")
    found = notebook.cell("%flow runs orders --last 20")
    html = found.to_html()
    assert html.count("<rect") == 2
    assert html.count('<span class="ef-good">success</span>') == 2
    assert len(html) < 20_000
    shown = notebook.cell(f"%flow show {run.run_id[:13]}")
    assert shown.record.run_id == run.run_id
    assert shown.to_dict() == notebook.cell(f"%flow runs show {run.run_id}").to_dict()
    result, text = notebook.run("%flow show nosuch")
    assert isinstance(result.error_in_exec, UnknownNameError)
    assert "no run `nosuch` is recorded" in text


def test_the_status_is_a_dashboard(notebook: Any) -> None:
    notebook.cell("%flow run orders")
    found = notebook.cell("%flow status")
    assert "<b>orders</b>" in found.to_html()
    assert "5 read, 5 inserted" in found.to_html()
    assert found.to_dict()["pipelines"][0]["failures"] == 0
