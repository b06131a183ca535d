"""When a schedule fires: cron text, a time zone, and what happens on the days the clock changes.

The cron arithmetic is cronsim's, on wall-clock times without a zone. Turning those into instants is done here, because
that is where schedulers go wrong. Two rules, chosen by how the schedule is written:

* **Fixed times** (minute and hour are plain numbers, lists or ranges, such as ``30 2 * * *``): each wall-clock time
  fires once. A time that the spring change skips fires at the first valid minute after the gap; a time that the autumn
  change repeats fires in its first pass only. Times that fall on one instant fire once.
* **Every so often** (a ``*`` or a ``/`` in the minute or the hour, or all 24 hours listed): the clock on the wall is
  followed as time passes. Skipped times do not fire, repeated ones fire in both passes.

A calendar day that a zone left out altogether (30 December 2011 in Samoa) has no slots.
"""

from __future__ import annotations

import datetime as dt
import functools
import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ematix_nb.clock import UTC
from ematix_nb.errors import DeclarationError, UsageError, did_you_mean
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
LIMITS = ("0-59", "0-23", "1-31", "1-12 or JAN-DEC", "0-7 or SUN-SAT")
SIZES = (60, 24, 31, 12, 7)
ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_SHOWN_CHARS = 60
_MINUTE = dt.timedelta(minutes=1)
_ANY_YEAR = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - wall-clock time, a start for the search of the first slot


@dataclass(frozen=True)
class Schedule:
    """A checked schedule; made by `parse_schedule`."""

    text: str
    """As the user wrote it, with single spaces."""
    timezone: str = "UTC"
    """IANA name of the zone whose wall clock the text speaks of."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The five cron fields; an alias such as ``@daily`` is written out."""
        return tuple(ALIASES.get(self.text.lower(), self.text).split())

    @property
    def minutes(self) -> frozenset[int]:
        """The minutes of the wall-clock hour at which it can fire."""
        return frozenset(_simulator(self.fields, _ANY_YEAR).minutes)

    @property
    def is_every_so_often(self) -> bool:
        """Whether it follows passing time when the clock changes, rather than firing once per wall-clock time."""
        minute, hour = self.fields[:2]
        return any(mark in field for mark in "*/" for field in (minute, hour)) or len(
            _simulator(self.fields, _ANY_YEAR).hours
        ) == len(range(24))

    def __str__(self) -> str:
        return self.text if self.timezone == "UTC" else f"{self.text} ({self.timezone})"


def parse_schedule(text: str, timezone: str = "UTC") -> Schedule:
    """Check a schedule.

    Args:
        text: Five cron fields, or one of ``@hourly @daily @weekly @monthly @yearly``.
        timezone: IANA name of a time zone.

    Returns:
        The schedule; equal texts that differ in spaces only give equal schedules.

    Raises:
        DeclarationError: The text is no schedule, never fires, or the zone is not known.

    Example:
        >>> parse_schedule("30 2 * * mon-fri", "Europe/Berlin")
        Schedule(text='30 2 * * mon-fri', timezone='Europe/Berlin')
        >>> parse_schedule("@hourly").fields
        ('0', '*', '*', '*', '*')
    """
    return _checked(" ".join(text.split()), timezone)


@functools.lru_cache(maxsize=1024)
def _checked(text: str, timezone: str) -> Schedule:
    """A schedule is looked at when it is declared and again when it may be due: the second look costs nothing."""
    schedule = Schedule(text, timezone)
    load_zone(timezone)
    _check_shape(schedule)
    if not _fires_ever(schedule):
        raise DeclarationError(
            f"schedule `{schedule.text}` never fires: no year has such a day",
            hint="`L` in day-of-month means the last day of each month",
        )
    return schedule


def load_zone(name: str) -> ZoneInfo:
    """Find a time zone by its IANA name.

    Raises:
        DeclarationError: There is no such zone.

    Example:
        >>> load_zone("Europe/Berlin").key
        'Europe/Berlin'
    """
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = {zone.lower(): zone for zone in zoneinfo.available_timezones()}
        same = known.get(name.lower(), "")
        hint = f"did you mean `{same}`?" if same else _nearest_zone(name, known)
        raise DeclarationError(f"unknown time zone `{name}`, expected an IANA name", hint=hint) from None


def slots_between(schedule: Schedule, after: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
    """The slots in the half-open span ``(after, until]``, oldest first.

    Args:
        schedule: A checked schedule.
        after: Aware; a slot at this very instant is left out.
        until: Aware; a slot at this very instant is included.

    Returns:
        Aware datetimes in UTC, strictly rising, computed as they are asked for.

    Raises:
        UsageError: A bound has no time zone.

    Example:
        >>> night = parse_schedule("30 2 * * *", "Europe/Berlin")
        >>> spring = slots_between(night, dt.datetime(2026, 3, 28, tzinfo=UTC), dt.datetime(2026, 3, 31, tzinfo=UTC))
        >>> [slot.strftime("%d %H:%M") for slot in spring]
        ['28 01:30', '29 01:00', '30 00:30']
    """
    start, end = as_utc(after), as_utc(until)
    return _up_to(_slots_after(schedule, start), end)


def next_fire(schedule: Schedule, after: dt.datetime) -> dt.datetime | None:
    """The first slot after an instant, in UTC; None when the calendar of this computer ends before it (year 9999).

    Raises:
        UsageError: ``after`` has no time zone.

    Example:
        >>> next_fire(parse_schedule("@daily"), dt.datetime(2026, 1, 1, tzinfo=UTC)).isoformat()
        '2026-01-02T00:00:00+00:00'
    """
    return next(_slots_after(schedule, as_utc(after)), None)


def as_utc(moment: dt.datetime) -> dt.datetime:
    """The same instant in UTC.

    Raises:
        UsageError: The datetime has no time zone.
    """
    if moment.utcoffset() is None:
        raise UsageError(
            f"datetime `{moment.isoformat()}` has no time zone", hint="write datetime(..., tzinfo=timezone.utc)"
        )
    return moment.astimezone(UTC)


# -- checking ---------------------------------------------------------------------------------------------------------


def _check_shape(schedule: Schedule) -> None:
    text, fields = _clip(schedule.text), schedule.fields
    if text.startswith("@") and text.lower() not in ALIASES:
        raise DeclarationError(
            f"unknown schedule alias `{text}`",
            hint=did_you_mean(text.lower(), ALIASES) or f"known: {', '.join(sorted(ALIASES))}",
        )
    if len(fields) != len(FIELDS):
        count = counted(len(fields), "field")
        raise DeclarationError(
            f"schedule `{text}` has {count}, expected 5: {' '.join(FIELDS)}",
            hint=_missing_field_hint(len(fields)),
        )
    for name, field, limits, size in zip(FIELDS, fields, LIMITS, SIZES, strict=True):
        if not _is_field(name, field):
            raise DeclarationError(
                f"schedule `{text}`: {name} `{_clip(field)}` is not within {limits}", hint=_syntax_hint(name)
            )
        for step in _steps(field):
            if step > size:
                raise DeclarationError(
                    f"schedule `{text}`: {name} `{_clip(field)}` steps by more than the {size} values it has",
                    hint="cron cannot carry a step over to the next hour, day or year; list the times instead",
                )


def _clip(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."


def _missing_field_hint(count: int) -> str:
    if count < len(FIELDS):
        return f"`{FIELDS[count]}` is the first one missing; `*` stands for any" if count else "such as `*/15 * * * *`"
    return "seconds and years are not supported" if count in (6, 7) else ""


def _syntax_hint(name: str) -> str:
    return {
        "day-of-month": "such as `1`, `1,15`, `1-7`, `*/2`, `L` (the last day)",
        "month": "such as `1`, `JAN`, `1-6`, `*/3`",
        "day-of-week": "such as `1`, `MON-FRI`, `5#1` (the first Friday), `5L` (the last Friday)",
    }.get(name, "such as `0`, `0,30`, `8-17`, `*/15`")


def _is_field(name: str, field: str) -> bool:
    """Whether cronsim reads this one field, with any value in the others."""
    parts = [field if other == name else "*" for other in FIELDS]
    try:
        _simulator(tuple(parts), _ANY_YEAR)
    except ValueError:
        return False
    return True


def _steps(field: str) -> list[int]:
    return [int(step) for term in field.split(",") for _, slash, step in [term.partition("/")] if slash]


def _fires_ever(schedule: Schedule) -> bool:
    try:
        return next(_walls(schedule, _ANY_YEAR), None) is not None
    except ValueError:  # each field is right by itself: cronsim says that no month is long enough
        return False


def _nearest_zone(name: str, known: dict[str, str]) -> str:
    """A hint for an unknown zone: the nearest name, compared as a whole or by its city, else how names look."""
    cities = {zone.rsplit("/", 1)[-1]: zone for zone in known}
    for candidates, wanted in ((known, name.lower()), (cities, name.lower().rsplit("/", 1)[-1].replace(" ", "_"))):
        near = did_you_mean(wanted, candidates)
        if near:
            match = near.split("`")[1]
            return f"did you mean `{known[cities.get(match, match)]}`?"
    return "did you mean `UTC`? other zones are named like `Europe/Berlin` or `America/New_York`"


# -- arithmetic -------------------------------------------------------------------------------------------------------


def _simulator(fields: tuple[str, ...], start: dt.datetime) -> CronSim:
    """A cronsim iterator over wall-clock times after ``start``.

    Raises:
        ValueError: The fields are no cron expression.
    """
    from cronsim import CronSim, CronSimError

    try:
        return CronSim(" ".join(fields), start)
    except (CronSimError, AssertionError) as error:  # cronsim 2.8 asserts on text such as `5L/2`
        raise ValueError(str(error)) from error


def _walls(schedule: Schedule, start: dt.datetime) -> Iterator[dt.datetime]:
    """Wall-clock times without a zone after ``start``; ends when 50 years pass without one, or in the year 9999."""
    simulator = _simulator(schedule.fields, start)
    while True:
        try:
            yield next(simulator)
        except (StopIteration, OverflowError):
            return


def _slots_after(schedule: Schedule, after: dt.datetime) -> Iterator[dt.datetime]:
    if schedule.timezone == "UTC":
        for wall in _walls(schedule, after.replace(tzinfo=None)):
            yield wall.replace(tzinfo=UTC)
        return
    zone = load_zone(schedule.timezone)
    find = _passing_slots if schedule.is_every_so_often else _fixed_slots
    try:
        for slot in find(schedule, zone, after):
            if slot > after:
                yield slot
    except OverflowError:  # the last day of year 9999
        return


def _up_to(slots: Iterator[dt.datetime], until: dt.datetime) -> Iterator[dt.datetime]:
    for slot in slots:
        if slot > until:
            return
        yield slot


def _fixed_slots(schedule: Schedule, zone: ZoneInfo, after: dt.datetime) -> Iterator[dt.datetime]:
    """Each wall-clock time once; may start with slots that are not after ``after``."""
    previous = None
    for wall in _walls(schedule, after.astimezone(zone).replace(tzinfo=None)):
        slot = _first_valid(wall, zone)
        if slot is not None and slot != previous:
            yield slot
            previous = slot


def _passing_slots(schedule: Schedule, zone: ZoneInfo, after: dt.datetime) -> Iterator[dt.datetime]:
    """Each instant whose wall clock matches; may start with slots that are not after ``after``."""
    waiting: list[dt.datetime] = []
    for wall in _walls(schedule, _before_repeat(after, zone)):
        first = _instant(wall, zone, fold=0)
        if first is None:
            continue
        while waiting and waiting[0] <= first:  # later walls cannot come before `first`
            yield heapq.heappop(waiting)
        heapq.heappush(waiting, first)
        second = _instant(wall, zone, fold=1)
        if second is not None and second != first:
            heapq.heappush(waiting, second)
    while waiting:
        yield heapq.heappop(waiting)


def _before_repeat(after: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The wall-clock time to search from: moved back in the first pass of an overlap, whose times come again."""
    local = after.astimezone(zone)
    first, second = (local.replace(fold=fold).utcoffset() or dt.timedelta() for fold in (0, 1))
    return local.replace(tzinfo=None) - max(first - second, dt.timedelta())


def _instant(wall: dt.datetime, zone: ZoneInfo, fold: int) -> dt.datetime | None:
    """The instant at which the wall clock of the zone shows ``wall``; None when it never does."""
    instant = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    return instant if instant.astimezone(zone).replace(tzinfo=None) == wall else None


def _first_valid(wall: dt.datetime, zone: ZoneInfo) -> dt.datetime | None:
    """The first instant at which the wall clock shows ``wall``, or the first minute after the gap that skips it.

    None when the zone skips the whole calendar day of ``wall``.
    """
    probe = wall
    while (slot := _instant(probe, zone, fold=0)) is None:
        probe += _MINUTE
    if probe == wall or probe.date() == wall.date():
        return slot
    last_before = (slot - _MINUTE).astimezone(zone)
    return slot if last_before.date() == wall.date() else None


@functools.cache
def minutes_in_utc(schedule: Schedule) -> frozenset[int]:
    """The minutes of the UTC hour at which a schedule can fire, in the offsets its zone has from 2024 to 2030.

    The shifted slot of a spring gap is left out: it may fall on another minute.

    Example:
        >>> sorted(minutes_in_utc(parse_schedule("0 9 * * *", "Asia/Kolkata")))
        [30]
    """
    zone = load_zone(schedule.timezone)
    moments = [dt.datetime(year, month, 1, tzinfo=UTC) for year in range(2024, 2031) for month in range(1, 13)]
    offsets = {moment.astimezone(zone).utcoffset() or dt.timedelta() for moment in moments}
    return frozenset((minute - offset // _MINUTE) % 60 for minute in schedule.minutes for offset in offsets)
