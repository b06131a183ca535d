"""Versions of rows over time, with and without event times."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare.data_types import BIGINT, DOUBLE, TEXT, TIMESTAMP, TIMESTAMPTZ, DataType
from ematix_nb.errors import DataError, DeclarationError
from tests.conformance.conftest import pairs
from tests.conformance.run import counts
from tests.conformance.values import canon

if TYPE_CHECKING:
    from tests.conformance.run import Bench

COLUMNS = {"id": BIGINT, "a": TEXT, "b": TEXT}
EVENTS = {"id": BIGINT, "a": TEXT, "at": TIMESTAMPTZ}
SCD2 = pairs("scd2", same=False)


def day(number: int) -> dt.datetime:
    """A day of January 2024."""
    return dt.datetime(2024, 1, number, tzinfo=dt.UTC)


def chain(bench: Bench, *names: str) -> list[tuple[Any, ...]]:
    """``(id, values..., from, to, current)`` of all versions, in order."""
    found = []
    for row in bench.rows("id", *names, "valid_from", "valid_to", "is_current"):
        begins, ends = (canon(value, TIMESTAMPTZ) for value in row[-3:-1])
        found.append((*row[:-3], begins, ends, bool(row[-1])))
    return sorted(found, key=lambda row: (row[0], row[-3]))


def check_chain(versions: list[tuple[Any, ...]]) -> None:
    """At most one current version a key; no overlap, no version without length."""
    for key in {row[0] for row in versions}:
        own = [row for row in versions if row[0] == key]
        assert sum(row[-1] for row in own) <= 1
        for one, after in itertools.pairwise(own):
            assert one[-2] is not None
            assert one[-3] < one[-2] <= after[-3]
        assert all(row[-1] == (row[-2] is None) for row in own)


@pytest.mark.parametrize("bench", pairs("scd2", all_targets=True), indirect=True)
def test_versions_open_and_close(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "ab", "c"), (2, None, "x"), (3, "v", None), (4, "same", "same")])
    pipeline = bench.pipeline("scd2", keys=("id",))
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 4}
    before = bench.rows("id", "a", "b", "valid_from", "_batch_id", "row_hash")
    assert counts(pipeline.sync()) == {"read": 4, "unchanged": 4}
    assert bench.rows("id", "a", "b", "valid_from", "_batch_id", "row_hash") == before
    bench.give(COLUMNS, [(1, "a", "bc"), (2, "", "x"), (3, None, None), (4, "same", "same"), (5, "new", "new")])
    assert counts(pipeline.sync()) == {"read": 5, "inserted": 4, "closed": 3, "unchanged": 1}
    bench.give(COLUMNS, [(1, "ab", "c"), (2, None, "x"), (3, "v", None), (4, "same", "same"), (5, "new", "new")])
    assert counts(pipeline.sync()) == {"read": 5, "inserted": 3, "closed": 3, "unchanged": 2}
    versions = chain(bench, "a", "b")
    check_chain(versions)
    assert [row[:3] for row in versions] == [
        (1, "ab", "c"), (1, "a", "bc"), (1, "ab", "c"), (2, None, "x"), (2, "", "x"), (2, None, "x"),
        (3, "v", None), (3, None, None), (3, "v", None), (4, "same", "same"), (5, "new", "new"),
    ]  # fmt: skip
    assert versions[0][-2] == versions[1][-3]
    hashes = {row[2] for row in bench.rows("id", "a", "row_hash") if row[0] == 1}
    assert len(hashes) == 2
    bench.check()


@pytest.mark.parametrize("bench", SCD2, indirect=True)
def test_only_compared_columns_make_versions(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "a", "b")])
    pipeline = bench.pipeline("scd2", keys=("id",), compare_columns=["a"])
    pipeline.sync()
    bench.give(COLUMNS, [(1, "a", "changed")])
    assert counts(pipeline.sync()) == {"read": 1, "unchanged": 1}
    bench.give(COLUMNS, [(1, "z", "changed")])
    assert counts(pipeline.sync()) == {"read": 1, "inserted": 1, "closed": 1}
    assert [row[1:3] for row in chain(bench, "a", "b")] == [("a", "b"), ("z", "changed")]


@pytest.mark.parametrize("bench", SCD2, indirect=True)
def test_soft_deletes(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "a", "b"), (2, "a", "b")])
    pipeline = bench.pipeline("scd2", keys=("id",), handle_deletes="soft")
    pipeline.sync()
    bench.give(COLUMNS, [(1, "a", "b")])
    assert counts(pipeline.sync()) == {"read": 1, "unchanged": 1, "closed": 1}
    bench.give(COLUMNS, [])
    kept = pipeline.sync()
    assert counts(kept) == {}
    assert "nothing was deleted" in str(kept.targets[0].warnings)
    bench.give(COLUMNS, [(1, "a", "b"), (2, "a", "b")])
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 1, "unchanged": 1}
    versions = chain(bench)
    check_chain(versions)
    assert [(row[0], row[-1]) for row in versions] == [(1, True), (2, False), (2, True)]
    assert versions[1][-2] < versions[2][-3]
    bench.check()


@pytest.mark.parametrize("bench", SCD2, indirect=True)
def test_ttl_closes_what_is_gone_and_does_not_flap(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "a", "b"), (2, "a", "b")])
    pipeline = bench.pipeline("scd2", keys=("id",), ttl=dt.timedelta(microseconds=1))
    pipeline.sync()
    bench.give(COLUMNS, [(1, "a", "b")])
    assert counts(pipeline.sync()) == {"read": 1, "unchanged": 1, "closed": 1}
    assert counts(pipeline.sync()) == {"read": 1, "unchanged": 1}
    assert [(row[0], row[-1]) for row in chain(bench)] == [(1, True), (2, False)]


@pytest.mark.parametrize("bench", SCD2, indirect=True)
def test_several_events_of_a_key_in_one_batch(bench: Bench) -> None:
    bench.give(EVENTS, [(1, "c", day(3)), (1, "a", day(1)), (1, "b", day(2)), (2, "x", day(1)), (2, "x", day(2))])
    pipeline = bench.pipeline("scd2", keys=("id",), event_timestamp_column="at")
    assert counts(pipeline.sync()) == {"read": 5, "inserted": 4, "unchanged": 1}
    expected = [
        (1, "a", day(1), day(2), False),
        (1, "b", day(2), day(3), False),
        (1, "c", day(3), None, True),
        (2, "x", day(1), None, True),
    ]
    assert chain(bench, "a") == expected
    assert counts(pipeline.sync()) == {"read": 5, "unchanged": 5}
    assert chain(bench, "a") == expected
    bench.check()


@pytest.mark.parametrize("bench", SCD2, indirect=True)
def test_late_equal_and_corrected_events(bench: Bench) -> None:
    bench.give(EVENTS, [(1, "a", day(1)), (1, "c", day(9))])
    pipeline = bench.pipeline("scd2", keys=("id",), event_timestamp_column="at")
    pipeline.sync()
    bench.give(EVENTS, [(1, "late", day(5)), (1, "older", dt.datetime(2023, 12, 1, tzinfo=dt.UTC))])
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 2, "closed": 1}
    assert [row[1] for row in chain(bench, "a")] == ["older", "a", "late", "c"]
    bench.give(EVENTS, [(1, "corrected", day(5)), (1, "c", day(9))])
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 1, "updated": 1, "unchanged": 1}
    versions = chain(bench, "a")
    check_chain(versions)
    assert [row[1] for row in versions] == ["older", "a", "corrected", "c"]
    assert versions[-1] == (1, "c", day(9), None, True)
    bench.check()


@pytest.mark.parametrize("bench", SCD2, indirect=True)
def test_versions_that_differ_in_a_column_that_went_stay(bench: Bench) -> None:
    bench.give({"id": BIGINT, "a": TEXT, "b": TEXT, "at": TIMESTAMPTZ}, [(1, "x", "p", day(1)), (1, "x", "q", day(2))])
    pipeline = bench.pipeline("scd2", keys=("id",), event_timestamp_column="at")
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 2}
    bench.give(EVENTS, [(1, "y", day(3))])
    assert counts(pipeline.sync()) == {"read": 1, "inserted": 1, "closed": 1}
    versions = chain(bench, "a", "b")
    check_chain(versions)
    assert [row[1:4] for row in versions] == [("x", "p", day(1)), ("x", "q", day(2)), ("y", None, day(3))]
    bench.give(EVENTS, [(1, "x", dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC))])
    assert counts(pipeline.sync()) == {"read": 1, "unchanged": 1}
    assert chain(bench, "a", "b") == versions
    bench.check()


@pytest.mark.parametrize("bench", SCD2, indirect=True)
def test_a_gap_after_a_soft_delete_stays_and_the_key_may_return(bench: Bench) -> None:
    bench.give(EVENTS, [(1, "a", day(1)), (2, "b", day(1))])
    pipeline = bench.pipeline("scd2", keys=("id",), event_timestamp_column="at", handle_deletes="soft")
    pipeline.sync()
    bench.give(EVENTS, [(2, "b", day(1))])
    assert counts(pipeline.sync()) == {"read": 1, "unchanged": 1, "closed": 1}
    end = chain(bench)[0][-2]
    bench.give(EVENTS, [(1, "late", day(5)), (2, "b", day(1))])
    pipeline.sync()
    versions = [row for row in chain(bench, "a") if row[0] == 1]
    check_chain(versions)
    assert versions[:2] == [(1, "a", day(1), day(5), False), (1, "late", day(5), end, False)]
    assert versions[2][1] == "late"
    assert versions[2][2] > end
    assert versions[2][-1] is True
    before = chain(bench, "a")
    assert counts(pipeline.sync()) == {"read": 2, "unchanged": 2}
    assert chain(bench, "a") == before


@pytest.mark.parametrize("bench", SCD2, indirect=True)
def test_an_earlier_begin_of_a_version_that_ended_keeps_its_end(bench: Bench) -> None:
    bench.give(EVENTS, [(1, "a", day(5)), (2, "b", day(1))])
    pipeline = bench.pipeline("scd2", keys=("id",), event_timestamp_column="at", handle_deletes="soft")
    pipeline.sync()
    bench.give(EVENTS, [(2, "b", day(1))])
    pipeline.sync()
    end = chain(bench)[0][-2]
    bench.give(EVENTS, [(1, "a", day(3)), (2, "b", day(1))])
    pipeline.sync()
    versions = [row for row in chain(bench, "a") if row[0] == 1]
    check_chain(versions)
    assert versions[0] == (1, "a", day(3), end, False)
    assert [(row[1], row[2] > end, row[-1]) for row in versions[1:]] == [("a", True, True)]
    bench.check()


@pytest.mark.parametrize("bench", SCD2, indirect=True)
@pytest.mark.parametrize("kind", ["timestamp", "date"])
def test_event_times_without_a_zone_are_utc(bench: Bench, kind: str) -> None:
    columns = {"id": BIGINT, "a": TEXT, "at": DataType(kind)}
    moments = [day(number).replace(tzinfo=None) for number in (1, 2)]
    values = [moment.date() if kind == "date" else moment for moment in moments]
    bench.give(columns, [(1, "a", values[0]), (1, "b", values[1])])
    pipeline = bench.pipeline("scd2", keys=("id",), event_timestamp_column="at", handle_deletes="soft")
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 2}
    assert chain(bench, "a") == [(1, "a", day(1), day(2), False), (1, "b", day(2), None, True)]
    assert counts(pipeline.sync()) == {"read": 2, "unchanged": 2}
    if bench.target.name == "sqlite":
        assert bench.rows("valid_from") == [
            ("2024-01-01 00:00:00.000000+00:00",),
            ("2024-01-02 00:00:00.000000+00:00",),
        ]
    bench.check()


@pytest.mark.parametrize("bench", SCD2, indirect=True)
def test_scd2_refuses_what_it_cannot_date(bench: Bench) -> None:
    bench.give(EVENTS, [(1, "a", None), (None, "b", day(1))])
    pipeline = bench.pipeline("scd2", keys=("id",), event_timestamp_column="at")
    with pytest.raises(DataError, match=r"2 rows have no value in a key column \(id, at\)"):
        pipeline.sync()
    with pytest.raises(DeclarationError, match="event_timestamp_column `a` is text"):
        bench.pipeline("scd2", keys=("id",), event_timestamp_column="a").sync()
    bench.give({**COLUMNS, "valid_to": TIMESTAMP}, [(1, "a", "b", None)])
    with pytest.raises(DeclarationError, match="column `valid_to` is reserved in mode scd2"):
        bench.pipeline("scd2", keys=("id",)).sync()
    assert not bench.target.has("tgt")


@pytest.mark.parametrize("bench", SCD2, indirect=True)
def test_hashes_tell_types_of_values_apart(bench: Bench) -> None:
    columns = {"id": BIGINT, "x": DOUBLE, "n": DataType("numeric", precision=38, scale=10)}
    from decimal import Decimal

    bench.give(columns, [(1, 0.1, Decimal("0.1")), (2, 1e300, Decimal("1234567890123456789012345678.0123456789"))])
    pipeline = bench.pipeline("scd2", keys=("id",))
    pipeline.sync()
    assert counts(pipeline.sync()) == {"read": 2, "unchanged": 2}
    changed = Decimal("1234567890123456789012345678.0123456788")
    bench.give(columns, [(1, 0.1 + 2**-56, Decimal("0.1")), (2, 1e300, changed)])
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 2, "closed": 2}
