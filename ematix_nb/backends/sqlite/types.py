"""Declared types of SQLite columns, and the column types that they stand for.

SQLite converts values by the *name* of a column's type: ``DECIMAL`` turns text into a double, ``JSON`` turns ``'1'``
into a number. So the tables that this package makes declare names that leave values alone and still tell the type:

=================================  ==================================  ==========================================
column type                        declared as                         values
=================================  ==================================  ==========================================
tinyint, smallint, bigint          TINYINT, SMALLINT, BIGINT           whole numbers
integer                            INT32                               whole numbers
utinyint ... ubigint               UTINYINT, USMALLINT, UINT32,        whole numbers up to 2^63-1
                                   UBIGINT
float, double                      REAL32, DOUBLE                      doubles; no NaN, -0.0 becomes 0.0
numeric(p,0) up to 18 digits       DECIMAL_INT(p,0)                    whole numbers
numeric(p,s), numeric              DECIMAL_TEXT(p,s), DECIMAL_TEXT     text, all digits
boolean                            BOOLEAN                             0 and 1
text, string(n)                    TEXT, VARCHAR(n)                    text
json, jsonb, uuid                  JSON_TEXT, JSONB_TEXT, UUID_TEXT    text
bytes                              BLOB                                bytes
date, time                         DATE_TEXT, TIME_TEXT                2024-01-31, 09:30:00.000000
timestamp                          TIMESTAMP_TEXT                      2024-01-31 09:30:00.000000
timestamptz                        TIMESTAMPTZ_TEXT                    2024-01-31 09:30:00.000000+00:00, in UTC
interval                           DURATION_TEXT                       P14M-3DT14706.789000000S
arrays, structs, maps              JSON_TEXT                           JSON
=================================  ==================================  ==========================================

Times have always six digits (nine when declared with ``(9)``), so that they sort as text. The names that other
programs declare are understood too: see :func:`declared`.
"""

from __future__ import annotations

import re

from ematix_nb.declare.data_types import NANOSECONDS, DataType

MAX_INT_DIGITS = 18
NAMES = {
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "integer": "INT32",
    "bigint": "BIGINT",
    "utinyint": "UTINYINT",
    "usmallint": "USMALLINT",
    "uinteger": "UINT32",
    "ubigint": "UBIGINT",
    "float": "REAL32",
    "double": "DOUBLE",
    "numeric": "DECIMAL_TEXT",
    "boolean": "BOOLEAN",
    "text": "TEXT",
    "string": "VARCHAR",
    "json": "JSON_TEXT",
    "jsonb": "JSONB_TEXT",
    "uuid": "UUID_TEXT",
    "bytes": "BLOB",
    "date": "DATE_TEXT",
    "time": "TIME_TEXT",
    "timestamp": "TIMESTAMP_TEXT",
    "timestamptz": "TIMESTAMPTZ_TEXT",
    "interval": "DURATION_TEXT",
    "null": "TEXT",
}
_FOREIGN = {
    "INT": "bigint",
    "INTEGER": "bigint",
    "MEDIUMINT": "bigint",
    "INT2": "smallint",
    "INT4": "integer",
    "INT8": "bigint",
    "INT64": "bigint",
    "LONG": "bigint",
    "UNSIGNED BIG INT": "bigint",
    "REAL": "double",
    "FLOAT": "double",
    "DOUBLE PRECISION": "double",
    "DECIMAL": "numeric",
    "NUMERIC": "numeric",
    "DECIMAL_INT": "numeric",
    "BOOL": "boolean",
    "CLOB": "text",
    "CHARACTER": "string",
    "CHAR": "string",
    "VARYING CHARACTER": "string",
    "CHARACTER VARYING": "string",
    "NCHAR": "string",
    "NATIVE CHARACTER": "string",
    "NVARCHAR": "string",
    "JSON": "json",
    "JSONB": "jsonb",
    "UUID": "uuid",
    "BYTEA": "bytes",
    "VARBINARY": "bytes",
    "BINARY": "bytes",
    "DATE": "date",
    "TIME": "time",
    "DATETIME": "timestamp",
    "TIMESTAMP": "timestamp",
    "TIMESTAMPTZ": "timestamptz",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}
_KINDS = _FOREIGN | {name: kind for kind, name in NAMES.items() if kind != "null"}
_DECLARED = re.compile(r"(?P<name>[^()]*?)\s*(?:\(\s*(?P<one>[+-]?\d+)\s*(?:,\s*(?P<two>[+-]?\d+)\s*)?\))?\s*")


def type_name(kind: DataType) -> str:
    """The declared type of a column of this package's tables."""
    name = NAMES.get(kind.kind, NAMES["json"])
    if kind.kind == "numeric" and kind.precision is not None:
        if not kind.scale and kind.precision <= MAX_INT_DIGITS:
            name = "DECIMAL_INT"
        return f"{name}({kind.precision},{kind.scale or 0})"
    if kind.kind == "string" and kind.length:
        return f"{name}({kind.length})"
    if kind.kind in ("timestamp", "timestamptz") and (kind.precision or 0) >= NANOSECONDS:
        return f"{name}({NANOSECONDS})"
    return name


def declared(text: str) -> DataType | None:
    """The column type that a declared type stands for; None when the values have to tell.

    Example:
        >>> str(declared("DECIMAL_TEXT(38,10)")), str(declared("datetime")), declared("")
        ('numeric(38,10)', 'timestamp', None)
    """
    match = _DECLARED.fullmatch(text.strip())
    kind = _KINDS.get(" ".join(match["name"].upper().split())) if match else None
    if match is None or kind is None:
        return None
    one, two = (int(part) if part else None for part in (match["one"], match["two"]))
    if kind == "numeric":
        return DataType(kind, precision=one, scale=None if one is None else two or 0)
    if kind == "string":
        return DataType(kind, length=one) if one else DataType("text")
    if kind in ("timestamp", "timestamptz") and one == NANOSECONDS:
        return DataType(kind, precision=NANOSECONDS)
    return DataType(kind)


def affinity(text: str) -> str:
    """What SQLite turns values of a column with this declared type into: its documented rule."""
    upper = text.upper()
    if "INT" in upper:
        return "INTEGER"
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in upper or not upper:
        return "BLOB"
    return "REAL" if any(word in upper for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def seen(storage: set[str]) -> str | None:
    """The kind of an undeclared column whose values have these ``typeof``s; None for a mix that has none."""
    storage = storage - {"null"}
    if storage == {"integer", "real"}:
        return "double"
    if len(storage) > 1:
        return None
    kinds = {"integer": "bigint", "real": "double", "text": "text", "blob": "bytes"}
    return kinds[storage.pop()] if storage else "null"
