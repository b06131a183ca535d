"""Parquet files: schemas with our column types in the field metadata, checked footers, exact writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import BATCH_ROWS
from ematix_nb.declare.data_types import from_arrow, to_arrow
from ematix_nb.errors import DataError

from .conditions import Bounds
from .dialect import type_from_json, type_to_json
from .repeats import rarely_repeated
from .widen import normal, restored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column

    from .conditions import Condition
    from .config import FileConfig
    from .paths import DataFile

KEY = b"ematix_nb.type"
GROUP_ROWS = 65_536
GROUP_BYTES = 64 * 1024 * 1024
_MAGIC = b"PAR1"
_ENCRYPTED = b"PARE"
_SMALLEST = 12
"""Bytes of a file: its mark at both ends, and the length of the footer."""


def infer(file: DataFile, config: FileConfig) -> dict[str, DataType]:
    """Names and types from the footer of a file.

    Raises:
        DataError: When the file is cut off, encrypted or no Parquet, or a type has no column type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    del config
    try:
        with file.open() as handle:
            schema = pq.read_schema(handle)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as exc:
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
        declared = (field.metadata or {}).get(KEY)
        columns[field.name] = restored(type_from_json(json.loads(declared)), arrow) if declared else from_arrow(arrow)
    return columns


def read(
    file: DataFile,
    wanted: Mapping[str, DataType],
    names: Sequence[str],
    config: FileConfig,
    *,
    condition: Condition | None = None,
) -> Iterator[pa.RecordBatch]:
    """The wanted columns of a file in batches; columns that it does not have are NULL.

    Of a file that lies elsewhere, row groups whose bounds rule out a condition are not fetched.

    Raises:
        DataError: When the data is broken, or a value does not fit the type that all files share.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    del config
    present = [name for name in names if name in wanted] or list(names[:1])
    types = {name: to_arrow(kind) for name, kind in wanted.items()}
    try:
        with file.open() as handle:
            parquet = pq.ParquetFile(handle, pre_buffer=file.path is None)
            for batch in _batches(file, parquet, present, condition):
                yield _shape(file, batch, types)
    except (pa.ArrowInvalid, OSError) as exc:
        if isinstance(exc, FileNotFoundError):
            raise
        raise _unreadable(file, str(exc)) from exc


def _batches(
    file: DataFile, parquet: Any, columns: Sequence[str] | None, condition: Condition | None = None
) -> Iterator[pa.RecordBatch]:
    """The batches; of a file that lies elsewhere one row group after the other, each fetched as a whole."""
    if file.path is not None:
        yield from parquet.iter_batches(BATCH_ROWS, columns=columns)
        return
    for group in range(parquet.num_row_groups):
        if condition is not None and not condition.may_hold(_bounds(parquet, group)):
            continue
        yield from parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns)


def _bounds(parquet: Any, group: int) -> Callable[[str], Bounds]:
    """What the footer tells of the columns of a row group."""
    found = parquet.metadata.row_group(group)
    columns = [found.column(number) for number in range(found.num_columns)]

    def known(name: str) -> Bounds:
        same = [column for column in columns if column.path_in_schema == name]
        told = same[0].statistics if len(same) == 1 and same[0].is_stats_set else None
        if told is None:
            return Bounds()
        nulls = told.null_count if told.has_null_count else None
        if not told.has_min_max:
            return Bounds(nulls=nulls, rows=found.num_rows)
        try:
            return Bounds(told.min, told.max, nulls, found.num_rows)
        except (ValueError, OverflowError):  # a time that Python does not have
            return Bounds(nulls=nulls, rows=found.num_rows)

    return known


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


def _unreadable(file: DataFile, text: str) -> DataError:
    """Columns may be encrypted where the footer is not."""
    if "ecrypt" in text:
        return DataError(f"{file.name}: columns of the file are encrypted", "decrypt it: encrypted Parquet is not read")
    return DataError(f"{file.name}: the data is broken: {text[:120]}", "write or copy it again")


def _broken(file: DataFile, text: str) -> DataError:
    with file.open() as stream:
        head = stream.read(4)
        size = stream.size()
        stream.seek(max(0, size - 4))
        tail = stream.read(4)
    if _ENCRYPTED in (head, tail):
        message, hint = "the file is encrypted", "decrypt it: encrypted Parquet is not read"
    elif head != _MAGIC:
        message, hint = f"not a Parquet file (it begins with {head!r})", "remove it, or correct `format`"
    elif tail != _MAGIC or size < _SMALLEST:
        message, hint = f"the file is cut off: its {size} bytes have no footer", "write or copy it again"
    else:
        message, hint = f"the footer is broken: {text[:120]}", "write or copy it again"
    return DataError(f"{file.name}: {message}", hint)


def check_rows(file: DataFile) -> None:
    """Read a whole file, after the engine failed on some file, to tell which one is broken.

    Raises:
        DataError: When this one is.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.open() as handle:
            for _ in _batches(file, pq.ParquetFile(handle), None):
                pass
    except (pa.ArrowException, OSError) as exc:
        raise _unreadable(file, str(exc)) from exc


def count(path: Path) -> int:
    """The rows that the footer of a file tells."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


class Writer:
    """Writes batches to one Parquet file, in row groups of 64 Ki rows or 64 MiB.

    The first group tells which columns get a dictionary.
    """

    def __init__(self, sink: Any, columns: Sequence[Column], config: FileConfig) -> None:
        import pyarrow as pa

        fields = [
            pa.field(c.name, to_arrow(c.type), metadata={KEY: json.dumps(type_to_json(c.type)).encode()})
            for c in columns
        ]
        self._schema = pa.schema(fields)
        compression = None if config.parquet_compression == "uncompressed" else config.parquet_compression
        self._sink, self._compression = sink, compression or "none"
        self._writer: Any = None
        self._pending: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        self._pending.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._pending:
            arrays = [batch.columns for batch in self._pending]
            batches = [pa.RecordBatch.from_arrays(columns, schema=self._schema) for columns in arrays]
            group = pa.Table.from_batches(batches)
            self._begin(group)
            self._writer.write_table(group, row_group_size=GROUP_ROWS)
        self._pending, self._rows, self._bytes = [], 0, 0

    def _begin(self, first: pa.Table | None = None) -> None:
        """Begin the file, once; the first rows, if there are any, tell which columns get a dictionary."""
        import pyarrow.parquet as pq

        if self._writer is not None:
            return
        plain = rarely_repeated(first) if first is not None else ()
        dictionary = [path for path in _leaves(self._schema) if path not in plain] if plain else True
        self._writer = pq.ParquetWriter(
            self._sink, self._schema, compression=self._compression, use_dictionary=dictionary
        )

    def close(self) -> None:
        """Write what is pending and the footer; the sink stays open."""
        self._flush()
        self._begin()
        self._writer.close()


def _leaves(schema: pa.Schema) -> list[str]:
    """The paths of the columns as Parquet has them: ``a.list.element`` for a list ``a``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    empty = pa.BufferOutputStream()
    pq.write_metadata(schema, empty)
    found = pq.read_metadata(pa.BufferReader(empty.getvalue())).schema
    return [found.column(number).path for number in range(len(found))]
