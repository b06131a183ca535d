"""The catch-up policy, ``--now`` and ``--interval``."""

from __future__ import annotations

import datetime as dt

import pytest

from ematix_nb.errors import UsageError
from ematix_nb.schedule.cron import parse_schedule
from ematix_nb.schedule.due import CatchUp, Due, due_slots, parse_interval, parse_now

UTC = dt.UTC
HOURLY = parse_schedule("@hourly")
MINUTE = dt.timedelta(minutes=1)


def at(hour: int, minute: int = 0, second: int = 0) -> dt.datetime:
    return dt.datetime(2026, 11, 23, hour, minute, second, tzinfo=UTC)


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("latest", Due((at(5),), 2)),
        ("all", Due((at(3), at(4), at(5)), 0)),
        ("none", Due((), 3)),
    ],
)
def test_three_missed_slots(catch_up: CatchUp, expected: Due) -> None:
    assert due_slots(HOURLY, at(5, 20), last_done=at(2), interval=MINUTE, catch_up=catch_up) == expected


def test_none_fires_the_slots_of_the_interval() -> None:
    due = due_slots(HOURLY, at(5, 0, 30), last_done=at(2), interval=MINUTE, catch_up="none")
    assert due == Due((at(5),), 2)


def test_none_fires_no_slot_twice() -> None:
    assert due_slots(HOURLY, at(5, 0, 30), last_done=at(5), interval=MINUTE, catch_up="none") == Due(())


@pytest.mark.parametrize("catch_up", ["latest", "all", "none"])
def test_a_fresh_deployment_does_not_fire_for_the_past(catch_up: CatchUp) -> None:
    assert due_slots(HOURLY, at(5, 20), last_done=None, interval=MINUTE, catch_up=catch_up) == Due(())
    assert due_slots(HOURLY, at(5, 0, 59), last_done=None, interval=MINUTE, catch_up=catch_up) == Due((at(5),))


@pytest.mark.parametrize(("now", "slots"), [(at(5), (at(5),)), (at(5, 1), ()), (at(4, 59, 59), ())])
def test_the_interval_is_open_below_and_closed_above(now: dt.datetime, slots: tuple[dt.datetime, ...]) -> None:
    assert due_slots(HOURLY, now, last_done=None, interval=MINUTE).slots == slots


def test_with_a_known_creation_missed_slots_count_from_there() -> None:
    due = due_slots(HOURLY, at(5, 20), last_done=None, interval=MINUTE, created=at(2, 30))
    assert due == Due((at(5),), 2)


def test_a_creation_a_moment_ago_does_not_narrow_the_interval() -> None:
    due = due_slots(HOURLY, at(5, 0, 30), last_done=None, interval=MINUTE, created=at(5, 0, 30))
    assert due == Due((at(5),))


def test_the_second_call_finds_nothing() -> None:
    first = due_slots(HOURLY, at(5, 0, 10), last_done=None, interval=MINUTE)
    assert first.slots == (at(5),)
    second = due_slots(HOURLY, at(5, 0, 40), last_done=first.slots[-1], interval=MINUTE)
    assert not second
    assert second == Due(())


@pytest.mark.parametrize("catch_up", ["latest", "all", "none"])
def test_a_clock_that_went_back_fires_nothing(catch_up: CatchUp) -> None:
    assert due_slots(HOURLY, at(5), last_done=at(9), interval=dt.timedelta(hours=8), catch_up=catch_up) == Due(())


def test_done_slots_and_now_may_be_in_any_zone() -> None:
    berlin = dt.timezone(dt.timedelta(hours=1))
    assert due_slots(HOURLY, at(5, 20).astimezone(berlin), last_done=at(4).astimezone(berlin)) == Due((at(5),))


def test_a_daily_job_in_the_repeated_hour_fires_once() -> None:
    job = parse_schedule("30 2 * * *", "Europe/Berlin")
    done: dt.datetime | None = None
    fired: list[dt.datetime] = []
    for minute in range(180):
        due = due_slots(job, dt.datetime(2026, 10, 25, tzinfo=UTC) + minute * MINUTE, last_done=done, interval=MINUTE)
        fired += due.slots
        done = due.slots[-1] if due else done
    assert fired == [dt.datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown catch-up policy `lastest`\nhint: did you mean `latest`\?"):
        due_slots(HOURLY, at(5), last_done=None, catch_up="lastest")  # type: ignore[arg-type]


def test_naive_times_are_refused() -> None:
    with pytest.raises(UsageError, match="has no time zone"):
        due_slots(HOURLY, at(5).replace(tzinfo=None), last_done=None)
    with pytest.raises(UsageError, match="has no time zone"):
        due_slots(HOURLY, at(5), last_done=at(4).replace(tzinfo=None))


def test_the_earliest_instant_is_no_error() -> None:
    assert due_slots(HOURLY, dt.datetime.min.replace(tzinfo=UTC), last_done=None) == Due(())


@pytest.mark.parametrize("text", ["2026-11-23T12:00Z", "2026-11-23T12:00:00+00:00", " 2026-11-23 13:00+01:00 "])
def test_now_with_a_zone(text: str) -> None:
    now = parse_now(text)
    assert (now.at, now.at.tzinfo, now.note) == (at(12), UTC, "")


@pytest.mark.parametrize(
    ("text", "shown"),
    {"2026-11-23T12:00": "2026-11-23T12:00:00Z", "2026-11-23": "2026-11-23T00:00:00Z"}.items(),
)
def test_now_without_a_zone_is_utc_and_says_so(text: str, shown: str) -> None:
    now = parse_now(text)
    assert now.at == dt.datetime.fromisoformat(shown)
    assert now.note == f"`{text}` has no time zone: taken as {shown}"


@pytest.mark.parametrize(
    "text", ["yesterday", "", "12:00", "2026-13-01", "2026-02-30T00:00Z", "0001-01-01T00:00+14:00"]
)
def test_now_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an ISO 8601 date and time\nhint: write it like 2026-11-23T12:00Z"):
        parse_now(text)


@pytest.mark.parametrize(("seconds", "expected"), [(1, 1), ("60", 60), (86_400, 86_400)])
def test_intervals(seconds: int | str, expected: int) -> None:
    assert parse_interval(seconds) == dt.timedelta(seconds=expected)


@pytest.mark.parametrize("seconds", ["0", "-1", 0, -1, "86401", "1.5", "", "--5", "-", "1e3", "sixty", "²", "9" * 30])
def test_intervals_out_of_range_are_refused(seconds: int | str) -> None:
    with pytest.raises(UsageError, match="is not a whole number of seconds from 1 to 86400"):
        parse_interval(seconds)
