"""Functions that SQLite lacks, in Python; a session registers them as deterministic functions.

Times are text as SQLite keeps them: ``YYYY-MM-DD HH:MM:SS.ffffff``, a moment with ``+00:00`` behind it. Each function
gives NULL for NULL.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import json
import re
from typing import TYPE_CHECKING, Any

from ematix_nb.sql import time_formats

if TYPE_CHECKING:
    from collections.abc import Callable

_INT = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_VALID = re.compile(time_formats.VALID)
_MAX_EXACT = 10**15
_MAX_DIGITS = 4000  # Python refuses to read whole numbers of more than 4,300
_WIDE = decimal.Context(prec=1000, rounding=decimal.ROUND_HALF_UP, traps=[decimal.InvalidOperation])

Value = Any


def _lower(value: Value) -> Value:
    return None if value is None else str(value).lower()


def _upper(value: Value) -> Value:
    return None if value is None else str(value).upper()


def _regex_replace(value: Value, pattern: str, replacement: str, flags: str) -> Value:
    if value is None:
        return None
    compiled = _compiled(pattern, "i" in flags)
    return compiled.sub(replacement, str(value), count=0 if "g" in flags else 1)


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:  # noqa: FBT001 - a key of the cache
    return re.compile(pattern, re.IGNORECASE if ignore_case else 0)


def _parse_int(value: Value) -> Value:
    if value is None or not _INT.fullmatch(str(value)):
        return None
    number = int(str(value)) if len(str(value)) < _MAX_DIGITS else 2**63
    return number if -(2**63) <= number < 2**63 else None


def _parse_numeric(value: Value, precision: int, scale: int) -> Value:
    if value is None or not _NUMBER.fullmatch(str(value)):
        return None
    number = _rounded(str(value), scale)
    return format(number, "f") if abs(number) < decimal.Decimal(10) ** (precision - scale) else None


def _rounded(text: str, scale: int) -> decimal.Decimal:
    number = decimal.Decimal(text).quantize(decimal.Decimal(1).scaleb(-scale), context=_WIDE)
    return abs(number) if number == 0 else number


def _round(value: Value, scale: int, exact: int) -> Value:
    if value is None:
        return None
    if exact:
        return format(_rounded(str(value), scale), "f")
    number = float(value)
    return float(_rounded(repr(number), scale)) if abs(number) < _MAX_EXACT else number


def _clamp(value: Value, low: str, high: str) -> Value:
    if value is None:
        return None
    number = decimal.Decimal(str(value))
    return low if number < decimal.Decimal(low) else high if number > decimal.Decimal(high) else value


@functools.lru_cache(maxsize=64)
def _formats(text: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(time_formats.pattern(one)), time_formats.template(one)) for one in json.loads(text))


def _moment(value: str, formats: str) -> dt.datetime | None:
    """The moment that a text names, in UTC; None when it fits no format."""
    for pattern, template in _formats(formats):
        match = pattern.fullmatch(value)
        if match is not None:
            normal = match.expand(template)
            return _instant(normal[1:]) if _VALID.fullmatch(normal) else None
    return None


def _instant(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or dt.UTC).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def _text(moment: dt.datetime, kind: str) -> str:
    if kind == "date":
        return moment.date().isoformat()
    return (moment if kind == "timestamptz" else moment.replace(tzinfo=None)).isoformat(
        sep=" ", timespec="microseconds"
    )


def _parse_time(value: Value, formats: str, kind: str, on_failure: str) -> Value:
    if value is None:
        return None
    moment = _moment(str(value), formats)
    if moment is not None:
        return _text(moment, kind)
    if on_failure == "error":
        raise ValueError(f"cannot read a time from {str(value)[:80]!r}")
    return None


def _to_timezone(value: Value, zone: str, kind: str) -> Value:
    import zoneinfo

    if value is None:
        return None
    moment = dt.datetime.fromisoformat(str(value))
    if kind == "timestamptz":
        local = moment if moment.tzinfo else moment.replace(tzinfo=zoneinfo.ZoneInfo(zone))
        return _text(local.astimezone(dt.UTC), "timestamptz")
    instant = moment.replace(tzinfo=moment.tzinfo or dt.UTC)
    return _text(instant.astimezone(zoneinfo.ZoneInfo(zone)), "timestamp")


_MONTHS = {"quarter": 3, "year": 12}
_CUT = {"microsecond": 1, "millisecond": 1000, "second": 10**6, "minute": 6 * 10**7, "hour": 36 * 10**8}


def _date_trunc(part: str, value: Value, kind: str) -> Value:
    if value is None:
        return None
    moment = dt.datetime.fromisoformat(str(value))
    moment = moment.replace(tzinfo=moment.tzinfo or dt.UTC).astimezone(dt.UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if part in _CUT:
        passed = (moment - day) // dt.timedelta(microseconds=1)
        cut = day + dt.timedelta(microseconds=passed - passed % _CUT[part])
    elif part == "day":
        cut = day
    elif part == "week":
        cut = day - dt.timedelta(days=day.weekday())
    else:
        months = _MONTHS.get(part, 1)
        cut = day.replace(day=1, month=(day.month - 1) // months * months + 1)
    return _text(cut, kind)


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "ematix_lower": (1, _lower),
    "ematix_upper": (1, _upper),
    "ematix_regex_replace": (4, _regex_replace),
    "ematix_parse_int": (1, _parse_int),
    "ematix_parse_numeric": (3, _parse_numeric),
    "ematix_round": (3, _round),
    "ematix_clamp": (3, _clamp),
    "ematix_parse_time": (4, _parse_time),
    "ematix_to_timezone": (3, _to_timezone),
    "ematix_date_trunc": (3, _date_trunc),
}
"""Name -> (number of arguments, function)."""


def register(connection: Any) -> None:
    """Make the functions known to a ``sqlite3.Connection``."""
    for name, (arguments, function) in FUNCTIONS.items():
        connection.create_function(name, arguments, function, deterministic=True)
