"""DuckDB's types and tables, as this package names them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import TableInfo
from ematix_nb.declare.data_types import MAX_DECIMAL128, NANOSECONDS, DataType
from ematix_nb.declare.spec import Column, TableRef

from .dialect import DIALECT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Fetch = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]

_PLAIN = {
    "boolean": "boolean",
    "tinyint": "tinyint",
    "smallint": "smallint",
    "integer": "integer",
    "bigint": "bigint",
    "utinyint": "utinyint",
    "usmallint": "usmallint",
    "uinteger": "uinteger",
    "ubigint": "ubigint",
    "float": "float",
    "double": "double",
    "varchar": "text",
    "blob": "bytes",
    "uuid": "uuid",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamp with time zone": "timestamptz",
    "interval": "interval",
    "null": "null",
}
_DIGITS = {"timestamp_s": 0, "timestamp_ms": 3}

_COLUMNS = """
SELECT c.column_name, c.is_nullable, c.column_default IS NOT NULL, c.is_generated
FROM duckdb_columns() AS c
WHERE c.database_name = ? AND c.schema_name = ? AND c.table_name = ? ORDER BY c.column_index"""
_CONSTRAINTS = """
SELECT constraint_type, constraint_column_names FROM duckdb_constraints()
WHERE database_name = ? AND schema_name = ? AND table_name = ? AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')
ORDER BY constraint_index"""
_INDEXES = """
SELECT expressions FROM duckdb_indexes()
WHERE database_name = ? AND schema_name = ? AND table_name = ? AND is_unique ORDER BY index_name"""
_FIND = """
SELECT database_name, schema_name, table_name, kind FROM (
  SELECT database_name, schema_name, table_name, 'table' AS kind FROM duckdb_tables() WHERE NOT internal
  UNION ALL
  SELECT database_name, schema_name, view_name, 'view' FROM duckdb_views() WHERE NOT internal
) AS t
WHERE database_name IN (current_database(), 'temp') AND lower(table_name) = lower(?)
  AND (lower(schema_name) = lower(?) OR (? AND database_name = 'temp'))
ORDER BY database_name <> 'temp'"""
LIST = """
SELECT schema_name, name FROM (
  SELECT database_name, schema_name, table_name AS name FROM duckdb_tables() WHERE NOT internal
  UNION ALL
  SELECT database_name, schema_name, view_name FROM duckdb_views() WHERE NOT internal
) AS t
WHERE database_name = current_database() AND (? IS NULL OR lower(schema_name) = lower(?)) ORDER BY ALL"""


def kind_of(native: Any, *, nested: bool = False) -> DataType:
    """The column type of one of DuckDB's types.

    Args:
        native: As a relation gives it.
        nested: Inside a list, map or struct, where 39 digits travel as text.
    """
    name, text = native.id, str(native)
    if text == "JSON":
        return DataType("json")
    if name in _PLAIN:
        return DataType(_PLAIN[name])
    if name == "decimal":
        precision, scale = (value for _, value in native.children)
        return DataType("numeric", precision=precision, scale=scale)
    if name in ("hugeint", "uhugeint"):
        digits, scale = (None, None) if nested else (MAX_DECIMAL128 + 1, 0)
        return DataType("numeric", precision=digits, scale=scale, native=text, system=DIALECT.name)
    if name in ("timestamp_ns", "timestamptz_ns"):
        return DataType("timestamp" if name == "timestamp_ns" else "timestamptz", precision=NANOSECONDS)
    if name in _DIGITS:
        return DataType("timestamp", precision=_DIGITS[name], native=text, system=DIALECT.name)
    return _nested_or_own(native, text)


def _nested_or_own(native: Any, text: str) -> DataType:
    """Lists, maps and structs; anything else is text with its own spelling."""
    name = native.id
    if name in ("list", "array"):
        item = kind_of(dict(native.children)["child"], nested=True)
        if name == "array":
            return DataType("array", item=item, native=text, system=DIALECT.name)
        return DataType("array", item=item)
    if name == "map":
        parts = dict(native.children)
        return DataType("map", key=kind_of(parts["key"], nested=True), item=kind_of(parts["value"], nested=True))
    if name == "struct" and all(part for part, _ in native.children):
        return DataType("struct", fields=tuple((part, kind_of(inner, nested=True)) for part, inner in native.children))
    kinds = {"variant": "json", "bignum": "numeric"}
    return DataType(kinds.get(name, "text"), native=text, system=DIALECT.name)


def travel_sql(kind: DataType) -> str:
    """The type as which a column leaves DuckDB, so that Arrow can hold each value."""
    if kind.kind == "array" and kind.item is not None:
        return travel_sql(kind.item) + "[]"
    if kind.kind == "map" and kind.key is not None and kind.item is not None:
        return f"MAP({travel_sql(kind.key)}, {travel_sql(kind.item)})"
    if kind.kind == "struct":
        return "STRUCT(" + ", ".join(f"{DIALECT.quote(name)} {travel_sql(part)}" for name, part in kind.fields) + ")"
    if kind.native == "VARIANT":
        return "JSON"
    if kind.kind in ("json", "uuid", "text") or (kind.kind == "numeric" and kind.native):
        return "VARCHAR"
    return '"NULL"' if kind.kind == "null" else DIALECT.type_sql(kind.logical)


def find(ref: TableRef, fetch: Fetch) -> tuple[str, str, str, str] | None:
    """Database, schema, name and kind of a table; temporary ones first."""
    rows = fetch(_FIND, [ref.name, ref.schema or "main", ref.schema is None])
    return (rows[0][0], rows[0][1], rows[0][2], rows[0][3]) if rows else None


def table_info(place: tuple[str, str, str, str], ref: TableRef, types: Sequence[Any], fetch: Fetch) -> TableInfo:
    """What the catalogue says of a table that exists."""
    where = list(place[:3])
    rows = fetch(_COLUMNS, where)
    keys: list[tuple[str, ...]] = []
    primary: tuple[str, ...] = ()
    for kind, names in fetch(_CONSTRAINTS, where):
        keys.append(tuple(names))
        if kind == "PRIMARY KEY":
            primary = tuple(names)
    names = [row[0] for row in rows]
    for (expressions,) in fetch(_INDEXES, where):
        found = _index_columns(expressions, names)
        if found and found not in keys:
            keys.append(found)
    return TableInfo(
        ref=TableRef(ref.schema, place[2]),
        columns=tuple(
            Column(row[0], kind_of(native), nullable=bool(row[1]), primary_key=row[0] in primary)
            for row, native in zip(rows, types, strict=True)
        ),
        primary_key=primary,
        unique_keys=tuple(keys),
        generated=frozenset(row[0] for row in rows if row[3]),
        defaults=frozenset(row[0] for row in rows if row[2] and not row[3]),
        kind=place[3],
    )


def _index_columns(expressions: str, names: Sequence[str]) -> tuple[str, ...]:
    """The columns of an index from its list of expressions (``['"b c"', d]``); empty when one is no column."""
    spellings = {name: name for name in names} | {DIALECT.quote(name): name for name in names}
    found: list[str] = []
    rest = expressions.strip()[1:-1]
    while rest:
        if rest.startswith("'"):
            end = next((i for i in range(1, len(rest)) if rest[i] == "'" and rest[i - 1] != "\\"), len(rest))
            part, rest = str(ast.literal_eval(rest[: end + 1])), rest[end + 1 :].removeprefix(", ")
        else:
            part, _, rest = rest.partition(", ")
        if part not in spellings:
            return ()
        found.append(spellings[part])
    return tuple(found)
