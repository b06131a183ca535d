"""The cleaning steps of a column and the steps before a load, as plain data.

Each function checks its arguments and names a step; `ematix_nb.sql.normalizers`
and `ematix_nb.sql.source_query` turn steps into the source's SQL. Steps of a
column apply from left to right, and NULL stays NULL unless the text says so.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
from collections.abc import Callable, Iterable
from typing import Any

from ematix_nb.declare.spec import Normalizer, PreTransform
from ematix_nb.errors import DeclarationError, did_you_mean

DEFAULT_TIMESTAMP_FORMATS = (
    "YYYY-MM-DD HH24:MI:SS.MS",
    "YYYY-MM-DDTHH24:MI:SSOF",
    "YYYY-MM-DDTHH24:MI:SS",
    "YYYY-MM-DD HH24:MI:SS",
    "YYYY-MM-DD",
    "MM/DD/YYYY",
    "YYYY-MM-DD HH24:MI:SSOF",
    "YYYY-MM-DD HH24:MI:SS.MSOF",
    "YYYY-MM-DDTHH24:MI:SS.MSOF",
    "YYYY-MM-DDTHH24:MI:SS.MS",
)
DEFAULT_DATE_FORMATS = ("YYYY-MM-DD", "YYYYMMDD", "MM/DD/YYYY")
TRUTHY = ("true", "1", "yes", "y")
FALSY = ("false", "0", "no", "n")
ON_FAILURE = ("null", "error", "default")
DATE_PARTS = ("microsecond", "millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year")
MAX_ROUND = 18

_TOKENS = ("HH24", "YYYY", "MM", "DD", "MI", "SS", "MS", "US", "OF")
_LITERAL = re.compile(r"[^A-Za-z0-9]|T(?=HH24)")

Plain = bool | int | float | str | decimal.Decimal | dt.date | dt.time
"""What a step may compare with or fill in."""


def format_tokens(text: str) -> tuple[str, ...]:
    """The parts of a format of times: tokens, and single characters that stand for themselves.

    Tokens are ``YYYY MM DD HH24 MI SS MS US OF``; MS and US are 1 to 6 digits of a fraction, OF an offset from UTC.

    Raises:
        DeclarationError: When a part is not understood, or a token comes twice.

    Example:
        >>> format_tokens("MM/DD/YYYY")
        ('MM', '/', 'DD', '/', 'YYYY')
    """
    parts, position = [], 0
    while position < len(text):
        token = next((known for known in _TOKENS if text.startswith(known, position)), None)
        if token is None and _LITERAL.match(text, position):
            token = text[position]
        if token is None:
            hint = f"a format is made of {', '.join(_TOKENS)} and punctuation, as in YYYY-MM-DD HH24:MI:SS"
            raise DeclarationError(f"format `{text}`: `{text[position:]}` is not understood", hint=hint)
        if token in _TOKENS and token in parts:
            raise DeclarationError(f"format `{text}` holds {token} twice")
        parts.append(token)
        position += len(token)
    for needed in ("YYYY", "MM", "DD"):
        if needed not in parts:
            raise DeclarationError(f"format `{text}` lacks {needed}", hint="a moment needs year, month and day")
    return tuple(parts)


def trim() -> Normalizer:
    """Remove spaces at both ends (spaces only, as SQL does)."""
    return Normalizer("trim")


def lower() -> Normalizer:
    """Make every letter small."""
    return Normalizer("lower")


def upper() -> Normalizer:
    """Make every letter large."""
    return Normalizer("upper")


def empty_to_null() -> Normalizer:
    """Make an empty text NULL."""
    return Normalizer("empty_to_null")


def whitespace_to_null() -> Normalizer:
    """Remove blanks, tabs and line ends at both ends, and make what is empty then NULL."""
    return Normalizer("whitespace_to_null")


def replace(old: str, new: str) -> Normalizer:
    """Replace each occurrence of a text."""
    _texts("replace", old, new)
    if not old:
        raise DeclarationError("replace: the text to be replaced is empty")
    return Normalizer("replace", (old, new))


def regex_replace(pattern: str, replacement: str, flags: str = "g") -> Normalizer:
    r"""Replace what a regular expression matches; ``\1`` to ``\9`` stand for its groups.

    Args:
        pattern: In the syntax that the systems share (no look-around, no back references).
        replacement: The new text.
        flags: ``g`` for all matches and not only the first, ``i`` to ignore case.
    """
    _texts("regex_replace", pattern, replacement, flags)
    if not pattern:
        raise DeclarationError("regex_replace: the pattern is empty")
    if set(flags) - set("gi"):
        raise DeclarationError(
            f"regex_replace: flags `{flags}` are not understood", hint="g: all matches, i: ignore case"
        )
    if re.search(r"\(\?[=!<]", pattern):
        raise DeclarationError(f"regex_replace: `{pattern}` looks around, which not every system can")
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise DeclarationError(f"regex_replace: `{pattern}` is not a regular expression: {error}") from None
    if re.search(r"\\(?![1-9])", replacement):
        raise DeclarationError(rf"regex_replace: a backslash in `{replacement}` is followed by 1 to 9 only")
    used = [int(number) for number in re.findall(r"\\([1-9])", replacement)]
    if used and max(used) > groups:
        raise DeclarationError(f"regex_replace: `{replacement}` uses group {max(used)}, the pattern has {groups}")
    return Normalizer("regex_replace", (pattern, replacement, "".join(sorted(set(flags)))))


def truncate(n: int) -> Normalizer:
    """Keep the first ``n`` characters."""
    return Normalizer("truncate", (_whole("truncate", n, 0, 2**31 - 1),))


def email_normalize() -> Normalizer:
    """Remove spaces at both ends and make every letter small."""
    return Normalizer("email_normalize")


def phone_normalize() -> Normalizer:
    """Keep digits and ``+`` only."""
    return Normalizer("phone_normalize")


def parse_timestamp(
    format: str | None = None,  # noqa: A002 - the documented name
    formats: Iterable[str] | None = None,
    on_failure: str = "null",
    default: Plain | None = None,
) -> Normalizer:
    """Read a moment from text; a text without an offset is in UTC.

    Args:
        format: One format, in tokens ``YYYY MM DD HH24 MI SS MS US OF``.
        formats: Several, tried in order; without any the usual ISO forms and ``MM/DD/YYYY``.
        on_failure: What a text becomes that fits none: ``null``, ``error`` (the run fails) or ``default``.
        default: For NULL and, with ``on_failure="default"``, for what fits none.
    """
    chosen = _formats("parse_timestamp", format, formats, DEFAULT_TIMESTAMP_FORMATS)
    return Normalizer("parse_timestamp", (chosen, *_failure("parse_timestamp", on_failure, default)))


def parse_date(
    format: str | None = None,  # noqa: A002 - the documented name
    formats: Iterable[str] | None = None,
    on_failure: str = "null",
    default: Plain | None = None,
) -> Normalizer:
    """Read a day from text; arguments as for `parse_timestamp`."""
    chosen = _formats("parse_date", format, formats, DEFAULT_DATE_FORMATS)
    return Normalizer("parse_date", (chosen, *_failure("parse_date", on_failure, default)))


def to_timezone(timezone: str) -> Normalizer:
    """Move between a moment and the wall clock of a zone.

    A ``Timestamp`` column gets the wall clock that the zone shows at the moment; a ``TimestampTZ`` column gets the
    moment at which the zone's wall clock shows the value. A moment for a ``TimestampTZ`` column stays what it is.
    """
    return Normalizer("to_timezone", (check_timezone(timezone),))


def date_trunc(part: str) -> Normalizer:
    """Cut a time down to the beginning of its ``hour``, ``day``, ``week`` (Monday), ``month``, ... in UTC."""
    if part not in DATE_PARTS:
        hint = did_you_mean(str(part), DATE_PARTS) or f"the parts are {', '.join(DATE_PARTS)}"
        raise DeclarationError(f"date_trunc: `{part}` is not a part of a time", hint=hint)
    return Normalizer("date_trunc", (part,))


def parse_int() -> Normalizer:
    """Read a whole number of 64 bits from text; what is none becomes NULL."""
    return Normalizer("parse_int")


def parse_numeric(precision: int | None = None, scale: int | None = None) -> Normalizer:
    """Read a decimal number such as ``-12.50`` from text, rounding half away from zero; what is none becomes NULL.

    Args:
        precision: Decimal digits in all, 1 to 38; without it the column's own.
        scale: Digits after the point; 0 when only the precision is given.
    """
    if precision is None:
        if scale is not None:
            raise DeclarationError("parse_numeric: a scale needs a precision", hint="write parse_numeric(10, 2)")
        return Normalizer("parse_numeric")
    digits = _whole("parse_numeric", precision, 1, 38)
    return Normalizer("parse_numeric", (digits, _whole("parse_numeric", scale or 0, 0, digits)))


def round(n: int = 0) -> Normalizer:  # noqa: A001 - the documented name
    """Round to ``n`` digits after the point, half away from zero."""
    return Normalizer("round", (_whole("round", n, 0, MAX_ROUND),))


def clamp(lo: Plain, hi: Plain) -> Normalizer:
    """Replace what is below ``lo`` by it, and what is above ``hi`` by that; NULL stays NULL."""
    _plain("clamp", lo)
    _plain("clamp", hi)
    try:
        wrong = lo > hi  # type: ignore[operator]
    except TypeError:
        raise DeclarationError(f"clamp: {lo!r} and {hi!r} cannot be compared") from None
    if wrong:
        raise DeclarationError(f"clamp: the lower bound {lo!r} is above the upper bound {hi!r}")
    return Normalizer("clamp", (lo, hi))


def parse_bool(truthy: Iterable[str] = TRUTHY, falsy: Iterable[str] = FALSY) -> Normalizer:
    """Read true or false from text, ignoring case; what is neither becomes NULL."""
    yes, no = (tuple(word.lower() for word in _words("parse_bool", words)) for words in (truthy, falsy))
    if both := sorted(set(yes) & set(no)):
        raise DeclarationError(f"parse_bool: `{both[0]}` is both true and false")
    return Normalizer("parse_bool", (yes, no))


def default(value: Plain) -> Normalizer:
    """Put a value in place of NULL."""
    return Normalizer("default", (_plain("default", value),))


def not_null_or(value: Plain) -> Normalizer:
    """Put a value in place of NULL; another name of `default`."""
    return Normalizer("default", (_plain("not_null_or", value),))


def nullif(value: Plain) -> Normalizer:
    """Make a value NULL."""
    return Normalizer("nullif", (_plain("nullif", value),))


def sql(expression: str) -> Normalizer:
    """Apply an SQL expression of the source's system; the word ``col`` in it stands for the column."""
    return Normalizer("sql", (_expression("sql", expression),))


def derive(expression: str) -> Normalizer:
    """Compute the column from others by an SQL expression; has to be the first step."""
    return Normalizer("derive", (_expression("derive", expression),))


def deduplicate_by(*columns: object, keys: str | Iterable[str] = (), order_by: str | None = None) -> PreTransform:
    """Keep one row of each key.

    Args:
        columns: The key, as in ``deduplicate_by("id")``.
        keys: The key, as in ``deduplicate_by(keys=("id",))``.
        order_by: Which row is kept: the first in this order (``"updated_at desc"``); rows without a value come last.
            Without it, any.
    """
    named = (*columns, *((keys,) if isinstance(keys, str) else tuple(keys)))
    if not named or not all(isinstance(name, str) and name for name in named):
        raise DeclarationError(f"deduplicate_by: keys are names of columns, got {named!r}", hint='keys=("id",)')
    if order_by is not None:
        _expression("deduplicate_by", order_by)
    return PreTransform("deduplicate_by", (named, order_by))


def filter_where(expression: str) -> PreTransform:
    """Keep the rows for which an SQL condition is true."""
    return PreTransform("filter_where", (_expression("filter_where", expression),))


def limit(n: int) -> PreTransform:
    """Keep at most ``n`` rows."""
    return PreTransform("limit", (_whole("limit", n, 0, 2**63 - 1),))


def sample_pct(p: object) -> PreTransform:
    """Keep a random share of the rows; ``p`` lies between 0 and 1."""
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 < p <= 1:
        hint = "it is a share: sample_pct(0.1) keeps about one row in ten"
        raise DeclarationError(f"sample_pct: {p!r} is not a number above 0 and up to 1", hint=hint)
    return PreTransform("sample_pct", (float(p),))


NORMALIZERS: dict[str, Callable[..., Normalizer]] = {
    step.__name__: step
    for step in (
        trim, lower, upper, empty_to_null, whitespace_to_null, replace, regex_replace, truncate, email_normalize,
        phone_normalize, parse_timestamp, parse_date, to_timezone, date_trunc, parse_int, parse_numeric, round, clamp,
        parse_bool, default, not_null_or, nullif, sql, derive,
    )
}  # fmt: skip
"""Every normalizer by the name that users write."""

PRE_TRANSFORMS: dict[str, Callable[..., PreTransform]] = {
    step.__name__: step for step in (deduplicate_by, filter_where, limit, sample_pct)
}


def check_timezone(name: object) -> str:
    """The name of a time zone, when there is one of that name.

    Raises:
        DeclarationError: Otherwise, with the nearest.

    Example:
        >>> check_timezone("Europe/Berlin")
        'Europe/Berlin'
    """
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(str(name))
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        hint = did_you_mean(str(name), zoneinfo.available_timezones()) or "write it as in Europe/Berlin"
        raise DeclarationError(f"there is no time zone `{name}`", hint=hint) from None
    return str(name)


def _texts(step: str, *values: object) -> None:
    for value in values:
        if not isinstance(value, str):
            raise DeclarationError(f"{step} takes texts, got {value!r}")


def _expression(step: str, text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise DeclarationError(f"{step} takes an SQL expression, got {text!r}")
    return text.strip()


def _whole(step: str, number: object, least: int, most: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise DeclarationError(f"{step} takes a whole number from {least} to {most}, got {number!r}")
    return number


def _plain(step: str, value: Any) -> Any:
    if not isinstance(value, (bool, int, float, str, decimal.Decimal, dt.date, dt.time)):
        hint = "a value is a number, a text, true or false, a date or a time"
        raise DeclarationError(f"{step} cannot use {type(value).__name__} `{value!r}`", hint=hint)
    return value


def _words(step: str, words: object) -> tuple[str, ...]:
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise DeclarationError(f"{step} takes lists of words, got {words!r}")
    found = tuple(words)
    _texts(step, *found)
    return found


def _formats(step: str, one: str | None, several: Iterable[str] | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    if one is not None and several is not None:
        raise DeclarationError(f"{step} takes `format` or `formats`, not both")
    chosen = (one,) if one is not None else _words(step, several) if several is not None else usual
    if not chosen:
        raise DeclarationError(f"{step}: the list of formats is empty")
    for text in chosen:
        if not isinstance(text, str):
            raise DeclarationError(f"{step}: a format is a text, got {text!r}")
        format_tokens(text)
    return chosen


def _failure(step: str, on_failure: str, value: Any) -> tuple[str, Any]:
    if on_failure not in ON_FAILURE:
        hint = did_you_mean(str(on_failure), ON_FAILURE) or f"the choices are {', '.join(ON_FAILURE)}"
        raise DeclarationError(f"{step}: on_failure is `{on_failure}`", hint=hint)
    if on_failure == "default" and value is None:
        raise DeclarationError(f'{step}: on_failure="default" needs default=')
    return on_failure, None if value is None else _plain(step, value)
