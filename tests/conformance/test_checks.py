"""Checks before the commit, on each kind of target: what fails writes nothing, what warns is counted and kept."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import checks
from ematix_nb.declare.data_types import BIGINT, TEXT, DataType
from ematix_nb.errors import CheckFailedError, DeclarationError
from tests.conformance.conftest import OTHER
from tests.conformance.matrix import SYSTEMS
from tests.conformance.run import Bench, counts
from tests.support.invariants import history

if TYPE_CHECKING:
    from ematix_nb.api import Pipeline

COLUMNS = {
    "id": BIGINT,
    "name": TEXT,
    "amount": DataType("numeric", precision=12, scale=2),
    "at": DataType("timestamp", precision=6),
}
NOON = dt.datetime(2026, 1, 31, 12)  # noqa: DTZ001 - the column has no zone
GOOD = [(1, "a", Decimal("5.00"), NOON), (2, "b", Decimal("100.00"), NOON)]
BAD = [(1, "a", Decimal("5.00"), NOON), (3, None, Decimal("100.01"), NOON), (4, "b", Decimal("-0.01"), None)]
ALL: list[Any] = [
    checks.not_null("name"),
    checks.between("amount", 0, 100),
    checks.between("at", "2026-01-01", dt.date(2026, 2, 1)),
    checks.unique("name"),
    checks.freshness("at", "36500d"),
    checks.row_count(min=1, max=2),
    "id < 4",
    "SELECT id, name FROM loaded WHERE id = 3",
    "SELECT t.id FROM target t JOIN loaded l ON l.id = t.id WHERE t.id > 3",
]
DAILY = {
    "postgres": "merge",
    "mysql": "truncate",
    "duckdb": "append",
    "sqlite": "scd2",
    "parquet": "append",
    "delta": "merge",
}
MODES = [
    pytest.param(
        (name, OTHER[name]), mode, id=f"{name}-{mode}", marks=[pytest.mark.nightly] * (DAILY.get(name) != mode)
    )
    for name in (*DAILY, "csv", "jsonl", "orc")
    for mode in SYSTEMS[name].modes
]


def on(*names: str) -> pytest.MarkDecorator:
    """On these targets, each from a source of another kind."""
    return pytest.mark.parametrize(
        "bench", [pytest.param((name, OTHER[name]), id=name) for name in names], indirect=True
    )


def pipeline(bench: Bench, mode: str, wanted: list[Any], **options: Any) -> Pipeline:
    keys: dict[str, Any] = {"keys": ("id",)} if mode in ("merge", "scd2") else {}
    return bench.pipeline(mode, checks=wanted, **keys, **options)


@pytest.mark.parametrize(("bench", "mode"), MODES, indirect=["bench"])
def test_what_fails_writes_nothing_and_shows_rows(bench: Bench, mode: str) -> None:
    bench.give(COLUMNS, GOOD)
    done = pipeline(bench, mode, ALL).sync()
    assert [one.status for one in done.targets[0].checks] == ["passed"] * len(ALL)
    before = bench.rows("id", "name")
    bench.give(COLUMNS, BAD)
    failing = pipeline(bench, mode, ALL)
    shown = failing.preview()
    assert [str(check) for check in shown.targets[0].plan.checks] == [str(check) for check in failing.spec.checks]
    assert 'between("amount", 0, 100)' in shown.to_text()
    untouched = bench.target.everything()
    with pytest.raises(CheckFailedError, match=r"nothing was written") as caught:
        failing.dry_run()
    assert bench.target.everything() == untouched
    with pytest.raises(CheckFailedError) as again:
        failing.sync()
    assert bench.rows("id", "name") == before
    assert str(again.value) == str(caught.value)
    found = dict(line.strip().split("`: ", 1) for line in caught.value.what.splitlines()[1:])
    found = {name.lstrip("`"): told for name, told in found.items()}
    assert found['not_null("name")'].startswith("1 row breaks it: id=3")
    assert "100.01" in found['between("amount", 0, 100)']
    assert "2 rows break it" in found['between("amount", 0, 100)']
    assert found['sql("id < 4")'].startswith("1 row breaks it: id=4")
    assert found['sql("SELECT id, name FROM loaded WHERE id = 3")'] == "1 row is wrong: id=3, name=NULL"
    assert found[str(failing.spec.checks[-1])] == "1 row is wrong: id=4"
    assert found["row_count(min=1, max=2)"].startswith(
        {"append": "the target would have 5 rows", "truncate": "the target would have 3 rows"}.get(
            mode, "the target would have 4 rows"
        )
    )
    doubled = {"append": "2 keys are", "truncate": "", "merge": "1 key is", "scd2": "1 key is"}[mode]
    assert found.get('unique("name")', "").startswith(doubled)
    assert not [name for name in found if name.startswith(("freshness", 'between("at'))]
    newest = history(bench.target.connection, bench.table)[0]
    assert (newest.status, "between(" in newest.error) == ("failed", True)
    bench.check()


@on("duckdb", "delta", "parquet")
def test_a_warning_loads_and_is_kept(bench: Bench) -> None:
    bench.give(COLUMNS, BAD)
    wanted = [checks.not_null("name", on_fail="warn"), "warn: id < 4", checks.row_count(min=1)]
    done = pipeline(bench, "append", wanted).sync()
    assert counts(done) == {"read": 3, "inserted": 3}
    assert [(one.status, one.rows) for one in done.targets[0].checks] == [("warned", 1), ("warned", 1), ("passed", 3)]
    assert sum("rows break it" in text or "row breaks it" in text for text in done.targets[0].warnings) == 2
    assert done.to_dict()["targets"][0]["checks"][0]["status"] == "warned"
    assert len(bench.rows("id")) == 3
    bench.check()


@on("sqlite", "delta", "parquet")
def test_a_target_that_is_kept_is_checked_as_it_is(bench: Bench) -> None:
    bench.give(COLUMNS, GOOD)
    pipeline(bench, "truncate", [checks.row_count(min=2)]).sync()
    bench.give(COLUMNS, [])
    done = pipeline(bench, "truncate", [checks.row_count(min=2), checks.unique("name")]).sync()
    assert [one.status for one in done.targets[0].checks] == ["passed", "passed"]
    with pytest.raises(CheckFailedError, match="would have 2 rows"):
        pipeline(bench, "truncate", [checks.row_count(min=3)]).sync()
    with pytest.raises(CheckFailedError, match="would have 0 rows"):
        pipeline(bench, "truncate", [checks.row_count(min=1)], empty_source="apply").sync()
    assert len(bench.rows("id")) == 2
    pipeline(bench, "truncate", [checks.row_count(max=0)], empty_source="apply").sync()
    assert bench.rows("id") == []


@on("duckdb")
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("not_null(nmae)", r"names column `nmae`, which the load does not have[\s\S]*did you mean `name`"),
        ("unique(nmae)", "names column `nmae`, which the target does not have"),
        ("between(name, 1, 2)", "column `name` is .*compares numbers, dates and times"),
        ('between(amount, "2026-01-01", 5)', "the bound '2026-01-01' is not a number"),
        ("between(at, 5)", "the bound 5 is not a date or a time"),
        ('freshness(name, "2h")', "column `name` is .*needs a date or a timestamp"),
        ("SELECT 1; DROP TABLE tgt", "one SELECT only"),
        ("WITH x AS (DELETE FROM tgt RETURNING *) SELECT * FROM x", "check"),
    ],
)
def test_a_check_that_cannot_be_made_is_refused_by_the_plan(bench: Bench, wanted: str, message: str) -> None:
    bench.give(COLUMNS, GOOD)
    untouched = bench.target.everything()
    with pytest.raises(DeclarationError, match=message):
        pipeline(bench, "append", [wanted]).preview()
    assert bench.target.everything() == untouched


@on("delta", "parquet")
def test_beside_a_target_without_sql_are_no_other_tables(bench: Bench) -> None:
    bench.give(COLUMNS, GOOD)
    with pytest.raises(DeclarationError, match=r"reads `other`, and beside .* there are no other tables"):
        pipeline(bench, "append", ["SELECT * FROM loaded WHERE id IN (SELECT id FROM other)"]).sync()


@on("duckdb", "delta", "parquet")
def test_checks_left_out_once_are_told(bench: Bench) -> None:
    bench.give(COLUMNS, BAD)
    done = pipeline(bench, "append", [checks.not_null("name")]).sync(no_checks=True)
    assert counts(done) == {"read": 3, "inserted": 3}
    assert done.targets[0].warnings == ("the checks were left out (--no-checks)",)
