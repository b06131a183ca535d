"""Rows of the catalogue whose values travel, or are refused alike by `flow`, cells and Python."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from ematix_nb.api import handle
from ematix_nb.load import failpoints
from tests.catalogue.case import SETTINGS, Case, check_message
from tests.catalogue.conftest import lay_out
from tests.catalogue.told import RUN, told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.catalogue.conftest import Flow, Notebook

APPEND = 'target="warehouse:main.t", mode="append"'
SINCE = f'{APPEND}, incremental=True, watermark_column="at"'
FILE = 'SELECT * FROM "{}"'
MIB = 1 << 20


def pipeline(file: str, options: str = APPEND, sql: str = "") -> str:
    """A module with the pipeline `p` over a file of the lake."""
    query = sql or FILE.format(file)
    return f'@ematix.pipeline({options}, source_connection="lake")\ndef p(conn):\n    return {query!r}\n'


def laid_out(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str | bytes,
    name: str = "x.csv",
    more: str = "",
    **given: str,
) -> None:
    """A project with one file and the pipeline `p` over it."""
    case = Case("", RUN, (), module=pipeline(name, **given), settings=SETTINGS + more, files={f"data/{name}": content})
    lay_out(project, case, monkeypatch)


def rows(project: Path, columns: str = "*") -> list[tuple[Any, ...]]:
    """The target."""
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        warehouse.execute("SET TimeZone = 'UTC'")
        return warehouse.execute(f"SELECT {columns} FROM main.t ORDER BY 1").fetchall()


def test_rows_without_a_watermark_are_loaded_once_row_110(
    project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "id,at\n1,2026-01-01 00:00:00\n2,\n"
    laid_out(project, monkeypatch, text, options=SINCE)
    assert "2 inserted" in flow(*RUN).out
    (project / "data" / "x.csv").write_text(f"{text}3,\n")
    assert "1 inserted" in flow(*RUN).out
    assert "inserted" not in flow(*RUN).out
    assert [row[0] for row in rows(project, "id")] == [1, 2, 3]


@dataclass(frozen=True)
class Sent:
    """A line of JSON that a server cannot hold."""

    row: str
    target: str
    content: str
    says: tuple[str, ...]
    hint: str
    code: int = 1
    name: str = "x.jsonl"


SENT = (
    Sent("111", "pg:public.t", '{"id": 1, "name": "a\\u0000b"}\n', ("`name`", "row 1", "NUL"), "on_nul='strip'"),
    Sent("115", "maria:t", "id,x\n1,1.5e0\n2,nan\n", ("`x`", "row 2", "nan"), "convert", name="x.csv"),
    Sent("115b", "maria:t", "id,x\n1,1.5e0\n2,inf\n", ("`x`", "row 2", "inf"), "convert", name="x.csv"),
    Sent("102", "pg:public.t", f'{{"id": 1, "{"n" * 64}": 2}}\n', ("64 bytes", "63"), "shorten it by 1 byte (", 2),
    Sent(
        "102b",
        "pg:public.t",
        f'{{"{"n" * 63}a": 1, "{"n" * 63}b": 2}}\n',
        ("64 bytes", "63"),
        "shorten it by 1 byte (",
        2,
    ),
)


@pytest.fixture
def servers(pg_url: str, mysql_url: str) -> str:
    """The settings of two databases."""
    return f'\n[connections.pg]\nurl = "{pg_url}"\n\n[connections.maria]\nurl = "{mysql_url}"\n'


@pytest.mark.parametrize("sent", SENT, ids=lambda sent: sent.row)
def test_what_a_server_cannot_hold(
    sent: Sent, project: Path, flow: Flow, bare: Notebook, servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = f'target="{sent.target}", mode="append"'
    laid_out(project, monkeypatch, sent.content, sent.name, servers, options=options)
    for text in told(sent.code, flow, bare).values():
        check_message(text, sent.says, sent.hint)


@pytest.mark.parametrize("mode", ["merge", "scd2"])
def test_a_key_has_an_identity_row_116(
    mode: str, project: Path, flow: Flow, bare: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = f'target="warehouse:main.t", mode="{mode}", keys=("id",)'
    laid_out(project, monkeypatch, "id,name\n0.0e0,a\n-0.0e0,b\nnan,c\n", options=options)
    for text in told(2, flow, bare).values():
        check_message(text, ("key `id` is double", "NaN"), "cast it")


def test_a_time_of_a_gap_stays_a_time_row_118(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Berlin's clocks skipped 02:30 on the one day and showed it twice on the other: no zone is guessed."""
    laid_out(project, monkeypatch, "id,at\n1,2026-03-29 02:30:00\n2,2026-10-25 02:30:00\n")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert flow(*RUN).code == 0
    assert rows(project, 'id, "at", typeof("at")') == [
        (1, dt.datetime(2026, 3, 29, 2, 30), "TIMESTAMP"),  # noqa: DTZ001 - a time without a zone is the matter
        (2, dt.datetime(2026, 10, 25, 2, 30), "TIMESTAMP"),  # noqa: DTZ001
    ]


def test_an_empty_text_is_no_null_row_120(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    laid_out(project, monkeypatch, 'id,name\n1,\n2,""\n3,NULL\n')
    assert flow(*RUN).code == 0
    assert rows(project, "id, name") == [(1, None), (2, ""), (3, "NULL")]


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
@pytest.mark.parametrize("size", [20 * MIB, pytest.param(200 * MIB, marks=pytest.mark.nightly)])
def test_one_row_of_200_mb_row_128(
    name: str, size: int, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = b"x" * size
    content = b"id,name\n1," + value + b"\n" if name == "x.csv" else b'{"id": 1, "name": "' + value + b'"}\n'
    laid_out(project, monkeypatch, content, name)
    found = flow(*RUN)
    assert found.code == 0, found
    assert rows(project, "id, length(name)") == [(1, size)]


def test_a_date_of_2100_does_not_hide_what_comes_row_131(
    project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "id,at\n1,2026-01-01T00:00:00Z\n2,2100-01-01T00:00:00Z\n"
    laid_out(project, monkeypatch, text, options=SINCE)
    found = flow(*RUN)
    assert "1 row has a later `at` than this machine's clock, by up to" in found.out, found
    (project / "data" / "x.csv").write_text(f"{text}3,2026-01-01T00:05:00Z\n")
    assert "1 inserted" in flow(*RUN).out
    assert "inserted" not in flow(*RUN).out
    assert [row[0] for row in rows(project, "id")] == [1, 2, 3]
    assert "2026-01-01 00:05:00" in flow("watermark", "show", "p").out


@pytest.mark.parametrize("minutes", [3, 8])
def test_a_clock_behind_that_of_the_source_row_132(
    minutes: int, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few minutes are nothing; more are told, measured by the newest row."""
    at = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
    laid_out(project, monkeypatch, f"id,at\n1,{at:%Y-%m-%dT%H:%M:%SZ}\n", options=SINCE)
    out = flow(*RUN).out
    assert ("than this machine's clock, by up to 0:0" in out) == (minutes > 5), out


@pytest.fixture
def _no_failpoints() -> Iterator[None]:
    yield
    failpoints.install(None)


@pytest.mark.usefixtures("_no_failpoints")
@pytest.mark.parametrize("retries", [0, 1])
def test_a_file_that_changes_while_it_is_read_row_126(
    retries: int, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out(project, monkeypatch, "id\n1\n", options=f'{APPEND}, retries={retries}, retry_backoff="0s"')
    visits: list[str] = []

    def change(step: str) -> None:
        if step == "fetch" and not visits:
            visits.append(step)
            (project / "data" / "x.csv").write_text("id\n1\n2\n")

    failpoints.install(change)
    found = flow(*RUN)
    assert visits == ["fetch"]
    if retries:
        assert found.code == 0, found
        assert [row[0] for row in rows(project, "id")] == [1, 2]
        return
    assert found.code == 1
    check_message(
        found.out if "FLOW-" in found.out else found.err, ("file x.csv changed while it was read",), "run again"
    )
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        assert ("t",) not in warehouse.execute("SELECT table_name FROM duckdb_tables()").fetchall()


def test_handles_from_several_threads_row_95(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is a description: each thread's run opens sessions of its own."""
    from concurrent.futures import ThreadPoolExecutor

    names = [f"p{number}" for number in range(6)]
    head = '@ematix.pipeline(target="lite:{0}", mode="append", source_connection="lake")\n'
    one = f"{head}def {{0}}(conn):\n    return {{1!r}}\n"
    module = "\n\n".join(one.format(name, FILE.format("orders.csv")) for name in names)
    more = '\n[connections.lite]\nkind = "sqlite"\npath = "lite.db"\n'
    lay_out(project, Case("95", RUN, (), module=module, settings=SETTINGS + more), monkeypatch)
    flow("list")
    with ThreadPoolExecutor(len(names)) as pool:
        done = list(pool.map(lambda name: handle(name).sync(), names))
    assert [result.counts["rows_inserted"] for result in done] == [3] * len(names)
    assert [handle(name).to_arrow().num_rows for name in names] == [3] * len(names)
