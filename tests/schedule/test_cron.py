"""Schedules that people write, and the days the clock changes."""

from __future__ import annotations

import datetime as dt
import re
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ematix_nb.errors import DeclarationError, UsageError
from ematix_nb.schedule.cron import Schedule, minutes_in_utc, next_fire, parse_schedule, slots_between

UTC = dt.UTC

REFUSED = {
    "* * *": "has 3 fields, expected 5: minute hour day-of-month month day-of-week\nhint: `month` is the first one",
    "": "has 0 fields, expected 5",
    "*": "has 1 field, expected 5",
    "0 * * * * *": "has 6 fields, expected 5: .*\nhint: seconds and years are not supported",
    "61 * * * *": "minute `61` is not within 0-59",
    "0 24 * * *": "hour `24` is not within 0-23",
    "0 0 0 * *": "day-of-month `0` is not within 1-31",
    "0 0 * 13 *": "month `13` is not within 1-12",
    "0 0 * * 8": "day-of-week `8` is not within 0-7",
    "0 0 * * 5L/2": "day-of-week `5L/2` is not within 0-7",
    "0 0 * * FRO": "day-of-week `FRO` is not within 0-7 or SUN-SAT\nhint: such as `1`, `MON-FRI`",
    "5-1 * * * *": "minute `5-1` is not within 0-59",
    "*/0 * * * *": "minute `*/0` is not within 0-59",
    "*/90 * * * *": "minute `*/90` steps by more than the 60 values it has",
    "0 */25 * * *": "hour `*/25` steps by more than the 24 values it has",
    "30 2 30 2 *": "`30 2 30 2 *` never fires: no year has such a day",
    "0 0 31 2,4,6 *": "never fires",
    "@dayly": "unknown schedule alias `@dayly`\nhint: did you mean `@daily`?",
    "@reboot": "unknown schedule alias `@reboot`\nhint: known: @annually, @daily",
    "9" * 5000 + " * * * *": "minute `9{60}\\.\\.\\.` is not within",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=[text[:20] for text in REFUSED])
def test_a_wrong_schedule_names_its_field(text: str, message: str) -> None:
    pattern = message if "\\" in message else re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(DeclarationError, match=pattern):
        parse_schedule(text)


@pytest.mark.parametrize(
    ("zone", "hint"),
    {
        "Mars/X": "did you mean `UTC`? other zones are named like `Europe/Berlin`",
        "Europe/Berln": "did you mean `Europe/Berlin`?",
        "europe/berlin": "did you mean `Europe/Berlin`?",
        "Berlin": "did you mean `Europe/Berlin`?",
        "New York": "did you mean `America/New_York`?",
        "": "did you mean `UTC`?",
        "../etc/passwd": "did you mean `UTC`?",
        "/etc/passwd": "did you mean `UTC`?",
        "Europe/Berlin\0": "did you mean `Europe/Berlin`?",
    }.items(),
)
def test_an_unknown_zone_is_refused_with_a_suggestion(zone: str, hint: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(hint)):
        parse_schedule("@daily", zone)


@pytest.mark.parametrize(
    ("alias", "fields"),
    {
        "@hourly": "0 * * * *",
        "@daily": "0 0 * * *",
        "@Weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@yearly": "0 0 1 1 *",
    }.items(),
)
def test_aliases_stand_for_fields(alias: str, fields: str) -> None:
    assert parse_schedule(alias).fields == tuple(fields.split())


def test_spaces_do_not_matter() -> None:
    assert parse_schedule("  0\t 9  * *   1 ") == Schedule("0 9 * * 1", "UTC")


def test_a_schedule_prints_its_zone_unless_it_is_utc() -> None:
    assert str(parse_schedule("0 9 * * 1")) == "0 9 * * 1"
    assert str(parse_schedule("0 9 * * 1", "Asia/Tokyo")) == "0 9 * * 1 (Asia/Tokyo)"


@pytest.mark.parametrize(
    ("text", "dates"),
    {
        "0 0 L * *": ["2026-01-31", "2026-02-28", "2026-03-31"],
        "0 0 * * 5L": ["2026-01-30", "2026-02-27", "2026-03-27"],
        "0 0 * * MON#1": ["2026-01-05", "2026-02-02", "2026-03-02"],
        "0 0 29 2 *": ["2028-02-29", "2032-02-29", "2036-02-29"],
        "0 0 13 * 5": ["2026-01-02", "2026-01-09", "2026-01-13"],
        "0 0 */10 * 1": ["2026-05-11", "2026-06-01", "2026-08-31"],
    }.items(),
)
def test_days(text: str, dates: list[str]) -> None:
    found = slots_between(
        parse_schedule(text), dt.datetime(2026, 1, 1, tzinfo=UTC), dt.datetime(2040, 1, 1, tzinfo=UTC)
    )
    assert [slot.date().isoformat() for slot in islice(found, 3)] == dates


CHANGES = [
    ("30 2 * * *", "Europe/Berlin", "2026-03-29", ["01:00"]),
    ("30 2 * * *", "Europe/Berlin", "2026-10-25", ["00:30"]),
    ("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29", ["01:00", "01:30"]),
    ("0,30 2 * * *", "Europe/Berlin", "2026-10-25", ["00:00", "00:30"]),
    ("*/30 2 * * *", "Europe/Berlin", "2026-03-29", []),
    ("*/30 2 * * *", "Europe/Berlin", "2026-10-25", ["00:00", "00:30", "01:00", "01:30"]),
    ("15 0-23 * * *", "Europe/Berlin", "2026-10-25", [f"{hour:02}:15" for hour in range(23)]),
    (
        "0 */2 * * *",  # half an hour is repeated, cronsim by itself leaves 02:00 out
        "Australia/Lord_Howe",
        "2026-04-04",
        [*(f"{hour:02}:00" for hour in range(1, 15, 2)), *(f"{hour:02}:30" for hour in range(15, 23, 2))],
    ),
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03", ["15:30"]),
    ("@daily", "America/Santiago", "2026-09-06", ["04:00"]),
]


@pytest.mark.parametrize(("text", "zone", "day", "times"), CHANGES)
def test_the_days_the_clock_changes(text: str, zone: str, day: str, times: list[str]) -> None:
    start = dt.datetime.fromisoformat(day).replace(tzinfo=UTC)
    until = start + dt.timedelta(hours=23)
    found = slots_between(parse_schedule(text, zone), start - dt.timedelta(seconds=1), until)
    assert [slot.strftime("%H:%M") for slot in found] == times


def test_a_calendar_day_that_a_zone_left_out_has_no_slot() -> None:
    zone, start = "Pacific/Apia", dt.datetime(2011, 12, 29, tzinfo=UTC)
    found = slots_between(parse_schedule("30 2 * * *", zone), start, start + dt.timedelta(days=3))
    assert [slot.isoformat() for slot in found] == [
        "2011-12-29T12:30:00+00:00",
        "2011-12-30T12:30:00+00:00",
        "2011-12-31T12:30:00+00:00",
    ]


def test_the_span_is_open_below_and_closed_above() -> None:
    three, four = (dt.datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (3, 4))
    assert list(slots_between(parse_schedule("@hourly"), three, four)) == [four]
    assert list(slots_between(parse_schedule("@hourly"), four, three)) == []


def test_seconds_are_kept_apart() -> None:
    after = dt.datetime(2026, 1, 1, 2, 59, 59, 999_999, tzinfo=UTC)
    assert next_fire(parse_schedule("@hourly"), after) == dt.datetime(2026, 1, 1, 3, tzinfo=UTC)


def test_bounds_may_be_in_any_zone() -> None:
    tokyo = dt.timezone(dt.timedelta(hours=9))
    assert next_fire(parse_schedule("@hourly"), dt.datetime(2026, 1, 1, 9, tzinfo=tokyo)) == dt.datetime(
        2026, 1, 1, 1, tzinfo=UTC
    )


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_the_calendar_ends_without_an_error(zone: str) -> None:
    last = dt.datetime(9999, 12, 31, 23, 59, 30, tzinfo=UTC)
    assert next_fire(parse_schedule("30 2 * * *", zone), last) is None
    assert next_fire(parse_schedule("*/5 * * * *", zone), last) is None


def test_a_naive_bound_is_refused_at_once() -> None:
    naive = dt.datetime(2026, 1, 1)  # noqa: DTZ001
    with pytest.raises(UsageError, match="`2026-01-01T00:00:00` has no time zone"):
        slots_between(parse_schedule("@daily"), naive, naive)
    with pytest.raises(UsageError, match="has no time zone"):
        next_fire(parse_schedule("@daily"), naive)


@settings(deadline=None)
@given(
    text=st.text(alphabet="0123456789*/,-L#@ MONFRI", max_size=24),
    start=st.datetimes(min_value=dt.datetime(1990, 1, 1), max_value=dt.datetime(2060, 1, 1)),  # noqa: DTZ001
)
def test_any_text_is_a_schedule_or_refused(text: str, start: dt.datetime) -> None:
    try:
        schedule = parse_schedule(text, "Europe/Berlin")
    except DeclarationError:
        return
    after = start.replace(tzinfo=UTC)
    slot = next_fire(schedule, after)
    assert slot is not None
    assert slot > after
    assert slot.second == 0


@settings(deadline=None)
@given(
    text=st.sampled_from(["*/15 * * * *", "30 2 * * *", "0 */3 * * *", "5,35 1-3 * * *", "0 0 1 * *"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca"]),
    start=st.datetimes(min_value=dt.datetime(2020, 1, 1), max_value=dt.datetime(2030, 1, 1)),  # noqa: DTZ001
    cuts=st.lists(st.integers(min_value=0, max_value=60 * 24 * 8), min_size=1, max_size=5),
)
def test_a_span_may_be_cut_anywhere(text: str, zone: str, start: dt.datetime, cuts: list[int]) -> None:
    schedule, after = parse_schedule(text, zone), start.replace(tzinfo=UTC)
    bounds = [after, *(after + dt.timedelta(minutes=cut) for cut in sorted(cuts))]
    pieces = [slot for low, high in pairwise(bounds) for slot in slots_between(schedule, low, high)]
    whole = list(slots_between(schedule, bounds[0], bounds[-1]))
    assert pieces == whole
    assert whole == sorted(set(whole))


def test_minutes_in_utc_follow_the_zone() -> None:
    assert minutes_in_utc(parse_schedule("0,20 * * * *", "Asia/Kathmandu")) == {15, 35}
    assert minutes_in_utc(parse_schedule("0 9 * * *", "Australia/Lord_Howe")) == {0, 30}
