"""A project in a folder of its own, `flow` called in this process, and cells run in an IPython shell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from ematix_nb.cli.main import main
from ematix_nb.connections import clear_connections, use_profile
from ematix_nb.declare import registry
from tests.catalogue.case import HEAD, ROWS, Case

if TYPE_CHECKING:
    from pathlib import Path


class Outcome(NamedTuple):
    """What a call of `flow` gave."""

    code: int
    out: str
    err: str


Flow = Callable[..., Outcome]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with rows to read and a warehouse that holds a table; an own home and registry."""
    import duckdb

    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "orders.csv").write_text(ROWS)
    with duckdb.connect(str(folder / "warehouse.duckdb")) as warehouse:
        warehouse.execute("CREATE TABLE kept AS SELECT 1::bigint AS id, 'one' AS name")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    with registry.scratch():
        clear_connections()
        yield folder
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    use_profile(None)
    clear_connections()


def lay_out(project: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the files of a case and set its variables."""
    (project / ".ematix-flow.toml").write_text(case.settings)
    (project / ".ematix-flow.toml").chmod(0o600)
    (project / "shop.py").write_text(HEAD + "\n" + case.module)
    for name, content in case.files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for name, value in case.environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def flow(capsys: pytest.CaptureFixture[str]) -> Flow:
    """Call `flow` with words."""

    def call(*words: str) -> Outcome:
        capsys.readouterr()
        code = main(list(words))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


class Notebook:
    """Runs cells and keeps what they showed."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def run(self, source: str) -> tuple[BaseException | None, str]:
        """Run a cell; the error that it raised, and everything that was printed or displayed as text."""
        with capture_output() as captured:
            result = self.shell.run_cell(source, store_history=True)  # type: ignore[no-untyped-call]
        shown = [output.data.get("text/plain", "") for output in captured.outputs]
        text = "\n".join(part for part in [captured.stdout, captured.stderr, *shown] if part)
        return result.error_before_exec or result.error_in_exec, text

    def cell(self, source: str) -> str:
        """Run a cell that has to succeed; what it showed."""
        error, text = self.run(source)
        if error is not None:
            raise error
        return text


@pytest.fixture(scope="session")
def _shell() -> InteractiveShell:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    return InteractiveShell.instance(config=config)


@pytest.fixture
def bare(_shell: InteractiveShell, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    """A notebook in the project's folder; the extension is not loaded."""
    for name in ("last_type", "last_value", "last_traceback"):
        monkeypatch.delattr(sys, name, raising=False)
    yield Notebook(_shell)
    _shell.reset()  # type: ignore[no-untyped-call]


@pytest.fixture
def notebook(bare: Notebook) -> Iterator[Any]:
    """A notebook with connections and two pipelines."""
    bare.cell("%load_ext ematix_nb")
    bare.cell('%%flow connection lake\nkind = "object_store_local"\npath = "data"\nformat = "csv"\n')
    bare.cell('%%flow connection warehouse\nkind = "duckdb"\npath = "warehouse.duckdb"\n')
    bare.cell(
        "%%flow pipeline orders --from lake --to warehouse:main.orders --mode merge --keys id\n"
        'SELECT id, name, amount FROM "orders.csv"\n'
    )
    bare.cell(
        '%%flow pipeline stock --from lake --to warehouse:main.stock --mode append\nSELECT id, name FROM "orders.csv"\n'
    )
    yield bare
    bare.cell("%unload_ext ematix_nb")
