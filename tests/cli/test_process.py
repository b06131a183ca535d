"""`flow` as a process of its own: what it imports, and what it does when nobody reads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {
    "IPython",
    "asyncio",
    "cronsim",
    "datafusion",
    "duckdb",
    "ipywidgets",
    "pandas",
    "polars",
    "psycopg",
    "pyarrow",
    "rich",
    "sqlglot",
    "tomlkit",
}
TABLES = {"argparse", "dataclasses", "inspect", "tomllib", "datetime", "logging", "importlib.metadata"}
SPY = """
import json, sys
from ematix_nb.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


def imported(folder: Path, *words: str) -> tuple[int, set[str]]:
    """Exit code and the modules that a call of `flow` has imported."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", SPY, *words], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["help", "preview"], ["--version"]])
def test_help_imports_next_to_nothing(words: list[str], tmp_path: Path) -> None:
    code, modules = imported(tmp_path, *words)
    assert code == 0
    assert sorted(modules & (HEAVY | TABLES)) == []


def test_run_due_with_nothing_due_imports_no_driver(shop: Path) -> None:
    code, modules = imported(shop, "run-due", "--now", "2026-11-23T12:01Z", "--interval", "1")
    assert code == 0
    assert sorted(modules & (HEAVY - {"cronsim", "asyncio"})) == []


def test_list_imports_no_driver(shop: Path) -> None:
    _, modules = imported(shop, "list")
    assert sorted(modules & (HEAVY - {"cronsim", "asyncio"})) == []


def test_a_reader_that_goes_away_leaves_no_trace(shop: Path) -> None:
    program = [sys.executable, "-m", "ematix_nb", "preview", "orders", "--format", "json"]
    rows = "\n".join(f"{n},{'x' * 100}" for n in range(3000))
    (shop / "data" / "orders.csv").write_text(f"n,name\n{rows}\n")
    with subprocess.Popen(
        [*program, "--limit", "3000"], cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as flow:
        assert flow.stdout is not None
        assert flow.stderr is not None
        flow.stdout.read(10)
        flow.stdout.close()
        err = flow.stderr.read().decode()
        assert flow.wait(60) == 0
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_a_closed_standard_output_is_no_error(shop: Path) -> None:
    words = ["/bin/sh", "-c", f'exec "{sys.executable}" -m ematix_nb list >&-']
    done = subprocess.run(words, cwd=shop, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_is_readable_where_the_encoding_is_ascii(shop: Path) -> None:
    (shop / "data" / "orders.csv").write_text("n,name\n1,日本\n")
    words = [sys.executable, "-m", "ematix_nb", "preview", "orders", "--format", "json"]
    environment = {"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin", "HOME": str(shop)}
    done = subprocess.run(words, cwd=shop, capture_output=True, check=True, env=environment, timeout=60)
    assert json.loads(done.stdout)["rows"] == [[1, "日本"]]


SLOW = """
from ematix_nb import ematix


@ematix.pipeline(target="warehouse:main.slow", source_connection="warehouse", mode="append")
def slow(conn):
    return "SELECT count(*) AS n FROM range(400000000000) t(i) WHERE i % 7 = 3"
"""


def _listen_to_interrupts() -> None:
    """A background job of a shell ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_and_the_history_says_so(stop: signal.Signals, shop: Path) -> None:
    (shop / "slow.py").write_text(SLOW)
    words = [sys.executable, "-m", "ematix_nb", "run", "slow", "--module", "slow.py"]
    with subprocess.Popen(
        words,
        cwd=shop,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_listen_to_interrupts,  # noqa: PLW1509 - this process has no threads
    ) as flow:
        assert flow.stdout is not None
        assert flow.stderr is not None
        line = flow.stderr.readline()
        assert "started" in line
        while "create table" not in line:
            line = flow.stderr.readline()
        flow.send_signal(stop)
        try:
            out, err = flow.communicate(timeout=30)
        finally:
            flow.kill()
    assert flow.returncode == 1
    assert "cancelled" in out
    assert "Traceback" not in err
    listed = subprocess.run(
        [*words[:3], "runs", "slow", "--module", "slow.py", "--format", "json"],
        cwd=shop,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert [run["status"] for run in json.loads(listed.stdout)["runs"]] == ["cancelled"]
