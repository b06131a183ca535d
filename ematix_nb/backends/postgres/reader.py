"""SELECT to Arrow through COPY: text blocks cut at rows, parsed by pyarrow on one worker thread."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ematix_nb.declare.data_types import MAX_DECIMAL128, to_arrow
from ematix_nb.errors import DataError, SqlError

from .decode import build_intervals, parse_text
from .errors import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column
    from ematix_nb.sql.dialect import Dialect

BLOCK_BYTES = 1 << 20
BLOCKS_AHEAD = 2
_COLUMN = re.compile(r"In CSV column #(\d+)")
_ROW = re.compile(r"Row #(\d+)")
_TEMPORAL = ("date", "timestamp", "timestamptz")


@dataclass(frozen=True, slots=True)
class Field:
    """One column of the text that COPY sends."""

    name: str
    arrow: pa.DataType
    """The type that the CSV parser makes of it."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """The statement that reads a query, and how to read its answer."""

    statement: str
    offset: int
    """Characters before the user's query in the statement."""
    columns: tuple[Column, ...]
    fields: tuple[Field, ...]


def check_columns(columns: Sequence[Column]) -> None:
    """Refuse results that no table can hold.

    Raises:
        SqlError: There is no column, or two have the same name.
    """
    if not columns:
        message = "the query gives no columns"
        raise SqlError(message, "name at least one column after SELECT")
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"the query gives the column `{twice[0]}` {names.count(twice[0])} times"
        raise SqlError(message, f"give each its own name: SELECT ... AS {twice[0]}_2")


def plan_read(query: str, columns: Sequence[Column], dialect: Dialect) -> ReadPlan:
    """Write the COPY statement; wraps the query only when a column needs another form to travel in.

    Raises:
        SqlError: There is no column, or two have the same name.
    """
    check_columns(columns)
    expressions: list[str] = []
    fields: list[Field] = []
    for column in columns:
        made, parts = _travel_form(column, dialect)
        expressions += made
        fields += parts
    plain = all(field.name == column.name for field, column in zip(fields, columns, strict=False))
    plain = plain and expressions == [dialect.quote(column.name) for column in columns]
    first = dialect.quote(fields[0].name)
    options = f"(FORMAT csv, NULL '\\N', FORCE_QUOTE ({first}))"
    head = "COPY (\n" if plain else f"COPY (SELECT {', '.join(expressions)} FROM (\n"
    tail = "\n) TO STDOUT " if plain else '\n) AS "ematix_source") TO STDOUT '
    return ReadPlan(head + query + tail + options, len(head), tuple(columns), tuple(fields))


def _travel_form(column: Column, dialect: Dialect) -> tuple[list[str], list[Field]]:
    """SELECT expressions and text fields of one column."""
    import pyarrow as pa

    kind, quoted = column.type, dialect.quote(column.name)
    if kind.kind == "interval":
        return _interval_parts(quoted, dialect)
    if kind.kind == "array":
        item = kind.item
        padded = item is not None and item.kind == "string"  # casts of char(n) to text drop its blanks
        texts = quoted if padded else f"CAST({quoted} AS text[])"
        odd = f"array_ndims({quoted}) > 1 OR array_lower({quoted}, 1) <> 1"
        json = f"CASE WHEN {odd} THEN '!' || CAST({quoted} AS text) ELSE CAST(to_json({texts}) AS text) END"
        return [f"{json} AS {quoted}"], [Field(column.name, pa.string())]
    arrow = to_arrow(kind)
    odd_scale = pa.types.is_decimal(arrow) and not 0 <= arrow.scale <= arrow.precision
    if kind.kind == "bytes" or odd_scale or (pa.types.is_decimal(arrow) and arrow.precision > MAX_DECIMAL128):
        arrow = pa.string()
    return [quoted], [Field(column.name, arrow)]


def _interval_parts(quoted: str, dialect: Dialect) -> tuple[list[str], list[Field]]:
    import pyarrow as pa

    months = f"CAST(extract(year FROM {quoted}) * 12 + extract(month FROM {quoted}) AS integer)"
    days = f"CAST(extract(day FROM {quoted}) AS integer)"
    micros = (
        f"CAST(extract(hour FROM {quoted}) * 3600000000 + extract(minute FROM {quoted}) * 60000000"
        f" + extract(microseconds FROM {quoted}) AS bigint)"
    )
    del dialect
    parts = ((months, pa.int32()), (days, pa.int32()), (micros, pa.int64()))
    # The names are never read: PostgreSQL wants the first one for FORCE_QUOTE only.
    return (
        [f"{sql} AS ematix_part_{index}" for index, (sql, _) in enumerate(parts)],
        [Field(f"ematix_part_{index}", arrow) for index, (_, arrow) in enumerate(parts)],
    )


class BlockParser:
    """Turns blocks of whole CSV rows into record batches. Used by one thread."""

    def __init__(self, plan: ReadPlan) -> None:
        import pyarrow as pa
        import pyarrow.csv as pcsv

        self.plan = plan
        self.rows = 0
        """Rows parsed so far."""
        names = [str(index) for index in range(len(plan.fields))]
        self._names = names
        self._parse = pcsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
        self._convert = pcsv.ConvertOptions(
            column_types={name: field.arrow for name, field in zip(names, plan.fields, strict=True)},
            null_values=["\\N"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        )
        self._schema = pa.schema([(column.name, to_arrow(column.type)) for column in plan.columns])

    def parse(self, block: bytes, rows: int) -> pa.RecordBatch:
        """One batch of ``rows`` rows.

        Raises:
            DataError: A value does not fit its column's type, or rows got lost; names column and row.
        """
        import pyarrow as pa
        import pyarrow.csv as pcsv

        options = pcsv.ReadOptions(column_names=self._names, block_size=len(block) + 1, use_threads=False)
        try:
            table = pcsv.read_csv(pa.BufferReader(block), options, self._parse, self._convert)
        except pa.ArrowInvalid as exc:
            raise self._csv_error(str(exc)) from exc
        if table.num_rows != rows:
            message = f"{rows} rows arrived after row {self.rows} and {table.num_rows} were understood"
            raise DataError(message, "please report this query: no row may be lost")
        texts = [chunked.combine_chunks() for chunked in table.columns]
        arrays = self._arrays([t.chunk(0) if isinstance(t, pa.ChunkedArray) else t for t in texts])
        self.rows += rows
        return pa.record_batch(arrays, schema=self._schema)

    def _arrays(self, texts: list[pa.Array]) -> list[pa.Array]:
        arrays: list[pa.Array] = []
        position = 0
        for column in self.plan.columns:
            if column.type.kind == "interval":
                arrays.append(self._intervals(column, texts[position : position + 3]))
                position += 3
                continue
            values = texts[position]
            position += 1
            if values.type != to_arrow(column.type):
                values = self._parsed(column, values)
            arrays.append(values)
        return arrays

    def _parsed(self, column: Column, texts: pa.StringArray) -> pa.Array:
        """Values that the CSV parser cannot make; on failure the row is searched."""
        try:
            return parse_text(texts, column.type)
        except ValueError as exc:
            for row, text in enumerate(texts):
                try:
                    parse_text(texts.slice(row, 1), column.type)
                except ValueError:
                    raise _value_error(column, self.rows + row + 1, text.as_py() or "") from exc
            raise

    def _intervals(self, column: Column, parts: list[pa.Array]) -> pa.Array:
        try:
            return build_intervals(*parts)
        except ValueError as exc:
            import pyarrow.compute as pc

            row = pc.index(pc.greater(pc.abs(parts[2]), (1 << 63) // 1000 - 1), True).as_py()
            raise _value_error(column, self.rows + row + 1, f"{parts[2][row]} microseconds") from exc

    def _csv_error(self, text: str) -> DataError:
        """The parser's message with our column and row."""
        column, row = _COLUMN.search(text), _ROW.search(text)
        values = re.findall(r"'((?:[^'])*)'", text)
        if not column or not row:
            return DataError(f"a block of rows after row {self.rows} cannot be read: {shorten(text)}")
        return _value_error(self._column_of(int(column[1])), self.rows + int(row[1]), values[0] if values else text)

    def _column_of(self, index: int) -> Column:
        """The column of a text field."""
        position = 0
        for column in self.plan.columns:
            position += 3 if column.type.kind == "interval" else 1
            if index < position:
                return column
        return self.plan.columns[-1]


def _value_error(column: Column, row: int, value: str) -> DataError:
    """Column, row, value and what to write instead."""
    shown, kind = shorten(value.removeprefix("!")), column.type.kind
    name = '"' + column.name.replace('"', '""') + '"'
    if kind == "numeric":
        hint = (
            f"write CASE WHEN {name} NOT IN ('NaN', 'Infinity', '-Infinity') THEN {name} END, or CAST({name} AS text)"
        )
    elif kind in _TEMPORAL:
        hint = f"years 1 to 9999 can be read; write CASE WHEN isfinite({name}) THEN {name} END, or CAST({name} AS text)"
    elif kind == "array":
        hint = (
            f"only arrays of one dimension that begin at 1 can be read; write CAST({name} AS text) or to_json({name})"
        )
    else:
        hint = f"write CAST({name} AS text) in the query"
    return DataError(f"column `{column.name}` row {row}: `{shown}` cannot be read as {_plain(column.type)}", hint)


def _plain(kind: DataType) -> str:
    return str(kind.logical) if kind.kind != "text" else str(kind)


def parse_blocks(plan: ReadPlan, blocks: Iterator[tuple[bytes, int]]) -> Iterator[pa.RecordBatch]:
    """Parse on one worker thread, two blocks ahead of the consumer; in order."""
    from concurrent.futures import Future, ThreadPoolExecutor

    parser = BlockParser(plan)
    waiting: deque[Future[pa.RecordBatch]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="ematix-parse") as pool:
        for block, rows in blocks:
            waiting.append(pool.submit(parser.parse, block, rows))
            if len(waiting) > BLOCKS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
