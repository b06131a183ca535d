"""Two writers and a reader on PostgreSQL in all orders: what arrives with late_rows overlap, and with snapshot.

`overlap` gives what its rule says: rows that commit after the watermark has passed them by more than the overlap are
lost. `snapshot` loses nothing: each committed row is in the target after the next run, once.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ematix_nb import PostgresConnection, SQLiteConnection, register_connection
from ematix_nb.api import declared
from ematix_nb.declare import registry
from ematix_nb.declare.pipelines import build_pipeline
from tests.support.late_rows import Row, Source, Step, Target, orders
from tests.support.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.api import Pipeline

OVERLAP = 3
FIRST = (1, 10, "first")
"""The row that is there before, and was loaded."""
RUN = Step("R", "run")


def transaction(actor: str, *steps: tuple[str, Row], end: str = "commit") -> tuple[Step, ...]:
    """Begin, the given changes, and the end."""
    return (Step(actor, "begin"), *(Step(actor, verb, row) for verb, row in steps), Step(actor, end))


def alone(actor: str, *rows: Row) -> tuple[Step, ...]:
    """Rows that commit at once, each by itself."""
    return tuple(Step(actor, "put", row) for row in rows)


SCENARIOS: dict[str, tuple[tuple[Step, ...], ...]] = {
    "ties": (transaction("A", ("put", (2, 20, "a"))), alone("B", (3, 20, "b"), (4, 20, "c")), (RUN,)),
    "late commit": (transaction("A", ("put", (2, 12, "late"))), alone("B", (3, 20, "b"), (4, 30, "c")), (RUN,)),
    "rollback": (
        transaction("A", ("put", (2, 12, "never")), end="rollback"),
        alone("B", (3, 20, "b"), (4, 11, "instead")),
        (RUN,),
    ),
    "long transaction": (transaction("A", ("put", (2, 5, "old"))), alone("B", (3, 40, "b")), (RUN, RUN)),
    "sequence gap": (transaction("A", ("put", (11, 11, "gap"))), alone("B", (15, 15, "b"), (16, 16, "c")), (RUN,)),
    "update of the cursor": (
        transaction("A", ("put", (1, 14, "moved"))),
        alone("B", (3, 20, "b"), (3, 9, "back")),
        (RUN,),
    ),
    "delete": (transaction("A", ("drop", FIRST)), alone("B", (3, 20, "b"), (4, 10, "c")), (RUN,)),
    "two of one transaction": (
        transaction("A", ("put", (2, 12, "a")), ("put", (3, 30, "b"))),
        alone("B", (4, 20, "c")),
        (RUN,),
    ),
}  # fmt: skip


def cases() -> list[tuple[str, tuple[Step, ...]]]:
    """Every scenario in all orders of its steps."""
    return [(name, order) for name, scripts in SCENARIOS.items() for order in orders(*scripts)]


def spread(found: list[Any], count: int) -> list[Any]:
    """So many of a list, evenly."""
    return [found[number * len(found) // count] for number in range(count)]


class World:
    """One source in PostgreSQL with two writers, and pipelines that read it into SQLite."""

    def __init__(self, url: str, folder: Path) -> None:
        register_connection(PostgresConnection(name="src", url=url))
        self.file = folder / "target.sqlite"
        register_connection(SQLiteConnection(name="lite", path=str(self.file)))
        self.sessions = {actor: psycopg.connect(url, autocommit=True, options="-c lock_timeout=5s") for actor in "AB"}
        self.sessions["A"].execute("CREATE TABLE events (id int PRIMARY KEY, at bigint, note text)")
        self._numbers = itertools.count()

    def close(self) -> None:
        for session in self.sessions.values():
            session.close()

    def pipeline(self, mode: str, late_rows: str) -> Pipeline:
        name = f"p{next(self._numbers)}"
        keys: dict[str, Any] = {"keys": ("id",)} if mode == "merge" else {}
        spec = build_pipeline(
            sql="SELECT id, at, note FROM events", target=f"lite:{name}", source_connection="src", name=name, mode=mode,
            watermark_column="at", overlap=OVERLAP, late_rows=late_rows, **keys,
        )  # fmt: skip
        return declared(spec)

    def restart(self) -> None:
        """The source as each order finds it."""
        self.sessions["A"].execute("TRUNCATE events")
        self.take(Step("A", "put", FIRST))

    def held(self, pipeline: Pipeline) -> Counter[Row]:
        """The rows of a pipeline's target."""
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            return Counter(connection.execute(f"SELECT id, at, note FROM {pipeline.name}").fetchall())

    def take(self, step: Step) -> None:
        """One step of a writer."""
        session = self.sessions[step.actor]
        if step.verb == "put":
            session.execute(
                "INSERT INTO events VALUES (%s, %s, %s)"
                " ON CONFLICT (id) DO UPDATE SET at = excluded.at, note = excluded.note",
                step.row,
            )
        elif step.verb == "drop":
            session.execute("DELETE FROM events WHERE id = %s", step.row[:1])
        else:
            session.execute(step.verb)


@pytest.fixture(scope="module")
def world(pg_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with fresh_database(pg_server) as url, registry.scratch():
        made = World(url, tmp_path_factory.mktemp("isolation"))
        yield made
        made.close()


def check(world: World, order: tuple[Step, ...], mode: str) -> dict[str, Counter[Row]]:
    """Let writers and runs take their turns; each run leaves what the oracle says. Gives what the last one left."""
    world.restart()
    source = Source({FIRST[0]: FIRST})
    settings = {name: (world.pipeline(mode, name), Target(mode, name, OVERLAP)) for name in ("overlap", "snapshot")}
    for step in (RUN, *order, RUN):
        if step.verb != "run":
            world.take(step)
            source.take(step)
            continue
        for name, (pipeline, target) in settings.items():
            pipeline.sync()
            target.run(source)
            assert world.held(pipeline) == target.rows, f"{name}, {mode}: {', '.join(map(str, order))}"
    present = set(source.rows.values())
    assert present <= set(settings["snapshot"][1].rows), "the oracle itself loses a row"
    return {name: target.rows for name, (_, target) in settings.items()}


def test_there_are_enough_orders() -> None:
    assert len(cases()) >= 400
    assert all(len(order) <= 6 for _, order in cases())


@pytest.mark.integration
@pytest.mark.parametrize("mode", ["append", "merge"])
def test_some_orders(world: World, mode: str) -> None:
    lost = 0
    for _, order in spread(cases()[mode == "merge" :], 30):
        found = check(world, order, mode)
        lost += found["overlap"] != found["snapshot"]
    assert lost, "no order in which the overlap alone loses a row: these tests would pass without late_rows"


@pytest.mark.integration
@pytest.mark.nightly
@pytest.mark.parametrize("mode", ["append", "merge"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_orders(world: World, scenario: str, mode: str) -> None:
    for order in orders(*SCENARIOS[scenario]):
        check(world, order, mode)
