"""A source that changed between two runs, under each policy, on each kind of target: previewed, then run."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.registry import open_session
from ematix_nb.declare.data_types import BIGINT, INTEGER, TEXT
from ematix_nb.errors import FlowError, RunError, SchemaDriftError
from ematix_nb.load import failpoints
from tests.conformance.conftest import OTHER, pairs
from tests.conformance.drift_cases import CHANGES, POLICIES, TARGETS, Loaded, Refused, stated
from tests.conformance.matrix import SqlSystem, System, open_system, url_of
from tests.conformance.run import Bench, counts
from tests.conformance.type_cases import DATABASES, cases_of
from tests.support.drift_page import render
from tests.support.invariants import history

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ematix_nb.api import Pipeline

PAGE = Path(__file__).parents[2] / "docs" / "schema-drift.md"
ALIKE = ("csv", "jsonl", "orc")
"""Files whose loads are those of Parquet; what differs by format is tested with the formats."""
BENCHES = [
    pytest.param((name, OTHER[name]), id=name, marks=[pytest.mark.nightly] if name in ALIKE else []) for name in TARGETS
]
ASIDE = "tgt__quarantine"


def data_columns(system: System, table: str = "tgt") -> set[str]:
    """The columns of a target without the engine's own."""
    if isinstance(system, SqlSystem):
        info = system.info(table)
        assert info is not None
        return {column.name for column in info.columns} - {"_loaded_at", "_batch_id"}
    session = open_session(system.connection, read_only=True)
    try:
        return {column.name for column in session.scan(table).columns} - {"_loaded_at", "_batch_id"}
    finally:
        session.close()


def held_rows(system: System) -> list[tuple[int, str, dict[str, Any]]]:
    """The rows in quarantine by the target's own driver."""
    found = system.rows(ASIDE, ("row_number", "reason", "source_row"))
    return [(number, reason, row if isinstance(row, dict) else json.loads(row)) for number, reason, row in found]


def as_text(rows: Iterable[tuple[Any, ...]]) -> list[str]:
    """Rows to be compared: some drivers of text files give dates as their text."""
    return sorted(repr([value.isoformat() if isinstance(value, dt.date) else value for value in row]) for row in rows)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("bench", BENCHES, indirect=True)
def test_a_changed_source_means_what_is_stated(bench: Bench, kind: str, policy: str) -> None:
    change = CHANGES[kind]
    bench.give(change.before, change.first)
    bench.pipeline("append").sync()
    before = bench.rows(*change.before), data_columns(bench.target)
    bench.give(change.after, change.second)
    pipeline = bench.pipeline("append", on_drift=policy)
    result = stated(kind, policy, bench.target.name)
    if isinstance(result, Refused):
        check_refused(bench, pipeline, result)
        assert (bench.rows(*change.before), data_columns(bench.target)) == before
        assert not bench.target.has(ASIDE)
    else:
        check_loaded(bench, pipeline, result, len(change.second))
    bench.check()


def check_refused(bench: Bench, pipeline: Pipeline, result: Refused) -> None:
    """The preview says so first, and writes nothing; then dry run and run say the same."""
    untouched = bench.target.everything()
    with pytest.raises(FlowError, match=result.error):
        pipeline.preview()
    with pytest.raises(FlowError, match=result.error):
        pipeline.dry_run()
    assert bench.target.everything() == untouched
    with pytest.raises(FlowError, match=result.error):
        pipeline.sync()


def check_loaded(bench: Bench, pipeline: Pipeline, result: Loaded, read: int) -> None:
    """The preview shows schema and counts first, and writes nothing; then the run does just that."""
    aside = {"quarantined": len(result.held)} if result.held else {}
    expected = {"read": read, "inserted": read - len(result.held), **aside}
    untouched = bench.target.everything()
    shown = pipeline.preview()
    plan = shown.targets[0].plan
    texts = zip(result.schema, plan.schema_changes, strict=True)
    assert all(re.match(pattern, change.text) for pattern, change in texts)
    assert (plan.quarantine is not None) == bool(result.held)
    assert result.told in " ".join((*plan.warnings, *plan.notes))
    wanted = {"insert": expected["inserted"], "quarantine": len(result.held)}
    assert shown.targets[0].expected == {name: rows for name, rows in wanted.items() if rows}
    assert (f"rows go to {plan.quarantine.name} when" in shown.to_text()) if plan.quarantine else True
    assert counts(pipeline.dry_run()) == expected
    assert bench.target.everything() == untouched
    done = pipeline.sync()
    assert counts(done) == expected
    assert data_columns(bench.target) == set(result.columns)
    assert as_text(bench.rows(*result.columns)) == as_text(result.rows)
    assert bench.target.has(ASIDE) == bool(result.held)
    held = held_rows(bench.target) if result.held else []
    assert [(number, row) for number, _, row in held] == [(number, row) for number, _, row in result.held]
    reasons = zip(result.held, held, strict=True)
    assert all(re.match(pattern, reason) for (_, pattern, _), (_, reason, _) in reasons)
    assert any(ASIDE in warning for warning in done.targets[0].warnings) == bool(result.held)


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ALIKE])
@pytest.mark.parametrize("source", DATABASES)
def test_a_source_that_did_not_change_is_no_drift(
    source: str, target: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every type comes back from the target as it was made there."""
    here = open_system(source, tmp_path / "from", url_of(source, request), label="from")
    there = open_system(target, tmp_path / "to", url_of(target, request, second=True), label="to")
    bench = Bench(there, here)
    columns = {"id": BIGINT, **{case.name: case.kind for case in cases_of(source)}}
    while True:
        bench.give(columns, [(1, *[None] * (len(columns) - 1))])
        try:
            bench.pipeline("append").sync()
        except FlowError as error:
            refused = next(name for name in columns if f"`{name}`" in str(error))
            del columns[refused]
            continue
        break
    for policy in POLICIES:
        plan = bench.pipeline("append", on_drift=policy).preview().targets[0].plan
        assert plan.schema_changes == (), policy
    assert counts(bench.pipeline("append", on_drift="freeze").sync()) == {"read": 1, "inserted": 1}


@pytest.mark.parametrize("mode", ["merge", "scd2"])
@pytest.mark.parametrize("bench", pairs("merge", same=False), indirect=True)
def test_a_key_of_text_is_no_drift(bench: Bench, mode: str) -> None:
    bench.give({"code": TEXT, "place": TEXT, "v": BIGINT}, [("a", "x", 1)])
    pipeline = bench.pipeline(mode, keys=("code", "place"), on_drift="freeze")
    pipeline.sync()
    assert counts(pipeline.sync()) == {"read": 1, "unchanged": 1}


KEYED = {"id": INTEGER, "v": INTEGER}


@pytest.mark.parametrize("bench", pairs("merge", same=False), indirect=True)
def test_a_merge_holds_what_does_not_fit_and_deletes_nothing(bench: Bench) -> None:
    bench.give(KEYED, [(1, 1), (2, 2), (3, 3)])
    bench.pipeline("merge", keys=("id",)).sync()
    bench.give({"id": INTEGER, "v": BIGINT}, [(1, 10), (2, 2**40)])
    pipeline = bench.pipeline("merge", keys=("id",), handle_deletes="hard", on_drift="quarantine")
    assert counts(pipeline.dry_run()) == {"read": 2, "updated": 1, "quarantined": 1}
    result = pipeline.sync()
    assert counts(result) == {"read": 2, "updated": 1, "quarantined": 1}
    assert any("nothing was deleted" in warning for warning in result.targets[0].warnings)
    assert bench.rows("id", "v") == [(1, 10), (2, 2), (3, 3)]
    assert [row for _, _, row in held_rows(bench.target)] == [{"id": 2, "v": 2**40}]
    bench.check()


@pytest.mark.parametrize("bench", pairs("scd2", same=False), indirect=True)
def test_a_version_that_does_not_fit_is_held(bench: Bench) -> None:
    bench.give(KEYED, [(1, 1), (2, 2)])
    bench.pipeline("scd2", keys=("id",)).sync()
    bench.give({"id": INTEGER, "v": BIGINT}, [(1, 10), (2, 2**40)])
    pipeline = bench.pipeline("scd2", keys=("id",), handle_deletes="soft", on_drift="quarantine")
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 1, "closed": 1, "quarantined": 1}
    assert bench.rows("id", "v") == [(1, 1), (1, 10), (2, 2)]
    bench.check()


@pytest.mark.parametrize("bench", BENCHES, indirect=True)
def test_a_target_is_not_emptied_because_nothing_fits(bench: Bench) -> None:
    bench.give(KEYED, [(1, 1), (2, 2)])
    bench.pipeline("truncate").sync()
    bench.give({"id": INTEGER, "v": BIGINT}, [(1, 2**40), (2, 2**40)])
    with pytest.raises(FlowError, match="none of the 2 rows of the source fits the target"):
        bench.pipeline("truncate", on_drift="quarantine").sync()
    assert bench.rows("id", "v") == [(1, 1), (2, 2)]
    assert not bench.target.has(ASIDE)
    bench.check()
    bench.more([(3, 3)])
    result = bench.pipeline("truncate", on_drift="quarantine").sync()
    assert counts(result) == {"read": 3, "inserted": 1, "quarantined": 2}
    assert bench.rows("id", "v") == [(3, 3)]
    bench.check()


@pytest.mark.parametrize("bench", pairs("append"), indirect=True)
def test_each_run_adds_its_rows_to_the_quarantine(bench: Bench) -> None:
    bench.give(KEYED, [(1, 1)])
    bench.pipeline("append").sync()
    bench.give({"id": INTEGER, "v": TEXT}, [(number, f"x{number}") for number in range(3)])
    results = [bench.pipeline("append", on_drift="quarantine").sync() for _ in range(2)]
    assert [counts(result) for result in results] == [{"read": 3, "quarantined": 3}] * 2
    found = bench.target.rows(ASIDE, ("run_id", "pipeline", "row_number"))
    runs = sorted(result.targets[0].run_id for result in results)
    assert [(str(run), name, number) for run, name, number in found] == [
        (run, "load", number) for run in runs for number in (1, 2, 3)
    ]
    assert bench.rows("id", "v") == [(1, 1)]
    bench.check()


@pytest.mark.parametrize("step", ["stage_done", "apply", "before_commit"])
@pytest.mark.parametrize("bench", BENCHES, indirect=True)
def test_a_run_that_fails_holds_nothing(bench: Bench, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.give(KEYED, [(1, 1)])
    bench.pipeline("append").sync()
    bench.give({"id": INTEGER, "v": BIGINT}, [(2, 2**40), (3, 3)])
    pipeline = bench.pipeline("append", on_drift="quarantine")

    def fail(reached: str) -> None:
        if reached == step:
            raise RunError("on purpose", "")

    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "_action", fail)
        with pytest.raises(RunError, match="on purpose"):
            pipeline.sync()
    assert bench.rows("id", "v") == [(1, 1)]
    assert not bench.target.has(ASIDE)
    bench.check()
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 1, "quarantined": 1}
    assert len(held_rows(bench.target)) == 1
    bench.check()


@pytest.mark.parametrize("bench", [BENCHES[0], BENCHES[4], BENCHES[5]], indirect=True)
def test_rows_are_numbered_across_batches(bench: Bench) -> None:
    bench.give(KEYED, [(1, 1)])
    bench.pipeline("append").sync()
    bench.give({"id": INTEGER, "v": BIGINT}, [(number, 2**40 if number else 7) for number in range(270)])
    table = bench.source.source("src")
    sql = f"SELECT a.id * 1000 + b.id AS id, a.v AS v FROM {table} AS a CROSS JOIN {table} AS b"
    result = bench.pipeline("append", sql=sql, on_drift="quarantine").sync()
    assert counts(result) == {"read": 72_900, "inserted": 270, "quarantined": 72_630}
    found = bench.target.rows(ASIDE, ("row_number",))
    assert len({number for (number,) in found}) == len(found) == 72_630
    assert max(found) > (65_536,)
    bench.check()


@pytest.mark.parametrize("policy", ["quarantine", "warn"])
@pytest.mark.parametrize("bench", pairs("merge", same=False), indirect=True)
def test_a_key_that_the_target_lacks_is_refused(bench: Bench, policy: str) -> None:
    bench.target.make("tgt", {"name": TEXT}, [("a",)])
    bench.give({"id": INTEGER, "name": TEXT}, [(1, "b")])
    with pytest.raises(SchemaDriftError, match=r"key `id` is not a column of the target|unique index on the keys"):
        bench.pipeline("merge", keys=("id",), on_drift=policy).sync()
    assert bench.rows("name") == [("a",)]


@pytest.mark.parametrize(
    "bench", [pytest.param(("sqlite", "duckdb")), pytest.param(("delta", "sqlite"))], indirect=True
)
def test_a_table_of_somebody_else_is_not_used_for_quarantine(bench: Bench) -> None:
    bench.target.make(ASIDE, {"mine": TEXT}, [("precious",)])
    bench.give(KEYED, [(1, 1)])
    bench.pipeline("append").sync()
    bench.give({"id": INTEGER, "v": BIGINT}, [(1, 2**40), (2, 2)])
    with pytest.raises(SchemaDriftError, match=r"`tgt__quarantine` is not a table of rows in quarantine"):
        bench.pipeline("append", on_drift="quarantine").sync()
    assert bench.rows("id", "v") == [(1, 1)]
    assert bench.target.rows(ASIDE, ("mine",)) == [("precious",)]


@pytest.mark.parametrize("bench", pairs("append", same=False, sql=True), indirect=True)
def test_a_history_that_did_not_count_the_quarantine_learns_to(bench: Bench) -> None:
    assert isinstance(bench.target, SqlSystem)
    bench.give(KEYED, [(1, 1)])
    bench.pipeline("append").sync()
    dialect = bench.target.dialect
    runs, version = (dialect.table(dialect.state_table(name)) for name in ("run_history", "state_version"))
    bench.target.execute(f"ALTER TABLE {runs} DROP COLUMN rows_quarantined")
    bench.target.execute(f"UPDATE {version} SET version = 1")
    bench.give({"id": INTEGER, "v": TEXT}, [(2, "x")])
    bench.pipeline("append", on_drift="quarantine").sync()
    newest, first = history(bench.target.connection)
    assert newest.counts["rows_quarantined"] == newest.counts["rows_read"] == 1
    assert (first.counts["rows_read"], "rows_quarantined" in first.counts) == (1, False)
    bench.check()


def test_the_page_says_what_is_stated() -> None:
    page = PAGE.read_text(encoding="utf-8")
    fresh = render(page)
    if os.environ.get("EMATIX_WRITE_PAGES"):
        PAGE.write_text(fresh, encoding="utf-8")
    else:
        assert page == fresh, "docs/schema-drift.md is old: run this file with EMATIX_WRITE_PAGES=1"
