"""Files that form one table: their common schema, and how DataFusion reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import FileScan
from ematix_nb.backends.pump import pumped
from ematix_nb.backends.scratch import scratch_folder
from ematix_nb.declare.data_types import TEXT, DataType, from_arrow, to_arrow
from ematix_nb.declare.spec import Column
from ematix_nb.errors import SchemaDriftError, TransientError

from . import csv_files, jsonl_files, orc_files, parquet_files
from .conditions import Bounds
from .counts import estimate_rows
from .streams import quoted, register_stream
from .texts import guess
from .widen import restored, wider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from .conditions import Condition
    from .config import FileConfig
    from .paths import DataFile

ASKED_AT_ONCE = 8
LARGE_BYTES = 4 << 20
"""Files of this size are decoded by a thread, ahead of what becomes of their rows."""
AHEAD = 1
"""Batches that may wait for their turn."""
_FORMATS: dict[str, Any] = {"parquet": parquet_files, "csv": csv_files, "jsonl": jsonl_files, "orc": orc_files}


@dataclass(frozen=True)
class CheckedScan(FileScan):
    """A scan that can tell afterwards what went wrong."""

    narrow: Callable[[Condition | None], None] = lambda _: None
    """Tells what the rows of the next reading have to meet; what cannot hold such rows is not fetched."""
    check: Callable[[bool], None] = lambda _: None
    """Call when the read has ended (False) or failed (True).

    Raises:
        DataError: The precise error of a file, which the engine only passed on as text.
        TransientError: A file changed while it was read.
    """
    local_parquet: Callable[[], tuple[LocalParquet, ...]] = lambda: ()
    """The files, when all are Parquet on this machine with these very columns and no folders that stand for more."""


@dataclass(frozen=True)
class LocalParquet:
    """A Parquet file on this machine."""

    path: Path
    rows: int
    check: Callable[[], None]
    """Raises a TransientError when the file is another one than when it was looked at."""


@dataclass
class _Reading:
    """What a scan remembers from its making to its check."""

    files: list[DataFile]
    names: dict[str, tuple[str, ...]]
    """File name -> its own columns, in its order."""
    columns: tuple[Column, ...]
    config: FileConfig
    condition: Condition | None = None
    failure: Exception | None = None
    opened: bool = False


def make_scan(
    files: list[DataFile],
    declared: tuple[Column, ...] | None,
    config: FileConfig,
    skipped: Sequence[str],
    keep: Callable[[str], None],
) -> CheckedScan:
    """Join files to one table.

    Args:
        files: Of one format, in the order in which they are read.
        declared: Columns that the manifest or the user declares; they lead and fix the types.
        config: How text files are written.
        skipped: Files that were left out.
        keep: Takes the folders of links that DataFusion reads through, to remove them when the session closes.

    Raises:
        SchemaDriftError: When two files have a column with types that no type holds both of.
        DataError: When a file cannot be read.
    """
    hints = {column.name: column.type for column in declared or ()}
    partitions = _partitions(files, hints)
    found: dict[str, tuple[DataType, pa.DataType, str]] = {
        c: (t, to_arrow(t), "the manifest") for c, t in hints.items()
    }
    names = {}
    kinds: list[dict[str, DataType]] = []
    for file, inside in zip(files, _all_columns(files, hints, config), strict=True):
        names[file.name] = tuple(inside)
        kinds.append(inside)
        for name, kind in inside.items():
            if name not in partitions:
                found[name] = _join(name, kind, file.name, found.get(name))
    for name, kind in partitions.items():
        found[name] = (kind, to_arrow(kind), "")
    nullable = {column.name: column.nullable for column in declared or ()}
    columns = tuple(Column(name, kind, nullable.get(name, True)) for name, (kind, _, _) in found.items())
    reading = _Reading(files, names, columns, config)

    def register(context: Any, name: str) -> None:
        reading.opened = True
        _register(context, name, reading, tuple(partitions), keep)

    def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
        reading.opened = True
        return _stream(reading, names)

    return CheckedScan(
        columns,
        tuple(file.name for file in files),
        register,
        batches,
        tuple(skipped),
        lambda: estimate_rows(files, config),
        lambda condition: setattr(reading, "condition", condition),
        lambda failed: _check(reading, failed=failed),
        lambda: _local_parquet(reading, kinds),
    )


def _local_parquet(reading: _Reading, kinds: Sequence[Mapping[str, DataType]]) -> tuple[LocalParquet, ...]:
    wanted = {column.name: column.type for column in reading.columns}
    for file, inside in zip(reading.files, kinds, strict=True):
        if file.format != "parquet" or file.path is None or file.partition or dict(inside) != wanted:
            return ()
    return tuple(
        LocalParquet(file.path, parquet_files.count(file.path), partial(_check_same, file))
        for file in reading.files
        if file.path is not None
    )


def _all_columns(
    files: list[DataFile], hints: Mapping[str, DataType], config: FileConfig
) -> Iterator[dict[str, DataType]]:
    """The columns of each file; files that lie elsewhere are asked several at a time."""
    if all(file.path is not None for file in files):
        yield from (_columns_of(file, hints, config) for file in files)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        yield from pool.map(lambda file: _columns_of(file, hints, config), files)


def _columns_of(file: DataFile, hints: Mapping[str, DataType], config: FileConfig) -> dict[str, DataType]:
    """The columns of one file; where a text file does not tell types, the declared ones count."""
    if file.format == "csv" and hints:
        own = csv_files.header(file, config)
        if not config.csv_header:
            unnamed = [name for name in hints if name not in dict(file.partition)]
            own = tuple(unnamed[: len(own)]) if len(unnamed) >= len(own) else own
        if all(name in hints for name in own):
            return {name: hints[name] for name in own}
        return {**csv_files.infer(file, config), **{name: hints[name] for name in own if name in hints}}
    if file.format == "jsonl" and hints:
        inside = {name: kind for name, kind in hints.items() if name not in dict(file.partition)}
        return inside if jsonl_files.keys(file) <= set(inside) else {**jsonl_files.infer(file, config), **inside}
    columns: dict[str, DataType] = _FORMATS[file.format].infer(file, config)
    return columns


def _join(
    name: str, kind: DataType, file: str, before: tuple[DataType, pa.DataType, str] | None
) -> tuple[DataType, pa.DataType, str]:
    arrow = to_arrow(kind)
    if before is None:
        return kind, arrow, file
    known, known_arrow, origin = before
    if known == kind:
        return before
    common = wider(known_arrow, arrow)
    if common is None:
        message = f"column `{name}` is {known} in {origin} and {kind} in {file}"
        raise SchemaDriftError(
            message, "write one of them again with the other's type, or read them by separate patterns"
        )
    if common.equals(known_arrow):
        return before
    return restored(kind, common) if common.equals(arrow) else from_arrow(common), common, file


def _partitions(files: list[DataFile], hints: Mapping[str, DataType]) -> dict[str, DataType]:
    """The columns that folders stand for: whole numbers or dates when every value is one, else text."""
    if not files:
        return {}
    keys = tuple(name for name, _ in files[0].partition)
    for file in files:
        if tuple(name for name, _ in file.partition) != keys:
            other = "/".join(name for name, _ in file.partition) or "no partition folders"
            message = (
                f"{files[0].name} lies in folders {'/'.join(keys) or 'without partitions'}, {file.name} in {other}"
            )
            raise SchemaDriftError(message, "read them by separate patterns")
    found = {}
    for name in keys:
        values = {dict(file.partition)[name] for file in files}
        kind = hints.get(name) or guess([value for value in values if value is not None])
        found[name] = kind if name in hints or kind.kind in ("bigint", "date") else TEXT
    return found


def _register(
    context: Any, name: str, reading: _Reading, partitions: tuple[str, ...], keep: Callable[[str], None]
) -> None:
    import pyarrow as pa

    schema = pa.schema([(column.name, to_arrow(column.type)) for column in reading.columns])
    if not reading.files:
        empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
        context.register_record_batches(quoted(name), [[empty]])
    elif reading.files[0].format == "parquet" and all(file.path is not None for file in reading.files):
        _register_parquet(context, name, reading, schema, partitions, keep)
    else:
        register_stream(context, name, schema, lambda columns: _stream(reading, columns))


def _register_parquet(
    context: Any,
    name: str,
    reading: _Reading,
    schema: pa.Schema,
    partitions: tuple[str, ...],
    keep: Callable[[str], None],
) -> None:
    """DataFusion reads a folder of links in our order: exactly these files, whatever their names hold."""
    import pyarrow as pa

    tree = scratch_folder("scan")
    keep(tree)
    inside = pa.schema([field for field in schema if field.name not in partitions])
    groups: dict[tuple[tuple[str, str | None], ...], list[Path]] = {}
    for file in reading.files:
        if file.path is not None:
            groups.setdefault(file.partition, []).append(file.path)
    selects = []
    for number, (partition, paths) in enumerate(groups.items()):
        folder = Path(tree) / f"{number:06d}"
        folder.mkdir()
        for index, path in enumerate(paths):
            (folder / f"{index:08d}.parquet").symlink_to(path)
        table = name if not partitions else f"__part_{number}_{name.strip(chr(34))}".replace('"', "'")
        context.register_parquet(quoted(table), f"{folder}/", schema=inside, file_extension=".parquet")
        selects.append(_partition_select(table, dict(partition), reading.columns))
    if partitions:
        context.register_view(quoted(name), context.sql("\nUNION ALL\n".join(selects)))


def _partition_select(table: str, values: Mapping[str, str | None], columns: Sequence[Column]) -> str:
    """A partition with the values of its folders as columns: a filter on them drops whole partitions."""
    parts = []
    for column in columns:
        label = '"' + column.name.replace('"', '""') + '"'
        if column.name not in values:
            parts.append(label)
            continue
        value = values[column.name]
        text = "NULL" if value is None else "'" + value.replace("'", "''") + "'"
        arrow = {"string": "Utf8", "date32[day]": "Date32", "bool": "Boolean"}.get(
            str(to_arrow(column.type)), str(to_arrow(column.type)).capitalize().replace("Uint", "UInt")
        )
        parts.append(f"arrow_cast({text}, '{arrow}') AS {label}")
    return f"SELECT {', '.join(parts)} FROM {quoted(table)}"


def _stream(reading: _Reading, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The files one after the other."""
    try:
        wanted = [file for file in reading.files if _may_hold(reading, file)]
        for file in wanted:
            yield from _stream_file(reading, file, columns)
    except Exception as exc:
        # whatever it is: DataFusion keeps only its text, so it is remembered for the check after the read
        reading.failure = exc
        raise


def _may_hold(reading: _Reading, file: DataFile) -> bool:
    """Whether a file can hold rows that are wanted, by the values of its folders."""
    if reading.condition is None:
        return True
    import pyarrow as pa

    kinds = {column.name: column.type for column in reading.columns}
    folders = dict(file.partition)

    def known(name: str) -> Bounds:
        if name not in folders:
            return Bounds()
        value = pa.array([folders[name]], pa.string()).cast(to_arrow(kinds[name]))[0].as_py()
        return Bounds(value, value, nulls=int(value is None), rows=1)

    return reading.condition.may_hold(known)


def _stream_file(reading: _Reading, file: DataFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    kinds = {column.name: column.type for column in reading.columns}
    folders = dict(file.partition)
    wanted = {name: kinds[name] for name in columns if name not in folders}
    own = replace(reading.config, format=file.format)
    schema = pa.schema([(name, to_arrow(kinds[name])) for name in columns])
    more = {"condition": reading.condition} if file.format == "parquet" else {}
    read = partial(_FORMATS[file.format].read, file, wanted, reading.names[file.name], own, **more)
    large = file.entry.size >= LARGE_BYTES
    for batch in pumped([read], [_nothing], AHEAD) if large else read():
        if not columns:
            yield batch
            continue
        arrays = []
        for name in columns:
            if name in folders:
                value = pa.array([folders[name]], pa.string()).cast(to_arrow(kinds[name]))[0]
                arrays.append(pa.repeat(value, batch.num_rows))
            else:
                arrays.append(batch.column(name))
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _nothing() -> None:
    """A file needs no waking: its reader ends with the batch that it is at."""


def _check(reading: _Reading, *, failed: bool) -> None:
    if isinstance(reading.failure, FileNotFoundError):
        message = f"a file went away while it was read: {reading.failure}"
        raise TransientError(message, "run again") from reading.failure
    if reading.failure is not None:
        raise reading.failure
    if not reading.opened:
        return
    for file in reading.files:
        if file.path is None:  # every part that was read is known to be of the content that the scan saw
            continue
        _check_same(file)
        if failed and file.format == "parquet":
            parquet_files.check_rows(file)


def _check_same(file: DataFile) -> None:
    try:
        same = file.storage.stat(file.entry.name) == file.entry
    except FileNotFoundError as exc:
        message = f"file {file.name} went away while it was read"
        raise TransientError(message, "run again") from exc
    if not same:
        message = f"file {file.name} changed while it was read"
        raise TransientError(message, "run again; write new files under new names")
