"""kill -9 between the two writes of a load that holds rows aside: none is lost, none is there twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.crash.test_kill import KILLED
from tests.crash.world import FIRST, STORES, World, make_source, run_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BAD = (8, "bad", "2 or 3", "2026-01-01 11:30:00")
GOOD = (7, "new", "7.5", "2026-01-01 11:00:00")
TABLE = "CREATE TABLE events (id BIGINT, name VARCHAR, amount VARCHAR, ts TIMESTAMP)"
CASES = [("delta", "merge"), ("delta", "append"), ("files", "append")]


@pytest.fixture
def make_drifted(make_world: Callable[..., World], tmp_path: Path) -> Callable[[str, str], World]:
    """A world whose source gives texts for amounts from the second load on; the third has only good ones."""

    def make(kind: str, mode: str) -> World:
        import duckdb

        sources = [make_source(tmp_path / "first.duckdb", "duckdb", FIRST)]
        for name, rows in (("second", [GOOD, BAD]), ("third", [GOOD, (*BAD[:2], "8.5", BAD[3])])):
            path = tmp_path / f"{name}.duckdb"
            with duckdb.connect(str(path)) as database:
                database.execute(TABLE)
                database.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
            sources.append(f"duckdb:///{path}")
        world = make_world(kind, mode, changes={"on_drift": "quarantine"})
        world.sources = tuple(sources)  # type: ignore[assignment]
        return world

    return make


def aside(world: World) -> list[tuple[str, int]]:
    """The rows in quarantine: run and id, read without the engine."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = world.path / f"{world.table}__quarantine"
    if world.kind == "delta":
        from deltalake import DeltaTable

        rows = pa.RecordBatchReader.from_stream(DeltaTable(folder).scan()).read_all().to_pylist()
    else:
        newest = max((folder / "_ematix_flow" / "manifest").glob("*.json"), key=lambda path: int(path.stem))
        files: list[str] = json.loads(newest.read_text())["files"]
        rows = [row for name in files for row in pq.read_table(folder / name, partitioning=None).to_pylist()]
    return sorted((row["run_id"], json.loads(row["source_row"])["id"]) for row in rows)


def newest(world: World) -> str:
    """The run that was the last."""
    return world.history()[-1][0]


def killed(world: World, load: int, *, times: int = 1) -> None:
    """A load dies when it has written the rows that do not fit, and nothing else; so do the next ones."""
    code, reports = run_child(world.job(world.step(1)))
    assert (code, [report["status"] for report in reports]) == (0, ["success"])
    for _ in range(times):
        assert run_child(world.job(world.step(load, "aside=kill")))[0] == KILLED
        assert world.rows() == sorted(FIRST)


@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_killed_and_run_again(kind: str, mode: str, make_drifted: Callable[[str, str], World]) -> None:
    world = make_drifted(kind, mode)
    killed(world, 2, times=2)
    dead = newest(world)
    assert [row[1] for row in aside(world)] == [8], "the second run removed what the first had left"
    code, reports = run_child(world.job(world.step(2)))
    assert (code, reports[0]["status"], reports[0]["counts"]["rows_quarantined"]) == (0, "success", 1)
    assert world.rows() == sorted([*FIRST, (*GOOD[:2], 7.5, GOOD[3])])
    assert aside(world) == [(newest(world), 8)]
    assert newest(world) != dead


@pytest.mark.parametrize("kind", STORES)
def test_killed_and_corrected(kind: str, make_drifted: Callable[[str, str], World]) -> None:
    world = make_drifted(kind, "append")
    killed(world, 2)
    code, reports = run_child(world.job(world.step(3)))
    assert (code, reports[0]["status"], reports[0]["counts"]["rows_quarantined"]) == (0, "success", 0)
    assert len(world.rows()) == len(FIRST) + 2
    assert aside(world) == []


@pytest.mark.parametrize("kind", STORES)
def test_killed_after_the_commit(kind: str, make_drifted: Callable[[str, str], World]) -> None:
    """What committed stays, whoever comes next."""
    world = make_drifted(kind, "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    assert run_child(world.job(world.step(2, "commit=kill")))[0] == KILLED
    first = newest(world)
    assert aside(world) == [(first, 8)]
    code, reports = run_child(world.job(world.step(3)))
    wanted: dict[str, Any] = {"rows_quarantined": 0, "rows_inserted": 1}
    assert (code, {name: reports[0]["counts"][name] for name in wanted}) == (0, wanted)
    assert aside(world) == [(first, 8)]
