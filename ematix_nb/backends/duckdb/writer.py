"""Arrow to DuckDB: blocks of batches, inserted by a SELECT over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import to_arrow
from ematix_nb.errors import DataError

from .dialect import DIALECT
from .errors import translate
from .reader import refuse_infinite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column, TableRef

BLOCK_ROWS = 262_144
BLOCK_BYTES = 64 << 20
_NAME = "ematix_flow_block"
_EARLIEST_US = -9_223_372_022_400_000_000
"""The first microsecond that a TIMESTAMP holds."""


def blocks(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches in groups that are worth a statement."""
    group: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        group.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= BLOCK_ROWS or size >= BLOCK_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def insert(cursor: Any, ref: TableRef, columns: Sequence[Column], group: list[pa.RecordBatch], done: int) -> int:
    """Insert one group; the rows written. ``done`` rows were written before, for messages.

    Raises:
        DataError: A value cannot be stored; names column, row and value.
    """
    import duckdb
    import pyarrow as pa

    arrays = []
    for number, column in enumerate(columns):
        whole = pa.chunked_array([batch.column(number) for batch in group]).combine_chunks()
        arrays.append(_sendable(whole, column, done))
    names = [f"c{number}" for number in range(len(columns))]
    table = pa.Table.from_arrays(arrays, names=names)
    casts = _casts(columns, table.schema.types)
    chosen = ", ".join(
        f"CAST({name} AS {cast}) AS {name}" if cast else name for name, cast in zip(names, casts, strict=True)
    )
    targets = DIALECT.columns([column.name for column in columns])
    cursor.register(_NAME, table)
    try:
        cursor.execute(f"INSERT INTO {DIALECT.table(ref)} ({targets}) SELECT {chosen} FROM {_NAME}")
    except duckdb.Error as exc:
        found = _culprit(cursor, table, columns, casts, done) if isinstance(exc, duckdb.ConversionException) else None
        raise found or translate(exc, str(ref)) from exc
    cursor.unregister(_NAME)  # after an error the name goes with the transaction
    return int(table.num_rows)


def _casts(columns: Sequence[Column], types: Sequence[pa.DataType]) -> list[str]:
    """The type to cast each column to; empty where Arrow's type says it all."""
    import pyarrow.types as pt

    plain = ("text", "string", "null")
    return [
        DIALECT.type_sql(column.type)
        if (column.type.native or pt.is_string(kind) or pt.is_nested(kind)) and not _is_plain(column, plain)
        else ""
        for column, kind in zip(columns, types, strict=True)
    ]


def _is_plain(column: Column, plain: Sequence[str]) -> bool:
    return column.type.kind in plain and not column.type.native


def _sendable(array: pa.Array, column: Column, done: int) -> pa.Array:
    """The array in a form that DuckDB takes, after refusing what it would change."""
    import pyarrow as pa
    import pyarrow.types as pt

    expected = to_arrow(column.type)
    if array.type != expected:
        try:
            array = array.cast(expected)
        except pa.ArrowException as exc:
            message = f"column `{column.name}` arrived as {array.type}, expected {expected}: {exc}"
            raise DataError(message) from exc
    refuse_infinite(array, column, done)
    if pt.is_timestamp(array.type) and array.type.unit == "us":
        _refuse_first(array.view(pa.int64()), _EARLIEST_US, column, done)
    if pt.is_interval(array.type):
        _refuse_nanoseconds(array, column, done)
    return array.cast(pa.string()) if pt.is_decimal256(array.type) else array


def _refuse_first(numbers: pa.Array, least: int, column: Column, done: int) -> None:
    import pyarrow.compute as pc

    smallest = pc.min(numbers).as_py()
    if smallest is not None and smallest < least:
        row = pc.index(numbers, smallest).as_py()
        message = f"column `{column.name}`, row {done + row + 1}: {smallest} µs from 1970 is before DuckDB's first day"
        raise DataError(message)


def _refuse_nanoseconds(array: pa.Array, column: Column, done: int) -> None:
    for row, value in enumerate(array.to_pylist()):
        if value is not None and value.nanoseconds % 1000:
            message = (
                f"column `{column.name}`, row {done + row + 1}: {value} has nanoseconds; DuckDB keeps microseconds"
            )
            raise DataError(message, hint="round the interval in the query")


def _culprit(
    cursor: Any, table: pa.Table, columns: Sequence[Column], casts: Sequence[str], done: int
) -> DataError | None:
    """The first value that does not become its type; asked on a fresh connection, as the transaction is dead."""
    fresh = cursor.cursor()
    try:
        fresh.register(_NAME, table)
        for number, (column, cast) in enumerate(zip(columns, casts, strict=True)):
            if not cast:
                continue
            name = f"c{number}"
            rows = fresh.execute(
                f"SELECT row, CAST({name} AS VARCHAR) "
                f"FROM (SELECT {name}, row_number() OVER () AS row FROM {_NAME}) AS t "
                f"WHERE TRY_CAST({name} AS {cast}) IS NULL AND {name} IS NOT NULL ORDER BY row LIMIT 1"
            ).fetchall()
            if rows:
                message = f"column `{column.name}`, row {done + rows[0][0]}: `{rows[0][1][:80]}` does not fit {cast}"
                return DataError(message)
        return None
    finally:
        fresh.close()
