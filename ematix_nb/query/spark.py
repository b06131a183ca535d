"""Spark frames as Arrow tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.errors import DataError, DeclarationError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

EXACT = frozenset({
    "ArrayType", "BinaryType", "BooleanType", "ByteType", "CharType", "DateType", "DayTimeIntervalType", "DecimalType",
    "DoubleType", "FloatType", "IntegerType", "LongType", "MapType", "NullType", "ShortType", "StringType",
    "StructType", "TimeType", "TimestampNTZType", "TimestampType", "VarcharType",
})  # fmt: skip
"""Spark's types whose Arrow form says what they are; a VARIANT, for one, would come as two columns of bytes."""


def is_spark_frame(value: object) -> bool:
    """Whether a value is a frame of Spark; imports nothing."""
    return hasattr(value, "toArrow")


def from_pyspark(frame: Any) -> pa.Table:
    """The rows of a Spark frame as an Arrow table; Spark computes the frame, and all its rows come into memory.

    Times with a zone are moments (in UTC) whatever the session's zone is; times without one stay as they are.

    Raises:
        DeclarationError: When it is no Spark frame.
        DataError: A column has a type without an exact form, or holds text that is not UTF-8.
        RunError: Spark could not compute the rows.
    """
    if not is_spark_frame(frame):
        message = f"expected a Spark frame, got {type(frame).__name__}"
        raise DeclarationError(message, "other frames need no conversion: return them from the pipeline's function")
    for field in frame.schema.fields:
        _check_type(field.name, field.dataType)
    try:
        table: pa.Table = frame.toArrow()
    except Exception as exc:  # what Spark raises has no root of its own
        message = f"Spark could not give the rows of the frame: {first_line(exc)}"
        raise RunError(message, "frame.show() runs the same query") from exc
    _check_texts(table)
    return table


def first_line(exc: BaseException) -> str:
    """The sentence of an error without the stack of the JVM."""
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]


def _check_type(name: str, kind: Any) -> None:
    for each in _types(kind):
        if type(each).__name__ not in EXACT:
            message = f"column `{name}` has the type {kind.simpleString()} of Spark, which has no exact form in Arrow"
            raise DataError(message, "cast it in Spark first, for example to a string")


def _types(kind: Any) -> Iterator[Any]:
    """A type and those inside it."""
    yield kind
    inside = [getattr(kind, name, None) for name in ("elementType", "keyType", "valueType")]
    for each in (*inside, *(field.dataType for field in getattr(kind, "fields", ()))):
        if each is not None:
            yield from _types(each)


def _check_texts(table: pa.Table) -> None:
    """Spark's strings are bytes; those that are no UTF-8 would fail wherever they are read first."""
    import pyarrow as pa

    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as exc:
            message = f"column `{name}` holds text that is not UTF-8: {first_line(exc)}"
            raise DataError(message, "decode it in Spark, or cast it to binary there") from exc
