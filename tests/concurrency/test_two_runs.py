"""Two runs of one pipeline at once: one works, the other says who does; a run that hung cannot commit."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.crash.world import World, reports, rows_after, run_child, start_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.crash.child import Job

PATIENCE_S = 60


def wait_for(path: Path) -> None:
    """Until a file is there."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)


def both(world: World, one: Job, other: Job) -> list[dict[str, Any]]:
    """Two processes at once; their reports."""
    processes = [start_child(one), start_child(other)]
    for process in processes:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in processes] == [0, 0]
    return [*reports(one), *reports(other)]


@pytest.mark.parametrize(("kind", "mode"), [("sqlite", "append"), ("postgres", "append"), ("postgres", "merge"),
                                            ("mysql", "append"), ("mysql", "merge"), ("files", "append"),
                                            ("delta", "append"), ("delta", "merge")])  # fmt: skip
def test_started_together(kind: str, mode: str, make_world: Callable[..., World], tmp_path: Path) -> None:
    start_together(make_world(kind, mode), tmp_path)


@pytest.mark.parametrize(("kind", "mode"), [("postgres", "append"), ("sqlite", "merge"), ("delta", "append")])
def test_started_together_by_several_columns(
    kind: str, mode: str, make_world: Callable[..., World], tmp_path: Path
) -> None:
    start_together(make_world(kind, mode, changes={"watermark_column": ("ts", "id")}), tmp_path)


def start_together(world: World, tmp_path: Path) -> None:
    """The winner waits past `read_state` until the loser has come to its end."""
    assert run_child(world.job(world.step(1)))[0] == 0
    folder = tmp_path / "barrier"
    folder.mkdir()
    jobs = [world.job(world.step(2, f"read_state=barrier:{folder}:2"), ended=str(folder)) for _ in range(2)]
    found = both(world, *jobs)
    loser, winner = sorted(found, key=lambda report: report["status"] == "success")
    assert (winner["status"], loser["type"]) == ("success", "LockedError")
    mode = world.mode
    who = rf"pipeline `{world.name}` is locked by run {winner['run_id']} on host \S+ since .* \(pid {winner['pid']}\)"
    assert re.search(who, loser["error"])
    assert world.rows() == sorted(rows_after(mode, 2), key=repr)
    assert world.statuses() == ["success", "success"]
    assert (world.lease(), world.leftovers()) == ("", [])


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql", "files", "duckdb", "delta"])
def test_loser_that_waits_runs_after(kind: str, make_world: Callable[..., World], tmp_path: Path) -> None:
    world = make_world(kind, "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    hold = tmp_path / "hold"
    first = world.job(world.step(2, f"read_state=hold:{hold}"))
    second = world.job(world.step(2, options={"wait": PATIENCE_S}))
    one = start_child(first)
    wait_for(hold)
    other = start_child(second)
    other.join(0.5)
    assert other.exitcode is None
    hold.unlink()
    one.join(PATIENCE_S)
    other.join(PATIENCE_S)
    (winner,), (waiter,) = reports(first), reports(second)
    assert (winner["status"], winner["counts"]["rows_inserted"]) == ("success", 3)
    assert (waiter["status"], waiter["counts"]["rows_inserted"]) == ("success", 0)
    assert world.rows() == sorted(rows_after("append", 2), key=repr)


def test_duckdb_says_which_process_holds_the_file(make_world: Callable[..., World], tmp_path: Path) -> None:
    world = make_world("duckdb", "append")
    hold = tmp_path / "hold"
    one = start_child(world.job(world.step(1, f"read_state=hold:{hold}")))
    wait_for(hold)
    code, (loser,) = run_child(world.job(world.step(1), duckdb_wait_ms=50))
    hold.unlink()
    one.join(PATIENCE_S)
    assert (code, one.exitcode) == (0, 0)
    assert loser["type"] == "LockedError"
    assert f"is held by process {one.pid} " in loser["error"]
    assert world.rows() == sorted(rows_after("append", 1), key=repr)


@pytest.mark.parametrize("kind", ["postgres", "mysql", "files", "delta"])
def test_hung_run_cannot_commit(kind: str, make_world: Callable[..., World], tmp_path: Path) -> None:
    """SIGSTOP after staging, a second run after the lease ran out, SIGCONT."""
    world = make_world(kind, "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    note = tmp_path / "staged"
    first = world.job(world.step(2, f"stage_write=note:{note};stage_done=stop"), lease_seconds=0.5)
    hung = start_child(first)
    wait_for(note)
    code, (taker,) = run_child(world.job(world.step(2, options={"wait": PATIENCE_S})))
    assert (code, taker["status"]) == (0, "success")
    assert hung.pid is not None
    os.kill(hung.pid, signal.SIGCONT)
    hung.join(PATIENCE_S)
    (zombie,) = reports(first)
    assert (zombie["status"], zombie["type"]) == ("failed", "TransientError")
    assert "lost the lease" in zombie["error"]
    assert world.rows() == sorted(rows_after("append", 2), key=repr)
    assert sorted(set(world.statuses())) == ["abandoned", "success"]
    assert (world.lease(), world.leftovers()) == ("", [])


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_end_of_a_hung_run_frees_no_living_one(kind: str, make_world: Callable[..., World], tmp_path: Path) -> None:
    """A hangs, B takes over, A ends: C must still see that B lives."""
    world = make_world(kind, "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    note, hold = tmp_path / "staged", tmp_path / "hold"
    first = world.job(world.step(2, f"stage_write=note:{note};stage_done=stop"), lease_seconds=0.2)
    hung = start_child(first)
    wait_for(note)
    second = world.job(world.step(2, f"stage_done=hold:{hold}", options={"wait": PATIENCE_S}))
    taker = start_child(second)
    wait_for(hold)
    assert hung.pid is not None
    os.kill(hung.pid, signal.SIGKILL)
    hung.join(PATIENCE_S)
    _, (third,) = run_child(world.job(world.step(2)))
    hold.unlink()
    taker.join(PATIENCE_S)
    (taken,) = reports(second)
    assert (third["type"], taken["status"]) == ("LockedError", "success")
    assert f"locked by run {taken['run_id']}" in third["error"]
    assert world.rows() == sorted(rows_after("append", 2), key=repr)


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql", "files", "delta"])
def test_heartbeat_keeps_a_long_run(kind: str, make_world: Callable[..., World], tmp_path: Path) -> None:
    """The lease lasts 0.6 s, the run much longer."""
    world = make_world(kind, "merge" if kind != "files" else "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    hold = tmp_path / "staged"
    first = world.job(world.step(2, f"stage_done=hold:{hold}"), lease_seconds=0.6)
    long = start_child(first)
    wait_for(hold)
    code, (loser,) = run_child(world.job(world.step(2, options={"wait": 1.5})))
    hold.unlink()
    long.join(PATIENCE_S)
    (report,) = reports(first)
    assert (code, loser["type"], report["status"]) == (0, "LockedError", "success")
    assert world.rows() == sorted(rows_after(world.mode, 2), key=repr)
