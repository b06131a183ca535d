"""The column types that a table class is written with: real classes, each with its `DataType`.

`Text | None`, `Annotated[BigInt, pk()]` and `String[256] | None` are ordinary
annotations. The same types have a text form for cells and TOML
(`data_type_from_text`).
"""

from __future__ import annotations

import functools
import re
from typing import Any, ClassVar, Self

from ematix_nb.declare.data_types import KINDS, MAX_DECIMAL256, DataType
from ematix_nb.errors import DeclarationError, did_you_mean

_PAIR = 2
MAX_STRING = 10_485_760
"""Characters; the most that a system of ours can declare."""


class ColumnType:
    """The base of every column type; never instantiated.

    Example:
        >>> str(BigInt.data_type), str(Numeric[10, 2].data_type)
        ('bigint', 'numeric(10,2)')
    """

    data_type: ClassVar[DataType]

    def __new__(cls) -> Self:
        """Refuse to make a value: a type stands in an annotation."""
        what = f"`{cls.__name__}` is a type of columns, not something to call"
        raise DeclarationError(what, hint=f"write `column: {cls.__name__}`")


class TinyInt(ColumnType):
    """Whole numbers of 8 bits."""

    data_type = DataType("tinyint")


class SmallInt(ColumnType):
    """Whole numbers of 16 bits."""

    data_type = DataType("smallint")


class Integer(ColumnType):
    """Whole numbers of 32 bits."""

    data_type = DataType("integer")


class BigInt(ColumnType):
    """Whole numbers of 64 bits."""

    data_type = DataType("bigint")


class UTinyInt(ColumnType):
    """Whole numbers of 8 bits without a sign."""

    data_type = DataType("utinyint")


class USmallInt(ColumnType):
    """Whole numbers of 16 bits without a sign."""

    data_type = DataType("usmallint")


class UInteger(ColumnType):
    """Whole numbers of 32 bits without a sign."""

    data_type = DataType("uinteger")


class UBigInt(ColumnType):
    """Whole numbers of 64 bits without a sign."""

    data_type = DataType("ubigint")


class Float(ColumnType):
    """Binary fractions of 32 bits."""

    data_type = DataType("float")


class Double(ColumnType):
    """Binary fractions of 64 bits."""

    data_type = DataType("double")


class Boolean(ColumnType):
    """True or false."""

    data_type = DataType("boolean")


class Text(ColumnType):
    """Text of any length."""

    data_type = DataType("text")


class Date(ColumnType):
    """A day."""

    data_type = DataType("date")


class Time(ColumnType):
    """A time of day, in microseconds, without a zone."""

    data_type = DataType("time")


class Timestamp(ColumnType):
    """Date and time on a wall clock, in microseconds, without a zone."""

    data_type = DataType("timestamp")


class TimestampTZ(ColumnType):
    """A moment, in microseconds, kept in UTC."""

    data_type = DataType("timestamptz")


class Interval(ColumnType):
    """Months, days and microseconds."""

    data_type = DataType("interval")


class JSON(ColumnType):
    """JSON, kept as it was written."""

    data_type = DataType("json")


class JSONB(ColumnType):
    """JSON, kept by value where a system can."""

    data_type = DataType("jsonb")


class UUID(ColumnType):
    """A UUID."""

    data_type = DataType("uuid")


class Bytes(ColumnType):
    """Bytes of any length."""

    data_type = DataType("bytes")


@functools.cache
def _made(base: type[ColumnType], name: str, kind: DataType) -> type[ColumnType]:
    return type(name, (base,), {"data_type": kind, "__module__": base.__module__, "__doc__": base.__doc__})


class String(ColumnType):
    """Text of at most `n` characters: ``String[256]``."""

    data_type = DataType("string")

    def __class_getitem__(cls, length: Any) -> type[ColumnType]:
        """The type for texts of at most ``length`` characters (1 to 10,485,760)."""
        return _made(String, f"String[{length}]", _string(length))


class Numeric(ColumnType):
    """Exact decimal numbers: ``Numeric[precision, scale]``, or ``Numeric`` for any number of digits."""

    data_type = DataType("numeric")

    def __class_getitem__(cls, digits: Any) -> type[ColumnType]:
        """The type with ``precision`` decimal digits (1 to 76), ``scale`` of them after the point."""
        precision, scale = digits if isinstance(digits, tuple) and len(digits) == _PAIR else (digits, 0)
        kind = _numeric(precision, scale)
        return _made(Numeric, f"Numeric[{precision}, {scale}]", kind)


class Array(ColumnType):
    """Lists of one type: ``Array[Integer]``."""

    data_type = DataType("array")

    def __class_getitem__(cls, item: Any) -> type[ColumnType]:
        """The type for lists of ``item``."""
        kind = complete(item)
        return _made(Array, f"Array[{item.__name__}]", DataType("array", item=kind))


TYPES: dict[str, type[ColumnType]] = {
    kind.__name__: kind
    for kind in (
        TinyInt, SmallInt, Integer, BigInt, UTinyInt, USmallInt, UInteger, UBigInt, Float, Double, Boolean, Text,
        Date, Time, Timestamp, TimestampTZ, Interval, JSON, JSONB, UUID, Bytes, String, Numeric, Array,
    )
}  # fmt: skip
"""Every column type by the name that users write."""

_OFTEN_MEANT = {
    "str": "Text", "int": "BigInt", "float": "Double", "bool": "Boolean", "bytes": "Bytes", "datetime": "TimestampTZ",
    "date": "Date", "time": "Time", "timedelta": "Interval", "Decimal": "Numeric[38, 10]", "dict": "JSONB",
    "list": "Array[Text]",
}  # fmt: skip


def unknown_type(name: str) -> DeclarationError:
    """The error for a type that does not exist, with the one that was probably meant."""
    if name in _OFTEN_MEANT:
        return DeclarationError(f"`{name}` is not a type of columns", hint=f"write `{_OFTEN_MEANT[name]}`")
    hint = did_you_mean(name, TYPES) or f"the types are {', '.join(TYPES)}"
    return DeclarationError(f"unknown type `{name}`", hint=hint)


def complete(kind: Any) -> DataType:
    """The `DataType` of a column type class.

    Raises:
        DeclarationError: When it is not a column type, or lacks its parameter (``String`` alone).
    """
    if not (isinstance(kind, type) and issubclass(kind, ColumnType)) or kind is ColumnType:
        raise unknown_type(getattr(kind, "__name__", None) or repr(kind))
    if kind is String:
        raise DeclarationError("`String` needs a length", hint="write `String[256]`, or `Text` for any length")
    if kind is Array:
        raise DeclarationError("`Array` needs the type of its items", hint="write `Array[Text]`")
    return kind.data_type


def _string(length: Any) -> DataType:
    if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= MAX_STRING:
        what = f"String[{length}]: the length is a whole number from 1 to {MAX_STRING}"
        raise DeclarationError(what, hint="`Text` has no limit")
    return DataType("string", length=length)


def _numeric(precision: Any, scale: Any) -> DataType:
    text = f"Numeric[{precision}, {scale}]"
    for number in (precision, scale):
        if isinstance(number, bool) or not isinstance(number, int):
            raise DeclarationError(f"{text}: precision and scale are whole numbers", hint="write `Numeric[10, 2]`")
    if not 1 <= precision <= MAX_DECIMAL256:
        hint = "`Numeric` alone has no limit"
        raise DeclarationError(f"{text}: the precision is a number from 1 to {MAX_DECIMAL256}", hint=hint)
    if scale > precision:
        hint = (
            f"the precision counts all digits: `Numeric[{precision + scale}, {scale}]` has {precision} before the point"
        )
        raise DeclarationError(f"{text}: the scale is larger than the precision", hint=hint)
    if scale < 0:
        raise DeclarationError(f"{text}: the scale is negative", hint="write 0 for whole numbers")
    return DataType("numeric", precision=precision, scale=scale)


_ALIASES = {
    "int": "integer", "int4": "integer", "int8": "bigint", "int2": "smallint", "int1": "tinyint", "long": "bigint",
    "uint8": "ubigint", "uint4": "uinteger", "uint2": "usmallint", "uint1": "utinyint", "uint": "uinteger",
    "varchar": "string", "character varying": "string", "decimal": "numeric", "number": "numeric",
    "real": "float", "float4": "float", "float8": "double", "double precision": "double", "bool": "boolean",
    "bytea": "bytes", "blob": "bytes", "binary": "bytes", "varbinary": "bytes", "datetime": "timestamp",
    "timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
    "time without time zone": "time",
}  # fmt: skip
_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
_TYPE = re.compile(
    rf"\s*(?P<name>character\s+varying|double\s+precision|timestamp\s+with(?:out)?\s+time\s+zone|"
    rf"time\s+without\s+time\s+zone|{_WORD})\s*(?P<open>[(\[]?)",
    re.IGNORECASE,
)
_SIMPLE_NOT = ("string", "array", "struct", "map", "numeric")


def data_type_from_text(text: str) -> DataType:
    """The type that a text names: ours (``string(256)``), or the usual SQL spelling (``varchar(256)``).

    Case does not matter. ``String[256]`` and ``integer[]`` are understood too.

    Raises:
        DeclarationError: When there is no such type, or its parameters make no sense.

    Example:
        >>> str(data_type_from_text("numeric(10,2)")), str(data_type_from_text("varchar(20)"))
        ('numeric(10,2)', 'string(20)')
        >>> str(data_type_from_text("double precision")), str(data_type_from_text("integer[]"))
        ('double', 'array(integer)')
    """
    kind, rest = parse_type(text)
    if rest.strip():
        raise DeclarationError(f"`{text}` is not a type: nothing was expected after `{text[: -len(rest)].strip()}`")
    return kind


def parse_type(text: str) -> tuple[DataType, str]:
    """The type at the beginning of a text, and what follows it.

    Example:
        >>> parse_type("numeric(10,2) null lower")[1]
        ' null lower'
    """
    match = _TYPE.match(text)
    if match is None:
        raise DeclarationError(f"`{text.strip()}` does not begin with a type", hint=f"the types are {', '.join(TYPES)}")
    name = " ".join(match["name"].lower().split())
    kind_name = _ALIASES.get(name, name)
    if kind_name not in KINDS or kind_name == "null":
        meant = did_you_mean(name, [*KINDS, *_ALIASES])
        raise DeclarationError(
            f"unknown type `{match['name']}`", hint=meant or f"the types are {', '.join(KINDS[:-1])}"
        )
    arguments: list[str] = []
    rest = text[match.end() :]
    if match["open"] == "[" and rest.lstrip().startswith("]"):
        rest = text[match.start("open") :]
    elif match["open"]:
        arguments, rest = _arguments(rest, ")" if match["open"] == "(" else "]", text)
    else:
        rest = text[match.end("name") :]
    kind = _build(kind_name, arguments, text)
    while suffix := re.match(r"\[\s*\]", rest):
        kind, rest = DataType("array", item=kind), rest[suffix.end() :]
    return kind, rest


def _arguments(rest: str, close: str, text: str) -> tuple[list[str], str]:
    """The comma separated arguments up to the closing bracket, and what follows it."""
    depth, parts, start = 0, [], 0
    for position, character in enumerate(rest):
        if depth == 0 and character in (",", close):
            parts.append(rest[start:position].strip())
            start = position + 1
            if character == close:
                return parts, rest[start:]
        depth += (character in "([") - (character in ")]")
    raise DeclarationError(f"`{text.strip()}`: the bracket is not closed")


def _build(kind: str, arguments: list[str], text: str) -> DataType:
    if kind in ("array", "map", "struct"):
        return _nested(kind, arguments, text)
    numbers = [int(part) if re.fullmatch(r"-?[0-9]+", part) else part for part in arguments]
    if not numbers:
        return DataType("text" if kind == "string" else kind)
    if kind == "string" and len(numbers) == 1:
        return _string(numbers[0])
    if kind == "numeric" and len(numbers) in (1, 2):
        return _numeric(numbers[0], numbers[1] if len(numbers) > 1 else 0)
    if kind in ("time", "timestamp", "timestamptz") and len(numbers) == 1 and numbers[0] in range(10):
        return DataType(kind, precision=int(numbers[0]))
    raise DeclarationError(f"`{text.strip()}`: the type does not take these parameters")


def _nested(kind: str, arguments: list[str], text: str) -> DataType:
    if kind == "array" and len(arguments) == 1:
        return DataType("array", item=data_type_from_text(arguments[0]))
    if kind == "map" and len(arguments) == _PAIR:
        return DataType("map", key=data_type_from_text(arguments[0]), item=data_type_from_text(arguments[1]))
    pairs = [argument.partition(" ") for argument in arguments]
    if kind == "struct" and pairs and all(inner for _, _, inner in pairs):
        return DataType("struct", fields=tuple((name, data_type_from_text(inner)) for name, _, inner in pairs))
    raise DeclarationError(f"`{text.strip()}`: write array(T), map(K, V) or struct(name T, ...)")
