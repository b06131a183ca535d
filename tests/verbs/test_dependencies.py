"""Pipelines that depend on others: declaring, running with parents, being due, being held."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import SQLiteConnection, register_connection
from ematix_nb.api import declared
from ematix_nb.declare import cells, registry
from ematix_nb.declare.fingerprint import difference, fingerprint
from ematix_nb.declare.graph import in_order
from ematix_nb.declare.pipelines import build_pipeline, override
from ematix_nb.errors import DeclarationError
from ematix_nb.export.flow_cells import pipeline_code
from ematix_nb.verbs.due import run_due
from ematix_nb.verbs.grammar import invoke, parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.declare.spec import PipelineSpec

NOON = dt.datetime(2026, 11, 23, 12, 0, 20, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sqlite3.connect(tmp_path / "w.sqlite").close()
    with registry.scratch():
        register_connection(SQLiteConnection(name="lite", path=str(tmp_path / "w.sqlite")))
        yield tmp_path


def pipeline(name: str, *parents: str, rows: str = "SELECT 1 AS n", **options: Any) -> PipelineSpec:
    """Declare one; `rows` may name a table that is not there, which makes its run fail."""
    options = {"mode": "truncate", **options}
    spec = build_pipeline(name=name, sql=rows, target=f"lite:{name}", depends_on=parents, **options)
    declared(spec)
    return registry.get_pipeline(name)


def scheduled(name: str, *parents: str, **options: Any) -> PipelineSpec:
    return pipeline(name, *parents, **{"schedule": "* * * * *", **options})


def run(line: str) -> Any:
    return invoke(parse(line.split()), registry_ready=True)


def history(place: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(place / "w.sqlite") as connection:
        found = connection.execute(
            "SELECT pipeline_name, status FROM ematix_flow_run_history ORDER BY started_at, rowid"
        ).fetchall()
    connection.close()
    return found


BROKEN = "SELECT n FROM nowhere"
"""The run cannot start."""
FAILING: dict[str, Any] = {"rows": "SELECT CAST(NULL AS integer) AS n", "mode": "merge", "keys": ("n",)}
"""The run starts, and fails."""


# -- declaring ----------------------------------------------------------------------------------------------------


def test_keyword_cell_export_and_fingerprint_say_the_same() -> None:
    cell = cells.parse_cell("pipeline c --to lite:c --depends-on a,b", "SELECT 1 AS n")
    by_cell = cells.build_cell_pipeline(cell)
    by_keyword = build_pipeline(name="c", sql="SELECT 1 AS n", target="lite:c", depends_on=["a", "b"])
    assert by_cell.depends_on == by_keyword.depends_on == ("a", "b")
    assert fingerprint(by_cell) == fingerprint(by_keyword)
    assert 'depends_on=("a", "b"),' in pipeline_code(cell, "c", None)
    other_order = build_pipeline(name="c", sql="SELECT 1 AS n", target="lite:c", depends_on=("b", "a"))
    assert fingerprint(other_order) == fingerprint(by_cell)
    without = build_pipeline(name="c", sql="SELECT 1 AS n", target="lite:c")
    assert fingerprint(without) != fingerprint(by_cell)
    assert difference(without, by_cell) == ["depends_on: none -> a, b"]
    assert difference(by_cell, without) == ["depends_on: a, b -> none"]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (("c",), "pipeline `c` depends on itself"),
        (("a", "a"), "depends_on names `a` twice"),
        ((1,), "depends_on names pipelines, got"),
        (("a b",), "`a b` is not a name for a pipeline"),
    ],
)
def test_a_wrong_list_is_refused_where_it_stands(given: Any, match: str) -> None:
    with pytest.raises(DeclarationError, match=match):
        build_pipeline(name="c", sql="SELECT 1 AS n", target="lite:c", depends_on=given)


def test_it_cannot_be_changed_for_one_run() -> None:
    with pytest.raises(DeclarationError, match="`depends_on` cannot be changed for one run"):
        override(pipeline("c", "a"), depends_on=("b",))


def test_the_declaration_that_closes_a_circle_is_refused_and_changes_nothing() -> None:
    pipeline("a", "c")
    pipeline("b", "a")
    pipeline("x", "b")
    with pytest.raises(DeclarationError, match=re.escape("in a circle: c -> b -> a -> c")):
        pipeline("c", "b")
    assert "c" not in registry.pipelines()


def test_a_long_chain_is_no_problem() -> None:
    pipeline("p0")
    for number in range(1, 1500):
        registry._state.pipelines[f"p{number}"] = build_pipeline(
            name=f"p{number}", sql="SELECT 1 AS n", target="lite:t", depends_on=(f"p{number - 1}",)
        )
    order = in_order(["p1499"], registry.pipelines(), with_parents=True)
    assert [spec.name for spec in order] == [f"p{number}" for number in range(1500)]
    with pytest.raises(DeclarationError, match="in a circle: p0 -> p1499 -> p1498 "):
        pipeline("p0", "p1499")


def test_validate_names_a_parent_that_nobody_declares() -> None:
    pipeline("orders")
    pipeline("report", "order")
    found = run("validate report")
    assert found.exit_code == 1
    assert "pipeline `report` depends on `order`, and there is no pipeline of that name" in found.to_text()
    assert "did you mean `orders`?" in found.to_text()


# -- flow run -----------------------------------------------------------------------------------------------------


def test_parents_run_first_and_each_once(place: Path) -> None:
    pipeline("d", "b", "c")
    pipeline("b", "a")
    pipeline("c", "a")
    pipeline("a")
    assert run("run d").exit_code == 0
    assert history(place) == [("d", "success")]
    found = run("run d --with-parents")
    assert found.exit_code == 0
    assert [result.pipeline for result in found.results] == ["a", "b", "c", "d"]
    assert [name for name, _ in history(place)] == ["d", "a", "b", "c", "d"]


def test_a_parent_that_is_unknown_stops_the_line_before_anything_runs(place: Path) -> None:
    pipeline("b", "a", "gone")
    pipeline("a")
    with pytest.raises(DeclarationError, match="pipeline `b` depends on `gone`, and there is no pipeline of that name"):
        run("run b --with-parents")
    assert sqlite3.connect(place / "w.sqlite").execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_a_failed_parent_holds_its_children_and_theirs(place: Path) -> None:
    pipeline("a", **FAILING)
    pipeline("b", "a")
    pipeline("c", "b")
    pipeline("other")
    found = run("run c other --with-parents")
    assert [(result.pipeline, result.status) for result in found.results] == [
        ("a", "failed"),
        ("b", "held"),
        ("c", "held"),
    ]
    assert (found.exit_code, found.not_run) == (1, ("other",))
    assert "b -> lite:b: held (no rows)" in found.to_text()
    assert "FLOW-260 held: `a` did not succeed, and `b` depends on it" in found.to_text()
    assert history(place) == [("a", "failed"), ("b", "held"), ("c", "held")]
    found = run("run c other --with-parents --continue")
    assert (found.exit_code, found.not_run) == (3, ())
    assert [(result.pipeline, result.status) for result in found.results][-1] == ("other", "success")


def test_a_child_that_is_named_beside_its_parent_is_held_too(place: Path) -> None:
    pipeline("b", "a")
    pipeline("a", rows=BROKEN)
    found = run("run a b --continue")
    assert [name for name, _ in found.failed] == ["a"]
    assert [result.status for result in found.results] == ["held"]
    assert found.exit_code == 2


def test_by_hand_a_child_alone_asks_nobody(place: Path) -> None:
    pipeline("a", **FAILING)
    pipeline("b", "a")
    assert run("run a").exit_code == 1
    assert run("run b").status == "success"


# -- flow run-due -------------------------------------------------------------------------------------------------


def test_due_parents_run_before_their_children() -> None:
    scheduled("c", "b")
    pipeline("b", "a")  # no schedule: the order holds through it
    scheduled("a")
    run("run b")
    found = run_due(now=NOON)
    assert [result.pipeline for result in found.ran] == ["a", "c"]
    assert found.exit_code == 0


def test_a_child_waits_until_its_parent_has_succeeded(place: Path) -> None:
    scheduled("b", "a")
    scheduled("a", rows="SELECT n FROM late_table")
    first = run_due(now=NOON)
    assert (first.ran, first.exit_code) == ((), 1)
    reason = "`a`, on which it depends, could not start"
    assert first.held == ({"pipeline": "b", "slot": "2026-11-23 12:00 UTC", "reason": reason},)
    assert f"held: b: {reason}; the slot 2026-11-23 12:00 UTC stays open" in first.to_text()
    second = run_due(now=NOON + MINUTE / 3)
    assert (second.exit_code, [entry["pipeline"] for entry in second.held]) == (0, ["b"])
    assert "depends, failed (run " in second.held[0]["reason"]
    assert "nothing was due" not in second.to_text()
    assert history(place) == [("a", "failed"), ("b", "held")], "one record a slot"
    with sqlite3.connect(place / "w.sqlite") as connection:
        connection.execute("CREATE TABLE late_table AS SELECT 1 AS n")
    later = NOON + dt.timedelta(minutes=10)
    third = run_due(now=later)
    assert [(result.pipeline, result.status) for result in third.ran] == [("a", "success"), ("b", "success")]
    assert third.held == ()
    assert run_due(now=later).ran == ()


def test_the_slot_of_a_child_that_never_ran_is_not_lost_while_it_is_held() -> None:
    scheduled("b", "a", schedule="0 12 * * *")
    pipeline("a")
    assert run_due(now=NOON).held[0]["reason"] == "`a`, on which it depends, has never run"
    assert run("run a").status == "success"
    assert [result.pipeline for result in run_due(now=NOON + dt.timedelta(hours=2)).ran] == ["b"]


def test_a_parent_whose_slot_is_open_is_waited_for_without_a_record(place: Path) -> None:
    """Only the child is asked for; its parent succeeded before, and has a newer slot to do."""
    scheduled("b", "a")
    scheduled("a")
    assert len(run_due(now=NOON).ran) == 2
    found = run_due(now=NOON + MINUTE, names=("b",))
    assert found.held[0]["reason"] == "`a`, on which it depends, is due and has not run yet"
    assert [status for _, status in history(place)] == ["success", "success"]
    assert [result.pipeline for result in run_due(now=NOON + MINUTE).ran] == ["a", "b"]


def test_an_unknown_parent_fails_its_child_alone() -> None:
    scheduled("b", "gone")
    scheduled("c")
    found = run_due(now=NOON)
    assert [result.pipeline for result in found.ran] == ["c"]
    assert "pipeline `b` depends on `gone`" in found.failed[0]["error"]
    assert found.exit_code == 1


def test_a_step_that_failed_after_the_load_of_a_parent_holds_too() -> None:
    scheduled("b", "a")
    scheduled("a", transforms_post=["SELECT * FROM nowhere"])
    found = run_due(now=NOON)
    assert [result.status for result in found.ran] == ["partial"]
    assert "did not succeed in this call" in found.held[0]["reason"]
    again = run_due(now=NOON, names=("b",))
    assert "failed in the step `transform[0]:sql` after its load" in again.held[0]["reason"]
