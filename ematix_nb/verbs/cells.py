"""One value as JSON and as the text of a cell."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from typing import Any

_SAFE_INTEGER = 2**53
CELL_WIDTH = 60


def json_value(value: Any) -> Any:
    """A value as JSON can carry it without loss.

    Whole numbers beyond 2**53, decimals, NaN and infinities, times, durations and bytes become text.

    Example:
        >>> json_value(2**60), json_value(decimal.Decimal("1.10")), json_value(float("nan")), json_value(b"ab")
        ('1152921504606846976', '1.10', 'NaN', '6162')
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _SAFE_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _odd_float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((json_value(item) for item in value), key=str)
    return plain(value)


def plain(value: Any) -> str:
    """A single value as text: ISO 8601 for times, the exact digits for decimals."""
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    return str(value)


def show(value: Any, width: int = CELL_WIDTH) -> str:
    r"""A value as the text of one cell, on one line, cut to so many columns; NULL is nothing.

    Example:
        >>> show(None), show(True), show("two" + chr(10) + "lines"), show(1.5)
        ('', 'true', 'two\\nlines', '1.5')
    """
    from ematix_nb.verbs.text import cut, neutral

    if value is None:
        return ""
    return cut(neutral(_text(value, 4 * width), newlines=False), width)


def _text(value: Any, limit: int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value[: limit + 1]
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else _odd_float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "0x" + bytes(value[:limit]).hex()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        import json

        return json.dumps(json_value(value), ensure_ascii=False)[: limit + 1]
    return plain(value)


def _odd_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
