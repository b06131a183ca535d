"""Rows 29 to 52 of the catalogue: lines that `flow` cannot follow."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ematix_nb.state.liveness import host_name
from tests.catalogue.case import ORDERS, SETTINGS, Case, check_message, contents
from tests.catalogue.conftest import lay_out

if TYPE_CHECKING:
    from pathlib import Path

    from tests.catalogue.conftest import Flow

CONNECTION = '%%flow connection wh\nkind = "duckdb"\npath = "w.duckdb"\n'
PYTHON = 'from ematix_nb import ematix\n\n@ematix.pipeline(target="warehouse:main.t", source_connection="lake")\n'
DAYS = (
    "from ematix_nb import ematix\n\n"
    '@ematix.pipeline(target="warehouse:main.days", source_connection="lake", mode="append", watermark_column="id")\n'
    "def days(conn):\n    return 'SELECT id FROM \"orders.csv\"'\n"
)


def notebook(*cells: str) -> str:
    """A notebook file with these code cells."""
    written: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "source": text,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "id": f"c{number}",
        }
        for number, text in enumerate(cells)
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": written})


CASES = [
    Case("30", ("rnu",), ("unknown verb `rnu`",), "did you mean `run`?"),
    Case("31", ("run",), ("no pipeline is named", "usage: flow run NAME..."), "pipelines: orders, stock"),
    Case("31b", ("preview",), ("no pipeline is named", "usage: flow preview NAME"), "pipelines: orders, stock"),
    Case("31c", ("run",), ("no pipeline is named",), "--module", settings="", module=""),
    Case("32", ("run", "ordres"), ("there is no pipeline `ordres`",), "did you mean `orders`?"),
    Case("32b", ("run", "zzz"), ("there is no pipeline `zzz`",), "known pipelines: orders, stock"),
    Case("32c", ("run", "orders", "zzz"), ("there is no pipeline `zzz`",), "known pipelines: orders, stock"),
    Case("33", ("run", "x", "--module", "nope"), ("there is no module `nope`", "searched"), "a path with .py"),
    Case("33b", ("run", "x", "--module", "shp.py"), ("there is no file `shp.py`",), "did you mean `shop.py`?"),
    Case(
        "34",
        ("list",),
        ("module `shop.py` cannot be imported", "ZeroDivisionError: division by zero", "shop.py:9"),
        "--debug",
        module="first = 1\nsecond = first / 0\n",
    ),
    Case("34b", ("list",), ("SyntaxError", "shop.py:8"), "--debug", module="def f(:\n"),
    Case("34c", ("list",), ("No module named 'pandaz'", "shop.py:8"), "install", module="import pandaz\n"),
    Case("36", ("run-due", "--now", "yesterday"), ("`yesterday` is not an ISO 8601",), "2026-11-23T12:00Z"),
    Case("38", ("run-due", "--interval", "0"), ("interval `0`", "1 to 86400"), "such as 60"),
    Case("38b", ("run-due", "--interval", "-1"), ("interval `-1`", "1 to 86400"), "such as 60"),
    Case("38c", ("run-due", "--interval", "86401"), ("interval `86401`", "1 to 86400"), "such as 60"),
    Case("41", ("runs", "list", "--last", "x"), ("`--last` is `x`", "whole number"), "--last 50"),
    Case("41b", ("runs", "list", "--limit", "x"), ("unknown option `--limit`",), "--last"),
    Case("42", ("runs", "show", "ffff"), ("no run `ffff` is recorded",), "flow runs"),
    Case("43", ("export", "gone.ipynb"), ("there is no notebook `gone.ipynb`",), ".ipynb file"),
    Case(
        "43b",
        ("export", "a.ipynb"),
        ("`a.ipynb` is not a notebook: it is not JSON",),
        ".ipynb file",
        files={"a.ipynb": "# notes"},
    ),
    Case(
        "43c",
        ("export", "a.ipynb"),
        ("`a.ipynb` is a notebook of format 3",),
        "nbconvert",
        files={"a.ipynb": '{"nbformat": 3, "worksheets": []}'},
    ),
    Case("43d", ("export", "a.ipynb"), ("`a.ipynb` is empty",), "save the notebook", files={"a.ipynb": ""}),
    Case("44", ("export", "a.ipynb"), ("nothing to export",), "%%flow pipeline", files={"a.ipynb": notebook("x = 1")}),
    Case(
        "46",
        ("export", "a.ipynb", "--out", "../out.py"),
        ("`../out.py`", "working directory"),
        "--out",
        files={"a.ipynb": notebook(CONNECTION)},
    ),
    Case(
        "46b",
        ("export", "a.ipynb", "--out", "/etc/out.py"),
        ("`/etc/out.py`", "working directory"),
        "--out",
        files={"a.ipynb": notebook(CONNECTION)},
    ),
    Case(
        "48",
        ("export", "a.ipynb"),
        ("`helper`",),
        "cell",
        files={"a.ipynb": notebook(PYTHON + "def p(conn):\n    return helper()\n")},
    ),
    Case(
        "50",
        ("watermark", "reset", "days", "--module", "days.py"),
        ("Nobody can be asked here",),
        "--yes",
        files={"days.py": DAYS},
    ),
    Case(
        "50b",
        ("run", "days", "--full-refresh", "--module", "days.py"),
        ("appends every row again to the target of days",),
        "--yes",
        files={"days.py": DAYS},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_line(case: Case, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(project, case, monkeypatch)
    before = contents(project.parent)
    found = flow(*case.words)
    check_message(found.err, case.says, case.hint)
    assert (found.code, found.out) == (case.code, "")
    assert contents(project.parent) == before


def test_no_words_show_the_help_row_29(flow: Flow) -> None:
    found = flow()
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("usage: flow VERB ...")


def test_a_module_without_pipelines_row_35(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(project, Case("35", (), (), module="x = 1\n"), monkeypatch)
    assert "0 pipelines in shop.py" in flow("list").err
    assert (flow("list").code, flow("list", "--strict").code, flow("run-due", "--strict").code) == (0, 5, 5)


def test_a_time_without_a_zone_is_taken_as_utc_row_37(
    project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(project, Case("37", (), ()), monkeypatch)
    found = flow("run-due", "--now", "2026-11-23T12:00")
    assert found.code == 0
    assert "`2026-11-23T12:00` has no time zone: taken as 2026-11-23T12:00:00Z" in found.out


LEASED = SETTINGS + '[connections.state]\nkind = "sqlite"\npath = "state.db"\n'
TO_STATE = ORDERS.replace("warehouse:main.orders", "state:orders")


def take_lease(project: Path, process: str, host: str) -> None:
    """Make somebody else hold the pipeline `orders`, as its state says."""
    with sqlite3.connect(project / "state.db") as state:
        state.execute(
            "UPDATE ematix_flow_lease SET run_id = 'aaaabbbb', host = ?, process = ?, acquired_at = ?, expires_at = ?",
            (host, process, 1795435260, 9e9),
        )


def test_a_pipeline_that_runs_elsewhere_row_39(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(project, Case("39", (), (), module=TO_STATE, settings=LEASED), monkeypatch)
    assert flow("run", "orders").code == 0
    take_lease(project, "4711:1", "another")
    before = contents(project.parent)
    found = flow("run", "orders")
    said = "pipeline `orders` is locked by run aaaabbbb on host another since 2026-11-23 12:01:00 UTC (pid 4711)"
    check_message(found.err, (said,), "--wait")
    assert (found.code, found.out) == (4, "")
    assert contents(project.parent) == before


def test_a_dead_run_is_taken_over_row_40(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(project, Case("40", (), (), module=TO_STATE, settings=LEASED), monkeypatch)
    flow("run", "orders")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    take_lease(project, f"{ended.pid}:1", host_name())
    assert flow("run", "orders").code == 0


def test_a_line_that_a_module_cannot_hold_is_dropped_and_listed_row_47(
    project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = "!pip install nothing\n" + PYTHON + "def p(conn):\n    return 'SELECT 1 AS id'\n"
    lay_out(project, Case("47", (), (), files={"a.ipynb": notebook(cell)}), monkeypatch)
    found = flow("export", "a.ipynb", "--out", "out.py")
    assert found.code == 0, found
    assert "left out, " in found.out
    assert "!pip install nothing" in found.out
    assert "pip install" not in (project / "out.py").read_text()


def test_an_existing_file_is_not_overwritten_row_45(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, str | bytes] = {"a.ipynb": notebook(CONNECTION), "notes.py": "mine = 1\n"}
    lay_out(project, Case("45", (), (), files=files), monkeypatch)
    before = contents(project.parent)
    found = flow("export", "a.ipynb", "--out", "notes.py")
    assert found.code == 2
    assert "`notes.py` exists and is no export; an export would change:\n--- notes.py" in found.err
    assert "\n-mine = 1\n" in found.err
    assert found.err.endswith("hint: bring the changes into the notebook, or overwrite them with --force\n")
    assert contents(project.parent) == before


def test_a_reader_that_went_away_row_49(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(project, Case("49", (), ()), monkeypatch)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "ematix_nb", "list"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(writing)
    assert done.stderr == ""


def test_a_home_that_cannot_be_written_row_51(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """History and slots live in the target; only the cache of done slots stands in the home folder."""
    lay_out(project, Case("51", (), ()), monkeypatch)
    (project.parent / "home").write_text("a file, no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.parent / "home"))
    words = ("run-due", "--now", "2026-11-23T12:00Z")
    assert "stock -> warehouse:main.stock: success" in flow(*words).out
    assert "nothing was due" in flow(*words).out
    assert "stock" in flow("runs").out


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from ematix_nb.cli.main import main
sys.exit(main(["run", "p"]))
"""


def test_no_room_for_the_files_of_a_run_row_52(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files stands for the full disk: writing fails half-way in the same manner."""
    module = '@ematix.pipeline(target="lake:out", source_connection="warehouse", mode="append")\n'
    module += "def p(conn):\n    return 'SELECT i AS id, md5(i::text) AS name FROM range({}) r(i)'\n"
    lay_out(project, Case("52", (), (), module=module.format(3)), monkeypatch)
    assert flow("run", "p").code == 0
    before = {name: mark for name, mark in contents(project).items() if name.startswith("data/out/")}
    lay_out(project, Case("52", (), (), module=module.format(100_000)), monkeypatch)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-c", FULL], capture_output=True, text=True, check=False, timeout=60, env=environ
    )
    assert done.returncode == 1
    after = {name: mark for name, mark in contents(project).items() if name.startswith("data/out/")}
    assert "no space left for staging" in done.stdout
    assert "the target is unchanged" in done.stdout
    assert "Traceback" not in done.stderr
    assert {name: after.get(name) for name in before if name.endswith(".csv")} == {
        name: mark for name, mark in before.items() if name.endswith(".csv")
    }
    assert [name for name in after if name.endswith(".csv") or ".tmp" in name] == [
        name for name in before if name.endswith(".csv")
    ]
