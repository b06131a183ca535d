"""What must hold when a soak is over."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.crash.world import PREFIXED
from tests.soak.project import OWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.soak.changes import Row, Source
    from tests.soak.project import Pipeline


def problems(pipeline: Pipeline, source: Source) -> Iterator[str]:
    """What is wrong with a target and its state; nothing when all is well."""
    world = pipeline.world
    found = world.rows()
    if pipeline.mode == "scd2":
        yield from _versions(pipeline, source, found)
        found = [row[:4] for row in found if row[4]]
    yield from _rows(source.events if pipeline.mode == "append" else source.current, found)
    for what, seen in (("is left", world.leftovers()), ("holds the lease", [world.lease()] * bool(world.lease()))):
        yield from (f"{thing} {what}" for thing in seen)
    if "running" in (statuses := world.statuses()):
        yield "a row of the history is `running`"
    if statuses[-1:] != ["success"]:
        yield f"the last run ended as {statuses[-1:]}"


def _rows(wanted: Iterable[Row], found: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """Lost rows and rows that are too many; a changed row is one of each."""
    right, there = Counter(wanted), Counter(found)
    for what, rows in (("lost", right - there), ("doubled or changed", there - right)):
        if rows:
            yield f"{rows.total()} rows {what}, such as {min(rows, key=repr)}"


def _versions(pipeline: Pipeline, source: Source, found: list[tuple[Any, ...]]) -> Iterator[str]:
    """Closed versions were in the source once, each is there once, and their times meet."""
    known = {row for versions in source.things for row in versions[:-1]}
    closed = Counter(row[:4] for row in found if not row[4])
    for row, count in closed.items():
        if row not in known or count > 1:
            was = "once" if row in known else "never"
            yield f"the closed version {row} is there {count} times, and was {was} in the source"
    spans = sorted(_spans(pipeline), key=lambda span: (span[0], span[1]))
    for _, of_one in itertools.groupby(spans, key=lambda span: span[0]):
        versions = list(of_one)
        if [one[3] for one in versions] != [*(two[2] for two in versions[1:]), None]:
            yield f"the versions of {versions[0][0]} do not meet"


def _spans(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """(id, ts, valid_from, valid_to) of all versions; times as the target has them."""
    world, names = pipeline.world, ("id", "ts", "valid_from", "valid_to")
    if world.kind == "delta":
        import pyarrow as pa

        rows = pa.table(world.delta().scan(columns=list(names))).to_pylist()
        return [tuple(row[name] for name in names) for row in rows]
    text = "{}" if world.kind in PREFIXED else "CAST({} AS VARCHAR(40))"
    columns = ", ".join(text.format(name) for name in names[1:])
    return world.execute(f"SELECT id, {columns} FROM {world.table}")


def source_problems(source: Source, folder: Path) -> Iterator[str]:
    """Whether a source holds what was written there, read by the plain driver."""
    for table, wanted in (("events", source.events), ("things", source.current)):
        query = f"SELECT id, name, amount, CAST(ts AS VARCHAR(19)) FROM {table}"
        if source.kind == "sqlite":
            with sqlite3.connect(folder / "source.sqlite") as database:
                rows = database.execute(query).fetchall()
            database.close()
        elif source.kind == "duckdb":
            import duckdb

            with duckdb.connect(str(folder / "source.duckdb"), read_only=True) as file:
                rows = file.execute(query).fetchall()
        else:
            import psycopg

            with psycopg.connect(source.project.source_url, application_name=OWN) as server:
                rows = server.execute(query.encode()).fetchall()
        yield from (f"source {source.kind}.{table}: {text}" for text in _rows(wanted, rows))
