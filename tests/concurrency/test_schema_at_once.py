"""Two pipelines that make one table, one column or the state tables at the same moment: one of them plans anew."""

from __future__ import annotations

import collections
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.config import connect
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.load import failpoints
from ematix_nb.state.sql_state import SqlState
from ematix_nb.verbs.run import run
from tests.crash.world import SQL_KINDS, World, rows_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ematix_nb.declare.spec import PipelineSpec

PATIENCE_S = 60
WIDER = "SELECT id, name, amount, ts, id * 2 AS twice FROM events"


@contextlib.contextmanager
def meeting(step: str, runs: int) -> Iterator[collections.Counter[str]]:
    """Runs of different threads wait for each other when they first reach a step; counts the steps of all."""
    barrier, met, visits = threading.Barrier(runs), set[int](), collections.Counter[str]()

    def reached(found: str) -> None:
        visits[found] += 1
        if found == step and threading.get_ident() not in met:
            met.add(threading.get_ident())
            barrier.wait(PATIENCE_S)

    failpoints.install(reached)
    try:
        yield visits
    finally:
        failpoints.install(None)


def together(specs: Sequence[PipelineSpec]) -> list[tuple[str, str]]:
    """Status and error of runs that are started at once."""
    found: list[tuple[str, str]] = []

    def one(spec: PipelineSpec) -> None:
        result = run(spec)
        found.append((result.status, str(result.targets[0].error or "")))

    threads = [threading.Thread(target=one, args=(spec,)) for spec in specs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return found


def two(world: World, **options: Any) -> list[PipelineSpec]:
    """Two pipelines into the table of a world."""
    connect(world.url, name="target")
    connect(world.sources[0], name="source")
    shared = {**world.options(), "transforms_post": [], **options}
    return [build_pipeline(**{**shared, "name": f"{world.name}_{letter}"}) for letter in "ab"]


@pytest.mark.parametrize("kind", SQL_KINDS)
def test_one_table(kind: str, make_world: Callable[..., World]) -> None:
    world = make_world(kind, "append")
    specs = two(world)
    with meeting("open_source", 2) as visits:
        assert together(specs) == [("success", "")] * 2
    assert visits["open_source"] >= 3, "the second one did not plan anew"
    assert world.rows() == sorted(rows_after("append", 1) * 2, key=repr)
    assert world.leftovers() == []


@pytest.mark.parametrize("kind", SQL_KINDS)
def test_one_column(kind: str, make_world: Callable[..., World]) -> None:
    world = make_world(kind, "merge")
    assert run(two(world)[0]).status == "success"
    specs = two(world, sql=WIDER, incremental=False, watermark_column=None)
    with meeting("open_source", 2) as visits:
        assert together(specs) == [("success", "")] * 2
    assert visits["open_source"] >= 3, "the second one did not plan anew"
    assert world.rows() == sorted(rows_after("merge", 1), key=repr)
    assert sorted(world.execute(f"SELECT twice FROM {world.table}")) == [(2,), (4,), (6,), (8,)]
    assert world.leftovers() == []


@pytest.mark.parametrize("kind", SQL_KINDS)
def test_the_state_tables(
    kind: str, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    world = make_world(kind, "append")
    if kind in ("postgres", "mysql"):
        world.url = request.getfixturevalue({"postgres": "pg_url", "mysql": "mysql_url"}[kind])
    barrier, met, made = threading.Barrier(2), set[int](), SqlState._make

    def both(state: SqlState) -> None:
        if threading.get_ident() not in met:
            met.add(threading.get_ident())
            barrier.wait(PATIENCE_S)
        made(state)

    monkeypatch.setattr(SqlState, "_make", both)
    first, second = two(world)
    second = build_pipeline(**{**world.options(), "name": "other", "target": "target:other", "transforms_post": []})
    assert together([first, second]) == [("success", "")] * 2
    assert len(met) == 2
    assert world.rows() == sorted(rows_after("append", 1), key=repr)
