"""kill -9 at every failpoint, in every mode, then the same run again: equal to one clean run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ematix_nb.load.failpoints import STEPS
from tests.crash.world import KINDS, MODES, STORES, World, rows_after, run_child

if TYPE_CHECKING:
    from collections.abc import Callable

KILLED = -9
AFTER = STEPS[STEPS.index("commit") :]
STAGING = ("stage_create", "stage_write", "stage_done")
ENGINE_MODES = {kind: MODES if kind != "files" else ("append", "truncate") for kind in KINDS}


def unreached(kind: str, mode: str, load: int) -> set[str]:
    """Steps that a run of this kind does not have."""
    found: set[str] = set()
    direct = mode == "truncate" or (mode == "append" and load == 1)
    if direct and kind not in STORES:
        found.update(STAGING)
    if kind in STORES:
        found.add("post_transform")
    return found


CASES = [
    (kind, mode, step)
    for kind in KINDS
    for mode in ENGINE_MODES[kind]
    for step in STEPS
    if step not in unreached(kind, mode, 2)
]
FIRST_CASES = [
    (kind, mode, step)
    for kind in KINDS
    for mode in ENGINE_MODES[kind]
    for step in STEPS
    if step not in unreached(kind, mode, 1)
]
KEY_STEPS = ("before_commit", "commit")


def usual(case: tuple[str, str, str]) -> bool:
    """Every step on every system in one mode, every mode on every system at the steps that matter most."""
    kind, mode, step = case
    modes = ENGINE_MODES[kind]
    turn = (STEPS.index(step) + KINDS.index(kind)) % len(modes)
    if step in STAGING and kind not in STORES:
        turn = MODES.index(("append", "merge", "scd2")[STAGING.index(step)])
    return step in KEY_STEPS or modes[turn] == mode


USUAL = [case for case in CASES if usual(case)]
RARE = [case for case in CASES if not usual(case)]


def settled(world: World, loads: int) -> None:
    """What must hold after a run that recovered."""
    assert world.rows() == sorted(rows_after(world.mode, loads), key=repr)
    assert world.leftovers() == []
    assert world.lease() == ""
    assert "running" not in world.statuses()
    newest = {"append": ("2026-01-01 11:00:00.000000", "7"), "merge": ("2026-01-01 11:01:00.000000", "2")}
    if loads == 2 and world.mode in newest:
        found = newest[world.mode]
        assert world.watermark() == (json.dumps(found) if "watermark_column" in world.changes else found[0])


def recovers(world: World, killed_status: str, step: str) -> None:
    """The run after the crash, and one more."""
    again = world.job(world.step(2), world.step(2))
    code, reports = run_child(again)
    assert code == 0
    assert [report["status"] for report in reports] == ["success", "success"], reports
    assert world.statuses()[-3:] == [killed_status, "success", "success"]
    settled(world, 2)
    changes = {name: reports[1]["counts"][f"rows_{name}"] for name in ("updated", "closed", "deleted")}
    assert changes == {"updated": 0, "closed": 0, "deleted": 0}
    assert world.mode == "truncate" or reports[1]["counts"]["rows_inserted"] == 0, step


@pytest.mark.parametrize(("kind", "mode", "step"), USUAL)
def test_second_load_killed(kind: str, mode: str, step: str, make_world: Callable[..., World]) -> None:
    second_load(make_world(kind, mode), step)


@pytest.mark.parametrize(("kind", "mode", "step"), [case for case in CASES if case[:2] == ("postgres", "append")])
def test_load_by_several_columns_killed(kind: str, mode: str, step: str, make_world: Callable[..., World]) -> None:
    second_load(make_world(kind, mode, changes={"watermark_column": ("ts", "id")}), step)


@pytest.mark.nightly
@pytest.mark.parametrize(("kind", "mode", "step"), RARE)
def test_second_load_killed_everywhere(kind: str, mode: str, step: str, make_world: Callable[..., World]) -> None:
    second_load(make_world(kind, mode), step)


def test_the_usual_cases_meet_every_pair() -> None:
    for kind in KINDS:
        met = {step for one, _, step in USUAL if one == kind}
        assert met == {step for one, _, step in CASES if one == kind}
        assert {mode for one, mode, _ in USUAL if one == kind} == set(ENGINE_MODES[kind])


def second_load(world: World, step: str) -> None:
    """The second load is killed at a step, and run again."""
    mode = world.mode
    code, reports = run_child(world.job(world.step(1), world.step(2, f"{step}=kill")))
    assert (code, reports) == (KILLED, [])
    committed = step in AFTER
    assert world.rows() == sorted(rows_after(mode, 2 if committed else 1), key=repr), "a reader sees before or after"
    recovers(world, "success" if committed else "abandoned", step)


@pytest.mark.nightly
@pytest.mark.parametrize(("kind", "mode", "step"), FIRST_CASES)
def test_first_load_killed(kind: str, mode: str, step: str, make_world: Callable[..., World]) -> None:
    world = make_world(kind, mode)
    code, reports = run_child(world.job(world.step(1, f"{step}=kill")))
    assert (code, reports) == (KILLED, [])
    committed = step in AFTER
    assert world.rows() == (sorted(rows_after(mode, 1), key=repr) if committed else [])
    code, reports = run_child(world.job(world.step(1)))
    assert [report["status"] for report in reports] == ["success"], reports
    settled(world, 1)
    recovers(world, "success", step)


def test_every_step_is_reached(make_world: Callable[..., World]) -> None:
    world = make_world("sqlite", "merge")
    _, reports = run_child(world.job(world.step(1)))
    assert set(reports[0]["visits"]) == set(STEPS)
