"""The magics in a real kernel: a notebook from top to bottom, and interrupts."""

from __future__ import annotations

import json
import queue
import socket
import time
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT: Any = nbformat  # ships no types
SILENCE = 1.0
PATIENCE = 0.6
"""Seconds for one Tab: the 0.2 s that completion may take, and what a busy machine adds."""
LIMIT = 2.0
"""Seconds within which an interrupt has to stop a run."""
SLOW = {
    "duckdb": "SELECT count(*) AS id FROM range(10000000) a(i), range(10000000) b(i) WHERE (a.i * b.i) % 7 = 1",
    "postgres": "SELECT 1 AS id, CAST(pg_sleep(60) AS text) AS x",
}


ROWS = """
import duckdb
with duckdb.connect('tgt.duckdb', read_only=True) as c:
    print(c.execute('SELECT id, x FROM slow').fetchall())
"""
TABLE = "import duckdb\nwith duckdb.connect('src.duckdb') as c:\n    c.execute('CREATE TABLE t AS SELECT 1 AS id')"


class Kernel:
    """A kernel, and a client that runs cells on it."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager = manager
        self.client = client

    def run(self, code: str, interrupt_after: str = "") -> tuple[dict[str, Any], str, float]:
        """Run a cell; interrupt it once it has printed a text.

        Returns:
            The reply, the printed text, and the seconds from the interrupt to the reply.
        """
        request = self.client.execute(code, allow_stdin=False)
        printed, asked = "", 0.0
        while True:
            try:
                ready = interrupt_after and interrupt_after in printed and not asked
                message = self.client.get_iopub_msg(timeout=SILENCE if ready else 60)
            except queue.Empty:
                assert ready, f"60 s of silence after {printed!r}"
                asked = time.monotonic()  # a second of silence: it is in the slow query
                self.manager.interrupt_kernel()
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]
            elif message["msg_type"] in ("execute_result", "display_data"):
                printed += message["content"]["data"].get("text/plain", "")
            elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        seconds = time.monotonic() - asked if asked else 0.0
        return self._reply(request), printed, seconds

    def _reply(self, request: str) -> dict[str, Any]:
        """The reply to a request; those to the start-up's own requests may come before it."""
        while True:
            message: dict[str, Any] = self.client.get_shell_msg(timeout=60)
            if message["parent_header"].get("msg_id") == request:
                content: dict[str, Any] = message["content"]
                return content

    def good(self, code: str) -> str:
        """Run a cell that has to succeed; what it printed."""
        reply, printed, _ = self.run(code)
        assert reply["status"] == "ok", reply
        return printed


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """A fresh kernel in an empty folder."""
    manager, client = start_new_kernel(cwd=str(tmp_path), startup_timeout=60)
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


CELL = """
from ematix_nb import ematix

@ematix.pipeline(target="tgt:slow", source_connection="src", mode="truncate")
def slow(conn):
    print("asked", flush=True)
    return {sql!r}
"""


def declare(kernel: Kernel, kind: str, url: str) -> None:
    """Declare a fast pipeline, run it once, and then the slow one of the same target."""
    kernel.good("%load_ext ematix_nb")
    settings = f"kind = 'postgres'\nurl = '{url}'" if kind == "postgres" else "kind = 'duckdb'\npath = 'src.duckdb'"
    if kind == "duckdb":
        kernel.good("import duckdb\nduckdb.connect('src.duckdb').close()")
    kernel.good(f"%%flow connection src\n{settings}")
    kernel.good("%%flow connection tgt\nkind = 'duckdb'\npath = 'tgt.duckdb'")
    kernel.good("%%flow pipeline fast --from src --to tgt:slow --mode truncate\nSELECT 7 AS id, 'kept' AS x")
    kernel.good("%flow run fast")
    kernel.good(CELL.format(sql=SLOW[kind]))


@pytest.fixture(params=["duckdb", "postgres"])
def source(request: pytest.FixtureRequest, kernel: Kernel) -> Kernel:
    """A kernel with a slow pipeline out of DuckDB or PostgreSQL."""
    url = request.getfixturevalue("pg_url") if request.param == "postgres" else ""
    declare(kernel, request.param, url)
    return kernel


@pytest.mark.parametrize("verb", ["run", "dry-run", "preview"])
def test_an_interrupt_stops_a_slow_query(source: Kernel, verb: str) -> None:
    reply, shown, seconds = source.run(f"%flow {verb} slow", interrupt_after="asked")
    assert (reply["status"], reply.get("ename")) == ("error", "CancelledError"), shown
    assert "cancelled; nothing was written" in reply["evalue"]
    assert seconds < LIMIT
    assert source.good("print(20 + 22)") == "42\n"
    assert source.good(ROWS) == "[(7, 'kept')]\n"
    history = json.loads(source.good("import json\nr = %flow runs slow --format json\nprint(json.dumps(r))"))
    assert [run["status"] for run in history["runs"]] == (["cancelled"] if verb == "run" else [])


def test_an_interrupt_stops_a_query_cell(kernel: Kernel) -> None:
    kernel.good("%load_ext ematix_nb")
    kernel.good("%%flow connection src\nkind = 'duckdb'\npath = ':memory:'\n")
    kernel.good("%%flow query x --from src\nSELECT 1 AS id")  # loads what a query needs: the silence is the query's own
    cell = f"get_ipython().run_cell_magic('flow', 'query x --from src', {SLOW['duckdb']!r})"
    reply, shown, seconds = kernel.run(f"x = 1\nprint('asked', flush=True)\n{cell}", interrupt_after="asked")
    assert (reply["status"], reply.get("ename")) == ("error", "CancelledError"), shown
    assert seconds < LIMIT
    assert kernel.good("print(x)") == "1\n"


def test_a_notebook_runs_without_a_front_end(tmp_path: Path) -> None:
    cells = [
        "%load_ext ematix_nb",
        TABLE,
        "%%flow connection src\nkind = 'duckdb'\npath = 'src.duckdb'",
        "%%flow connection lake\nkind = 'object_store_local'\npath = 'lake'\nformat = 'parquet'",
        "%%flow pipeline ids --from src --to lake:ids --mode append\nSELECT id FROM t",
        "%flow preview ids",
        "r = %flow run ids\nr",
        "b = %flow run ids --bg\nb.wait().rows_inserted",
        "%%flow query seen --from src --into pandas\nSELECT id, CAST(2 AS DECIMAL(38, 2)) AS two FROM t",
        "seen.to_dict('records')",
    ]
    book = FORMAT.v4.new_notebook(cells=[FORMAT.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    preview = book.cells[5].outputs[-1].data
    assert sorted(preview) == ["text/html", "text/plain"]
    assert "preview of ids: src -> lake:ids (nothing was written)" in preview["text/plain"]
    (run,) = book.cells[6].outputs
    assert "ids -> lake:ids: success (1 read, 1 inserted)" in run.data["text/plain"]
    background = book.cells[7].outputs
    assert background[-1].data["text/plain"] == "1"
    assert "ids -> lake:ids: success (1 read, 1 inserted)" in background[0].data["text/plain"]
    assert book.cells[8].outputs[0].data["text/plain"].startswith("frame seen: 1 row, 2 columns (pandas)\n")
    assert book.cells[9].outputs[0].data["text/plain"] == "[{'id': 1, 'two': Decimal('2.00')}]"
    assert "widgets" not in book.metadata
    assert len(FORMAT.writes(book)) < 100_000


def test_a_failing_cell_stops_a_headless_execution(tmp_path: Path) -> None:
    cells = [FORMAT.v4.new_code_cell(cell) for cell in ("%load_ext ematix_nb", "%flow run nothing", "1 + 1")]
    book = FORMAT.v4.new_notebook(cells=cells)
    client = NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    with pytest.raises(CellExecutionError, match="UnknownNameError"):
        client.execute()
    output = book.cells[1].outputs[0]
    assert output.ename == "UnknownNameError"
    assert len(output.traceback) == 3
    assert book.cells[2].execution_count is None


STUBBORN = """
import time
from ematix_nb import ematix

@ematix.pipeline(target="tgt:stubborn", source_connection="tgt", mode="truncate")
def stubborn(conn):
    print("asked", flush=True)
    end = time.monotonic() + 12
    while time.monotonic() < end:  # hears no request to stop
        time.sleep(0.1)
    return "SELECT 1 AS id"
"""


@pytest.mark.parametrize(
    ("again", "why"), [(False, "did not stop within 2 s"), (True, "was interrupted again before it had stopped")]
)
def test_a_run_that_hears_no_interrupt_is_detached(kernel: Kernel, *, again: bool, why: str) -> None:
    kernel.good("%load_ext ematix_nb\n%config FlowMagics.widgets = 'off'")
    kernel.good("%%flow connection tgt\nkind = 'duckdb'\npath = 'tgt.duckdb'")
    kernel.good(STUBBORN)
    if again:
        kernel.good(f"import os, signal, threading\n{AGAIN}")
    reply, shown, seconds = kernel.run("%flow run stubborn", interrupt_after="asked")
    assert (reply["status"], reply.get("ename")) == ("error", "CancelledError"), shown
    assert why in reply["evalue"]
    assert "it is detached, and ends by itself without committing" in reply["evalue"]
    assert seconds < (LIMIT if again else LIMIT + 1)
    assert "stubborn: cancelling in the background" in kernel.good("r = %flow run stubborn --bg")
    printed = kernel.good("try:\n    print(r.wait().status)\nexcept Exception as e:\n    print(type(e).__name__)")
    assert printed.strip() in ("cancelled", "CancelledError")
    assert "cancelled" in kernel.good("%flow runs stubborn")


AGAIN = """
def again():
    from ematix_nb.magics.handles import RUNS
    while True:
        handle = RUNS.live("stubborn")
        if handle is not None and handle.status == "cancelling":
            os.kill(os.getpid(), signal.SIGINT)
            return
threading.Thread(target=again, daemon=True).start()
"""
BACKGROUND = """
import threading
from ematix_nb import ematix
entered, gate = threading.Event(), threading.Event()

@ematix.pipeline(target="tgt:talk", source_connection="tgt", mode="truncate")
def talk(conn):
    entered.set()
    gate.wait(30)
    print("said by the run", flush=True)
    return "SELECT 1 AS id"
"""


def test_what_a_background_run_prints_stands_under_its_own_cell(kernel: Kernel) -> None:
    kernel.good("%load_ext ematix_nb")
    kernel.good("%%flow connection tgt\nkind = 'duckdb'\npath = 'tgt.duckdb'")
    kernel.good(BACKGROUND)
    own = kernel.client.execute("r = %flow run talk --bg")
    other = kernel.client.execute("entered.wait(30); gate.set(); print(r.wait(30).status)")
    places: dict[str, list[str]] = {own: [], other: []}
    while "success\n" not in places[other]:
        message = kernel.client.get_iopub_msg(timeout=60)
        if message["msg_type"] == "stream":
            places[message["parent_header"]["msg_id"]].append(message["content"]["text"])
    assert "said by the run\n" in "".join(places[own])
    assert "".join(places[other]) == "success\n"


def history(folder: Path) -> list[str]:
    """The states of the runs of `slow`, oldest first, as its target keeps them."""
    import duckdb

    with duckdb.connect(str(folder / "tgt.duckdb"), read_only=True) as connection:
        found = connection.execute(
            "SELECT status FROM ematix_flow.run_history WHERE pipeline_name = 'slow' ORDER BY started_at"
        ).fetchall()
    return [status for (status,) in found]


def test_a_kernel_that_is_shut_down_cancels_its_runs(kernel: Kernel, tmp_path: Path) -> None:
    declare(kernel, "duckdb", "")
    kernel.good("%config FlowMagics.widgets = 'off'")
    kernel.run("r = %flow run slow --bg")
    kernel.good("while r._progress.phase == '': pass")
    kernel.manager.shutdown_kernel(now=False)
    assert history(tmp_path) == ["cancelled"]


def test_a_run_of_a_kernel_that_was_killed_is_closed_by_the_next_one(kernel: Kernel, tmp_path: Path) -> None:
    declare(kernel, "duckdb", "")
    kernel.run("r = %flow run slow --bg")
    kernel.good("while r._progress.phase == '': pass")
    kernel.manager.shutdown_kernel(now=True)
    assert history(tmp_path) == ["running"]
    manager, client = start_new_kernel(cwd=str(tmp_path), startup_timeout=60)
    try:
        second = Kernel(manager, client)
        second.good("%load_ext ematix_nb")
        second.good("%%flow connection tgt\nkind = 'duckdb'\npath = 'tgt.duckdb'")
        second.good("%%flow pipeline slow --from tgt --to tgt:slow --mode truncate\nSELECT 8 AS id, 'new' AS x")
        second.good("%flow run slow")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    assert history(tmp_path) == ["abandoned", "success"]


def tab(kernel: Kernel, text: str) -> tuple[list[str], float]:
    """What Tab at the end of a text gives, and how many seconds that takes."""
    begun = time.monotonic()
    request = kernel.client.complete(text, len(text))
    while True:
        message = kernel.client.get_shell_msg(timeout=60)
        if message["parent_header"].get("msg_id") == request:
            return message["content"]["matches"], time.monotonic() - begun


def test_tab_completes_tables_and_columns(kernel: Kernel) -> None:
    kernel.good("%load_ext ematix_nb")
    kernel.good(TABLE)
    kernel.good("%%flow connection src\nkind = 'duckdb'\npath = 'src.duckdb'")
    for text, expected in (
        ("%flow preview src:main.", ["src:main.t"]),
        ("%%flow query q --from src\nSELECT * FROM main.", ["main.t"]),
        ("%%flow query q --from src\nSELECT * FROM t WHERE i", ["id"]),
    ):
        matches: list[str] = []
        for _ in range(50):  # the first answers may come before the driver is loaded
            matches, _ = tab(kernel, text)
            if matches == expected:
                break
        assert matches == expected


def test_tab_does_not_wait_for_a_server_that_is_silent(kernel: Kernel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgres://me@127.0.0.1:{silent.getsockname()[1]}/wh"
        kernel.good("%load_ext ematix_nb")
        kernel.good(f"%%flow connection far\nkind = 'postgres'\nurl = '{url}'")
        kernel.good("import psycopg, sqlglot")  # what is loaded once does not count
        text = "%%flow query q --from far\nSELECT * FROM ord"
        tab(kernel, text)
        matches, seconds = tab(kernel, text)
        assert matches == ["ord"]
        assert seconds < PATIENCE
        assert kernel.good("print(20 + 22)") == "42\n"
