"""Rows of the catalogue about names, schemas, locks, renamed pipelines and dependencies."""

from __future__ import annotations

import sqlite3
import sys
from typing import TYPE_CHECKING

import duckdb
import psycopg
import pytest

from ematix_nb.backends.postgres import io
from ematix_nb.declare import registry
from tests.catalogue.case import SETTINGS, Case, check_message
from tests.catalogue.conftest import lay_out
from tests.catalogue.told import RUN, told

if TYPE_CHECKING:
    from pathlib import Path

    from tests.catalogue.conftest import Flow, Notebook

SQL = 'SELECT id, name FROM "orders.csv"'
TO = 'target="warehouse:main.t", source_connection="lake", mode="append"'
SINCE = f'{TO}, incremental=True, watermark_column="id"'
LITE = '\n[connections.lite]\nkind = "sqlite"\npath = "lite.db"\n'


def pipeline(options: str, name: str = "p", sql: str = SQL) -> str:
    """A declaration."""
    return f"@ematix.pipeline({options})\ndef {name}(conn):\n    return {sql!r}\n"


def laid_out(project: Path, monkeypatch: pytest.MonkeyPatch, *modules: str, more: str = "") -> None:
    """A project with these declarations."""
    case = Case("", RUN, (), module="\n\n".join(modules), settings=SETTINGS + more)
    lay_out(project, case, monkeypatch)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("shop", None)
    registry.clear()


def test_a_renamed_pipeline_does_not_append_again_row_92(
    project: Path, flow: Flow, bare: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out(project, monkeypatch, pipeline(SINCE, "old"))
    assert flow("run", "old").code == 0
    laid_out(project, monkeypatch, pipeline(SINCE))
    says = ("`p` has no watermark", "`old`, which loaded these rows, is declared no more")
    for text in told(2, flow, bare).values():
        check_message(text, says, 'name="old" keeps its state')
    assert flow("preview", "p").code == 2
    laid_out(project, monkeypatch, pipeline(f'{SINCE}, name="old"'))
    found = flow("run", "old")
    assert (found.code, "inserted" in found.out) == (0, False), found
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        assert warehouse.execute("SELECT count(*) FROM main.t").fetchall() == [(3,)]


@pytest.mark.parametrize(
    ("row", "options", "says", "hint"),
    [
        ("93", 'depends_on=("ordrs",)', ("`ordrs`",), "did you mean `orders`?"),
        ("93b", 'depends_on=("q",)', ("in a circle: p -> q -> p",), "take one name out"),
    ],
    ids=["unknown", "cycle"],
)
def test_dependencies_that_cannot_be(
    row: str, options: str, says: tuple[str, ...], hint: str, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders, other = pipeline(TO, "orders"), pipeline(f'{TO}, depends_on=("p",)', "q")
    laid_out(project, monkeypatch, orders, other, pipeline(f"{TO}, {options}"))
    found = flow("run", "p", "--with-parents")
    assert found.code == 2, found
    check_message(found.err, says, hint)


def test_an_annotation_is_text_row_94(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    table = "@ematix.table(schema=\"main\")\nclass Dim:\n    id: \"__import__('os').system('touch hacked')\"\n"
    laid_out(project, monkeypatch, table, pipeline('target=Dim, target_connection="warehouse", mode="append"'))
    found = flow(*RUN)
    assert (found.code, (project / "hacked").exists()) == (2, False), found
    check_message(found.err, ("shop.py", "id"), "types")


@pytest.mark.parametrize("target", ["warehouse:main.select", "lite:select", "pg:public.select"])
def test_reserved_words_are_names_row_101(
    target: str, project: Path, flow: Flow, pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = 'SELECT id AS "select", name AS "order", amount AS "table" FROM "orders.csv"'
    options = f'target="{target}", source_connection="lake", mode="merge", keys=("select",)'
    laid_out(project, monkeypatch, pipeline(options, sql=sql), more=f'{LITE}\n[connections.pg]\nurl = "{pg_url}"\n')
    assert "3 inserted" in flow(*RUN).out
    assert "3 unchanged" in flow(*RUN).out


@pytest.mark.parametrize("target", ["warehouse:fresh.t", "pg:fresh.t"])
def test_a_schema_is_made_and_told_row_104(
    target: str, project: Path, flow: Flow, pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = f'target="{target}", source_connection="lake", mode="append"'
    laid_out(project, monkeypatch, pipeline(options), more=f'\n[connections.pg]\nurl = "{pg_url}"\n')
    assert "create schema fresh" in flow("plan", "p").out
    assert flow(*RUN).code == 0
    assert "3" in flow("preview", target).out


def test_a_locked_source_says_who_row_107(
    project: Path, flow: Flow, bare: Notebook, pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io, "READ_LOCK_TIMEOUT_S", 1)
    options = 'target="warehouse:main.t", source_connection="pg", mode="append"'
    more = f'\n[connections.pg]\nurl = "{pg_url}"\n'
    laid_out(project, monkeypatch, pipeline(options, sql="SELECT id FROM busy"), more=more)
    with psycopg.connect(pg_url, application_name="vacuum full") as other:
        other.execute("CREATE TABLE busy (id int)")
        other.commit()
        other.execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        pid = other.info.backend_pid
        for text in told(1, flow, bare).values():
            check_message(text, ("waited too long for a lock", f"process {pid}", "vacuum full", "`busy`"), "try again")


def test_a_locked_file_says_so_row_107(
    project: Path, flow: Flow, bare: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = 'target="warehouse:main.t", source_connection="lite", mode="append"'
    laid_out(project, monkeypatch, pipeline(options, sql="SELECT id FROM busy"), more=f"{LITE}busy_timeout_ms = 100\n")
    other = sqlite3.connect(project / "lite.db", isolation_level=None)
    other.execute("CREATE TABLE busy (id int)")
    other.execute("BEGIN EXCLUSIVE")
    for text in told(1, flow, bare).values():
        check_message(text, ("lite.db", "locked"), "again")
    other.close()
