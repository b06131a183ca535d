"""Functions that SQL on a SQLite session can call besides SQLite's own."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
from typing import TYPE_CHECKING, Any

from ematix_nb.sql import sqlite_functions as normalizer_functions

if TYPE_CHECKING:
    from collections.abc import Callable

SHA256 = "ematix_sha256"
DOUBLE_TEXT = "ematix_double_text"
ORDERED_TIME = "ematix_ordered_time"
COMPARED_DECIMAL = "ematix_compared_decimal"
_FORM_LENGTH = len("2026-01-31 10:00:00.000000")


def sha256(text: str | bytes | None) -> bytes | None:
    """SHA-256 of a text (as UTF-8) or of bytes; NULL of NULL."""
    if text is None:
        return None
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()


def double_text(value: float | None) -> str | None:
    """A number as the shortest text that reads back as the same double; SQLite's own stops at 15 digits."""
    return None if value is None else repr(float(value))


def ordered_time(value: object) -> object:
    """A date and time as text of one form, in UTC to the microsecond; what is none is given back as it is.

    Example:
        >>> ordered_time("2026-01-31T10:00:00+02:00"), ordered_time("2026-01-31 10:00")
        ('2026-01-31 08:00:00.000000', '2026-01-31 10:00:00.000000')
    """
    if not isinstance(value, str) or (len(value) == _FORM_LENGTH and value[10] == " "):
        return value
    try:
        moment = dt.datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            moment = moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return value
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def compared_decimal(value: object, bound: str) -> int | None:
    """-1, 0 or 1 as a number, kept as text, is less than, equal to or more than another; NULL of what is no number.

    Example:
        >>> compared_decimal("9.50", "10"), compared_decimal("10.0", "10"), compared_decimal(None, "10")
        (-1, 0, None)
    """
    if value is None:
        return None
    try:
        left, right = decimal.Decimal(str(value)), decimal.Decimal(bound)
        return (left > right) - (left < right)
    except decimal.InvalidOperation:
        return None


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    SHA256: (1, sha256),
    DOUBLE_TEXT: (1, double_text),
    ORDERED_TIME: (1, ordered_time),
    COMPARED_DECIMAL: (2, compared_decimal),
    **normalizer_functions.FUNCTIONS,
}
"""Name -> number of arguments (-1: any) and function; each gives the same result for the same arguments.

What is added here is known to every session that is opened later.
"""


def register(connection: Any) -> None:
    """Make the functions known to a ``sqlite3.Connection``."""
    for name, (arguments, function) in FUNCTIONS.items():
        connection.create_function(name, arguments, function, deterministic=True)
