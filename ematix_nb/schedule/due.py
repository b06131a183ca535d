"""Which slots of a schedule are due now: the catch-up policy, and the two options that feed it."""

from __future__ import annotations

import datetime as dt
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ematix_nb.clock import UTC
from ematix_nb.errors import UsageError, known_names
from ematix_nb.schedule.cron import as_utc, slots_between

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.schedule.cron import Schedule

CatchUp = Literal["latest", "all", "none"]
CATCH_UP_POLICIES: tuple[str, ...] = get_args(CatchUp)
DEFAULT_INTERVAL = dt.timedelta(seconds=60)
MAX_INTERVAL_SECONDS = 86_400


@dataclass(frozen=True)
class Due:
    """What a scheduler has to do for one pipeline now."""

    slots: tuple[dt.datetime, ...]
    """Slots to fire, oldest first, aware, in UTC."""
    skipped: int = 0
    """Missed slots that the policy lets go."""

    def __bool__(self) -> bool:
        return bool(self.slots)


@dataclass(frozen=True)
class Now:
    """The instant that a user gave for now."""

    at: dt.datetime
    """Aware, in UTC."""
    note: str = ""
    """What was assumed; empty when nothing was."""


def due_slots(
    schedule: Schedule,
    now: dt.datetime,
    last_done: dt.datetime | None,
    interval: dt.timedelta = DEFAULT_INTERVAL,
    catch_up: CatchUp = "latest",
    created: dt.datetime | None = None,
) -> Due:
    """Decide which slots fire.

    ``latest`` fires the newest missed slot once, ``all`` each missed slot in order, ``none`` only slots in
    ``(now - interval, now]``. A slot that was done, and any before it, never fires again.

    Args:
        schedule: A checked schedule.
        now: Aware; slots up to and including this instant count.
        last_done: The newest slot that was done; None when none ever was, and then only slots in
            ``(now - interval, now]`` count, so that a fresh deployment does not fire for the past.
        interval: How far apart the calls of the scheduler are.
        catch_up: The policy.
        created: Since when the scheduler knows the pipeline, if it knows: with no ``last_done``, slots after it
            count as missed too.

    Returns:
        The slots to fire and how many are let go.

    Raises:
        UsageError: A datetime has no time zone, or the policy is not known.

    Example:
        >>> from ematix_nb.schedule.cron import parse_schedule
        >>> hourly, three = parse_schedule("@hourly"), dt.datetime(2026, 1, 1, 3, tzinfo=UTC)
        >>> due = due_slots(hourly, three, last_done=three - dt.timedelta(hours=3))
        >>> [slot.hour for slot in due.slots], due.skipped
        ([3], 2)
        >>> due_slots(hourly, three, last_done=three)
        Due(slots=(), skipped=0)
    """
    if catch_up not in CATCH_UP_POLICIES:
        raise UsageError(
            f"unknown catch-up policy `{catch_up}`", hint=known_names(catch_up, CATCH_UP_POLICIES, "policies")
        )
    now = as_utc(now)
    opening = _minus(now, interval)
    start = _start(opening, last_done, created)
    missed = slots_between(schedule, start, now) if start < now else iter(())
    if catch_up == "all":
        return Due(tuple(missed))
    if catch_up == "latest":
        return _newest(missed)
    return _after(missed, opening)


def open_since(
    schedule: Schedule,
    now: dt.datetime,
    last_done: dt.datetime | None,
    interval: dt.timedelta = DEFAULT_INTERVAL,
    catch_up: CatchUp = "latest",
    created: dt.datetime | None = None,
) -> dt.datetime | None:
    """Since when a pipeline waits: the oldest slot that passed since the last one that was done.

    Args:
        schedule: As for `due_slots`, like everything else.
        now: Aware.
        last_done: The newest slot that was done.
        interval: How far apart the calls of the scheduler are.
        catch_up: With ``none`` only slots count that are still due: all older ones are let go on purpose.
        created: Since when the scheduler knows the pipeline.

    Returns:
        The slot, in UTC; None when nothing is due.

    Example:
        >>> from ematix_nb.schedule.cron import parse_schedule
        >>> hourly, three = parse_schedule("@hourly"), dt.datetime(2026, 1, 1, 3, tzinfo=UTC)
        >>> open_since(hourly, three, three - dt.timedelta(hours=3)).hour, open_since(hourly, three, three)
        (1, None)
    """
    due = due_slots(schedule, now, last_done, interval, catch_up, created)
    if not due or catch_up != "latest":
        return due.slots[0] if due else None
    start = _start(_minus(as_utc(now), interval), last_done, created)
    return next(slots_between(schedule, start, as_utc(now)), due.slots[0])


def parse_now(text: str) -> Now:
    """Read the value of ``--now``.

    Args:
        text: ISO 8601; without a zone it is taken as UTC and the note says so.

    Raises:
        UsageError: The text is no ISO 8601 date and time.

    Example:
        >>> parse_now("2026-11-23T13:00+01:00").at.isoformat()
        '2026-11-23T12:00:00+00:00'
        >>> parse_now("2026-11-23T12:00").note
        '`2026-11-23T12:00` has no time zone: taken as 2026-11-23T12:00:00Z'
    """
    text = text.strip()
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.utcoffset() is not None:
            return Now(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        raise UsageError(f"`{text}` is not an ISO 8601 date and time", hint="write it like 2026-11-23T12:00Z") from None
    shown = moment.replace(tzinfo=None).isoformat()
    return Now(moment.replace(tzinfo=UTC), f"`{text}` has no time zone: taken as {shown}Z")


def parse_interval(seconds: int | str) -> dt.timedelta:
    """Read the value of ``--interval``: whole seconds, 1 to 86400.

    Raises:
        UsageError: It is not a whole number, or out of range.

    Example:
        >>> parse_interval("300")
        datetime.timedelta(seconds=300)
    """
    text = str(seconds).strip()
    count = int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20 else 0  # noqa: PLR2004
    if not 1 <= count <= MAX_INTERVAL_SECONDS:
        raise UsageError(
            f"interval `{text}` is not a whole number of seconds from 1 to {MAX_INTERVAL_SECONDS}",
            hint="give the time between two calls of the scheduler, such as 60",
        )
    return dt.timedelta(seconds=count)


def _start(opening: dt.datetime, last_done: dt.datetime | None, created: dt.datetime | None) -> dt.datetime:
    if last_done is not None:
        return as_utc(last_done)
    return min(opening, as_utc(created)) if created is not None else opening


def _newest(missed: Iterator[dt.datetime]) -> Due:
    count = 0
    newest: deque[dt.datetime] = deque(maxlen=1)
    for slot in missed:
        newest.append(slot)
        count += 1
    return Due(tuple(newest), max(count - 1, 0))


def _after(missed: Iterator[dt.datetime], opening: dt.datetime) -> Due:
    kept, skipped = [], 0
    for slot in missed:
        if slot > opening:
            kept.append(slot)
        else:
            skipped += 1
    return Due(tuple(kept), skipped)


def _minus(moment: dt.datetime, span: dt.timedelta) -> dt.datetime:
    try:
        return moment - span
    except OverflowError:
        return dt.datetime.min.replace(tzinfo=UTC)
