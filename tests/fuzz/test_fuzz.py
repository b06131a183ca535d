"""Parsers, URLs, settings, schedules, quoting, state files, exports and HTML under generated input.

An error that is not one of ours, or an input that takes more than 2 s, is a failure. Each target runs for a moment in
`make test`, the same inputs each time, and for two minutes in a night (`EMATIX_TEST_FUZZ_SECONDS`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import strategies as st

from ematix_nb.backends.duckdb.dialect import DIALECT as DUCKDB
from ematix_nb.backends.files.manifests import _parse
from ematix_nb.backends.mysql.dialect import DIALECT as MYSQL
from ematix_nb.backends.postgres.dialect import PostgresDialect
from ematix_nb.backends.sealed import seal, unseal
from ematix_nb.backends.sqlite.dialect import DIALECT as SQLITE
from ematix_nb.connections import connection_from_url, redact
from ematix_nb.connections import secret as secrets
from ematix_nb.connections.interpolate import interpolate
from ematix_nb.connections.interpolate import parse as parse_references
from ematix_nb.connections.secret import Secret
from ematix_nb.connections.toml_files import parse_settings
from ematix_nb.connections.url import connection_from_settings
from ematix_nb.connections.urlparts import fill_url
from ematix_nb.declare.address import parse_address, parse_table_name
from ematix_nb.declare.cells import build_cell_pipeline, parse_cell, table_spec
from ematix_nb.errors import FlowError
from ematix_nb.export.module import export_notebook
from ematix_nb.export.notebook_file import read_notebook
from ematix_nb.magics.flow import split
from ematix_nb.query.dialect import DataFusionDialect
from ematix_nb.schedule import next_fire, parse_schedule
from ematix_nb.sql.check import check_expression, check_select
from ematix_nb.verbs.grammar import HelpRequested, parse
from ematix_nb.verbs.html import preformatted, table_html
from tests.fuzz import inputs
from tests.fuzz.engine import SECONDS, Target, fuzz
from tests.support.mariadb import arguments
from tests.widgets.previews import preview
from tests.widgets.test_static import checked

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTHS = [pytest.param(0.0, id="moment"), pytest.param(SECONDS, id="night", marks=pytest.mark.nightly)]
NOW = dt.datetime(2026, 3, 28, 12, tzinfo=dt.UTC)


@contextlib.contextmanager
def coded() -> Iterator[None]:
    """Errors of ours are fine; they have a text, and it is one that can be printed."""
    with contextlib.suppress(HelpRequested):
        try:
            yield
        except FlowError as error:
            told = error
        else:
            return
        assert told.what
        assert told.code != "FLOW-000"
        str(told).encode("utf-8", "surrogatepass")


def magic_line(line: str) -> None:
    """A line of a notebook."""
    with coded():
        parse(split(line), prog="%flow")


def magic_cell(given: tuple[str, str]) -> None:
    """A cell, up to what it declares."""
    with coded():
        cell = parse_cell(*given)
        if cell.kind == "connection":
            connection_from_settings(cell.name, dict(cell.settings))
        elif cell.kind == "table":
            table_spec(cell)
        elif cell.kind == "pipeline":
            build_cell_pipeline(cell, origin="fuzz")


def toml_settings(raw: bytes) -> None:
    """A settings file, up to its connections."""
    with coded():
        settings = parse_settings(Path("x.toml"), raw)
        for profile in (None, *settings.profiles):
            for name, entry in settings.entries(profile).items():
                with coded():
                    repr(connection_from_settings(name, dict(entry.settings)))


def url(text: str) -> None:
    """A URL, as it is and with its variables."""
    with coded():
        connection_from_url("a", text, literal=True)
    with coded():
        connection_from_url("a", text).resolved({"A": "@x/y?z#", "B": "é%"})
    with coded():
        fill_url(text, "a.url", {"A": "@x/y?z#"})


def references(given: tuple[str, str]) -> None:
    """`${NAME}` in a text: one pass, whatever the value holds."""
    text, value = given
    with coded():
        parts = parse_references(text, "a.b")
        names = {part.name for part in parts if not isinstance(part, str)}
        found = interpolate(text, "a.b", dict.fromkeys(names, value or "x"))
        assert found == "".join(part if isinstance(part, str) else value or "x" for part in parts)


def cron(given: tuple[str, str]) -> None:
    """A schedule and its next time."""
    with coded():
        fires = next_fire(parse_schedule(*given), NOW)
        assert fires is None or fires > NOW


def one_select(given: tuple[str, str]) -> None:
    """A query, and the same text as a part of one: what passes can stand in brackets."""
    text, dialect = given
    with coded():
        assert check_select(text, dialect).sql.strip()
    with coded():
        check_expression(text, dialect)


def names(text: str) -> None:
    """A name, quoted, is that name to the system, and nothing else."""
    for dialect in (DUCKDB, MYSQL, PostgresDialect(), SQLITE, DataFusionDialect()):
        with coded():
            quoted = dialect.quote(text)
            assert len(quoted) >= len(text) + 2
    with coded():
        assert parse_table_name('"' + text.replace('"', '""') + '"').name == text
    with coded():
        parse_address(f"a:{text}")
    with coded():
        quoted = DUCKDB.quote(text)
        text.encode()
        found = duckdb.sql(f"SELECT 1 AS {quoted}")
        assert found is not None
        assert found.columns == [text]
    with coded(), contextlib.closing(sqlite3.connect(":memory:")) as lite:
        lite.execute(f"CREATE TABLE {SQLITE.quote(f't{text}')} ({SQLITE.quote(text)} INT)")
        assert lite.execute("SELECT name FROM sqlite_master").fetchall() == [(f"t{text}",)]


def state_files(given: tuple[Any, int, int]) -> None:
    """A state file with a flipped bit is refused, or says what it said."""
    state, position, bit = given
    body = {"version": 2, "seq": 1, "files": [], "state": {"a": state}}
    raw = bytearray(seal(body))
    assert unseal(bytes(raw)) == body
    raw[position % len(raw)] ^= 1 << bit
    with contextlib.suppress(ValueError):
        found = unseal(bytes(raw))
        assert found == body or found["version"] > 2
    with coded():
        _parse(bytes(raw), "1.json")


def exports(raw: bytes) -> None:
    """A notebook file and its module."""
    file = Path("fuzz.ipynb")
    file.write_bytes(raw)
    with coded():
        found = export_notebook(read_notebook(file), docs=True)
        compile(found.text, "<export>", "exec")


def rendered(text: str) -> None:
    """Text of any kind in every place of a page."""
    checked(table_html(text, (text, "b"), [(text, {text: text})], text, (text,)))
    checked(preformatted(text))
    if text:
        checked(preview(text).to_html())


def masked(given: tuple[str, str, str]) -> None:
    """A secret is masked in any surroundings."""
    before, text, after = given
    word = f"k9{text}Zq"
    Secret(word)
    assert word not in redact(f"{before}{word}{after}")
    secrets._known.clear()  # the test's own set, see tests/conftest.py
    secrets._compiled = (0, None)


DIALECTS = st.sampled_from(["postgres", "mysql", "sqlite", "duckdb", "datafusion"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Mars/X", ""])
CELL_LINES = inputs.spaced(*inputs.LINE[20:]).map(lambda line: f"pipeline p {line}") | inputs.spaced(*inputs.LINE)
CELLS = inputs.mixed(*inputs.SQL, *inputs.TOML, "id bigint pk\n", "name text null trim\n")
SETTINGS = inputs.mixed(*inputs.TOML).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=40)
REFERENCES = inputs.mixed("${A}", "${B:-x}", "$${", "${", "}", "A", ":-")
PAGES = inputs.mixed("<script>", "</td>", "<img src=x>", "&lt;", "javascript:", "<!--", "]]>")
TARGETS: dict[str, tuple[st.SearchStrategy[Any], Target]] = {
    "magic-line": (inputs.mixed(*inputs.LINE) | inputs.spaced(*inputs.LINE), magic_line),
    "magic-cell": (st.tuples(CELL_LINES, CELLS), magic_cell),
    "toml": (SETTINGS, toml_settings),
    "url": (inputs.mixed(*inputs.URL), url),
    "references": (st.tuples(REFERENCES, inputs.mixed("${A}", "x")), references),
    "cron": (st.tuples(inputs.mixed(*inputs.CRON) | inputs.spaced(*inputs.CRON), ZONES), cron),
    "one-select": (st.tuples(inputs.spaced(*inputs.SQL) | inputs.mixed(*inputs.SQL), DIALECTS), one_select),
    "names": (inputs.mixed("a", "A", "select") | st.text(max_size=70), names),
    "state-files": (st.tuples(inputs.values(), st.integers(0, 10**6), st.integers(0, 7)), state_files),
    "exports": (inputs.notebooks(), exports),
    "html": (PAGES, rendered),
    "masked": (
        st.tuples(inputs.mixed("password=", "://u:", "@"), st.text(max_size=6), inputs.mixed("@h", "'")),
        masked,
    ),
}


@pytest.mark.parametrize("seconds", LENGTHS)
@pytest.mark.parametrize("target", TARGETS)
def test_target(target: str, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    strategy, check = TARGETS[target]
    assert fuzz(strategy, check, seconds=seconds) > 50


@pytest.mark.nightly
def test_names_on_servers(pg_url: str, mysql_url: str) -> None:
    """The servers give back the name that was quoted, and nothing else has changed."""
    import psycopg
    import pymysql

    with psycopg.connect(pg_url, autocommit=True) as pg, pymysql.connect(**arguments(mysql_url)) as maria:

        def check(text: str) -> None:
            with coded():
                text.encode()
                quoted = PostgresDialect().quote(text)
                found = pg.execute(f"SELECT 1 AS {quoted}".encode())
                assert [column.name for column in found.description or ()] == [text]
            if text != text.rstrip():
                return  # no name of a table to MariaDB, which says so
            with coded(), maria.cursor() as cursor:
                quoted = MYSQL.quote(text)
                cursor.execute(f"CREATE TEMPORARY TABLE {quoted} (id INT)")
                cursor.execute(f"DROP TEMPORARY TABLE {quoted}")

        alphabet = st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF)
        fuzz(
            inputs.mixed("a", "select").filter(str.isprintable) | st.text(alphabet, max_size=70), check, seconds=SECONDS
        )
