"""What asks the other tools, asked of a loop that is written by hand; no tool is needed."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import pytest

from tests.peers.ask import ALL, Ground, NotPossibleError, Peer, RefusedError, SilentError, ground, short
from tests.peers.elsewhere import CASES, LOAD, measure
from tests.peers.page import NOT_TRIED, Found, read, renewed, tables
from tests.peers.rows import ROWS, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

NAIVE = Peer("naive", "psycopg", sys.executable)
WORDS = ("right", "lost", "doubled", "changed", "shown", "refused", "not possible", "not measured")


@pytest.fixture
def made(pg_url: str, pg_url2: str) -> Iterator[Ground]:
    with ground(NAIVE, pg_url, pg_url2) as found:
        yield found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("tie", "lost: 11 rows: 2 lost, 0 doubled", id="rows-that-are-lost"),
        pytest.param("gap", "lost: 2 rows: 1 lost, 0 doubled", id="a-row-that-is-committed-late"),
        pytest.param("pairs", "doubled: lost in 0, doubled in 3 of 3, 0 of 6 runs refused", id="rows-that-are-doubled"),
        pytest.param("zombie", "doubled: 30 rows: 0 lost, 10 doubled; refused: neither", id="a-run-that-stopped"),
        pytest.param("cut", "right: 20 rows: 0 lost, 0 doubled; the first run fails with 0 rows", id="a-cut"),
        pytest.param("bad_row", "not possible: it only appends", id="what-a-tool-says-it-cannot-do"),
        pytest.param("cron", "not possible: it has nothing of the kind", id="what-a-tool-has-not"),
        pytest.param("attack", "lost: `victim` is dropped", id="a-table-that-is-dropped"),
    ],
)
def test_a_case(name: str, expected: str, pg_server: str) -> None:
    found = measure(NAIVE, name, pg_server)
    assert found.partition("; with a lag")[0] == expected


def test_a_case_that_does_not_come_about(pg_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        CASES, "tie", lambda made: str(made.counted(made.rows("no_such") or made.give("SELECT x") or ()))
    )
    assert measure(NAIVE, "tie", pg_server).startswith('not measured: column "x" does not exist')


def test_rows_that_are_right(made: Ground) -> None:
    made.add((1, "a", 1), (2, "b", 2))
    made.ask()
    assert made.counted([1, 2]) == "right: 2 rows: 0 lost, 0 doubled"
    assert made.counted([1, 3]) == "lost and doubled: 2 rows: 1 lost, 1 doubled"
    assert made.records()[0]["note"] == "a"


def test_an_error_of_the_tool(made: Ground) -> None:
    with pytest.raises(RefusedError, match='UndefinedTable: relation "nothing" does not exist'):
        made.ask(**{"from": "nothing"})
    with pytest.raises(NotPossibleError, match="it only appends"):
        made.ask(mode="merge")


def test_a_tool_that_does_not_start(pg_url: str, pg_url2: str) -> None:
    absent = Peer("absent", "no-such-distribution", sys.executable)
    assert absent.version() is None
    with ground(absent, pg_url, pg_url2) as made, pytest.raises(RefusedError, match=r"No module named .*absent"):
        made.ask()


def test_a_tool_that_comes_to_no_end(made: Ground) -> None:
    made.add((1, "a", 1))
    made.ask()
    with made.held():
        asked = made.start(sql=ALL)
        asked.go()
        assert len(made.wait_for_writers()) == 1
        with pytest.raises(SilentError, match=r"no end within 0\.1 s"):
            asked.answer(0.1)
    assert asked.process.returncode is not None


def test_a_run_that_is_killed_leaves_nothing_running(pg_url: str, pg_url2: str) -> None:
    with ground(NAIVE, pg_url, pg_url2) as made:
        asked = made.start(**LOAD)
    assert asked.process.returncode == -9


def test_each_case_of_the_page_is_asked_and_what_came_out_is_of_a_known_kind() -> None:
    assert set(CASES) == set(ROWS)
    for cases in read().peers.values():
        assert not cases or set(cases) == set(ROWS)
        assert [text for text in cases.values() if not text.startswith(WORDS)] == []


def test_a_tool_that_is_not_installed_is_named() -> None:
    found = Found("2026-01-01", "3.11", "15", {"other (not installed)": {}})
    lines = tables({"One": {"case": Row("What", "ours")}}, found).splitlines()
    assert lines[3:] == [
        "| case | ematix_nb | other (not installed) |",
        "| --- | --- | --- |",
        f"| What | ours | {NOT_TRIED} |",
    ]


def test_fields_that_are_measured_anew() -> None:
    before = Found("2026-01-01", "3.11", "15", {"a 1": {"x": "right", "y": "lost"}, "b 2": {"x": "lost"}})
    again = dataclasses.replace(before, date="2026-01-02", peers={"a 1": {"y": "right"}})
    assert renewed(before, again) == Found(
        "2026-01-02", "3.11", "15", {"a 1": {"x": "right", "y": "right"}, "b 2": {"x": "lost"}}
    )
    with pytest.raises(
        ValueError, match=r"measured with a 2; `found\.json` is of other versions: run `make peers` whole"
    ):
        renewed(before, dataclasses.replace(again, peers={"a 2": {"y": "right"}}))


def test_a_message_fits_in_a_table() -> None:
    assert short("a | b\n  `c` <d> 0xdeadbeef") == "a / b 'c' (d) ..."
    assert short("x" * 200) == "x" * 110 + " ..."
