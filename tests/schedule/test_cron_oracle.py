"""Every slot of a year against a minute-by-minute walk of the wall clock, for many zones and years.

The walk shares no code with the package.
"""

from __future__ import annotations

import datetime as dt
import random
import zoneinfo
from zoneinfo import ZoneInfo

import pytest

from ematix_nb.schedule.cron import next_fire, parse_schedule, slots_between

UTC = dt.UTC
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
DAY = 1440


def minute_number(moment: dt.datetime) -> int:
    """Minutes since 1970 in UTC."""
    return int((moment - EPOCH).total_seconds()) // 60


def moment(minute: int) -> dt.datetime:
    return EPOCH + dt.timedelta(minutes=minute)


def wall_clock(zone: str, start: int, stop: int) -> list[int]:
    """For each UTC minute from ``start`` to ``stop``, what the wall clock shows, in minutes since 1970.

    The offset is read once an hour, and each minute in the hours in which it changes.
    """
    info = ZoneInfo(zone)

    def offset(minute: int) -> int:
        shift = moment(minute).astimezone(info).utcoffset()
        assert shift is not None
        seconds = int(shift.total_seconds())
        assert seconds % 60 == 0, f"{zone} has an offset of {seconds} seconds: choose another year"
        return seconds // 60

    walls: list[int] = []
    last = offset(start)
    for hour in range(start, stop, 60):
        end = min(hour + 60, stop)
        first, last = last, offset(end)
        if first == last:
            walls.extend(range(hour + first, end + first))
        else:
            walls.extend(minute + offset(minute) for minute in range(hour, end))
    return walls


def fixed(walls: list[int], start: int, targets: set[int]) -> dict[int, list[int]]:
    """For each minute of the day, when a daily job at it fires: as the highest wall clock so far first reaches it.

    In a gap the clock jumps past the time: that minute fires. In an overlap it was reached before: nothing fires.
    """
    highest = walls[0]
    fires: dict[int, list[int]] = {target: [] for target in targets}
    for index, wall in enumerate(walls):
        if wall == highest + 1:
            highest = wall
            if wall % DAY in targets:
                fires[wall % DAY].append(start + index)
        elif wall > highest:
            dates = {walls[index - 1] // DAY, wall // DAY}
            for target in targets:
                reached = [skipped for skipped in range(highest + 1, wall + 1) if skipped % DAY == target]
                if any(skipped // DAY in dates for skipped in reached):
                    fires[target].append(start + index)
            highest = wall
    return fires


def passing(walls: list[int], start: int, hours: set[int], minutes: set[int]) -> list[int]:
    """The UTC minutes at which the wall clock matches, each time it does."""
    wanted = {hour * 60 + minute for hour in hours for minute in minutes}
    return [start + index for index, wall in enumerate(walls) if wall % DAY in wanted]


def changes(walls: list[int]) -> list[int]:
    """Indexes at which the wall clock does not move on by one minute, looked for where an hour is not 60 long."""
    hours = [hour for hour in range(0, len(walls) - 60, 60) if walls[hour + 60] != walls[hour] + 60]
    return [one for hour in hours for one in range(hour + 1, hour + 61) if walls[one] != walls[one - 1] + 1]


ZONES = [
    "Africa/Cairo",
    "America/Asuncion",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Asia/Tokyo",
    "Atlantic/Azores",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Chisinau",
    "Europe/Dublin",
    "Europe/London",
    "Pacific/Apia",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Easter",
    "Pacific/Fiji",
    "Pacific/Norfolk",
    "UTC",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "America/Caracas",
    "Asia/Pyongyang",
    "Asia/Amman",
    "Asia/Dhaka",
    "Europe/Istanbul",
    "Europe/Volgograd",
    "Africa/Khartoum",
    "America/Tijuana",
]
PAIRS = [(zone, year) for zone in ZONES for year in (2017, 2026)]
USUAL = PAIRS[::4] + PAIRS[3::4]
"""Each zone once, in either year by turns."""
ODD = [("Pacific/Apia", 2011), ("Pacific/Kwajalein", 1993), ("America/Toronto", 1919), ("Asia/Kathmandu", 1986)]


def nightly_pairs() -> list[tuple[str, int]]:
    zones = sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone and not zone.startswith("posix"))
    others = [pair for pair in PAIRS if pair not in USUAL]
    return others + [(zone, 1973 + index % 60) for index, zone in enumerate(random.Random(7).sample(zones, 400))]


def slots(text: str, zone: str, start: int, stop: int) -> list[int]:
    found = slots_between(parse_schedule(text, zone), moment(start), moment(stop - 1))
    return [minute_number(slot) for slot in found]


def year_of(zone: str, year: int) -> tuple[list[int], int, int]:
    start, stop = (minute_number(dt.datetime(one, 1, 1, tzinfo=UTC)) for one in (year, year + 1))
    return wall_clock(zone, start, stop), start, stop


def check_year(zone: str, year: int) -> None:
    walls, start, stop = year_of(zone, year)
    jumps = changes(walls)
    landing = walls[jumps[year % len(jumps)]] if jumps else walls[90]
    # at and shortly before the time of day where a jump lands
    targets = {(landing + shift) % DAY for shift in (0, -20)}
    for target, expected in fixed(walls, start, targets).items():
        hour, minute = divmod(target, 60)
        assert slots(f"{minute} {hour} * * *", zone, start, stop) == expected, (hour, minute)
    if year % 2:
        expected = passing(walls, start, {0, 6, 12, 18}, {17})
        assert slots("17 */6 * * *", zone, start, stop) == [one for one in expected if one > start]
    for jump in jumps:
        check_near(walls, start, jump, zone)


def check_near(walls: list[int], start: int, jump: int, zone: str) -> None:
    """Dense schedules in the day around one change, and the next slot seen from odd moments of it."""
    low, high = max(jump - 900, 0), min(jump + 900, len(walls))
    near = walls[low:high]
    hour, minute = divmod(walls[jump] % DAY, 60)
    every = {"*/7 * * * *": set(range(24)), "*/14 0-3 * * *": {0, 1, 2, 3}, "5-59/7 1/2 * * *": set(range(1, 24, 2))}
    minutes = ({*range(0, 60, 7)}, {*range(0, 60, 14)}, {*range(5, 60, 7)})
    fires = {text: passing(near, start + low, every[text], ones) for text, ones in zip(every, minutes, strict=True)}
    for text, expected in fires.items():
        assert slots(text, zone, start + low, start + high) == [one for one in expected if one > start + low], text
    fires[f"{minute} {hour} * * *"] = fixed(near, start + low, {hour * 60 + minute})[hour * 60 + minute]
    for text, expected in fires.items():
        schedule = parse_schedule(text, zone)
        for begin in (*range(max(start + jump - 130, start + low), start + jump + 130, 26), start + jump - 2):
            found = next_fire(schedule, moment(begin))
            following = [one for one in expected if one > begin]
            assert not following or (found is not None and minute_number(found) == following[0]), (text, begin)


@pytest.mark.parametrize(("zone", "year"), [*USUAL, *ODD])
def test_a_year_equals_the_minute_by_minute_walk(zone: str, year: int) -> None:
    check_year(zone, year)


@pytest.mark.nightly
@pytest.mark.parametrize(("zone", "year"), nightly_pairs())
def test_many_more_zone_years_equal_the_walk(zone: str, year: int) -> None:
    check_year(zone, year)


@pytest.mark.parametrize(("zone", "year"), PAIRS[1::2])
def test_a_daily_job_fires_once_each_local_day(zone: str, year: int) -> None:
    job = parse_schedule("30 2 * * *", zone)
    info = zoneinfo.ZoneInfo(zone)
    found = slots_between(job, dt.datetime(year, 1, 1, tzinfo=info), dt.datetime(year, 12, 31, 12, tzinfo=info))
    days = [slot.astimezone(info).date() for slot in found]
    assert days == [dt.date(year, 1, 1) + dt.timedelta(days=number) for number in range(365 + (year % 4 == 0))]
