"""Arrow to a table: COPY BINARY encoded by pgpq where it can, COPY text where it cannot; checked before either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import BATCH_ROWS
from ematix_nb.declare.data_types import MAX_DECIMAL128, to_arrow
from ematix_nb.errors import DataError

from . import types as t
from .decode import data_of
from .encode import as_copy_text, checked, escape_copy, interval_bytes, uuid_bytes
from .errors import missing_driver, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column, TableRef

    from .io import PostgresSession

SLICE_BYTES = 2 << 20
BINARY_OIDS = {
    *(t.BOOL, t.BYTEA, t.INT8, t.INT2, t.INT4, t.TEXT_OID, t.JSON, t.FLOAT4, t.FLOAT8, t.BPCHAR, t.VARCHAR, t.DATE),
    *(t.TIME, t.TIMESTAMP, t.TIMESTAMPTZ, t.INTERVAL, t.UUID, t.JSONB, t.NUMERIC),
}
"""Types whose binary form is at hand, the last one for decimals of up to 38 digits."""
ARRAY_OIDS = {1000: "boolean", 1001: "bytes", 1005: "smallint", 1007: "integer", 1009: "text", 1016: "bigint",
              1021: "float", 1022: "double", 1182: "date", 1115: "timestamp"}  # fmt: skip
"""Array types whose elements pgpq labels with the right type."""


@dataclass(frozen=True, slots=True)
class Sink:
    """One column of the table and how values get there."""

    column: Column
    """With the table's own type."""
    oid: int
    arrow: pa.DataType
    """What arrives."""

    @property
    def kind(self) -> DataType:
        """The type that values are checked against."""
        return self.column.type

    def convert(self, values: pa.Array) -> pa.Array:
        """Check values against the table's type.

        Raises:
            ValueError: Some value cannot be kept exactly.
        """
        return checked(values, self.kind)

    def is_binary(self) -> bool:
        """True when the binary encoder knows the type."""
        import pyarrow.types as pt

        if self.oid in ARRAY_OIDS:
            return True
        if self.oid == t.NUMERIC:
            kind = self.kind
            if kind.precision is None:
                return bool(pt.is_decimal128(self.arrow)) and self.arrow.scale >= 0
            return kind.precision <= MAX_DECIMAL128 and 0 <= (kind.scale or 0) <= kind.precision
        return self.oid in BINARY_OIDS


def write_batches(
    session: PostgresSession, ref: TableRef, columns: Sequence[Column], batches: Iterable[pa.RecordBatch]
) -> int:
    """Append batches to a table; the rows written.

    Raises:
        DataError: A value does not fit; names column, row and value.
        MissingDriverError: pgpq is not installed.
    """
    targets = session.target_types(ref, columns)
    sinks = [Sink(made, oid, to_arrow(given.type)) for given, (made, oid, _) in zip(columns, targets, strict=True)]
    sinks = [_for_any_number(sink) for sink in sinks]
    names = session.dialect.columns([column.name for column in columns])
    binary = all(sink.is_binary() for sink in sinks)
    head = f"COPY {session.dialect.table(ref)} ({names}) FROM STDIN"
    encode = _BinaryEncoder(sinks).chunks if binary else _text_chunks(sinks)
    statement = head + (" (FORMAT binary)" if binary else " (FORMAT text)")
    sent = [0]
    written = session.copy_in(statement, encode(_checked_slices(sinks, batches, sent)))
    if written not in (sent[0], -1):
        message = f"{sent[0]} rows were sent to {ref} and {written} arrived"
        raise DataError(message, "a trigger or rule of the table may have dropped rows")
    return sent[0]


def _for_any_number(sink: Sink) -> Sink:
    """A number column without limits takes decimals as they come."""
    import dataclasses

    import pyarrow as pa
    import pyarrow.types as pt

    from ematix_nb.declare.data_types import DataType

    if sink.oid != t.NUMERIC or sink.kind.precision is not None:
        return sink
    arrow = pa.decimal128(20, 0) if pt.is_integer(sink.arrow) else sink.arrow
    if not pt.is_decimal(arrow):
        return sink
    kind = DataType("numeric", precision=arrow.precision, scale=arrow.scale)
    column = dataclasses.replace(sink.column, type=kind)
    return dataclasses.replace(sink, column=column, arrow=arrow)


def _checked_slices(
    sinks: Sequence[Sink], batches: Iterable[pa.RecordBatch], sent: list[int]
) -> Iterator[list[pa.Array]]:
    """Checked columns of at most 65,536 rows and about 2 MiB; counts the rows in ``sent``."""
    for batch in batches:
        for part in _slices(batch):
            yield [_converted(sink, values, sent[0]) for sink, values in zip(sinks, part.columns, strict=True)]
            sent[0] += part.num_rows


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if not batch.num_rows:
        return
    rows = min(BATCH_ROWS, max(1, batch.num_rows * SLICE_BYTES // max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _converted(sink: Sink, values: pa.Array, base: int) -> pa.Array:
    try:
        return sink.convert(values)
    except ValueError as exc:
        raise _refusal(sink, values, base, exc) from exc


def _refusal(sink: Sink, values: pa.Array, base: int, exc: Exception) -> DataError:
    """Find the first bad row by halving."""
    row, reason = first_bad(values, sink.convert, exc)
    value = shorten(_shown(values[row]))
    message = f"column `{sink.column.name}` row {base + row + 1}: `{value}` does not fit {sink.kind}: {reason}"
    hint = "correct or CAST the value in the query, or widen the column"
    return DataError(message, "on_nul='strip' takes them out" if "NUL character" in reason else hint)


def _shown(scalar: pa.Scalar) -> str:
    """A value for a message; times beyond Python's years as their number."""
    try:
        return str(scalar)
    except (OverflowError, ValueError):
        return f"{scalar.value} ({scalar.type} since 1970)"


def first_bad(values: pa.Array, convert: Callable[[pa.Array], Any], exc: Exception) -> tuple[int, str]:
    """Index of the first value that ``convert`` refuses, and why."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(values.slice(low, middle - low))
        except ValueError as found:
            high, exc = middle, found
        else:
            low = middle
    try:
        convert(values.slice(low, 1))
    except ValueError as found:
        exc = found
    return low, shorten(str(exc))


class _BinaryEncoder:
    """COPY BINARY by pgpq."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        import pyarrow as pa

        self._sinks = sinks
        self._schema = pa.schema([(str(index), self._type(sink)) for index, sink in enumerate(sinks)])

    @staticmethod
    def _type(sink: Sink) -> pa.DataType:
        import pyarrow as pa

        return pa.binary(16) if sink.oid in (t.UUID, t.INTERVAL) else to_arrow(sink.kind)

    def chunks(self, slices: Iterable[list[pa.Array]]) -> Iterator[bytes]:
        """The bytes of COPY BINARY, one piece a slice."""
        import pyarrow as pa

        try:
            from pgpq import ArrowToPostgresBinaryEncoder
            from pgpq.encoders import StringEncoderBuilder
            from pgpq.schema import Jsonb
        except ImportError as exc:
            raise missing_driver(exc) from exc
        builders: dict[str, Any] = {
            field.name: ArrowToPostgresBinaryEncoder.infer_encoder(field) for field in self._schema
        }
        for index, sink in enumerate(self._sinks):
            if sink.oid == t.JSONB:
                builders[str(index)] = StringEncoderBuilder.new_with_output(self._schema.field(index), Jsonb())
        encoder = ArrowToPostgresBinaryEncoder.new_with_encoders(self._schema, builders)
        yield encoder.write_header()
        base = 0
        for arrays in slices:
            packed = [_packed(sink, values, base) for sink, values in zip(self._sinks, arrays, strict=True)]
            yield encoder.write_batch(pa.record_batch(packed, schema=self._schema))
            base += len(arrays[0])
        yield encoder.finish()


def _packed(sink: Sink, values: pa.Array, base: int) -> pa.Array:
    """UUIDs and intervals as the 16 bytes that PostgreSQL keeps."""
    import pyarrow.types as pt

    if pt.is_dictionary(values.type):
        return _packed(sink, values.dictionary, base).take(values.indices)
    if sink.oid == t.UUID:
        return uuid_bytes(values)
    if sink.oid != t.INTERVAL:
        return values
    try:
        return interval_bytes(values)
    except ValueError as exc:
        row, reason = first_bad(values, interval_bytes, exc)
        message = f"column `{sink.column.name}` row {base + row + 1}: `{shorten(values[row])}` does not fit: {reason}"
        raise DataError(message, "round the interval to microseconds in the query") from exc


def _text(sink: Sink, values: pa.Array) -> pa.StringArray:
    import pyarrow.types as pt

    if pt.is_dictionary(values.type):
        return as_copy_text(values.dictionary, sink.kind).take(values.indices)
    return as_copy_text(values, sink.kind)


def _text_chunks(sinks: Sequence[Sink]) -> Callable[[Iterable[list[pa.Array]]], Iterator[bytes]]:
    """COPY's text format: one line a row, so that the server's line numbers are rows."""

    def chunks(slices: Iterable[list[pa.Array]]) -> Iterator[bytes]:
        import pyarrow.compute as pc

        for arrays in slices:
            fields = [escape_copy(_text(sink, values)) for sink, values in zip(sinks, arrays, strict=True)]
            lines = pc.binary_join_element_wise(*fields, "\t") if len(fields) > 1 else fields[0]
            ended = pc.binary_join_element_wise(lines, "\n", "")
            yield b"".join(data_of(ended))

    return chunks
