"""`flow status`: every state a pipeline can be in, from the history that real runs left."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import SQLiteConnection, register_connection
from ematix_nb.api import declared
from ematix_nb.declare import registry
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import FlowError
from ematix_nb.load.held import hold
from ematix_nb.load.skip import unstarted
from ematix_nb.load.targets import open_state
from ematix_nb.schedule import open_since, parse_schedule
from ematix_nb.state import liveness
from ematix_nb.state.model import Claim
from ematix_nb.verbs.due import run_due
from ematix_nb.verbs.grammar import invoke, parse
from ematix_nb.verbs.run import run
from ematix_nb.verbs.status import STATES, PipelineStatus, StatusResult, status
from tests.widgets.test_static import checked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.declare.spec import PipelineSpec

NOON = dt.datetime(2126, 11, 23, 12, 0, 20, tzinfo=dt.UTC)
"""In the future, so that runs of the test, which end now, lie long before it."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sqlite3.connect(tmp_path / "w.sqlite").close()
    with registry.scratch():
        register_connection(SQLiteConnection(name="lite", path=str(tmp_path / "w.sqlite")))
        yield tmp_path


def pipeline(name: str = "p", rows: str = "SELECT 1 AS n", **options: Any) -> PipelineSpec:
    spec = build_pipeline(**{"name": name, "sql": rows, "target": f"lite:{name}", "mode": "truncate", **options})
    declared(spec)
    return spec


def look(now: dt.datetime | None = None, **options: Any) -> PipelineStatus:
    (found,) = status(list(registry.pipelines().values()), now=now, **options).pipelines
    return found


def flow_status(*words: str) -> StatusResult:
    found = invoke(parse(["status", *words]), registry_ready=True)
    assert isinstance(found, StatusResult)
    return found


def test_a_pipeline_that_never_ran_is_no_failure(place: Path) -> None:
    pipeline()
    register_connection(SQLiteConnection(name="fresh", path=str(place / "not-there-yet.sqlite")))
    pipeline("q", target="fresh:q", source_connection="lite")
    found = flow_status()
    assert [(one.pipeline, one.states) for one in found.pipelines] == [("p", ("never ran",)), ("q", ("never ran",))]
    assert found.exit_code == 0
    assert not (place / "not-there-yet.sqlite").exists()


def test_a_success_is_ok_and_tells_when_it_fires_next() -> None:
    spec = pipeline(schedule="0 6 1 1 *", timezone="Europe/Berlin")
    ran = run(spec)
    found = look(dt.datetime.now(dt.UTC))
    assert found.states == ("ok",)
    assert found.last_run is not None
    assert (found.last_run.run_id, found.what) == (ran.run_id, "")
    assert found.next is not None
    assert found.next > dt.datetime.now(dt.UTC)
    assert found.last_success is not None


def test_due_then_late() -> None:
    pipeline(schedule="0 * * * *")
    run_due(now=NOON)
    assert "due" not in look(NOON + dt.timedelta(minutes=59)).states
    one = look(NOON + dt.timedelta(minutes=64))
    assert (one.states, one.due_since) == (("stale", "due"), NOON.replace(hour=13, second=0))
    two = look(NOON + dt.timedelta(minutes=65))
    assert two.states == ("late", "stale", "due")
    three = look(NOON + dt.timedelta(hours=5), grace=dt.timedelta(hours=6))
    assert (three.states, three.due_since) == (("stale", "due"), NOON.replace(hour=13, second=0))


def test_stale_counts_slots_since_the_last_success() -> None:
    spec = pipeline(schedule="0 0 1 1 *")
    run(spec)
    this_year = dt.datetime.now(dt.UTC).year
    three_later = dt.datetime(this_year + 3, 6, 1, tzinfo=dt.UTC)
    assert "stale" not in look(three_later).states
    assert "stale" in look(three_later.replace(year=this_year + 4)).states
    assert "stale" in look(three_later, stale_after=2).states
    assert look(three_later.replace(year=this_year + 4)).states[0] == "stale"


def test_a_failed_run_says_why_and_a_success_takes_it_back(place: Path) -> None:
    spec = pipeline()
    run(spec)
    wrong = dataclasses.replace(spec, query=dataclasses.replace(spec.query, sql="SELECT n FROM nowhere"))
    with pytest.raises(FlowError):
        run(wrong)
    found = flow_status("p")
    (one,) = found.pipelines
    assert (one.states, found.exit_code) == (("failed",), 1)
    assert "no such table: nowhere" in one.what
    assert one.last_success is not None
    assert "no such table: nowhere" in found.to_text()
    assert "no such table: nowhere" in found.to_html()
    run(spec)
    assert (flow_status("p").exit_code, look().states) == (0, ("ok",))


def test_a_changed_declaration_is_told_and_is_no_failure() -> None:
    run(pipeline())
    pipeline(rows="SELECT 2 AS n")
    found = flow_status()
    assert (found.pipelines[0].states, found.exit_code) == (("changed",), 0)


def test_a_parent_that_changed_since_is_told_and_is_no_failure() -> None:
    parent, child = pipeline("parent"), pipeline("child", depends_on="parent")
    run(child)
    pipeline("parent", rows="SELECT 3 AS n")
    assert flow_status("child").pipelines[0].states == ("ok",)  # no run of the parent lies before that of the child
    run(parent)
    run(child)
    found = flow_status("child")
    assert (found.pipelines[0].states, found.exit_code) == (("outdated",), 0)
    assert found.pipelines[0].what == "`parent` changed since its last run"
    run(registry.get_pipeline("parent"))
    assert flow_status("child").pipelines[0].states == ("outdated",)
    run(child)
    assert flow_status("child").pipelines[0].states == ("ok",)


def test_rows_watermark_failures_and_durations() -> None:
    options: dict[str, Any] = {"mode": "append", "incremental": True, "watermark_column": "n"}
    spec = pipeline(rows="SELECT 7 AS n", schedule="0 * * * *", **options)
    run(spec)
    wrong = dataclasses.replace(spec, query=dataclasses.replace(spec.query, sql="SELECT n FROM nowhere"))
    with pytest.raises(FlowError):
        run(wrong)
    found = status([spec], now=NOON)
    one = found.pipelines[0].as_dict()
    assert (one["counts"]["rows_inserted"], one["watermark"], one["failures"]) == (1, "7", 1)
    assert [run["status"] for run in one["recent"]] == ["success", "failed"]
    assert found.columns[-4:] == ("rows", "watermark", "failures", "what")
    assert found.rows[0][-4:-1] == ("1 read, 1 inserted", "7", "1")
    html = found.to_html()
    assert html.count("<rect") == 2
    assert "1 of 2 failed" in html
    assert '<span class="ef-bad">failed</span>' in html


def test_a_dashboard_of_many_pipelines_is_small_and_escaped() -> None:
    one = PipelineStatus(
        pipeline="<b>", states=("ok",), what="<script>" * 40, recent=tuple((float(n), "failed") for n in range(20))
    )
    found = StatusResult("", ("pipeline",), (("<b>",),) * 300, pipelines=(one,) * 300)
    html = found.to_html()
    checked(html)
    assert len(html.encode()) < 61_000
    assert "more are not shown here" in html
    assert html == found.to_html()


def test_a_held_child() -> None:
    spec = pipeline(depends_on="parent")
    run(spec)
    hold(spec, "its parent failed", trigger="schedule")
    found = look()
    assert found.states == ("held",)
    assert "FLOW-260 held: its parent failed" in found.what
    assert found.last_run is not None
    assert found.last_run.status == "success", "the newest run that began"


def dead_process() -> str:
    """A process of this host that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return f"{child.pid}:1"


@pytest.mark.parametrize("alive", [True, False])
def test_running_is_who_holds_the_lease(alive: bool) -> None:  # noqa: FBT001 - the two cases
    spec = pipeline()
    run(spec)
    record = unstarted(spec, spec.targets[0], spec.name, None)
    record = dataclasses.replace(record, process=record.process if alive else dead_process())
    with open_state(spec, spec.targets[0], read_only=False) as (state, name):
        state.acquire(Claim(name, record.run_id, liveness.host_name(), record.process), record)
    found = flow_status()
    assert found.pipelines[0].states == (("running",) if alive else ("failed",))
    assert found.exit_code == (0 if alive else 1)
    expected = f"run {record.run_id[:8]} on " if alive else "it holds no lease: its process ended, or hangs"
    assert found.pipelines[0].what.startswith(expected)


def test_a_target_that_cannot_be_read_is_unknown(place: Path) -> None:
    (place / "no.sqlite").write_text("this is no database at all, whatever its name may say to those who read names")
    register_connection(SQLiteConnection(name="odd", path=str(place / "no.sqlite")))
    pipeline(target="odd:p", source_connection="lite")
    found = flow_status()
    assert (found.pipelines[0].states, found.exit_code) == (("unknown",), 1)
    assert found.pipelines[0].what


def test_json_has_a_truth_value_for_every_state() -> None:
    pipeline(schedule="0 * * * *")
    run_due(now=NOON)
    found = flow_status("--now", "2126-11-23T13:30Z", "--stale-after", "1000", "--grace", "60")
    (one,) = found.to_dict()["pipelines"]
    assert {name: one[name.replace(" ", "_")] for name in STATES} == {
        name: name in ("late", "due", "stale") for name in STATES
    }
    assert (one["due_since"], one["next"]) == ("2126-11-23T13:00:00+00:00", "2126-11-23T14:00:00+00:00")
    assert one["last_run"]["status"] == "success"
    assert found.to_dict()["at"] == "2126-11-23T13:30:00+00:00"


def test_the_target_that_is_worst_off_counts(place: Path) -> None:
    register_connection(SQLiteConnection(name="other", path=str(place / "other.sqlite")))
    sqlite3.connect(place / "other.sqlite").close()
    from ematix_nb import Target

    spec = pipeline(
        target=None, targets=[Target(table="lite:p"), Target(table="other:p")], source_connection="lite", mode=None
    )
    run(spec)
    os.truncate(place / "other.sqlite", 0)
    found = look()
    assert found.states == ("never ran",)
    assert found.last_success is None


@pytest.mark.parametrize(("policy", "hour"), [("latest", 10), ("all", 10), ("none", 12)])
def test_open_since(policy: Any, hour: int) -> None:
    hourly = parse_schedule("@hourly")
    done = NOON.replace(hour=9, minute=0, second=0)
    assert open_since(hourly, NOON, done, catch_up=policy) == NOON.replace(hour=hour, second=0)
    assert open_since(hourly, NOON, NOON, catch_up=policy) is None
