"""Values on their way into a system by its own driver, and their common form for comparison."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import INTEGER_KINDS, NESTED_KINDS, DataType, to_arrow

if TYPE_CHECKING:
    from collections.abc import Sequence

DURATION = re.compile(
    r"P(?:(?P<y>-?\d+)Y)?(?:(?P<m>-?\d+)M)?(?:(?P<d>-?\d+)D)?"
    r"(?:T(?:(?P<h>-?\d+)H)?(?:(?P<min>-?\d+)M)?(?:(?P<s>-?\d+(?:\.\d+)?)S)?)?"
)


def interval_text(value: Any) -> str:
    """A month-day-nano interval as ISO text that every system reads."""
    sign = "-" if value.nanoseconds < 0 else ""
    seconds, rest = divmod(abs(value.nanoseconds), 10**9)
    return f"P{value.months}M{value.days}DT{sign}{seconds}.{rest:09d}S"


def native_parameter(system: str, value: Any, kind: DataType) -> Any:
    """A value as a parameter of a system's driver."""
    if value is None:
        return None
    if system == "sqlite":
        return _for_sqlite(value, kind)
    if system == "mysql" and isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    if kind.kind == "interval":
        if system == "duckdb":
            micros = value.nanoseconds // 1000
            return f"{value.months} months {value.days} days {micros} microseconds"
        return interval_text(value)
    if isinstance(value, Decimal):
        return str(value)
    if kind.kind == "uuid":
        return str(value)
    return value


def _for_sqlite(value: Any, kind: DataType) -> Any:
    from ematix_nb.backends.sqlite.values import encode

    return encode(value, kind)


def to_arrow_table(columns: dict[str, DataType], rows: Sequence[Sequence[Any]]) -> Any:
    """Rows as an Arrow table of the columns' types."""
    import pyarrow as pa

    arrays = []
    for index, kind in enumerate(columns.values()):
        values = [row[index] for row in rows]
        arrays.append(pa.array(values, to_arrow(kind), from_pandas=False))
    return pa.table(arrays, names=list(columns))


def canon(value: Any, kind: DataType) -> Any:  # noqa: PLR0911  one branch a family of types
    """The common form of a value of a column type, whatever driver it came from."""
    if value is None:
        return None
    if kind.kind in NESTED_KINDS:
        return _canon_nested(value, kind)
    if kind.kind in (*INTEGER_KINDS, "numeric"):
        number = Decimal(str(value)) if not isinstance(value, bool) else Decimal(int(value))
        return f"{number.normalize():f}" if number.is_finite() else str(number)
    if kind.kind in ("float", "double"):
        return repr(float(value))
    if kind.kind == "boolean":
        return {"true": True, "false": False}[value.lower()] if isinstance(value, str) else bool(value)
    if kind.kind in ("json", "jsonb"):
        loaded = json.loads(value, parse_float=Decimal, parse_int=Decimal) if isinstance(value, str) else value
        return _canon_json(loaded)
    if kind.kind == "uuid":
        return str(uuid.UUID(str(value)))
    if kind.kind == "bytes":
        return bytes(value)
    if kind.kind == "interval":
        return _canon_interval(value)
    if kind.kind in ("date", "time", "timestamp", "timestamptz"):
        return _canon_time(value, kind)
    return str(value)


def _canon_nested(value: Any, kind: DataType) -> Any:
    if isinstance(value, str):
        value = json.loads(value)
    if kind.kind == "array" and kind.item is not None:
        return [canon(item, kind.item) for item in value]
    if kind.kind == "struct":
        return {name: canon(value.get(name), inner) for name, inner in kind.fields}
    pairs = value.items() if isinstance(value, dict) else value
    assert kind.key is not None
    assert kind.item is not None
    return sorted((canon(key, kind.key), canon(item, kind.item)) for key, item in pairs)


def _canon_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _canon_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_canon_json(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return f"{Decimal(str(value)).normalize():f}"


def _canon_interval(value: Any) -> tuple[int, int, int]:
    if isinstance(value, (list, tuple)) and len(value) == 3:
        return tuple(int(part) for part in value)  # type: ignore[return-value]
    if isinstance(value, str):
        match = DURATION.fullmatch(value)
        assert match is not None, value
        part = {name: Decimal(text or 0) for name, text in match.groupdict().items()}
        seconds = part["h"] * 3600 + part["min"] * 60 + part["s"]
        return int(part["y"] * 12 + part["m"]), int(part["d"]), int(seconds * 10**9)
    return int(value.months), int(value.days), int(value.nanoseconds)


def _canon_time(value: Any, kind: DataType) -> Any:
    if kind.kind == "time":
        return dt.time.fromisoformat(value) if isinstance(value, str) else value
    if kind.kind == "date":
        value = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
        return value.date() if isinstance(value, dt.datetime) else value
    if isinstance(value, str):
        if not value[0].isdigit():
            return value
        value = dt.datetime.fromisoformat(value)
    if kind.kind == "timestamptz":
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    return value.replace(tzinfo=None)
