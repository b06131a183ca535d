"""The type of a column, independent of any system, and its Arrow twin.

One value of :class:`DataType` travels with each column from the source through
the plan to the target. Arrow alone is not enough: JSON, UUID and unconstrained
numbers all travel as Arrow strings and must still be told apart.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

INTEGER_KINDS = ("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint")
PLAIN_TEXTS = ("text", "string")
TEXT_KINDS = (*PLAIN_TEXTS, "json", "jsonb", "uuid")
TEMPORAL_KINDS = ("date", "time", "timestamp", "timestamptz", "interval")
NESTED_KINDS = ("array", "struct", "map")
KINDS = (
    *INTEGER_KINDS,
    "float",
    "double",
    "numeric",
    "boolean",
    *TEXT_KINDS,
    "bytes",
    *TEMPORAL_KINDS,
    *NESTED_KINDS,
    "null",
)

MAX_DECIMAL128 = 38
MAX_DECIMAL256 = 76
NANOSECONDS = 9


@dataclass(frozen=True, slots=True)
class DataType:
    """A column type.

    Example:
        >>> str(DataType("numeric", precision=10, scale=2))
        'numeric(10,2)'
        >>> str(DataType("array", item=DataType("integer")))
        'array(integer)'
    """

    kind: str
    """One of :data:`KINDS`."""
    length: int | None = None
    """Of ``string``: the most characters."""
    precision: int | None = None
    """Of ``numeric``: decimal digits, None when unconstrained. Of times: fractional digits (None is 6)."""
    scale: int | None = None
    """Of ``numeric``: digits after the point; may be negative."""
    item: DataType | None = None
    """Of ``array`` and ``map``: the type of the values."""
    key: DataType | None = None
    """Of ``map``: the type of the keys."""
    fields: tuple[tuple[str, DataType], ...] = field(default=())
    """Of ``struct``: names and types."""
    native: str = ""
    """The exact spelling in ``system`` when no kind says it all (``inet``, ``int4range``, an enum)."""
    system: str = ""
    """The backend that ``native`` belongs to."""

    def __str__(self) -> str:
        if self.native:
            return self.native
        if self.kind == "numeric":
            return "numeric" if self.precision is None else f"numeric({self.precision},{self.scale or 0})"
        if self.kind == "string":
            return f"string({self.length})"
        if self.kind == "array":
            return f"array({self.item})"
        if self.kind == "map":
            return f"map({self.key}, {self.item})"
        if self.kind == "struct":
            return "struct(" + ", ".join(f"{name} {kind}" for name, kind in self.fields) + ")"
        if self.precision is not None:
            return f"{self.kind}({self.precision})"
        return self.kind

    @property
    def logical(self) -> DataType:
        """The same type without its native spelling."""
        return DataType(self.kind, self.length, self.precision, self.scale, self.item, self.key, self.fields)


TEXT = DataType("text")
BIGINT = DataType("bigint")
INTEGER = DataType("integer")
BOOLEAN = DataType("boolean")
DOUBLE = DataType("double")
TIMESTAMP = DataType("timestamp")
TIMESTAMPTZ = DataType("timestamptz")
UUID = DataType("uuid")
BYTES = DataType("bytes")


class Verdict(enum.Enum):
    """What happens to the values of a type in a system."""

    EXACT = "exact"
    WIDENED = "widened"
    """Every value is kept, in a larger type or as text."""
    LOSSY = "lossy"
    """Some values would change: only with ``allow_lossy``."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Stored:
    """How a system stores a column type."""

    type: DataType
    """The type that is sent and read back."""
    verdict: Verdict = Verdict.EXACT
    reason: str = ""
    """Why the verdict is not exact, one phrase."""


@functools.cache
def _simple_arrow() -> dict[str, pa.DataType]:
    import pyarrow as pa

    return {
        "tinyint": pa.int8(),
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "utinyint": pa.uint8(),
        "usmallint": pa.uint16(),
        "uinteger": pa.uint32(),
        "ubigint": pa.uint64(),
        "float": pa.float32(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
        "text": pa.string(),
        "string": pa.string(),
        "json": pa.string(),
        "jsonb": pa.string(),
        "uuid": pa.string(),
        "bytes": pa.binary(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "interval": pa.month_day_nano_interval(),
        "null": pa.null(),
    }


def to_arrow(kind: DataType) -> pa.DataType:
    """The Arrow type in which values of ``kind`` travel.

    Unconstrained numbers and anything with a native spelling travel as text; times as microseconds
    (nanoseconds when the precision is 9); ``timestamptz`` in UTC.

    Example:
        >>> to_arrow(DataType("numeric", precision=38, scale=10))
        Decimal128Type(decimal128(38, 10))
    """
    import pyarrow as pa

    if kind.kind == "numeric":
        if kind.precision is None:
            return pa.string()
        make = pa.decimal128 if kind.precision <= MAX_DECIMAL128 else pa.decimal256
        return make(kind.precision, kind.scale or 0)
    if kind.kind in ("timestamp", "timestamptz"):
        unit = "ns" if (kind.precision or 0) >= NANOSECONDS else "us"
        return pa.timestamp(unit, tz="UTC" if kind.kind == "timestamptz" else None)
    if kind.kind == "array" and kind.item is not None:
        return pa.list_(to_arrow(kind.item))
    if kind.kind == "map" and kind.item is not None and kind.key is not None:
        return pa.map_(to_arrow(kind.key), to_arrow(kind.item))
    if kind.kind == "struct":
        return pa.struct([pa.field(name, to_arrow(inner)) for name, inner in kind.fields])
    return _simple_arrow()[kind.kind]


def from_arrow(arrow: pa.DataType) -> DataType:
    """The column type that an Arrow type stands for.

    Dictionaries become the type of their values, views and large types their plain form.

    Raises:
        ValueError: When no column type can hold the Arrow type exactly.
    """
    for name, simple in _simple_arrow().items():
        if arrow == simple and name not in ("string", "json", "jsonb", "uuid"):
            return DataType(name)
    found = _from_parametric(arrow) or _from_nested(arrow) or _from_variant(arrow)
    if found is None:
        message = f"Arrow type `{arrow}` has no column type"
        raise ValueError(message)
    return found


def _from_parametric(arrow: pa.DataType) -> DataType | None:
    import pyarrow.types as pt

    if pt.is_decimal(arrow):
        return DataType("numeric", precision=arrow.precision, scale=arrow.scale)
    if pt.is_timestamp(arrow):
        digits = NANOSECONDS if arrow.unit == "ns" else None
        return DataType("timestamptz" if arrow.tz else "timestamp", precision=digits)
    if pt.is_time(arrow):
        return DataType("time", precision=NANOSECONDS if arrow.unit == "ns" else None)
    return None


def _from_nested(arrow: pa.DataType) -> DataType | None:
    import pyarrow.types as pt

    if pt.is_list(arrow) or pt.is_large_list(arrow) or pt.is_fixed_size_list(arrow):
        return DataType("array", item=from_arrow(arrow.value_type))
    if pt.is_map(arrow):
        return DataType("map", item=from_arrow(arrow.item_type), key=from_arrow(arrow.key_type))
    if pt.is_struct(arrow):
        return DataType("struct", fields=tuple((inner.name, from_arrow(inner.type)) for inner in arrow))
    return None


def _from_variant(arrow: pa.DataType) -> DataType | None:
    """Other physical forms of a type that has a plain one."""
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_dictionary(arrow):
        return from_arrow(arrow.value_type)
    if isinstance(arrow, pa.BaseExtensionType):
        extension = {"arrow.uuid": "uuid", "arrow.json": "json"}.get(arrow.extension_name)
        return DataType(extension) if extension else from_arrow(arrow.storage_type)
    plain = {
        "text": pt.is_large_string(arrow) or pt.is_string_view(arrow),
        "bytes": pt.is_large_binary(arrow) or pt.is_binary_view(arrow) or pt.is_fixed_size_binary(arrow),
        "date": pt.is_date64(arrow),
        "float": pt.is_float16(arrow),
    }
    return next((DataType(kind) for kind, fits in plain.items() if fits), None)
