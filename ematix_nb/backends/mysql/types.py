"""The column types of the server: from the text of a declaration, and from what a result says of its columns."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from ematix_nb.declare.data_types import TEXT, DataType
from ematix_nb.errors import SqlError

from .dialect import MARKED, SYSTEM

MICROSECOND_DIGITS = 6
BINARY_CHARSET = 63
UNSIGNED = 0x20

DECIMAL, TINY, SHORT, LONG, FLOAT, DOUBLE, NULL, TIMESTAMP, LONGLONG, INT24 = range(10)
DATE, TIME, DATETIME, YEAR, NEWDATE, VARCHAR, BIT = range(10, 17)
JSON, NEWDECIMAL, ENUM_TYPE, SET_TYPE, TINY_BLOB, MEDIUM_BLOB, LONG_BLOB, BLOB = range(245, 253)
VAR_STRING, STRING, GEOMETRY = 253, 254, 255

FLOAT_AT_HOME = DataType("float", native="float", system=SYSTEM)
"""From one place of the system to another a FLOAT stays one; elsewhere it is read with all its digits."""
_INTEGERS = {TINY: "tinyint", SHORT: "smallint", LONG: "integer", LONGLONG: "bigint", INT24: "integer"}
_NAMED = {
    "tinyint": "tinyint",
    "smallint": "smallint",
    "mediumint": "integer",
    "int": "integer",
    "bigint": "bigint",
    "float": "float",
    "double": "double",
    "date": "date",
    "json": "json",
}
_TEXTS = ("tinytext", "text", "mediumtext", "longtext")
_BLOBS = ("tinyblob", "blob", "mediumblob", "longblob")
GEOMETRIES = (
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection",
)  # fmt: skip
_DECLARED = re.compile(r"(?P<name>[a-z0-9]+)\s*(?:\((?P<arguments>.*)\))?\s*(?P<rest>[a-z ]*)", re.DOTALL)
_ITEM = re.compile(r"'((?:[^']|'')*)'")


@dataclass(frozen=True, slots=True)
class Declared:
    """One column of a table, as the server lists it."""

    name: str
    declaration: str
    collation: str | None
    nullable: bool
    key: str
    default: str | None
    extra: str
    comment: str
    json: bool = False
    """A check sees to it that the text is JSON."""

    @property
    def generated(self) -> bool:
        """Whether the server computes it."""
        return "GENERATED" in self.extra.upper() and "DEFAULT_GENERATED" not in self.extra.upper()


def declared_type(column: Declared, collation: str = "", *, as_source: bool = False) -> DataType:
    """The type of a declared column.

    Args:
        column: What the server lists.
        collation: The one that compares by bytes; texts with another keep it in their spelling, unless ``as_source``.
        as_source: The column is read: what a copy of it needs is kept, how it compares is not.
    """
    match = _DECLARED.fullmatch(column.declaration.lower() if "'" not in column.declaration else column.declaration)
    name = match["name"].lower() if match else column.declaration.lower()
    arguments = (match["arguments"] or "") if match else ""
    unsigned = bool(match and "unsigned" in match["rest"])
    found = _plain(column, name, arguments, unsigned=unsigned, as_source=as_source)
    if as_source or found.kind not in ("text", "string") or column.collation in (None, collation):
        return found
    charset = str(column.collation).partition("_")[0]
    return _spelled(found, f"{column.declaration} CHARACTER SET {charset} COLLATE {column.collation}")


def _plain(column: Declared, name: str, arguments: str, *, unsigned: bool, as_source: bool) -> DataType:  # noqa: PLR0911  one branch a family of types
    if column.comment in MARKED and _is_marked(name, arguments, column.comment):
        return DataType(column.comment)
    if name == "tinyint" and arguments == "1" and not unsigned:
        return DataType("boolean", native="tinyint(1)", system=SYSTEM) if as_source else DataType("boolean")
    if name in ("tinyint", "smallint", "mediumint", "int", "bigint"):
        kind = ("u" if unsigned else "") + _NAMED[name]
        if name == "mediumint":
            return DataType(kind, native="mediumint unsigned" if unsigned else "mediumint", system=SYSTEM)
        return DataType(kind)
    if name == "decimal":
        precision, _, scale = arguments.partition(",")
        found = DataType("numeric", precision=int(precision or 10), scale=int(scale or 0))
        return _spelled(found, column.declaration) if unsigned else found
    if name in ("datetime", "timestamp", "time"):
        return _time_type(name, int(arguments or 0), column.declaration, as_source=as_source)
    if name == "float" and as_source:
        return FLOAT_AT_HOME
    if name in _NAMED:
        return DataType(_NAMED[name])
    return _text_type(column, name, arguments)


def _is_marked(name: str, arguments: str, comment: str) -> bool:
    """Whether a declaration can be what its comment says: anybody may write a comment."""
    wanted = {"boolean": ("tinyint", "1"), "uuid": ("char", "36"), "timestamptz": ("datetime", "6")}[comment]
    return (name, arguments) == wanted


def _time_type(name: str, digits: int, declaration: str, *, as_source: bool) -> DataType:
    kind = {"datetime": "timestamp", "timestamp": "timestamptz", "time": "time"}[name]
    precision = None if digits == MICROSECOND_DIGITS else digits
    if name == "timestamp" and not as_source:
        return DataType(kind, precision=precision, native=declaration, system=SYSTEM)
    return DataType(kind, precision=precision)


def _text_type(column: Declared, name: str, arguments: str) -> DataType:  # noqa: PLR0911  one branch a family of types
    length = int(arguments) if arguments.isdigit() else None
    if column.json or (name in _TEXTS and column.comment == "json"):
        return DataType("json")
    if name in _TEXTS:
        return TEXT
    if name in _BLOBS or name in ("binary", "varbinary"):
        found = DataType("bytes", length=length if name == "varbinary" else None)
        return _spelled(found, column.declaration) if name == "binary" else found
    if name == "varchar":
        return DataType("string", length=length) if length else TEXT
    if name == "char":
        return _spelled(DataType("string", length=length or 1), column.declaration)
    if name == "uuid":
        return _spelled(DataType("uuid"), "uuid")
    if name == "year":
        return _spelled(DataType("smallint"), "year")
    if name == "bit":
        return _spelled(DataType("ubigint"), column.declaration)
    return _spelled(TEXT, column.declaration)


def _spelled(kind: DataType, spelling: str) -> DataType:
    return dataclasses.replace(kind, native=spelling, system=SYSTEM)


def items_of(native: str) -> tuple[str, ...]:
    """The values of an ENUM or SET.

    Example:
        >>> items_of("enum('a','b''c')")
        ('a', "b'c")
    """
    return tuple(item.replace("''", "'") for item in _ITEM.findall(native))


def result_type(field: Any) -> DataType:  # noqa: PLR0911  one branch a family of types
    """The type of a result's column, from what the protocol says of it.

    Raises:
        SqlError: The column is a geometry, which has no column type.
    """
    code, unsigned = field.type_code, bool(field.flags & UNSIGNED)
    if code in _INTEGERS:
        if code == TINY and field.length == 1 and not unsigned:
            return DataType("boolean", native="tinyint(1)", system=SYSTEM)
        return DataType(("u" if unsigned else "") + _INTEGERS[code])
    if code in (DECIMAL, NEWDECIMAL):
        precision = field.length - (0 if unsigned else 1) - (1 if field.scale else 0)
        return DataType("numeric", precision=max(1, precision, field.scale), scale=field.scale)
    if code in (FLOAT, DOUBLE):
        return FLOAT_AT_HOME if code == FLOAT else DataType("double")
    if code in (DATETIME, TIMESTAMP, TIME):
        digits = field.scale if field.scale <= MICROSECOND_DIGITS else 0
        kind = {DATETIME: "timestamp", TIMESTAMP: "timestamptz", TIME: "time"}[code]
        return DataType(kind, precision=None if digits == MICROSECOND_DIGITS else digits)
    if code in (DATE, NEWDATE):
        return DataType("date")
    if code == NULL:
        return DataType("null")
    if code == YEAR:
        return DataType("smallint", native="year", system=SYSTEM)
    if code == BIT:
        return DataType("ubigint", native=f"bit({field.length})", system=SYSTEM)
    return _result_text(field)


def _result_text(field: Any) -> DataType:
    if field.type_code == GEOMETRY:
        message = f"column `{field.name}` is a geometry, which cannot be loaded as it is"
        raise SqlError(message, f"write ST_AsText(`{field.name}`) or ST_AsBinary(`{field.name}`) in the query")
    if field.type_code == JSON:
        return DataType("json")
    if field.charsetnr == BINARY_CHARSET:
        return DataType("bytes")
    return TEXT
