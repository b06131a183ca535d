"""Cleaning steps as SQL of MariaDB and MySQL, where a CAST that fails gives another value and only warns.

So nothing is cast before its text was looked at, and what another system refuses fails the query here too. Texts are
compared by their bytes. Moments have no offset in these systems: a moment is a DATETIME in UTC. The server's own tables
of time zones, which may be empty and end in 2038, are not used.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import re
import zoneinfo
from typing import Any

from ematix_nb.declare.data_types import INTEGER_KINDS, TEXT_KINDS
from ematix_nb.errors import DeclarationError
from ematix_nb.sql import time_formats
from ematix_nb.sql.normalizer_step import (
    BLANK,
    CANNOT,
    FLOATS,
    FREE,
    MAKE_TIMES,
    MAX_EXACT,
    NUMBER,
    Step,
    Template,
    refuse_nul,
)

ENGINES = ("mariadb", "mysql")
MAX_DIGITS, MAX_SCALE = 65, 30
FIRST_YEAR, END_YEAR = 1900, 2100
"""Years whose offsets from UTC a statement holds."""
_BYTEWISE = {"mariadb": "utf8mb4_nopad_bin", "mysql": "utf8mb4_0900_bin"}
_ERROR_NAME = 200
"""Characters that no lock's name can have."""
_BIGINT = "BETWEEN -9223372036854775808 AND 9223372036854775807"
_EPOCH = dt.datetime(1000, 1, 1)  # noqa: DTZ001  counted from without a zone, as the server does
_CUTS = {
    "second": "%Y-%m-%d %H:%i:%s", "minute": "%Y-%m-%d %H:%i:00", "hour": "%Y-%m-%d %H:00:00", "day": "%Y-%m-%d",
    "month": "%Y-%m-01", "year": "%Y-01-01",
}  # fmt: skip


def quoted(text: str) -> str:
    """A text as a literal; a session's ``sql_mode`` lets backslashes escape."""
    refuse_nul(text)
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def literal(value: Any) -> str:
    """A plain value as a literal."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"CAST('{value!r}' AS DOUBLE)"
    if isinstance(value, dt.datetime):
        plain = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
        return f"CAST('{plain.isoformat(sep=' ', timespec='microseconds')}' AS DATETIME(6))"
    if isinstance(value, (dt.date, dt.time)):
        return f"CAST('{value.isoformat()}' AS {'DATE' if isinstance(value, dt.date) else 'TIME(6)'})"
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            message = f"`{value}` is not a number that a statement can hold"
            raise DeclarationError(message)
        return format(value, "f")
    return quoted(value) if isinstance(value, str) else str(value)


def _text(engine: str, x: str) -> str:
    """An expression as text that is compared by its bytes."""
    return f"CONVERT({x} USING utf8mb4) COLLATE {_BYTEWISE[engine]}"


def _matches(engine: str, text: str, pattern: str) -> str:
    exact = quoted(re.sub(r"\$\Z", r"\\z", pattern))  # a $ would let a line end follow
    return f"REGEXP_LIKE({text}, {exact}, 'c')" if engine == "mysql" else f"{text} REGEXP {exact}"


def _regexp(engine: str, text: str, pattern: str, replacement: str, flags: str = "g") -> str:
    if engine == "mysql":
        groups = re.sub(r"\\([1-9])", r"$\1", replacement.replace("$", r"\$"))
        case, which = "i" if "i" in flags else "c", 0 if "g" in flags else 1
        return f"REGEXP_REPLACE({text}, {quoted(pattern)}, {quoted(groups)}, 1, {which}, '{case}')"
    if "i" in flags:
        pattern = f"(?i){pattern}"
    if "g" not in flags:
        pattern = rf"(?s:\A.*?)\K(?:{pattern})"
    return f"REGEXP_REPLACE({text}, {quoted(pattern)}, {quoted(replacement)})"


def _fail(message: str, x: str) -> str:
    """An expression that fails with the value in the message: as the name of a lock, which is too long for one."""
    return f"IS_FREE_LOCK(RPAD(CONCAT({quoted(message)}, {x}), {_ERROR_NAME}, ' '))"


def _on_text(template: str) -> Template:
    """A template over the bytewise text."""
    return lambda step: template.format(*step.arguments, x=_text(step.engine, step.x))


def _whitespace_to_null(step: Step) -> str:
    text = _text(step.engine, step.x)
    return f"NULLIF({_regexp(step.engine, text, f'^[{BLANK}]+|[{BLANK}]+$', '')}, '')"


def _replace(step: Step) -> str:
    old, new = step.arguments
    return f"REPLACE({_text(step.engine, step.x)}, {quoted(old)}, {quoted(new)})"


def _regex_replace(step: Step) -> str:
    return _regexp(step.engine, _text(step.engine, step.x), *step.arguments)


def _phone(step: Step) -> str:
    return _regexp(step.engine, _text(step.engine, step.x), "[^0-9+]", "")


def _default(step: Step) -> str:
    return f"COALESCE({step.x}, {literal(step.arguments[0])})"


def _comparable(step: Step, value: Any) -> str:
    return _text(step.engine, step.x) if isinstance(value, str) else step.x


def _nullif(step: Step) -> str:
    return f"NULLIF({_comparable(step, step.arguments[0])}, {literal(step.arguments[0])})"


def _clamp(step: Step) -> str:
    low, high = map(literal, step.arguments)
    x = _comparable(step, step.arguments[0])
    return f"CASE WHEN {x} < {low} THEN {low} WHEN {x} > {high} THEN {high} ELSE {step.x} END"


def _parse_bool(step: Step) -> str:
    word = f"LOWER({_text(step.engine, step.x)})"
    branches = [
        f" WHEN {word} IN ({', '.join(map(quoted, words))}) THEN {value}"
        for words, value in zip(step.arguments, (1, 0), strict=True)
        if words
    ]
    return f"CASE{''.join(branches)} END" if branches else "NULL"


def _parse_int(step: Step) -> str:
    text = _text(step.engine, step.x)
    fits = f"CAST({text} AS DECIMAL({MAX_DIGITS}, 0)) {_BIGINT}"
    guard = _matches(step.engine, text, "^-?[0-9]+$")
    return f"CASE WHEN {guard} THEN CASE WHEN {fits} THEN CAST({text} AS SIGNED) END END"


def _parse_numeric(step: Step) -> str:
    precision, scale = step.digits
    if scale > MAX_SCALE:
        message = f"column `{step.column.name}`: the source keeps {MAX_SCALE} digits behind the point, not {scale}"
        raise DeclarationError(message, f"write parse_numeric({precision}, {MAX_SCALE})")
    text = _text(step.engine, step.x)
    fits = f"ABS(CAST({text} AS DECIMAL({MAX_DIGITS}, {scale}))) < 1{'0' * (precision - scale)}"
    number = f"CAST({text} AS DECIMAL({precision}, {scale}))"
    return f"CASE WHEN {_matches(step.engine, text, NUMBER)} THEN CASE WHEN {fits} THEN {number} END END"


def _round(step: Step) -> str:
    digits, kind = step.arguments[0], step.column.type.kind
    if kind in INTEGER_KINDS:
        return step.x
    text = _text(step.engine, step.x)
    whole = MAX_DIGITS - digits - 1
    pattern = f"^-?[0-9]{{1,{whole}}}([.][0-9]+)?{'(e[-+]?[0-9]+)?' if kind in FLOATS else ''}$"
    exact = f"CAST({text} AS DECIMAL({MAX_DIGITS}, {digits}))"
    fails = f"WHEN {step.x} IS NOT NULL THEN {_fail('cannot round ', text)}"
    if kind not in FLOATS:
        return f"CASE WHEN {_matches(step.engine, text, pattern)} THEN {exact} {fails} END"
    close = f"CASE WHEN ABS({step.x}) < {MAX_EXACT} THEN CAST({exact} AS DOUBLE) ELSE CAST({step.x} AS DOUBLE) END"
    return f"CASE WHEN {_matches(step.engine, text, pattern)} THEN {close} {fails} END"


# -- times --------------------------------------------------------------------------------------------------------


def _parse_time(step: Step, kind: str) -> str:
    formats, on_failure, value = step.arguments
    normal = _text(step.engine, step.x)
    for one in formats:
        pattern = re.sub(r"\$\Z", r"\\z", time_formats.pattern(one))
        normal = _regexp(step.engine, normal, pattern, time_formats.template(one))
    valid = _matches(step.engine, normal, time_formats.VALID)
    otherwise = ""
    if on_failure == "error":
        otherwise = f" WHEN {step.x} IS NOT NULL THEN CAST({_fail(CANNOT, step.x)} AS DATETIME(6))"
    moment = f"CAST(SUBSTR({normal}, 2, 10) AS DATE)" if kind == "date" else _in_utc(step.engine, normal)
    parsed = f"CASE WHEN {valid} THEN {moment}{otherwise} END"
    return parsed if value is None else f"COALESCE({parsed}, {literal(value)})"


def _in_utc(engine: str, normal: str) -> str:
    """The moment of a text in the normal form of `time_formats`."""
    steps = ((r"Z\z", "+00:00"), (r"([+-][0-9]{2})\z", r"\1:00"), (r"([+-][0-9]{2})([0-9]{2})\z", r"\1:\2"))
    for pattern, replacement in steps:
        normal = _regexp(engine, normal, pattern, replacement)
    clock = f"CAST(SUBSTR({normal}, 2, CHAR_LENGTH({normal}) - 7) AS DATETIME(6))"
    return f"SUBTIME({clock}, REPLACE(RIGHT({normal}, 6), '+', ''))"


def _parse_timestamp(step: Step) -> str:
    return _parse_time(step, "timestamp")


def _parse_date(step: Step) -> str:
    return _parse_time(step, "date")


def _time(step: Step, name: str) -> str:
    """The expression so far as a DATETIME."""
    known = any(one in FREE or one in MAKE_TIMES for one in step.earlier)
    if not known and step.source is not None and step.source.kind in TEXT_KINDS:
        message = f"column `{step.column.name}`: {name} needs a time, and the source gives {step.source.logical}"
        raise DeclarationError(message, f"write parse_timestamp() before {name}")
    return f"CAST({step.x} AS DATETIME(6))"


def _to_timezone(step: Step) -> str:
    zone, to_wall = step.arguments[0], step.column.type.kind == "timestamp"
    moment = "parse_timestamp" in step.earlier or (
        step.source is not None and step.source.kind == "timestamptz" and not set(FREE) & set(step.earlier)
    )
    if not to_wall and moment:
        return step.x
    time = _time(step, "to_timezone")
    bounds, offsets = _offsets(zone, to_wall=to_wall)
    seconds = f"TIMESTAMPDIFF(SECOND, '{_EPOCH}', {time})"
    offset = f"ELT(INTERVAL({seconds}, {', '.join(map(str, bounds))}), {', '.join(map(str, offsets))})"
    fails = _fail(f"years {FIRST_YEAR} to {END_YEAR - 1} can be moved between time zones, not ", step.x)
    moved = f"{time} {'+' if to_wall else '-'} INTERVAL {offset} SECOND"
    return f"COALESCE({moved}, CASE WHEN {step.x} IS NOT NULL THEN CAST({fails} AS DATETIME(6)) END)"


@functools.lru_cache(maxsize=32)
def _offsets(name: str, *, to_wall: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """When a zone's offsets from UTC begin, in seconds since `_EPOCH`, the end behind them; and the offsets in seconds.

    Begins are moments, or what the wall clock shows: of an hour that comes twice the first is meant, and an hour that
    is left out is counted on from the one before it.
    """
    zone = zoneinfo.ZoneInfo(name)
    day = dt.timedelta(days=1)
    at, end = dt.datetime(FIRST_YEAR, 1, 1, tzinfo=dt.UTC), dt.datetime(END_YEAR, 1, 1, tzinfo=dt.UTC)
    bounds, offsets = [_seconds(at)], [_offset(at, zone)]
    while at < end:
        if (after := _offset(at + day, zone)) != offsets[-1]:
            begins = _seconds(_change(at, zone))
            bounds.append(begins if to_wall else begins + max(offsets[-1], after))
            offsets.append(after)
        at += day
    return (*bounds, _seconds(end)), tuple(offsets)


def _seconds(moment: dt.datetime) -> int:
    return (moment.replace(tzinfo=None) - _EPOCH) // dt.timedelta(seconds=1)


def _offset(moment: dt.datetime, zone: zoneinfo.ZoneInfo) -> int:
    return (moment.astimezone(zone).utcoffset() or dt.timedelta()) // dt.timedelta(seconds=1)


def _change(start: dt.datetime, zone: zoneinfo.ZoneInfo) -> dt.datetime:
    """The second of a day at which the offset changes."""
    low, high = 0, 86_400
    while high - low > 1:
        middle = (low + high) // 2
        same = _offset(start + dt.timedelta(seconds=middle), zone) == _offset(start, zone)
        low, high = (middle, high) if same else (low, middle)
    return start + dt.timedelta(seconds=high)


def _date_trunc(step: Step) -> str:
    part, time = step.arguments[0], _time(step, "date_trunc")
    if part == "microsecond":
        cut = time
    elif part == "millisecond":
        cut = f"({time} - INTERVAL MICROSECOND({time}) % 1000 MICROSECOND)"
    elif part == "week":
        cut = f"(CAST({time} AS DATE) - INTERVAL WEEKDAY({time}) DAY)"
    elif part == "quarter":
        cut = f"CONCAT(DATE_FORMAT({time}, '%Y-'), ELT(QUARTER({time}), '01', '04', '07', '10'), '-01')"
    else:
        cut = f"DATE_FORMAT({time}, '{_CUTS[part]}')"
    return f"CAST({cut} AS {'DATE' if step.time_kind == 'date' else 'DATETIME(6)'})"


TEMPLATES: dict[str, Template] = {
    "trim": "TRIM({x})",
    "empty_to_null": _on_text("NULLIF({x}, '')"),
    "whitespace_to_null": _whitespace_to_null,
    "truncate": "LEFT({x}, {0})",
    "email_normalize": "LOWER(TRIM({x}))",
    "replace": _replace,
    "regex_replace": _regex_replace,
    "phone_normalize": _phone,
    "parse_timestamp": _parse_timestamp,
    "parse_date": _parse_date,
    "to_timezone": _to_timezone,
    "date_trunc": _date_trunc,
    "parse_int": _parse_int,
    "parse_numeric": _parse_numeric,
    "round": _round,
    "clamp": _clamp,
    "parse_bool": _parse_bool,
    "default": _default,
    "nullif": _nullif,
}
"""What these two spell differently from the others."""
