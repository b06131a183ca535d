"""Writing hidden, finished files beside a target."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ematix_nb.backends.base import Verdict
from ematix_nb.backends.disk import NO_SPACE
from ematix_nb.declare.data_types import to_arrow
from ematix_nb.errors import DataError, DeclarationError, RunError, TransientError, known_names
from ematix_nb.words import counted

from . import csv_files, jsonl_files, orc_files, parquet_files
from .capabilities import ENDINGS
from .dialect import can_partition, store
from .paths import partition_folder, real_name
from .storage import META

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column

    from .config import FileConfig
    from .storage import Storage, Upload

_FORMATS: dict[str, Any] = {"parquet": parquet_files, "csv": csv_files, "jsonl": jsonl_files, "orc": orc_files}
_STAGED = re.compile(r"\.part-(?P<run>.+)-\d{5}\.[a-z.]+\.tmp")


def run_name(run_id: str) -> str:
    """A run's id as part of a file name."""
    return quote(run_id, safe="") or "run"


@dataclass
class _Part:
    """A file that is being written."""

    name: str
    """Final name, relative to the target."""
    stream: Upload
    writer: Any
    rows: int = 0


class Stager:
    """Writes the batches of one run to hidden files of one target."""

    def __init__(
        self, storage: Storage, target: str, columns: Sequence[Column], config: FileConfig, run_id: str
    ) -> None:
        self._storage = storage
        self._target = target
        self._columns = tuple(columns)
        self._config = config
        self._run = run_name(run_id)
        self._next = 0
        self._open: dict[str, _Part] = {}
        self.names: list[str] = []
        self._check_columns()
        self._inside = tuple(column for column in self._columns if column.name not in config.partition_by)

    def _check_columns(self) -> None:
        by_name = {column.name: column for column in self._columns}
        for name in self._config.partition_by:
            if name not in by_name:
                message = f"`partition_by` names `{name}`, which is not a column"
                raise DeclarationError(message, known_names(name, by_name, "columns"))
            if not can_partition(by_name[name].type):
                message = f"`partition_by`: values of `{name}` ({by_name[name].type}) cannot be folder names"
                raise DeclarationError(message, "partition by text, whole numbers, dates or truth values")
        if len(self._config.partition_by) >= len(self._columns) > 0:
            message = "`partition_by` names every column; nothing is left for the files"
            raise DeclarationError(message, "leave one column out of it")
        for column in self._columns:
            found = store(column.type, self._config.format)
            if found.verdict is Verdict.REFUSED:
                message = (
                    f"column `{column.name}` ({column.type}) cannot be written to {self._config.format}: {found.reason}"
                )
                raise DataError(message, "choose another format, or cast the column")

    def write(self, batches: Iterable[pa.RecordBatch]) -> list[str]:
        """Write all batches; the final names of the files, in order.

        Raises:
            TransientError: When the disk is full.
        """
        try:
            for batch in batches:
                if batch.num_rows:
                    self._write(batch)
            for folder in list(self._open):
                self._finish(folder)
        except OSError as exc:
            self._give_up()
            if exc.errno in NO_SPACE:
                message = f"no space left for staging in `{self._target}`; the target is unchanged"
                raise TransientError(message, "make room and run again") from exc
            message = f"cannot write to `{self._target}`: {exc.strerror or exc}"
            raise RunError(message, "check the rights on the folder") from exc
        except BaseException:
            self._give_up()  # also for an interrupt: nothing half-written stays open
            raise
        self._storage.settle({f"{self._target}/{name}".rpartition("/")[0] for name in self.names})
        return self.names

    def _write(self, batch: pa.RecordBatch) -> None:
        for column, field in zip(self._columns, batch.schema, strict=True):
            if column.name != field.name or not field.type.equals(to_arrow(column.type)):
                message = (
                    f"batch column `{field.name}` is {field.type}, expected `{column.name}` as {to_arrow(column.type)}"
                )
                raise RunError(message, "this is an error of the program: please report it")
        for folder, rows in self._split(batch):
            for piece in self._pieces(folder, rows):
                part = self._open.get(folder) or self._start(folder)
                part.writer.write(piece)
                part.rows += piece.num_rows
                if self._is_full(part):
                    self._finish(folder)

    def _pieces(self, folder: str, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Cut a batch where a file has its number of rows."""
        limit = self._config.target_file_rows
        at = 0
        while at < rows.num_rows:
            part = self._open.get(folder)
            room = rows.num_rows if limit is None else limit - (part.rows if part else 0)
            yield rows.slice(at, room)
            at += room

    def _is_full(self, part: _Part) -> bool:
        limit = self._config.target_file_rows
        return (limit is not None and part.rows >= limit) or part.stream.tell() >= self._config.target_file_bytes

    def _split(self, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The rows of each partition without the columns that its folder stands for."""
        import pyarrow as pa
        import pyarrow.compute as pc

        keys = self._config.partition_by
        names = [column.name for column in self._inside]
        if not keys:
            yield "", batch
            return
        table = pa.table({name: batch.column(name) for name in keys})
        table = table.append_column("__row", pa.array(range(batch.num_rows), pa.int64()))
        groups = table.group_by(list(keys), use_threads=False).aggregate([("__row", "list")])
        for group in groups.to_pylist():
            values = tuple((name, None if group[name] is None else _text(group[name])) for name in keys)
            rows = pa.array(group["__row_list"], pa.int64())
            yield partition_folder(values), pc.take(batch.select(names), rows)

    def _start(self, folder: str) -> _Part:
        if len(self._open) >= self._storage.open_at_once:
            self._finish(next(iter(self._open)))
        ending = ENDINGS[self._config.format][0]
        while True:
            name = f"{folder}/" if folder else ""
            name += f"part-{self._run}-{self._next:05d}{ending}"
            self._next += 1
            if not self._is_there(f"{self._target}/{name}"):
                break
        stream = self._storage.upload(self._hidden(name))
        part = _Part(name, stream, None)
        self._open[folder] = part
        self.names.append(name)
        part.writer = _FORMATS[self._config.format].Writer(stream, self._inside, self._config)
        return part

    def _finish(self, folder: str) -> None:
        part = self._open.pop(folder)
        try:
            part.writer.close()
            part.stream.close()
        except BaseException:
            part.stream.abort()
            raise
        self._check(part)

    def _is_there(self, name: str) -> bool:
        try:
            self._storage.stat(name)
        except FileNotFoundError:
            return False
        return True

    def _hidden(self, name: str) -> str:
        return f"{self._target}/{real_name(name, hidden=True)}"

    def _check(self, part: _Part) -> None:
        """What was written is there: all its bytes, and of a file on this machine the rows that its footer tells."""
        path = self._storage.path(self._hidden(part.name))
        if path is None:
            size = self._storage.stat(self._hidden(part.name)).size
            if size != part.stream.tell():
                message = f"{part.name} has {size} bytes after writing {part.stream.tell()}"
                raise TransientError(message, "run again")
        elif hasattr(_FORMATS[self._config.format], "count"):
            rows = _FORMATS[self._config.format].count(path)
            if rows != part.rows:
                message = f"{part.name} holds {counted(rows, 'row')} after writing {part.rows}"
                raise RunError(message, "run again")

    def _give_up(self) -> None:
        """Remove what can be removed: the error that made it necessary counts."""
        with contextlib.suppress(Exception):
            self.abandon()

    def abandon(self) -> None:
        """Close and remove everything."""
        for part in self._open.values():
            part.stream.abort()
        self._storage.delete([self._hidden(name) for name in self.names], self._target)
        self._open, self.names = {}, []


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def staged(storage: Storage, target: str) -> dict[str, list[str]]:
    """Run name -> final names of its hidden files."""
    found: dict[str, list[str]] = {}
    for entry in storage.entries(target):
        folder, slash, file = entry.name.removeprefix(f"{target}/").rpartition("/")
        match = _STAGED.fullmatch(file)
        if match and META not in folder.split("/"):
            found.setdefault(match["run"], []).append(f"{folder}{slash}{file[1:-4]}")
    return found
