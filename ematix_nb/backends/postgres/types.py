"""PostgreSQL's types as column types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ematix_nb.declare.data_types import MAX_DECIMAL256, TEXT, DataType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SYSTEM = "postgres"
HEADER_BYTES = 4
"""What the type modifiers of varchar, char and numeric have added to them."""
NO_MODIFIER = -1
MICROSECOND_DIGITS = 6

BOOL, BYTEA, INT8, INT2, INT4, TEXT_OID, JSON, FLOAT4, FLOAT8 = 16, 17, 20, 21, 23, 25, 114, 700, 701
BPCHAR, VARCHAR, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL = 1042, 1043, 1082, 1083, 1114, 1184, 1186
NUMERIC, UUID, JSONB, UNKNOWN, RECORD, VOID = 1700, 2950, 3802, 705, 2249, 2278

PLAIN = {
    BOOL: DataType("boolean"),
    BYTEA: DataType("bytes"),
    INT8: DataType("bigint"),
    INT2: DataType("smallint"),
    INT4: DataType("integer"),
    TEXT_OID: TEXT,
    UNKNOWN: TEXT,
    RECORD: TEXT,
    VOID: TEXT,
    JSON: DataType("json"),
    FLOAT4: DataType("float"),
    FLOAT8: DataType("double"),
    DATE: DataType("date"),
    UUID: DataType("uuid"),
    JSONB: DataType("jsonb"),
}


@dataclass(frozen=True, slots=True)
class CatalogueType:
    """What ``pg_type`` says of a type and its modifier."""

    oid: int
    spelling: str
    """``format_type`` of the type with the modifier."""
    kind: str = "b"
    """``typtype``: b base, c composite, d domain, e enum, r range, m multirange."""
    item: int = 0
    """Oid of the elements of a true array, else 0."""
    base: int = 0
    """Oid of the type below a domain, else 0."""
    base_modifier: int = NO_MODIFIER


def data_type(oid: int, modifier: int, lookup: Callable[[int, int], CatalogueType]) -> DataType:
    """The column type of a type oid with its modifier.

    Types that no kind describes are text with their native spelling; a domain is
    what lies below it, with the domain's name as spelling.
    """
    if oid in PLAIN:
        return PLAIN[oid]
    made = _with_modifier(oid, modifier)
    if made is not None:
        return made
    found = lookup(oid, modifier)
    if found.item:
        return DataType("array", item=_item(data_type(found.item, modifier, lookup)))
    if found.kind == "d":
        return _spelled(data_type(found.base, found.base_modifier, lookup), found.spelling)
    if oid in (BPCHAR, INTERVAL, NUMERIC):
        return _spelled(_odd(oid, modifier), found.spelling)
    return DataType("text", native=found.spelling, system=SYSTEM)


def native_text(kind: DataType) -> bool:
    """True when values travel as text in a spelling of this system (``inet``, an enum)."""
    return kind.kind == "text" and bool(kind.native) and kind.system == SYSTEM


def _with_modifier(oid: int, modifier: int) -> DataType | None:
    """Types whose kind says it all together with the modifier; None for others."""
    if oid == VARCHAR:
        return TEXT if modifier == NO_MODIFIER else DataType("string", length=modifier - HEADER_BYTES)
    if oid in (TIME, TIMESTAMP, TIMESTAMPTZ):
        kind = {TIME: "time", TIMESTAMP: "timestamp", TIMESTAMPTZ: "timestamptz"}[oid]
        precision = None if modifier in (NO_MODIFIER, MICROSECOND_DIGITS) else modifier
        return DataType(kind, precision=precision)
    if oid == INTERVAL and modifier == NO_MODIFIER:
        return DataType("interval")
    if oid == NUMERIC:
        if modifier == NO_MODIFIER:
            return DataType("numeric")
        precision, scale = numeric_modifier(modifier)
        if precision <= MAX_DECIMAL256 and 0 <= scale <= precision:
            return DataType("numeric", precision=precision, scale=scale)
    return None


def _odd(oid: int, modifier: int) -> DataType:
    """The nearest kind of a type that also needs its spelling."""
    if oid == BPCHAR:
        return TEXT if modifier == NO_MODIFIER else DataType("string", length=modifier - HEADER_BYTES)
    if oid == INTERVAL:
        return DataType("interval")
    precision, scale = numeric_modifier(modifier)
    if precision > MAX_DECIMAL256:
        return DataType("numeric")
    return DataType("numeric", precision=precision, scale=scale)


def _item(kind: DataType) -> DataType:
    """Elements of arrays: intervals travel as text there."""
    return DataType("text", native=kind.native or "interval", system=SYSTEM) if kind.kind == "interval" else kind


def _spelled(kind: DataType, spelling: str) -> DataType:
    return DataType(
        kind.kind, kind.length, kind.precision, kind.scale, kind.item, kind.key, kind.fields, spelling, SYSTEM
    )


def numeric_modifier(modifier: int) -> tuple[int, int]:
    """Precision and scale of numeric's modifier; the scale may be negative since PostgreSQL 15.

    Example:
        >>> numeric_modifier(196613)
        (3, 1)
    """
    bits = modifier - HEADER_BYTES
    scale = ((bits & 0x7FF) ^ 0x400) - 0x400
    return (bits >> 16) & 0xFFFF, scale


LOOKUP_SQL = """
SELECT t.oid::bigint, format_type(t.oid, $2::integer), t.typtype::text,
       CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem::bigint ELSE 0 END,
       t.typbasetype::bigint, t.typtypmod
FROM pg_catalog.pg_type AS t WHERE t.oid = $1::bigint::oid"""


def catalogue_type(rows: Iterable[tuple[int, str, str, int, int, int]], oid: int) -> CatalogueType:
    """Read the answer to :data:`LOOKUP_SQL`."""
    for row in rows:
        return CatalogueType(*row)
    return CatalogueType(oid, "text")
