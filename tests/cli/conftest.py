"""A project folder of its own for each test of the command line, and `flow` called in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ematix_nb.cli.main import main
from ematix_nb.connections import clear_connections, use_profile
from ematix_nb.declare import registry

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """\
modules = ["orders.py"]

[connections.lake]
kind = "object_store_local"
path = "data"
format = "csv"

[connections.warehouse]
kind = "duckdb"
path = "warehouse.duckdb"
"""

ORDERS = """\
from ematix_nb import ematix


@ematix.pipeline(
    target="warehouse:main.orders",
    source_connection="lake",
    mode="append",
    incremental=True,
    watermark_column="n",
    schedule="*/15 * * * *",
)
def orders(conn):
    return 'SELECT n, name FROM "orders.csv"'


@ematix.pipeline(target="warehouse:main.stock", source_connection="lake", mode="merge", keys=("n",))
def stock(conn):
    return 'SELECT n, name FROM "orders.csv"'


@ematix.pipeline(target="warehouse:main.broken", source_connection="lake", mode="merge", keys=("n",))
def broken(conn):
    return 'SELECT n, nome FROM "orders.csv"'


@ematix.transform(target_connection="warehouse")
def tally(conn):
    return {"rows": conn.fetch("SELECT count(*) FROM main.stock")[0][0]}
"""


class Outcome(NamedTuple):
    """What a call of `flow` gave."""

    code: int
    out: str
    err: str


Flow = Callable[..., Outcome]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, home and registry; modules that a test imports are forgotten afterwards."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    with registry.scratch():
        yield folder
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    use_profile(None)
    clear_connections()


@pytest.fixture
def shop(project: Path) -> Path:
    """A project with three pipelines, a transform and five rows."""
    (project / ".ematix-flow.toml").write_text(SETTINGS)
    (project / "orders.py").write_text(ORDERS)
    (project / "data").mkdir()
    (project / "data" / "orders.csv").write_text("n,name\n1,a\n2,b\n3,c\n4,d\n5,e\n")
    return project


@pytest.fixture
def flow(capsys: pytest.CaptureFixture[str]) -> Flow:
    """Call `flow` with words."""

    def call(*words: str) -> Outcome:
        capsys.readouterr()
        code = main(list(words))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
