"""A project folder beside a real PostgreSQL database, and `flow` called in this process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest

from ematix_nb.cli.main import main
from ematix_nb.connections import clear_connections, use_profile
from ematix_nb.declare import registry

if TYPE_CHECKING:
    from pathlib import Path

RAW = """
CREATE SCHEMA raw;
CREATE TABLE raw.events (event_id bigint, name text, received_at timestamptz);
INSERT INTO raw.events VALUES
    (1, 'start', '2026-01-01 10:00+00'), (2, NULL, '2026-01-01 11:00+00'), (3, 'stop', '2026-01-01 12:00+00');
CREATE TABLE raw.customers (customer_id bigint, email text, name text, updated_at timestamptz, source_col text);
INSERT INTO raw.customers VALUES
    (1, ' Ann@Example.com ', 'Ann', '2026-01-01 10:00+00', 'a'), (2, '', NULL, '2026-01-01 11:00+00', 'b');
CREATE VIEW customers AS SELECT * FROM raw.customers;
"""


class Outcome(NamedTuple):
    """What a call of `flow` gave."""

    code: int
    out: str
    err: str


class World:
    """A working directory, a database with rows to read, and what one does with them."""

    def __init__(self, folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.url = url
        self._capsys = capsys

    def module(self, *parts: str) -> None:
        """Write the module `my_pipelines`."""
        (self.folder / "my_pipelines.py").write_text("\n\n".join(parts))

    def load(self) -> Any:
        """Import it."""
        sys.modules.pop("my_pipelines", None)
        importlib.invalidate_caches()
        return importlib.import_module("my_pipelines")

    def flow(self, *words: str) -> Outcome:
        """Call `flow`."""
        self._capsys.readouterr()
        code = main(list(words))
        captured = self._capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    def run(self, *words: str) -> Outcome:
        """Call `flow`, which has to succeed."""
        found = self.flow(*words)
        assert found.code == 0, found
        return found

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()

    def change(self, statement: str) -> None:
        """Change the database from outside."""
        with psycopg.connect(self.url) as connection:
            connection.execute(statement)

    def relations(self) -> list[str]:
        """Every table and view that is not the server's own."""
        found = self.rows(
            "SELECT schemaname || '.' || tablename FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        )
        return [name for (name,) in found]


Make = Callable[[], World]


@pytest.fixture
def world(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[World]:
    """The world; the warehouse is the database that `WAREHOUSE_DSN` names, and `default` too."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WAREHOUSE_DSN", pg_url)
    monkeypatch.setenv("EMATIX_FLOW_DSN", pg_url)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    found = World(folder, pg_url, capsys)
    found.change(RAW)
    with registry.scratch():
        clear_connections()
        yield found
    sys.modules.pop("my_pipelines", None)
    use_profile(None)
    clear_connections()
