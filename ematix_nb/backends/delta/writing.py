"""Streams of batches into Parquet files that no table names yet.

The library writes in a thread of its own; the batches are made in the caller's thread, which therefore hears an
interrupt at once, and reads sources that belong to one thread.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ematix_nb.backends.files.dialect import can_partition
from ematix_nb.backends.files.repeats import rarely_repeated
from ematix_nb.errors import CancelledError, DataError, DeclarationError, known_names

from .capabilities import COMPRESSIONS, EXACT_DIGITS, LOG, ROW_GROUP_ROWS
from .dialect import arrow_schema
from .errors import translated

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column

    from .config import DeltaConfig

BATCH_ROWS = 8192
"""Rows handed over at once: the library keeps more than ten batches waiting, however large they are."""
AHEAD = 2
"""Batches that wait for the library."""
WAIT_SECONDS = 0.1
_END = object()


@dataclass(frozen=True)
class Staged:
    """Files of one run, in a folder of the run below the table."""

    folder: str
    """Relative to the table."""
    adds: tuple[Any, ...]
    """What a commit has to add."""
    rows: int


def run_folder(run_id: str) -> str:
    """The folder of one run's files."""
    from urllib.parse import quote

    return f"part-{quote(run_id, safe='').replace('%', '_')}"


def check_partitions(names: Sequence[str], columns: Sequence[Column]) -> None:
    """Refuse partition columns that are not there, or whose values cannot be told apart as text.

    Raises:
        DeclarationError: Names the column.
    """
    kinds = {column.name: column.type for column in columns}
    for name in names:
        if name not in kinds:
            message = f"`partition_by` names `{name}`, which is not a column"
            raise DeclarationError(message, known_names(name, kinds, "columns"))
        if not can_partition(kinds[name]):
            message = f"`partition_by`: values of `{name}` ({kinds[name]}) cannot be folder names"
            raise DeclarationError(message, "partition by text, whole numbers, dates or truth values")
    if names and len(names) >= len(kinds):
        message = "`partition_by` names every column; nothing is left for the files"
        raise DeclarationError(message, "leave one column out of it")


def stage(
    config: DeltaConfig, thing: str, columns: Sequence[Column], batches: Iterable[pa.RecordBatch], folder: str
) -> Staged:
    """Write the batches below the table, where no reader sees them.

    Raises:
        DataError: When a value cannot be written exactly.
    """
    schema = arrow_schema(columns)
    check_partitions(config.partition_by, columns)
    counted = _Checked(batches, schema, config.partition_by)
    rows = iter(counted)
    first = list(itertools.islice(rows, 1))
    plain = rarely_repeated(first[0]) if first else frozenset()
    options = {
        "partition_by": list(config.partition_by) or None,
        "storage_options": dict(config.storage) or None,
        "writer_properties": writer_properties(config, plain),
        "mode": "overwrite",
    }
    write(
        thing,
        config.uri(f"{thing}/{folder}"),
        schema,
        itertools.chain(first, rows),
        options,
    )
    adds = _adds(config, thing, folder, columns)
    for add in adds:
        config.objects.sync(f"{thing}/{add.path}")
    return Staged(folder, tuple(adds), counted.rows)


def writer_properties(config: DeltaConfig, plain: Collection[str] = ()) -> Any:
    """How the library writes Parquet; ``plain`` columns get no dictionary."""
    from deltalake import ColumnProperties, WriterProperties

    compression: Any = COMPRESSIONS[config.parquet_compression]
    columns = {name: ColumnProperties(dictionary_enabled=False) for name in sorted(plain)}
    return WriterProperties(
        compression=compression, max_row_group_size=ROW_GROUP_ROWS, column_properties=columns or None
    )


class _Checked:
    """Batches in the table's schema, counted; an empty text is refused as a partition: readers take it for NULL."""

    def __init__(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, partitions: Sequence[str]) -> None:
        self._batches = batches
        self._schema = schema
        self._partitions = [name for name in partitions if schema.field(name).type == "string"]
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.compute as pc

        for batch in self._batches:
            if not batch.num_rows:
                continue
            for name in self._partitions:
                found = pc.index(batch.column(name), "").as_py()
                if found >= 0:
                    message = f"column `{name}`, row {self.rows + found + 1}: an empty text cannot name a partition"
                    raise DataError(message, "make it NULL or another text in the SELECT, or do not partition by it")
            self.rows += batch.num_rows
            whole = pa.RecordBatch.from_arrays(batch.columns, schema=self._schema)
            yield from (whole.slice(first, BATCH_ROWS) for first in range(0, whole.num_rows, BATCH_ROWS))


def write(
    thing: str, uri: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], options: Mapping[str, Any]
) -> None:
    """Have the library write a stream, in a thread of its own; stops it when the caller is interrupted.

    What goes wrong while a batch is made is raised as it is; what the library raises as an error of ours.
    """
    import pyarrow as pa
    from deltalake import write_deltalake

    waiting: queue.Queue[Any] = queue.Queue(AHEAD)
    failures: list[BaseException] = []

    def feed() -> Iterator[pa.RecordBatch]:
        while (item := waiting.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item

    def work() -> None:
        try:
            write_deltalake(uri, pa.RecordBatchReader.from_batches(schema, feed()), **options)
        except BaseException as exc:  # noqa: BLE001 - handed over to the caller's thread
            failures.append(exc)

    thread = threading.Thread(target=work, name="ematix-nb-delta-write", daemon=True)
    thread.start()
    try:
        for item in batches:
            _put(waiting, item, thread)
        _put(waiting, _END, thread)
        while thread.is_alive():
            thread.join(WAIT_SECONDS)
    except BaseException:
        _stop(waiting, thread)
        raise
    if failures:
        with translated(thing):
            raise failures[0]


def _put(waiting: queue.Queue[Any], item: Any, thread: threading.Thread) -> None:
    """Hand over an item; gives up when the library has stopped reading."""
    while thread.is_alive():
        try:
            waiting.put(item, timeout=WAIT_SECONDS)
        except queue.Full:
            continue
        return


def _stop(waiting: queue.Queue[Any], thread: threading.Thread) -> None:
    while thread.is_alive():
        try:
            waiting.put_nowait(CancelledError("the run was stopped"))
        except queue.Full:
            with contextlib.suppress(queue.Empty):  # the library may have taken it meanwhile
                waiting.get_nowait()
        thread.join(WAIT_SECONDS)


def _adds(config: DeltaConfig, thing: str, folder: str, columns: Sequence[Column]) -> list[Any]:
    """The files as the library's own commit of them tells: names, sizes, partitions, bounds."""
    from deltalake.transaction import AddAction

    log = f"{thing}/{folder}/{LOG}"
    wide = {c.name for c in columns if c.type.kind == "numeric" and (c.type.precision or 0) > EXACT_DIGITS}
    adds = []
    for name in config.objects.files(log):
        for line in (config.objects.read(f"{log}/{name}") or b"").splitlines():
            found = json.loads(line).get("add") if name.endswith(".json") else None
            if found is not None:
                adds.append(
                    AddAction(
                        path=f"{folder}/{unquote(found['path'])}",
                        size=found["size"],
                        partition_values=found["partitionValues"],
                        modification_time=found["modificationTime"],
                        data_change=True,
                        stats=_bounds(found["stats"], wide),
                    )
                )
    return adds


def _bounds(stats: str, wide: set[str]) -> str:
    """The statistics of a file without the bounds of wide decimals: they are rounded, and would hide rows."""
    found = json.loads(stats)
    for part in ("minValues", "maxValues"):
        found[part] = {name: value for name, value in found.get(part, {}).items() if name not in wide}
    return json.dumps(found)
