"""The rows of one version of a table by their place: in which data file, and as which row of it.

The library tells rows and not where they lie. Who knows the places can write a change without a join: the files that
it touches are copied without the rows at those places, and one commit puts the copies in their stead.

A table, or a file, that cannot be read here exactly as the library reads it, is left to the library.
"""

from __future__ import annotations

import bisect
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ematix_nb.backends.files.conditions import Bounds
from ematix_nb.backends.files.dialect import can_partition
from ematix_nb.declare.data_types import from_arrow, to_arrow

from .commits import OP, takes_files
from .errors import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from ematix_nb.backends.files.conditions import Condition
    from ematix_nb.declare.spec import Column

    from .config import DeltaConfig

ROW = "ematix_row"
ROW_BITS = 40
"""A place is one number: the file's in the upper bits, the row's in these."""
BATCH_ROWS = 16384
AT_ONCE = 8
"""Footers that are fetched from a store at a time."""
BUFFER_BYTES = 1 << 20
"""Of a column of a local file at a time; row groups of other programs may be large."""


@dataclass(frozen=True)
class PlacedFile:
    """One data file of a table."""

    number: int
    path: str
    """Relative to the table, as the file is called."""
    size: int
    partition: Mapping[str, Any]
    """The values of the partition columns."""
    bounds: Mapping[str, Bounds]
    """What the log tells of the keys."""

    @property
    def told_partition(self) -> dict[str, str | None]:
        """Its partition as the log writes it."""
        return {name: None if value is None else _as_text(value) for name, value in self.partition.items()}

    @property
    def first(self) -> int:
        """The place of its first row."""
        return self.number << ROW_BITS

    def known(self, column: str) -> Bounds:
        """What is known of a column."""
        if column in self.partition:
            return Bounds(self.partition[column], self.partition[column])
        return self.bounds.get(column, Bounds())


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def placed_rows(
    config: DeltaConfig, name: str, table: Any, columns: Sequence[Column], keys: Sequence[str]
) -> PlacedRows | None:
    """The rows of a table's version; None when the library has to change the table.

    Args:
        config: The place.
        name: The table.
        table: The library's object, at one version.
        columns: The table's columns after the load.
        keys: The columns whose bounds shall be known.
    """
    with translated(name):
        partitions = list(table.metadata().partition_columns)
        kinds = {column.name: column.type for column in columns}
        feeds = table.metadata().configuration.get("delta.enableChangeDataFeed") == "true"
        have = [column for column in columns if column.name in {field.name for field in table.schema().fields}]
        if feeds or not takes_files(table, have) or not all(can_partition(kinds[each]) for each in partitions):
            return None
        files = _files(table, partitions, keys)
    if any("://" in file.path or file.path.startswith("/") for file in files):
        return None
    return PlacedRows(config, name, columns, files)


def _files(table: Any, partitions: Sequence[str], keys: Sequence[str]) -> list[PlacedFile]:
    import pyarrow as pa

    told = pa.RecordBatchReader.from_stream(table.get_add_actions()).read_all()  # pa.table() would load pandas
    paths, sizes, rows = (told.column(name).to_pylist() for name in ("path", "size_bytes", "num_records"))
    values = {name: _part(told, "partition", name) for name in partitions}
    ends = {key: [_part(told, part, key) for part in ("min", "max", "null_count")] for key in keys}
    return [
        PlacedFile(
            number,
            unquote(paths[place]),
            sizes[place],
            {name: found[place] for name, found in values.items()},
            {
                key: Bounds(low[place], high[place], nulls[place], rows[place])
                for key, (low, high, nulls) in ends.items()
            },
        )
        for number, place in enumerate(sorted(range(len(paths)), key=paths.__getitem__))
    ]


def _part(told: pa.Table, column: str, field: str) -> list[Any]:
    """One field of a column of structs; NULLs where there is none."""
    import pyarrow.compute as pc

    if column not in told.schema.names or told.schema.field(column).type.get_field_index(field) < 0:
        return [None] * told.num_rows
    return list(pc.struct_field(told.column(column), field).to_pylist())


class PlacedRows:
    """Reads the data files of a table's version."""

    def __init__(self, config: DeltaConfig, name: str, columns: Sequence[Column], files: Sequence[PlacedFile]) -> None:
        self._config = config
        self._name = name
        self._types = {column.name: to_arrow(column.type) for column in columns}
        self._footers: dict[int, Any] = {}
        self.files = tuple(files)

    def narrow(self, condition: Condition | None) -> bool:
        """Keep the files that can hold rows of a condition; False when one of them cannot be read here."""
        if condition is not None:
            self.files = tuple(file for file in self.files if condition.may_hold(file.known))
        with ThreadPoolExecutor(1 if self._config.is_local else AT_ONCE) as pool:
            return all(pool.map(self._fits, self.files))

    def _fits(self, file: PlacedFile) -> bool:
        """Whether each column lies in the file in the type that the table says, or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self._config.objects.open(f"{self._name}/{file.path}") as handle:
                parquet = pq.ParquetFile(handle)
                schema, self._footers[file.number] = parquet.schema_arrow, parquet.metadata
        except (OSError, pa.ArrowException):
            return False
        return all(name not in file.partition and self._is_known(schema, name) for name in schema.names)

    def _is_known(self, schema: pa.Schema, name: str) -> bool:
        if name not in self._types:
            return all(name.lower() != known.lower() for known in self._types)
        if schema.names.count(name) > 1:
            return False
        kind = schema.field(name).type
        try:
            return self._types[name] in (kind, to_arrow(from_arrow(kind)))
        except (ValueError, KeyError):
            return False

    # -- reading ----------------------------------------------------------------------------------------------

    def schema(self, names: Iterable[str]) -> pa.Schema:
        """The schema of `rows`: the place, then the columns."""
        import pyarrow as pa

        return pa.schema([(ROW, pa.int64()), *((name, self._types[name]) for name in names)])

    def rows(self, names: Sequence[str], places: Upcoming | None = None) -> Iterator[pa.RecordBatch]:
        """Columns with their places: of all rows, or of those at some places, which are then taken."""
        import numpy as np
        import pyarrow as pa

        schema = self.schema(names)
        for file in self.files:
            for first, batch in self._blocks(file, names, places):
                numbers = _integers(np.arange(first, first + batch.num_rows))
                block = pa.RecordBatch.from_arrays([numbers, *batch.columns], schema=schema)
                if places is None:
                    yield block
                elif found := places.until(first + batch.num_rows):
                    yield block.take(_integers(_numbers(found) - first))

    def rewritten(self, files: Iterable[PlacedFile], changes: Upcoming) -> Iterator[pa.RecordBatch]:
        """The rows of some files as a change leaves them, each changed row near its old place; then the new rows.

        Args:
            files: Those that the change touches, in the order of their places.
            changes: Whole rows by place, with ``ematix_op`` 1 for a row that goes; without a place a new row.
        """
        names = list(self._types)
        for file in files:
            for first, batch in self._blocks(file, names):
                found = changes.until(first + batch.num_rows)
                if not found:
                    yield batch
                    continue
                yield _without(batch, _numbers(found) - first)
                for part in found:
                    yield _staying(part, names)
        for part in changes.rest():
            yield part.select(names)

    def _blocks(
        self, file: PlacedFile, names: Sequence[str], places: Upcoming | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches, each with the place of its first row; row groups without one of the places are left out."""
        import pyarrow.parquet as pq

        first = file.first
        with translated(self._name), self._config.objects.open(f"{self._name}/{file.path}") as handle:
            local = self._config.is_local
            known = self._footers.get(file.number)
            parquet = pq.ParquetFile(
                handle, metadata=known, pre_buffer=not local, buffer_size=BUFFER_BYTES if local else 0
            )
            present = [name for name in names if name in parquet.schema_arrow.names]
            for group in range(parquet.num_row_groups):
                end = first + parquet.metadata.row_group(group).num_rows
                if places is not None and not places.reaches(end):
                    first = end
                    continue
                for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=present):
                    yield first, self._whole(file, batch, names)
                    first += batch.num_rows

    def _whole(self, file: PlacedFile, batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
        """The columns in the table's types; those of the folders, and NULLs for those that the file has not."""
        import pyarrow as pa

        arrays = []
        for name in names:
            kind = self._types[name]
            if name in file.partition:
                arrays.append(pa.repeat(pa.scalar(file.partition[name], kind), batch.num_rows))
            elif name in batch.schema.names:
                array = batch.column(name)
                arrays.append(array if array.type.equals(kind) else array.cast(kind))
            else:
                arrays.append(pa.nulls(batch.num_rows, kind))
        return pa.RecordBatch.from_arrays(arrays, names=list(names))


class Upcoming:
    """Rows in the order of their places, taken bit by bit; rows without a place come last."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = (batch for batch in batches if batch.num_rows)
        self._held = next(self._batches, None)

    def reaches(self, end: int) -> bool:
        """Whether a row lies before a place."""
        return self._held is not None and _place(self._held.column(ROW)[0]) < end

    def until(self, end: int) -> list[pa.RecordBatch]:
        """The rows before a place."""
        found = []
        while (held := self._held) is not None and self.reaches(end):
            rows = bisect.bisect_left(held.column(ROW), end, key=_place)
            found.append(held.slice(0, rows))
            self._held = held.slice(rows) if rows < held.num_rows else next(self._batches, None)
        return found

    def rest(self) -> Iterator[pa.RecordBatch]:
        """The rows that are left."""
        while self._held is not None:
            yield self._held
            self._held = next(self._batches, None)


def _place(scalar: pa.Scalar) -> int:
    return int(scalar.as_py()) if scalar.is_valid else sys.maxsize


# numpy's arrays and arrow's exchange buffers here: pa.array, pa.scalar and to_numpy would load pandas


def _values(column: pa.Array, kind: str) -> Any:
    """A column without NULLs as a numpy array."""
    import numpy as np

    return np.frombuffer(column.buffers()[1], kind)[column.offset : column.offset + len(column)]


def _numbers(batches: Sequence[pa.RecordBatch]) -> Any:
    """The places of some rows."""
    import numpy as np

    return np.concatenate([_values(batch.column(ROW), "int64") for batch in batches])


def _integers(numbers: Any) -> pa.Array:
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])


def _picked(batch: pa.RecordBatch, picked: Any) -> pa.RecordBatch:
    """The rows for which a numpy array of truth values says so."""
    import numpy as np
    import pyarrow as pa

    bits = pa.py_buffer(np.packbits(picked, bitorder="little"))
    return batch.filter(pa.Array.from_buffers(pa.bool_(), batch.num_rows, [None, bits]))


def _without(batch: pa.RecordBatch, rows: Any) -> pa.RecordBatch:
    import numpy as np

    stays = np.ones(batch.num_rows, dtype=bool)
    stays[rows] = False
    return _picked(batch, stays)


def _staying(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """The changed rows, without those that go."""
    return _picked(batch, _values(batch.column(OP), "int8") == 0).select(list(names))
