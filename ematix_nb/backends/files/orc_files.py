"""ORC files: schemas with our column types as attributes, stripe by stripe, exact writes.

The format holds times of any year; the library reads them as nanoseconds since 1970, so values before 1677-09-21 and
after 2262-04-11 are refused, both ways. Unsigned integers, times of day and wide decimals have no type in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import BATCH_ROWS
from ematix_nb.declare.data_types import from_arrow, to_arrow
from ematix_nb.errors import DataError

from .dialect import type_from_json, type_to_json
from .widen import normal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column

    from .config import FileConfig
    from .paths import DataFile

KEY = b"ematix_nb.type"
_MAGIC = b"ORC"
_TAIL = 64
"""Bytes at the end that hold the postscript of any usual file."""


def infer(file: DataFile, config: FileConfig) -> dict[str, DataType]:
    """Names and types from the footer of a file.

    Raises:
        DataError: When the file is cut off or no ORC, or a type has no column type.
    """
    import pyarrow as pa
    import pyarrow.orc as arrow_orc

    del config
    try:
        with file.open() as handle:
            schema = arrow_orc.ORCFile(handle).schema
    except (pa.ArrowException, OSError) as exc:
        if isinstance(exc, FileNotFoundError):
            raise
        raise _broken(file, str(exc)) from exc
    columns: dict[str, DataType] = {}
    for field in schema:
        if field.name in columns:
            message = f"{file.name}: column `{field.name}` stands twice"
            raise DataError(message, "write the file again with different names")
        try:
            arrow = normal(field.type)
        except (ValueError, KeyError) as exc:
            message = f"{file.name}, column `{field.name}`: type `{field.type}` cannot be read exactly"
            raise DataError(message, "write the column as another type") from exc
        told = (field.metadata or {}).get(KEY)
        declared = type_from_json(json.loads(told)) if told else None
        fits = declared is not None and stored_type(to_arrow(declared)).equals(stored_type(arrow))
        columns[field.name] = declared if declared is not None and fits else from_arrow(arrow)
    return columns


def stored_type(arrow: pa.DataType) -> pa.DataType:
    """The Arrow type in which a column comes back from a file: times as nanoseconds."""
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_timestamp(arrow):
        return pa.timestamp("ns", arrow.tz)
    if pt.is_list(arrow):
        return pa.list_(stored_type(arrow.value_type))
    if pt.is_map(arrow):
        return pa.map_(stored_type(arrow.key_type), stored_type(arrow.item_type))
    if pt.is_struct(arrow):
        return pa.struct([(inner.name, stored_type(inner.type)) for inner in arrow])
    return arrow


def read(
    file: DataFile, wanted: Mapping[str, DataType], names: Sequence[str], config: FileConfig
) -> Iterator[pa.RecordBatch]:
    """The wanted columns of a file, stripe by stripe; columns that it does not have are NULL.

    Raises:
        DataError: When the data is broken, or a value does not fit the type that all files share.
    """
    import pyarrow as pa
    import pyarrow.orc as arrow_orc

    del config
    present = [name for name in names if name in wanted] or list(names[:1])
    if any("." in name for name in names):  # the library takes a point for a step into a struct
        present = list(names)
    types = {name: to_arrow(kind) for name, kind in wanted.items()}
    try:
        with file.open(forward=True) as handle:
            reader = arrow_orc.ORCFile(handle)
            for number in range(reader.nstripes):
                stripe = reader.read_stripe(number, columns=present)
                for at in range(0, stripe.num_rows, BATCH_ROWS):
                    yield _shape(file, stripe.slice(at, BATCH_ROWS), types)
    except (pa.ArrowException, OSError) as exc:
        if isinstance(exc, FileNotFoundError):
            raise
        if "out of range for nanosecond" in str(exc):
            message = f"{file.name}: {str(exc)[:120]}"
            raise DataError(
                message, "write the column as text or Parquet: times from 1677 to 2262 can be read"
            ) from exc
        message = f"{file.name}: the data is broken: {str(exc)[:120]}"
        raise DataError(message, "write or copy it again") from exc


def _shape(file: DataFile, raw: pa.RecordBatch, types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = []
    for name, kind in types.items():
        found = raw.column(name) if name in raw.schema.names else pa.nulls(raw.num_rows, kind)
        try:
            arrays.append(found if found.type.equals(kind) else found.cast(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
            message = f"{file.name}, column `{name}`: {str(exc)[:160]}"
            raise DataError(message, "write the column as another type") from exc
    if not arrays:
        return raw.select([])
    return pa.RecordBatch.from_arrays(arrays, names=list(types))


def _broken(file: DataFile, text: str) -> DataError:
    with file.open() as stream:
        head = stream.read(len(_MAGIC))
        size = stream.size()
        stream.seek(max(0, size - _TAIL))
        tail = stream.read(_TAIL)
    if head != _MAGIC:
        message, hint = f"not an ORC file (it begins with {head!r})", "remove it, or correct `format`"
    elif _MAGIC not in tail:
        message, hint = f"the file is cut off: its {size} bytes have no footer", "write or copy it again"
    else:
        message, hint = f"the footer is broken: {text[:120]}", "write or copy it again"
    return DataError(f"{file.name}: {message}", hint)


def count(path: Path) -> int:
    """The rows that the footer of a file tells."""
    import pyarrow.orc as arrow_orc

    return int(arrow_orc.ORCFile(str(path)).nrows)


class _Sink:
    """Takes bytes and never raises: an error in the library's writer, even when that is collected, ends the process."""

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._error: BaseException | None = None

    def write(self, data: Any) -> int:
        """Hand bytes on, until the first error."""
        if self._error is None:
            try:
                self._stream.write(data)
            except BaseException as exc:  # noqa: BLE001 - kept for `check`, an interrupt too
                self._error = exc
        return len(data)

    def flush(self) -> None:
        """Nothing is held here."""

    def close(self) -> None:
        """The stream stays open."""

    def check(self) -> None:
        """Raise what a write met."""
        if self._error is not None:
            raise self._error


class Writer:
    """Writes batches to one ORC file."""

    def __init__(self, sink: Any, columns: Sequence[Column], config: FileConfig) -> None:
        import pyarrow as pa
        import pyarrow.orc as arrow_orc

        self._schema = pa.schema(
            [
                pa.field(
                    c.name, stored_type(to_arrow(c.type)), metadata={KEY: json.dumps(type_to_json(c.type)).encode()}
                )
                for c in columns
            ]
        )
        self._rows = 0
        self._sink = _Sink(sink)
        self._writer = arrow_orc.ORCWriter(self._sink, compression=config.orc_compression)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch.

        Raises:
            DataError: When a time is out of the range that can be read back.
        """
        import pyarrow as pa

        arrays = [self._stored(column, field) for column, field in zip(batch.columns, self._schema, strict=True)]
        self._writer.write(pa.Table.from_arrays(arrays, schema=self._schema))
        self._sink.check()
        self._rows += batch.num_rows

    def _stored(self, column: pa.Array, field: pa.Field) -> pa.Array:
        import pyarrow as pa

        if column.type.equals(field.type):
            return column
        try:
            return column.cast(field.type)
        except pa.ArrowInvalid as exc:
            row = next((n for n in range(len(column)) if not _casts(column.slice(n, 1), field.type)), 0)
            shown = column.slice(row, 1).cast(pa.string())[0].as_py()  # any year, which Python has not
            message = f"column `{field.name}`, row {self._rows + row + 1} of the file: {shown} cannot be kept in ORC"
            raise DataError(
                message, "its times reach from 1677 to 2262: write another format, or cast the column to text"
            ) from exc

    def close(self) -> None:
        """Write the footer; the sink stays open."""
        self._writer.close()
        self._sink.check()


def _casts(value: pa.Array, kind: pa.DataType) -> bool:
    import pyarrow as pa

    try:
        value.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True
