"""One value at a time: Python to what SQLite stores, and the forms of times and intervals."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import uuid
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import DataError

if TYPE_CHECKING:
    from ematix_nb.declare.data_types import DataType

Plain = int | float | str | bytes | None
LARGEST = 2**63 - 1
SECOND_NS = 1_000_000_000
_DURATION = re.compile(r"P(?P<m>-?\d+)M(?P<d>-?\d+)DT(?P<sign>-?)(?P<s>\d+)\.(?P<n>\d{9})S")


def encode(value: object, kind: DataType | None = None) -> Plain:
    """A Python value as SQLite stores it in a column of the type.

    Raises:
        DataError: NaN, a whole number beyond 64 bits, or an object that has no form.
    """
    if value is None or isinstance(value, str):
        return _encode_text(value, kind)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return _encode_int(value, kind)
    if isinstance(value, float):
        if math.isnan(value):
            raise DataError("NaN cannot be stored: SQLite turns it into NULL", hint="turn it into NULL in the query")
        return f"{decimal.Decimal(repr(value)):f}" if kind is not None and kind.kind == "numeric" else value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return _encode_object(value, kind)


def _encode_text(value: str | None, kind: DataType | None) -> Plain:
    if value is None or kind is None or kind.kind not in ("date", "time", "timestamp", "timestamptz", "boolean"):
        return value
    readers: dict[str, Any] = {"date": dt.date, "time": dt.time}
    try:
        return encode(readers.get(kind.kind, dt.datetime).fromisoformat(value), kind)
    except ValueError as exc:
        raise DataError(f"`{value[:80]}` is no {kind}") from exc


def _encode_int(value: int, kind: DataType | None) -> Plain:
    if kind is not None and kind.kind == "numeric" and not _is_int(kind):
        return str(value)
    if not -LARGEST - 1 <= value <= LARGEST:
        raise DataError(f"`{value}` cannot be stored: SQLite's whole numbers end at {LARGEST}")
    return value


def _is_int(kind: DataType) -> bool:
    from .types import type_name

    return type_name(kind).startswith("DECIMAL_INT")


def _encode_object(value: object, kind: DataType | None) -> Plain:
    if isinstance(value, dt.datetime):
        if kind is not None and kind.kind == "date":
            return value.date().isoformat()
        return _encode_time(value, kind)
    if isinstance(value, dt.time):
        return value.isoformat("microseconds")
    if isinstance(value, dt.date):
        return value.isoformat() if kind is None or kind.kind == "date" else f"{value.isoformat()} 00:00:00.000000"
    if isinstance(value, decimal.Decimal):
        if kind is not None and kind.kind == "numeric" and kind.precision is not None:
            return int(value) if _is_int(kind) and value == value.to_integral_value() else _scaled(value, kind)
        return f"{value:f}"
    return str(value) if isinstance(value, uuid.UUID) else _encode_interval(value)


def _encode_interval(value: Any) -> Plain:
    if isinstance(value, dt.timedelta):
        return duration(0, value.days, (value.seconds * 1_000_000 + value.microseconds) * 1000)
    if hasattr(value, "months") and hasattr(value, "nanoseconds") and hasattr(value, "days"):
        return duration(value.months, value.days, value.nanoseconds)
    raise DataError(f"a value of type {type(value).__name__} cannot be stored in SQLite")


def _scaled(value: decimal.Decimal, kind: DataType) -> str:
    """With the digits behind the point that the column's values have; as it is when it has more."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and -exponent < (kind.scale or 0):
        with decimal.localcontext(prec=200):
            value = value.quantize(decimal.Decimal(1).scaleb(-(kind.scale or 0)))
    return f"{value:f}"


def _encode_time(value: dt.datetime, kind: DataType | None) -> str:
    aware = value.tzinfo is not None if kind is None else kind.kind == "timestamptz"
    if value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    digits = "000" if kind is not None and kind.precision == 9 else ""  # noqa: PLR2004 - nanoseconds
    return value.isoformat(" ", "microseconds") + digits + ("+00:00" if aware else "")


def duration(months: int, days: int, nanoseconds: int) -> str:
    """An interval as text: months, days and seconds apart, each with its sign.

    Example:
        >>> duration(14, -3, 14706789000000), duration(0, 0, -1)
        ('P14M-3DT14706.789000000S', 'P0M0DT-0.000000001S')
    """
    seconds, rest = divmod(abs(nanoseconds), SECOND_NS)
    return f"P{months}M{days}DT{'-' if nanoseconds < 0 else ''}{seconds}.{rest:09d}S"


def parse_duration(text: str) -> tuple[int, int, int] | None:
    """Months, days and nanoseconds of :func:`duration`'s text; None when it is something else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    size = int(match["s"]) * SECOND_NS + int(match["n"])
    return int(match["m"]), int(match["d"]), -size if match["sign"] else size
