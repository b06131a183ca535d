"""An IPython shell in this process, with the extension loaded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from ematix_nb.connections import clear_connections
from ematix_nb.declare import registry
from ematix_nb.export.session import LOG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Notebook:
    """Runs cells and keeps what they showed."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    def cell(self, source: str) -> Any:
        """Run a cell that has to succeed; its value."""
        result, _ = self.run(source)
        result.raise_error()
        return result.result

    def run(self, source: str) -> tuple[Any, str]:
        """Run a cell; the execution result, and all that was printed or displayed as text."""
        with capture_output() as captured:
            result = self.shell.run_cell(source, store_history=True)
        shown = [output.data.get("text/plain", "") for output in captured.outputs]
        return result, "\n".join([captured.stdout, captured.stderr, *shown])


@pytest.fixture(scope="session")
def _shell() -> Any:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    return InteractiveShell.instance(config=config)


@pytest.fixture
def bare(_shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    """A notebook in an empty folder, the extension not loaded."""
    monkeypatch.chdir(tmp_path)
    for name in ("last_type", "last_value", "last_traceback"):
        monkeypatch.delattr(sys, name, raising=False)
    with registry.scratch():
        clear_connections()
        LOG.clear()
        yield Notebook(_shell)
        LOG.clear()
        clear_connections()
    _shell.reset()


@pytest.fixture
def notebook(bare: Notebook) -> Iterator[Notebook]:
    """A notebook with the extension, and two DuckDB connections: `src` with a table `t`, and an empty `tgt`."""
    import duckdb

    with duckdb.connect("src.duckdb") as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT i AS id, 'name ' || i AS name, i * 10 AS amount FROM range(60) r(i)"
        )
    bare.cell("%load_ext ematix_nb")
    bare.cell("%%flow connection src\nkind = 'duckdb'\npath = 'src.duckdb'\n")
    bare.cell("%%flow connection tgt\nkind = 'duckdb'\npath = 'tgt.duckdb'\n")
    bare.cell(
        "%%flow pipeline orders --from src --to tgt:orders --mode merge --keys id\nSELECT * FROM t WHERE id < 5\n"
    )
    yield bare
    bare.cell("%unload_ext ematix_nb")
