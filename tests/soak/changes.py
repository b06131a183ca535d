"""The sources: three systems with the same two tables, in which a writer adds and changes rows all the time."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.soak.project import OWN, SOURCES

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from tests.soak.project import Project

Row = tuple[int, str, float | None, str]
FIRST_ROWS = 200
START = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - what the tables hold has no time zone
PAUSE_S = 5.0
RETRY_S = 0.05
_TABLE = "(id BIGINT, name VARCHAR(40), amount DOUBLE PRECISION, ts TIMESTAMP)"


@dataclass
class Source:
    """One system, and all that was ever in it."""

    kind: str
    project: Project
    events: list[Row] = field(default_factory=list)
    things: list[list[Row]] = field(default_factory=list)
    """The versions of each thing, oldest first."""
    seconds: int = 0
    changes: int = 0

    @property
    def current(self) -> list[Row]:
        """The newest version of each thing."""
        return [versions[-1] for versions in self.things]

    def make(self, rng: random.Random) -> None:
        """The tables with their first rows."""
        with self._session() as execute:
            for table in ("events", "things"):
                execute(f"CREATE TABLE {table} {_TABLE}", [])
        self.change(rng, FIRST_ROWS)

    def change(self, rng: random.Random, added: int = 0) -> None:
        """Add rows to both tables and change some things, in one transaction."""
        events = [self._row(len(self.events) + n, rng) for n in range(added or rng.randint(1, 12))]
        new = [self._row(len(self.things) + n, rng) for n in range(added or rng.randint(0, 3))]
        ids = rng.sample(range(len(self.things)), min(len(self.things), rng.randint(0, 8)))
        changed = [self._row(number, rng) for number in ids]
        with self._session() as execute:
            for table, rows in (("events", events), ("things", new)):
                for row in rows:
                    execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", list(row))
            for row in changed:
                execute("UPDATE things SET name = ?, amount = ?, ts = ? WHERE id = ?", [*row[1:], row[0]])
        self.events += events
        self.things += [[row] for row in new]
        for row in changed:
            self.things[row[0]].append(row)
        self.changes += 1

    def _row(self, number: int, rng: random.Random) -> Row:
        self.seconds += 1
        amount = None if rng.random() < 0.1 else rng.randint(-4000, 4000) / 4
        return number, f"{self.kind} {number} of {self.seconds}", amount, str(START + dt.timedelta(0, self.seconds))

    @contextlib.contextmanager
    def _session(self) -> Iterator[Callable[[str, list[Any]], object]]:
        """A transaction by the plain driver, straight to the server."""
        if self.kind == "sqlite":
            connection = sqlite3.connect(self.project.sources / "source.sqlite", timeout=120)
            with contextlib.closing(connection), connection:
                yield connection.execute
        elif self.kind == "duckdb":
            with self._duckdb() as database:
                database.execute("BEGIN")
                yield database.execute
                database.execute("COMMIT")
        else:
            import psycopg

            with psycopg.connect(self.project.source_url, application_name=OWN) as server:
                yield lambda sql, values: server.execute(sql.replace("?", "%s").encode(), values)

    def _duckdb(self) -> Any:
        """The file, as soon as nobody reads it."""
        import duckdb

        while True:
            try:
                return duckdb.connect(str(self.project.sources / "source.duckdb"))
            except duckdb.IOException:
                threading.Event().wait(RETRY_S)


class Changes:
    """Changes the sources from a thread for each, until left."""

    def __init__(self, project: Project, rng: random.Random) -> None:
        self.sources = {kind: Source(kind, project) for kind in SOURCES}
        for source in self.sources.values():
            source.make(rng)
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(source, rng.randrange(2**32)), daemon=True)
            for source in self.sources.values()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _work(self, source: Source, seed: int) -> None:
        import random

        rng = random.Random(seed)
        try:
            while not self._stop.wait(PAUSE_S):
                source.change(rng)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._errors.append(error)
