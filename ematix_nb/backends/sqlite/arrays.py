"""Whole columns: SQLite's values to Arrow arrays and back, exactly or not at all."""

from __future__ import annotations

import decimal
import re
import uuid
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import INTEGER_KINDS, TEXT_KINDS, to_arrow
from ematix_nb.errors import DataError, SchemaDriftError
from ematix_nb.words import counted

from .types import type_name
from .values import LARGEST, duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY_US = 86_400_000_000
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|NaN|[+-]?Infinity")
_LOOKS_NUMERIC = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_TIME = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EXACT_DIGITS = 15
"""Decimal digits that a double always keeps."""


class UnfitError(Exception):
    """A value of a column does not fit its type."""


def decode(values: Sequence[Any], column: Column, done: int) -> pa.Array:
    """Values that SQLite returned, as Arrow; ``done`` rows came before, for the message.

    Raises:
        DataError: A value does not fit the type; names column, row and value.
    """
    import pyarrow as pa

    try:
        return _decode(values, column.type)
    except (pa.ArrowException, UnfitError, OverflowError, decimal.InvalidOperation):
        row = _first_unfit(values, column.type)
        shown = repr(values[row])[:80] if row is not None else "a value"
        place = f", row {done + row + 1}" if row is not None else ""
        message = f"column `{column.name}`{place}: {shown} does not fit {column.type}"
        raise DataError(message, hint="cast the column in the query, for example CAST(... AS TEXT)") from None


def _first_unfit(values: Sequence[Any], kind: DataType) -> int | None:
    import pyarrow as pa

    for row, value in enumerate(values):
        try:
            _decode((value,), kind)
        except (pa.ArrowException, UnfitError, OverflowError, decimal.InvalidOperation):
            return row
    return None


def _decode(values: Sequence[Any], kind: DataType) -> pa.Array:
    import pyarrow as pa

    storage = set(map(type, values)) - {type(None)}
    target = to_arrow(kind)
    if not storage:
        return pa.nulls(len(values), target)
    name = kind.kind
    if name in INTEGER_KINDS:
        _only(storage, int)
        return pa.array(values, target)
    if name in ("float", "double"):
        _only(storage, int, float)
        exact = pa.array(values, pa.float64())
        return exact if name == "double" else _narrowed(exact)
    if name == "boolean":
        _only(storage, int)
        return _checked(set(values) <= {0, 1, None}, pa.array(values, pa.int64())).cast(target)
    if name == "bytes":
        _only(storage, bytes)
        return pa.array(values, target)
    if name == "numeric":
        return _decode_numeric(values, storage, kind)
    if name in TEXT_KINDS:
        return _decode_text(values, storage, kind)
    _only(storage, str)
    return _decode_time(values, kind)


def _only(storage: set[type], *allowed: type) -> None:
    if not storage <= set(allowed):
        raise UnfitError


def _checked(fine: bool, array: pa.Array) -> pa.Array:  # noqa: FBT001 - the condition is the first thing to read
    if not fine:
        raise UnfitError
    return array


def _narrowed(exact: pa.Array) -> pa.Array:
    import pyarrow as pa

    narrow = exact.cast(pa.float32(), safe=False)
    return _checked(narrow.cast(pa.float64()) == exact, narrow)


def _decode_numeric(values: Sequence[Any], storage: set[type], kind: DataType) -> pa.Array:
    import pyarrow as pa

    _only(storage, int, float, str)
    target = to_arrow(kind)
    if storage == {int} and not kind.scale:
        if kind.precision is None:
            return pa.array(values, pa.int64()).cast(pa.string())
        return pa.array(values, pa.int64()).cast(pa.decimal128(max(19, kind.precision), 0)).cast(target)
    texts = values if storage == {str} else [None if value is None else _digits(value) for value in values]
    if kind.precision is None:
        return _checked(all(text is None or _NUMBER.fullmatch(text) for text in texts), pa.array(texts, pa.string()))
    return pa.array(texts, pa.string()).cast(target)


def _digits(value: float | str) -> str:
    return value if isinstance(value, str) else f"{decimal.Decimal(repr(value)):f}"


def _decode_text(values: Sequence[Any], storage: set[type], kind: DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind.kind in ("json", "jsonb") and storage <= {str, int, float}:
        return pa.array([value if value is None else str(value) for value in values], pa.string())
    if kind.kind == "uuid":
        if storage == {bytes}:
            values = [None if value is None else _uuid(value) for value in values]
        else:
            _only(storage, str)
        return _checked(all(value is None or _UUID.fullmatch(value) for value in values), pa.array(values, pa.string()))
    _only(storage, str)
    array = pa.array(values, pa.string())
    fits = kind.kind != "string" or kind.length is None or pc.max(pc.utf8_length(array)).as_py() <= kind.length
    return _checked(fits, array)


def _uuid(value: bytes) -> str:
    try:
        return str(uuid.UUID(bytes=value))
    except ValueError as exc:
        raise UnfitError from exc


def _decode_time(values: Sequence[Any], kind: DataType) -> pa.Array:
    import pyarrow as pa

    target = to_arrow(kind)
    if kind.kind == "interval":
        parts = [None if value is None else parse_duration(value) for value in values]
        fits = all(value is None or part is not None for value, part in zip(values, parts, strict=True))
        return _checked(fits, pa.array(parts, target))
    if kind.kind == "time":
        _checked(all(value is None or _TIME.fullmatch(value) for value in values), None)
        stamps = pa.array([None if value is None else f"1970-01-01 {value}" for value in values], pa.string())
        return stamps.cast(pa.timestamp("us")).cast(target)
    return pa.array(values, pa.string()).cast(target)


def encode(array: pa.Array, column: Column, done: int) -> list[Any]:
    """An Arrow array as the values that SQLite is to store.

    Raises:
        DataError: A value cannot be stored exactly; names column, row and value.
    """
    import pyarrow as pa

    expected = to_arrow(column.type)
    if array.type != expected:
        try:
            array = array.cast(expected)
        except pa.ArrowException as exc:
            raise DataError(f"column `{column.name}` arrived as {array.type}, expected {expected}: {exc}") from exc
    name = column.type.kind
    if name == "ubigint":
        _refuse(array, _above(array, LARGEST), column, done, f"SQLite's whole numbers end at {LARGEST}")
    elif name in ("float", "double"):
        _refuse_nan(array, column, done)
    elif name == "boolean":
        array = array.cast(pa.int8())
    elif name == "string" and column.type.length:
        _refuse_long(array, column, done)
    elif name in ("date", "time", "timestamp", "timestamptz"):
        array = _time_text(array, column, done)
    elif name == "interval":
        return [None if value is None else duration(*value) for value in array.to_pylist()]
    elif name == "numeric" and column.type.precision is not None:
        return _decimals(array, column.type)
    return list(array.to_pylist())


def _above(array: pa.Array, most: int) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.greater(array, pa.scalar(most, array.type))


def _refuse_nan(array: pa.Array, column: Column, done: int) -> None:
    import pyarrow.compute as pc

    _refuse(array, pc.is_nan(array), column, done, "SQLite turns NaN into NULL")


def _refuse_long(array: pa.Array, column: Column, done: int) -> None:
    import pyarrow.compute as pc

    length = pc.utf8_length(array)
    most = counted(column.type.length or 0, "character")
    _refuse(array, pc.greater(length, column.type.length), column, done, f"longer than {most}")


def _refuse(array: pa.Array, bad: pa.Array, column: Column, done: int, why: str) -> None:
    """Refuse the first value for which ``bad`` is true."""
    import pyarrow.compute as pc

    row = pc.index(bad, True).as_py()
    if row >= 0:
        shown = array.slice(row, 1).to_string() if str(array.type).startswith(("date", "timestamp")) else array[row]
        message = f"column `{column.name}`, row {done + row + 1}: `{' '.join(str(shown).split())[:80]}`: {why}"
        raise DataError(message)


def _time_text(array: pa.Array, column: Column, done: int) -> pa.Array:
    """Dates and times in their sortable spelling."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    if pt.is_time(array.type):
        return array.cast(pa.string())
    if pt.is_date(array.type):
        plain, first, last = array.view(pa.int32()), _FIRST_DAY, _LAST_DAY
    else:
        plain, first, last = array.view(pa.int64()), _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1
        if array.type.unit == "ns":
            first, last = -(2**63), LARGEST  # these end in the years 1677 and 2262
    bad = pc.or_(pc.less(plain, pa.scalar(first, plain.type)), pc.greater(plain, pa.scalar(last, plain.type)))
    _refuse(array, bad, column, done, "only the years 0001 to 9999 have a sortable spelling in SQLite")
    if not pt.is_timestamp(array.type):
        return array.cast(pa.string())
    text = array.cast(pa.timestamp(array.type.unit)).cast(pa.string())
    return pc.binary_join_element_wise(text, "+00:00", "") if array.type.tz else text


def _decimals(array: pa.Array, kind: DataType) -> list[Any]:
    import pyarrow as pa

    if type_name(kind).startswith("DECIMAL_INT"):
        return list(array.cast(pa.int64()).to_pylist())
    texts = array.cast(pa.string()).to_pylist()
    return [f"{decimal.Decimal(text):f}" if text is not None and "E" in text else text for text in texts]


def check_affinity(array: pa.Array, column: Column, declared: str, affinity: str, done: int) -> None:
    """Refuse values that the target column's affinity would change.

    Raises:
        SchemaDriftError: The column can hold no value of this type unchanged.
        DataError: This value would be changed.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    is_number = kind.kind in (*INTEGER_KINDS, "float", "double", "boolean")
    is_digits = kind.kind == "numeric" and (kind.precision is None or kind.precision > _EXACT_DIGITS)
    changes = (
        (is_number and affinity == "TEXT")
        or (kind.kind in ("bigint", "ubigint") and affinity == "REAL")
        or (is_digits and affinity in ("REAL", "NUMERIC", "INTEGER") and not declared.upper().startswith("DECIMAL_INT"))
    )
    if changes:
        message = f"column `{column.name}` is declared `{declared}`, which would change values of type {kind}"
        raise SchemaDriftError(message, hint=f"declare it {type_name(kind)}, or cast the column in the query")
    if kind.kind in ("text", "string", "json", "jsonb") and affinity in ("REAL", "NUMERIC", "INTEGER"):
        looks = pc.match_substring_regex(array.cast(pa.string()), _LOOKS_NUMERIC)
        _refuse(array, looks, column, done, f"a column declared `{declared}` would turn this text into a number")
