"""`run-due`: each slot fires once, whoever calls, whatever crashed in between."""

from __future__ import annotations

import datetime as dt
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.connections import clear_connections
from ematix_nb.errors import HeldError
from ematix_nb.load.context import RunContext
from ematix_nb.load.held import hold
from ematix_nb.load.run import run_target
from tests.crash.child import Job, Step, declared
from tests.crash.world import KINDS, World, clone, reports, rows_after, run_child, start_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOON = "2026-03-02T12:00:20+00:00"
SCHEDULE = {"schedule": "* * * * *"}


def due(
    world: World, now: str = NOON, policy: str = "latest", load: int = 1, failpoint: str = "", **options: str
) -> Step:
    return Step(world.sources[load - 1], failpoint, due=(now, policy), options=options)


def job(world: World, *steps: Step, cache: str = "cache", **options: Any) -> Job:
    return world.job(*steps, environment={"XDG_CACHE_HOME": str(world.folder / cache)}, **options)


def call(world: World, *steps: Step, cache: str = "cache") -> list[dict[str, Any]]:
    code, found = run_child(job(world, *steps, cache=cache))
    assert code == 0
    return found


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql", "files", "delta"])
def test_two_schedulers_at_once(kind: str, make_world: Callable[..., World], tmp_path: Path) -> None:
    """Each with a cache of its own, as two machines have."""
    world = make_world(kind, "truncate", changes=SCHEDULE)
    folder = tmp_path / "barrier"
    folder.mkdir()
    jobs = [
        job(world, due(world, failpoint=f"read_state=barrier:{folder}:2"), cache=name, ended=str(folder))
        for name in ("one", "two")
    ]
    processes = [start_child(one) for one in jobs]
    for process in processes:
        process.join(60)
    found = [*reports(jobs[0]), *reports(jobs[1])]
    assert sorted(report["ran"] for report in found) == [[], ["success"]]
    assert [report["failed"] for report in found] == [[], []]
    assert any("is locked by run" in text for report in found for text in report["skipped"])
    assert world.statuses() == ["success"]
    again = call(world, due(world), due(world, "2026-03-02T12:00:59+00:00"), cache="three")
    assert [report["text"] for report in again] == ["nothing was due (1 scheduled pipeline checked)"] * 2
    assert world.statuses() == ["success"]


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql"])
@pytest.mark.parametrize(
    ("step", "ran"), [("read_state", ["success"]), ("before_commit", ["success"]), ("commit", []), ("release", [])]
)
def test_a_crash_fires_again_unless_it_committed(
    kind: str, step: str, ran: list[str], make_world: Callable[..., World]
) -> None:
    world = make_world(kind, "append", changes={**SCHEDULE, "transforms_post": []})
    code, _ = run_child(job(world, due(world, failpoint=f"{step}=kill")))
    assert code == -9
    (report,) = call(world, due(world))
    assert (report["ran"], report["failed"]) == (ran, [])
    assert world.rows() == sorted(rows_after("append", 1), key=repr)
    assert world.statuses().count("success") == 1


@pytest.mark.parametrize(("policy", "fired"), [("latest", 1), ("all", 5), ("none", 1)])
def test_missed_slots(policy: str, fired: int, make_world: Callable[..., World]) -> None:
    world = make_world("sqlite", "truncate", changes=SCHEDULE)
    first, late = call(world, due(world), due(world, "2026-03-02T12:05:20+00:00", policy))
    assert (first["ran"], late["ran"]) == (["success"], ["success"] * fired)
    slots = [row[0][:16] for row in world.execute("SELECT slot FROM ematix_flow_schedule_slots ORDER BY slot")]
    wanted = range(1, 6) if policy == "all" else [5]
    assert slots == ["2026-03-02 12:00", *(f"2026-03-02 12:0{minute}" for minute in wanted)]


@pytest.mark.parametrize("fault", ["raise", "kill"])
def test_a_slot_that_keeps_failing_is_left_alone(fault: str, make_world: Callable[..., World]) -> None:
    world = make_world("sqlite", "truncate", changes=SCHEDULE)
    for _ in range(5):
        run_child(job(world, due(world, failpoint=f"apply={fault}")))
    (report,) = call(world, due(world))
    assert report["ran"] == []
    assert "the slot 2026-03-02 12:00 UTC failed 3 times" in report["skipped"][0]
    statuses = world.statuses()
    assert set(statuses) <= {"failed", "abandoned", "running"}
    assert len(statuses) <= 4
    (after,) = call(world, due(world, "2026-03-02T12:01:05+00:00"))
    assert after["ran"] == ["success"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_is_not_there_leaves_a_trace_and_keeps_the_slot_open(
    kind: str, make_world: Callable[..., World]
) -> None:
    world = make_world(kind, "truncate", changes={**SCHEDULE, "transforms_post": []})
    gone = "postgresql://somebody:hush-hush@127.0.0.1:1/nowhere"
    (first,) = call(world, Step(gone, due=(NOON, "latest")))
    assert (first["ran"], len(first["failed"])) == ([], 1)
    assert world.statuses() == ["failed"]
    assert world.errors() == first["failed"]
    assert "FLOW-211" in world.errors()[0]
    assert "hush" not in world.errors()[0]
    (second,) = call(world, due(world))
    assert (second["ran"], second["failed"]) == (["success"], [])
    assert world.statuses() == ["failed", "success"]
    assert world.lease() == ""


@pytest.mark.parametrize("kind", ["sqlite", "files", "delta"])
def test_a_plan_that_is_refused_is_tried_three_times_a_slot(kind: str, make_world: Callable[..., World]) -> None:
    world = make_world(kind, "truncate", changes={**SCHEDULE, "transforms_post": [], "sql": "SELECT nome FROM events"})
    found = call(world, *[due(world)] * 4)
    assert [len(report["failed"]) for report in found] == [1, 1, 1, 0]
    assert "the slot 2026-03-02 12:00 UTC failed 3 times" in found[3]["skipped"][0]
    assert world.statuses() == ["failed"] * 3
    assert all("nome" in text for text in world.errors())
    (later,) = call(world, due(world, "2026-03-02T12:01:05+00:00"))
    assert len(later["failed"]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_tries_are_spaced_so_that_an_outage_costs_no_slot(kind: str, make_world: Callable[..., World]) -> None:
    world = make_world(kind, "truncate", changes={**SCHEDULE, "transforms_post": []})
    gone = "sqlite:////nowhere/at/all.sqlite"

    def later(seconds: float, source: str = gone) -> Step:
        return Step(source, due=(NOON, "latest"), options={"spaced": True, "ahead": seconds})

    found = call(world, *[later(seconds) for seconds in (0, 1, 30, 62, 120, 400, 1300, 1400)])
    assert [len(report["failed"]) for report in found] == [1, 0, 0, 1, 0, 1, 1, 0]
    assert "the slot 2026-03-02 12:00 UTC failed 1 time and is tried again from " in found[1]["skipped"][0]
    assert "failed 4 times and is tried again from " in found[-1]["skipped"][0]
    (back,) = call(world, later(5000, due(world).source))
    assert (back["ran"], back["failed"]) == (["success"], [])
    assert world.statuses() == ["failed"] * 4 + ["success"]


def test_a_run_by_hand_leaves_a_trace_too(make_world: Callable[..., World]) -> None:
    """Of a mistake in a declaration only where a history is: trying things out writes nothing into a fresh target."""
    world = make_world("sqlite", "truncate", changes={"transforms_post": []})
    wrong = clone(world, changes={"transforms_post": [], "sql": "SELECT nome FROM events"})
    run_child(wrong.job(wrong.step(1)))
    assert "ematix_flow_run_history" not in world.tables()
    run_child(world.job(world.step(1)))
    run_child(wrong.job(wrong.step(1), wrong.step(1, options={"dry": True})))
    assert world.statuses() == ["success", "failed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("done", [1, 0], ids=["after a success", "the first slot ever"])
def test_with_catch_up_all_no_slot_is_passed_over(kind: str, done: int, make_world: Callable[..., World]) -> None:
    world = make_world(kind, "truncate", changes={**SCHEDULE, "transforms_post": []})
    gone = "sqlite:////nowhere/at/all.sqlite"
    first = [due(world, "2026-03-02T11:59:20+00:00")] * done
    call(world, *first, *[Step(gone, due=(NOON, "all"))] * 3)
    (blocked,) = call(world, due(world, "2026-03-02T12:03:20+00:00", "all"))
    assert blocked["ran"] == []
    assert blocked["failed"][0].splitlines() == [
        "FLOW-200 the slot 2026-03-02 12:00 UTC failed 3 times; 3 later slots wait for it (catch_up=all)",
        (
            f"hint: `flow runs {world.name}` tells why; `flow run-due {world.name} --failed retry` tries it once more,"
            " `--failed skip` lets it go"
        ),
    ]
    (again, quiet) = call(
        world,
        due(world, "2026-03-02T12:03:30+00:00", "all", given_up="retry"),
        due(world, "2026-03-02T12:03:40+00:00", "all"),
    )
    assert (again["ran"], again["failed"]) == (["success"] * 4, [])
    assert (quiet["ran"], quiet["failed"]) == ([], [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_that_is_let_go_is_recorded_and_never_due_again(kind: str, make_world: Callable[..., World]) -> None:
    world = make_world(kind, "append", changes={**SCHEDULE, "transforms_post": []})
    call(world, due(world), *[Step("sqlite:////nowhere/at/all.sqlite", due=("2026-03-02T12:01:20Z", "all"))] * 3)
    data, mark = world.rows(), world.watermark()
    (skipped, quiet) = call(
        world,
        due(world, "2026-03-02T12:01:30Z", "all", given_up="skip"),
        due(world, "2026-03-02T12:01:40Z", "all", given_up="retry"),
        cache="another",
    )
    assert "the slot 2026-03-02 12:01 UTC failed 3 times and is let go" in skipped["skipped"][0]
    assert (skipped["ran"], skipped["failed"], quiet["ran"], quiet["skipped"]) == ([], [], [], [])
    assert sorted(world.statuses()) == ["failed", "failed", "failed", "skipped", "success"]
    assert (world.rows(), world.watermark(), world.lease()) == (data, mark, "")
    (later,) = call(world, due(world, "2026-03-02T12:02:20Z", "all", load=2))
    assert (later["ran"], world.rows()) == (["success"], sorted(rows_after("append", 2), key=repr))


@pytest.mark.parametrize("kind", KINDS)
def test_a_held_pipeline_is_recorded_once_a_slot_and_the_slot_stays_open(
    kind: str, make_world: Callable[..., World]
) -> None:
    world = make_world(kind, "truncate", changes={**SCHEDULE, "transforms_post": []})
    work = job(world, due(world))
    slot = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
    try:
        spec = declared(work.pipeline, work.target, work.steps[0].source)
        for moment in (slot, slot, slot + dt.timedelta(minutes=1)):
            (outcome,) = hold(spec, "`a`, on which it depends, failed", trigger="schedule", slot=moment)
            assert (outcome.status, type(outcome.error)) == ("held", HeldError)
    finally:
        clear_connections()
    assert world.statuses() == ["held", "held"]
    assert "FLOW-260 held: `a`, on which it depends, failed" in world.errors()[0]
    (report,) = call(world, due(world))
    assert (report["ran"], report["failed"]) == (["success"], [])
    assert (world.statuses(), world.lease()) == (["held", "held", "success"], "")


@pytest.mark.parametrize("kind", KINDS)
def test_the_retries_of_a_call_are_recorded_each_and_cost_one_try_of_the_slot(
    kind: str, make_world: Callable[..., World]
) -> None:
    changes = {**SCHEDULE, "transforms_post": [], "retries": 2, "retry_backoff": "0s"}
    world = make_world(kind, "truncate", changes=changes)
    gone = Step("postgresql://somebody@127.0.0.1:1/nowhere", due=(NOON, "latest"), options={"spaced": True})
    first, second = call(world, gone, gone)
    assert (len(first["failed"]), second["failed"]) == (1, [])
    assert world.statuses() == ["failed"] * 3
    assert "the slot 2026-03-02 12:00 UTC failed 1 time and is tried again from " in second["skipped"][0]
    (back,) = call(world, due(world))
    assert (back["ran"], back["failed"]) == (["success"], [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_of_a_run_that_had_committed_after_all_loads_nothing(
    kind: str, make_world: Callable[..., World]
) -> None:
    """The answer to the commit was lost, and nobody could be asked whether it had landed until now."""
    world = make_world(kind, "append", changes={"transforms_post": [], "watermark_column": None, "incremental": False})
    work = world.job(world.step(1))
    try:
        spec = declared(work.pipeline, work.target, work.steps[0].source)
        first = run_target(spec, spec.targets[0], RunContext())
        again = run_target(spec, spec.targets[0], RunContext(earlier=(first.run_id,)))
        other = run_target(spec, spec.targets[0], RunContext(earlier=("00000000-0000-4000-8000-000000000000",)))
    finally:
        clear_connections()
    assert (first.status, first.warnings) == ("success", ())
    assert (again.status, again.run_id, again.counts) == ("success", first.run_id, first.counts)
    assert again.warnings == ("the answer to the commit was lost; the commit had landed",)
    assert (other.status, other.run_id == first.run_id) == ("success", False)
    assert (world.statuses(), world.lease()) == (["success", "success"], "")


def test_the_cache_changes_nothing(make_world: Callable[..., World]) -> None:
    world = make_world("sqlite", "truncate", changes=SCHEDULE)
    call(world, due(world))
    cache = world.folder / "cache"
    (written,) = cache.rglob("slots-*.json")
    for content in ("{}", "broken", None):
        if content is None:
            shutil.rmtree(cache)
        else:
            written.write_text(content)
        assert [report["ran"] for report in call(world, due(world))] == [[]]
    assert world.statuses() == ["success"]


def test_a_cache_of_the_past_fires_nothing(make_world: Callable[..., World]) -> None:
    """What it does not know is looked up in the target."""
    world = make_world("sqlite", "truncate", changes=SCHEDULE)
    call(world, due(world), cache="old")
    call(world, due(world, "2026-03-02T12:01:20+00:00"), cache="new")
    assert [report["ran"] for report in call(world, due(world, "2026-03-02T12:01:40+00:00"), cache="old")] == [[]]
    assert world.statuses() == ["success", "success"]
