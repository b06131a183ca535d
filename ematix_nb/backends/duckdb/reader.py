"""DuckDB to Arrow, streamed and exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import to_arrow
from ematix_nb.errors import DataError
from ematix_nb.words import counted

from .catalogue import kind_of, travel_sql
from .dialect import DIALECT
from .errors import translate

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column

INFINITE_TIMES = (-(2**63 - 1), 2**63 - 1)
INFINITE_DATES = (-(2**31 - 1), 2**31 - 1)


def subquery(query: str, names: Sequence[str] = ()) -> str:
    """A SELECT over the user's query: nothing but a query can stand there; its text begins on the second line."""
    columns = f" ({DIALECT.columns(names)})" if names else ""
    return f"SELECT * FROM (\n{query}\n) AS {DIALECT.quote('q')}{columns}"


def travelling(query: str, types: Sequence[Any]) -> str:
    """The query with those columns cast that Arrow could not hold as they are."""
    ways = [travel_sql(kind_of(native)) for native in types]
    if all(way == str(native) for way, native in zip(ways, types, strict=True)):
        return subquery(query)
    names = [f"c{number}" for number in range(len(types))]
    parts = [
        name if way == str(native) else f"CAST({name} AS {way}) AS {name}"
        for name, way, native in zip(names, ways, types, strict=True)
    ]
    return f"SELECT {', '.join(parts)} FROM (\n{query}\n) AS {DIALECT.quote('q')} ({', '.join(names)})"


def stream(
    cursor: Any, query: str, columns: Sequence[Column], batch_rows: int, where: str
) -> Generator[pa.RecordBatch, None, None]:
    """Stream a SELECT on a cursor that nothing else uses meanwhile.

    Raises:
        DataError: A value does not fit its column's type, or is an infinite time.
    """
    import duckdb
    import pyarrow as pa

    schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
    try:
        types = cursor.sql(subquery(query)).types
        if len(types) != len(columns):
            message = f"the query returns {counted(len(types), 'column')}, expected {len(columns)}"
            raise DataError(message, where=where)
        reader = cursor.sql(travelling(query, types)).to_arrow_reader(batch_rows)
    except duckdb.Error as exc:
        raise translate(exc, where, lines_before=1) from exc
    done = 0
    try:
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (duckdb.Error, pa.ArrowException, OSError) as exc:
                raise translate(exc, where, lines_before=1) from exc
            if batch.num_rows:
                yield _exact(batch, schema, columns, done)
                done += batch.num_rows
    finally:
        reader.close()


def _exact(batch: pa.RecordBatch, schema: pa.Schema, columns: Sequence[Column], done: int) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = []
    for array, target, column in zip(batch.columns, schema.types, columns, strict=True):
        refuse_infinite(array, column, done)
        if pa.types.is_null(target) and array.null_count == len(array):
            arrays.append(pa.nulls(len(array)))
            continue
        try:
            arrays.append(array if array.type == target else array.cast(target))
        except pa.ArrowException as exc:
            raise _unfit(array, target, column, done) from exc
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _unfit(array: pa.Array, target: pa.DataType, column: Column, done: int) -> DataError:
    import pyarrow as pa

    for row in range(len(array)):
        try:
            array.slice(row, 1).cast(target)
        except pa.ArrowException:
            shown = _shown(array.slice(row, 1))
            return DataError(f"column `{column.name}`, row {done + row + 1}: `{shown}` does not fit {column.type}")
    return DataError(f"column `{column.name}`: a value does not fit {column.type}")


def _shown(one: pa.Array, limit: int = 80) -> str:
    import pyarrow as pa

    try:
        return str(one.cast(pa.string())[0].as_py())[:limit]
    except pa.ArrowException:
        return str(one.to_string())[:limit]


def refuse_infinite(array: pa.Array, column: Column, done: int) -> None:
    """Refuse ``infinity`` in times and dates: other systems would take Arrow's number for a day.

    Raises:
        DataError: Naming column and row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    if pt.is_list(array.type) or pt.is_map(array.type):
        return refuse_infinite(array.values, column, done)
    if pt.is_struct(array.type):
        for number in range(array.type.num_fields):
            refuse_infinite(array.field(number), column, done)
        return None
    if pt.is_timestamp(array.type):
        plain, ends = array.view(pa.int64()), INFINITE_TIMES
    elif pt.is_date32(array.type):
        plain, ends = array.view(pa.int32()), INFINITE_DATES
    else:
        return None
    seen = pc.min_max(plain)
    if seen["min"].as_py() == ends[0] or seen["max"].as_py() == ends[1]:
        row = next(row for row, value in enumerate(plain.to_pylist()) if value in ends)
        message = f"column `{column.name}`, row {done + row + 1}: `infinity` is no point in time that can be passed on"
        raise DataError(message, hint="turn it into NULL in the query, or CAST the column to VARCHAR")
    return None
