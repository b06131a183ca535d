"""Values as text in CSV and JSONL files, and back, exactly."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    MAX_DECIMAL128,
    TEXT,
    TIMESTAMP,
    TIMESTAMPTZ,
    DataType,
    to_arrow,
)
from ematix_nb.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from .paths import DataFile

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_DOUBLE = re.compile(r"[+-]?(?:nan|inf|NaN|Inf|(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]+)")
_BOOLEAN = re.compile(r"true|false|True|False|TRUE|FALSE")
_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_TIMESTAMP = re.compile(_DATE.pattern + r"[ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?")
_TIMESTAMPTZ = re.compile(_TIMESTAMP.pattern + r"(Z|[+-][0-9]{2}:?[0-9]{2})")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]+))?")
_PATTERNS = ((_BOOLEAN, BOOLEAN), (_DATE, DataType("date")), (_TIMESTAMP, TIMESTAMP), (_TIMESTAMPTZ, TIMESTAMPTZ))
_INT64 = range(-(2**63), 2**63)
MAX_RECORD_BYTES = 512 << 20
"""A longer line is not data, and would need a multiple of its size as memory."""


def too_long(file: DataFile, line: int) -> DataError:
    """The error for a line without an end."""
    message = f"{file.name}, line {line}: the line is longer than {MAX_RECORD_BYTES >> 20} MiB"
    return DataError(message, "write one row a line; a file without line ends is no such file")


def unreadable(file: DataFile, exc: OSError) -> Exception:
    """The error for a text file that cannot be unpacked; one that went away stays what it is."""
    if isinstance(exc, FileNotFoundError):
        return exc
    return DataError(f"{file.name}: the data is broken: {str(exc)[:120]}", "write or copy it again")


def guess(values: list[str]) -> DataType:
    """The type that all texts of a sample have; text when none fits all, or when there is no value.

    Numbers with leading zeros stay text; numbers with a point are decimals of the largest scale seen; an exponent
    or NaN makes doubles.

    Example:
        >>> str(guess(["1", "22"])), str(guess(["1.50", "2"])), str(guess(["007"])), str(guess(["1e3", "2"]))
        ('bigint', 'numeric(38,2)', 'text', 'double')
    """
    if not values:
        return TEXT
    if all(_INTEGER.fullmatch(value) and int(value) in _INT64 for value in values):
        return BIGINT
    decimals = [_DECIMAL.fullmatch(value) for value in values]
    if all(decimals):
        scale = max(len(found[2] or "") for found in decimals if found)
        digits = max(len(found[1]) for found in decimals if found) + scale
        return DataType("numeric", precision=MAX_DECIMAL128, scale=scale) if digits <= MAX_DECIMAL128 else TEXT
    if all(found or _DOUBLE.fullmatch(value) for found, value in zip(decimals, values, strict=True)):
        return DOUBLE
    return next((kind for pattern, kind in _PATTERNS if all(pattern.fullmatch(value) for value in values)), TEXT)


def text_type(kind: DataType) -> pa.DataType:
    """The Arrow type in which the CSV parser reads a column of a type."""
    import pyarrow as pa

    arrow = to_arrow(kind)
    return pa.string() if kind.kind == "bytes" or pa.types.is_decimal256(arrow) else arrow


def from_text(array: pa.Array, kind: DataType, where: str) -> pa.Array:
    """A parsed column in the Arrow type of its kind.

    Raises:
        DataError: When a text does not stand for a value of the type.
    """
    import pyarrow as pa

    arrow = to_arrow(kind)
    if array.type.equals(arrow):
        return array
    try:
        if kind.kind == "bytes":
            values = [None if text is None else base64.b64decode(text, validate=True) for text in array.to_pylist()]
            return pa.array(values, arrow)
        if kind.kind == "time":
            ticks = [None if text is None else _ticks(text, arrow.unit) for text in array.to_pylist()]
            return pa.array(ticks, pa.int64()).cast(arrow)
        return array.cast(arrow)
    except (pa.ArrowInvalid, binascii.Error, ValueError) as exc:
        message = f"{where}: {str(exc)[:160]}"
        raise DataError(message, "correct the file, or declare the column as text") from exc


def _ticks(text: str, unit: str) -> int:
    """A time of day in the unit's parts since midnight."""
    digits = 9 if unit == "ns" else 6
    found = _TIME.fullmatch(text)
    if found is None or len(found[4] or "") > digits:
        message = f"`{text[:80]}` is not a time of day with at most {digits} digits of a second"
        raise ValueError(message)
    seconds = (int(found[1]) * 60 + int(found[2])) * 60 + int(found[3])
    return seconds * int(f"1{'0' * digits}") + int((found[4] or "0").ljust(digits, "0"))


def spelled_type(kind: DataType, file_format: str) -> pa.DataType:
    """The Arrow type that is handed to the writer of a text format."""
    import pyarrow as pa

    arrow = to_arrow(kind)
    if kind.kind == "bytes" or (file_format == "csv" and pa.types.is_decimal256(arrow)):
        return pa.string()
    if file_format == "jsonl" and kind.kind in ("numeric", "date", "time", "timestamp", "timestamptz"):
        return pa.string()
    return arrow


def spelled(array: pa.Array, kind: DataType, file_format: str) -> pa.Array:
    """A column as a text format holds it: bytes as base64, for JSONL decimals and times as text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = spelled_type(kind, file_format)
    if array.type.equals(wanted):
        return array
    if kind.kind == "bytes":
        return pa.array([None if v is None else base64.b64encode(v).decode("ascii") for v in array.to_pylist()], wanted)
    if kind.kind == "timestamptz":
        return pc.binary_join_element_wise(array.cast(pa.timestamp(array.type.unit)).cast(wanted), "Z", "")
    return array.cast(wanted)


def plain(value: Any) -> Any:
    """A Python value as JSON holds it, exactly: what JSON has no form for becomes text."""
    import datetime as dt
    import decimal
    import math

    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (decimal.Decimal, dt.date, dt.time)):
        return str(value)
    return value
