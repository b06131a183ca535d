"""Arrow tables as Spark frames: each value arrives as it is, or its column is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import MAX_DECIMAL128
from ematix_nb.errors import DataError, DeclarationError, MissingDriverError, RunError
from ematix_nb.query.spark import first_line

if TYPE_CHECKING:
    import pyarrow as pa

INSTALL_SPARK = 'pip install "ematix-nb[spark]"'


def to_pyspark(table: pa.Table, *, spark: Any = None) -> Any:
    """A Spark frame with the rows of a table.

    Times with a zone become TIMESTAMP, times without one TIMESTAMP_NTZ, whatever the session's settings say. Unsigned
    integers get the next wider type. Nothing is rounded.

    Args:
        table: The rows.
        spark: The session; None for the active one.

    Raises:
        MissingDriverError: When pyspark is not installed.
        DeclarationError: When no session is given and none is active.
        DataError: A column that Spark cannot hold exactly: names it, and why.
    """
    session = session_of(spark)
    fitted = for_spark(table)
    try:
        return session.createDataFrame(fitted, schema=_spark_schema(fitted))
    except Exception as exc:  # what Spark raises has no root of its own
        message = f"Spark did not take the rows: {first_line(exc)}"
        raise RunError(message, "is the session still running?") from exc


def session_of(spark: Any = None) -> Any:
    """The session itself, or the active one.

    Raises:
        MissingDriverError: When pyspark is not installed.
        DeclarationError: It is no session, or none is given and none is active.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as exc:
        message = "pyspark is not installed"
        raise MissingDriverError(message, INSTALL_SPARK) from exc
    session = spark if spark is not None else SparkSession.getActiveSession()
    if session is None:
        message = "no Spark session is active"
        raise DeclarationError(message, "make one, or pass it: spark=SparkSession.builder.getOrCreate()")
    if not hasattr(session, "createDataFrame"):
        message = f"spark= must be a Spark session, got {type(session).__name__}"
        raise DeclarationError(message, "pass SparkSession.builder.getOrCreate()")
    return session


def for_spark(table: pa.Table) -> pa.Table:
    """The table in the Arrow types that Spark has; columns that need no change are not copied.

    Raises:
        DataError: A column has a type or a value that Spark cannot hold.

    Example:
        >>> import pyarrow as pa
        >>> for_spark(pa.table({"n": pa.array([2**64 - 1], pa.uint64())})).schema.field("n").type
        Decimal128Type(decimal128(20, 0))
    """
    import pyarrow as pa

    twice = [name for name in table.column_names if table.column_names.count(name) > 1]
    if twice:
        message = f"two columns are named `{twice[0]}`"
        raise DataError(message, "give one of them another name before they go to Spark")
    columns, fields = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        columns.append(_fitted(field.name, column))
        fields.append(pa.field(field.name, columns[-1].type, nullable=field.nullable or column.null_count > 0))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _fitted(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    try:
        kept = _kept(column.type)
        found = column if kept == column.type else column.cast(kept)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as exc:
        message = f"column `{name}` ({column.type}) does not fit into Spark: {first_line(exc)}"
        raise DataError(message, f"cast `{name}` before it goes to Spark, for example to text") from exc
    return (
        found if found.num_chunks else pa.chunked_array([pa.array([], kept)])
    )  # pyspark needs a piece, if an empty one


def _kept(kind: pa.DataType) -> pa.DataType:
    """The Arrow type of Spark's that holds every value of a type, or every value but those that a checked cast finds.

    Raises:
        ValueError: There is none.
    """
    import pyarrow as pa
    import pyarrow.types as pt

    if kind in _same():
        return kind
    if kind in _wider():
        return _wider()[kind]
    if pt.is_decimal(kind):
        return _decimal(kind.precision, kind.scale)
    if pt.is_timestamp(kind):
        return pa.timestamp("us", kind.tz and "UTC")
    if pt.is_time(kind):
        return pa.time64("us")
    if pt.is_duration(kind):
        return pa.duration("us")
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return _kept(kind.value_type)
    return _nested(kind)


def _same() -> frozenset[pa.DataType]:
    import pyarrow as pa

    numbers = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64())
    return frozenset({*numbers, pa.bool_(), pa.string(), pa.binary(), pa.date32(), pa.null()})


def _wider() -> dict[pa.DataType, pa.DataType]:
    import pyarrow as pa

    return {
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0),
        pa.float16(): pa.float32(),
        pa.date64(): pa.date32(),
        pa.large_string(): pa.string(),
        pa.string_view(): pa.string(),
        pa.large_binary(): pa.binary(),
        pa.binary_view(): pa.binary(),
    }


def _decimal(precision: int, scale: int) -> pa.DataType:
    import pyarrow as pa

    digits = max(precision - min(scale, 0), scale)
    if digits > MAX_DECIMAL128:
        message = f"a decimal of Spark has at most {MAX_DECIMAL128} digits"
        raise ValueError(message)
    return pa.decimal128(digits, max(scale, 0))


def _nested(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_fixed_size_binary(kind):
        return pa.binary()
    if pt.is_map(kind):
        return pa.map_(_kept(kind.key_type), _kept(kind.item_type))
    if pt.is_struct(kind):
        return pa.struct([pa.field(inner.name, _kept(inner.type)) for inner in kind])
    if any(test(kind) for test in (pt.is_list, pt.is_large_list, pt.is_fixed_size_list, pt.is_list_view)):
        return pa.list_(_kept(kind.value_type))
    if isinstance(kind, pa.JsonType):
        return pa.string()
    message = "Spark has no such type"
    raise ValueError(message)


def _spark_schema(schema_of: pa.Table) -> Any:
    """The Spark schema of a fitted table; left to itself, Spark reads times without a zone in the session's."""
    from pyspark.sql.types import StructField, StructType

    return StructType([StructField(each.name, _spark_type(each.type), each.nullable) for each in schema_of.schema])


def _spark_type(kind: pa.DataType) -> Any:
    import pyarrow.types as pt
    from pyspark.sql import types as st

    if pt.is_decimal(kind):
        return st.DecimalType(kind.precision, kind.scale)
    if pt.is_timestamp(kind):
        return st.TimestampType() if kind.tz else st.TimestampNTZType()
    if pt.is_list(kind):
        return st.ArrayType(_spark_type(kind.value_type))
    if pt.is_map(kind):
        return st.MapType(_spark_type(kind.key_type), _spark_type(kind.item_type))
    if pt.is_struct(kind):
        return st.StructType([st.StructField(inner.name, _spark_type(inner.type)) for inner in kind])
    return _plain_types()[kind]()


def _plain_types() -> dict[pa.DataType, Any]:
    import pyarrow as pa
    from pyspark.sql import types as st

    return {
        pa.int8(): st.ByteType,
        pa.int16(): st.ShortType,
        pa.int32(): st.IntegerType,
        pa.int64(): st.LongType,
        pa.float32(): st.FloatType,
        pa.float64(): st.DoubleType,
        pa.bool_(): st.BooleanType,
        pa.string(): st.StringType,
        pa.binary(): st.BinaryType,
        pa.date32(): st.DateType,
        pa.time64("us"): st.TimeType,
        pa.duration("us"): st.DayTimeIntervalType,
        pa.null(): st.NullType,
    }
