"""Exceptions, Ctrl-C, SIGTERM and no memory at each step: the target is untouched, the history says what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb.load.failpoints import STEPS
from tests.crash.test_kill import AFTER, ENGINE_MODES, unreached
from tests.crash.world import KINDS, World, rows_after, run_child

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS = {
    "raise": ("failed", "RunError"),
    "raise:user": ("failed", "ValueError"),
    "raise:memory": ("failed", "MemoryError"),
    "interrupt": ("cancelled", "KeyboardInterrupt"),
    "term": ("cancelled", "CancelledError"),
}
BEFORE = tuple(step for step in STEPS if step not in AFTER)
WHOLE = [(kind, mode) for kind in KINDS for mode in ENGINE_MODES[kind]]
USUAL = [("duckdb", "scd2"), ("sqlite", "merge"), ("postgres", "append"), ("files", "append"), ("delta", "merge")]


def steps_of(kind: str, mode: str, fault: str) -> list[str]:
    """Steps before the commit; a token is asked for the last time right before `before_commit`."""
    return [
        step for step in BEFORE if step not in unreached(kind, mode, 2) and (fault, step) != ("term", "before_commit")
    ]


def check_all(world: World, fault: str) -> None:
    """The first load, then the fault at each step in turn, then a good run: one process, one target."""
    kind, mode = world.kind, world.mode
    steps = steps_of(kind, mode, fault)
    failing = [world.step(2, f"{step}={fault}", sigterm=fault == "term") for step in steps]
    code, reports = run_child(world.job(world.step(1), *failing))
    status, error = FAULTS[fault]
    assert code == 0
    found = {step: (report["status"], report["type"]) for step, report in zip(steps, reports[1:], strict=True)}
    wanted = "raised" if error in ("ValueError", "MemoryError", "KeyboardInterrupt") else status
    assert found == dict.fromkeys(steps, (wanted, error))
    assert world.rows() == sorted(rows_after(mode, 1), key=repr)
    assert world.statuses() == ["success", *(status for _ in steps)]
    assert world.lease() == ""
    assert world.leftovers() == []
    code, reports = run_child(world.job(world.step(2)))
    assert [report["status"] for report in reports] == ["success"], reports
    assert world.rows() == sorted(rows_after(mode, 2), key=repr)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("kind", "mode"), USUAL)
def test_faults_before_the_commit(kind: str, mode: str, fault: str, make_world: Callable[..., World]) -> None:
    check_all(make_world(kind, mode), fault)


@pytest.mark.nightly
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("kind", "mode"), [case for case in WHOLE if case not in USUAL])
def test_faults_before_the_commit_everywhere(
    kind: str, mode: str, fault: str, make_world: Callable[..., World]
) -> None:
    check_all(make_world(kind, mode), fault)


@pytest.mark.parametrize("step", ["commit", "ack_source", "release"])
@pytest.mark.parametrize(("kind", "mode"), USUAL)
def test_faults_after_the_commit(kind: str, mode: str, step: str, make_world: Callable[..., World]) -> None:
    """What was committed is a success, whatever comes after it."""
    world = make_world(kind, mode)
    job = world.job(world.step(1), world.step(2, f"{step}=raise"), world.step(2, f"{step}=interrupt"))
    code, reports = run_child(job)
    assert code == 0
    assert [report["status"] for report in reports] == ["success", "success", "raised"]
    assert "after the commit: made by a failpoint" in reports[1]["warnings"]
    assert reports[2]["type"] == "KeyboardInterrupt"
    assert world.statuses() == ["success", "success", "success"]
    assert world.rows() == sorted(rows_after(mode, 2), key=repr)
    assert (world.lease(), world.leftovers()) == ("", [])
