"""Rows of Parquet files on this machine, by their numbers: any page of a big file at once, in any order.

The footers tell where a row lies. What is filtered or sorted is looked for in the columns that it takes alone, which
gives numbers of rows; the rows of a page are then read by number. The first numbers come from a top-N scan; whoever
goes further gets an index of all numbers, made once an order and kept on disk.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import os
import shutil
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ematix_nb.backends.scratch import scratch_folder
from ematix_nb.declare.data_types import BIGINT
from ematix_nb.declare.spec import Column
from ematix_nb.errors import FlowError

from .sql_rows import SqlRows, table_of
from .stats import SAMPLE_ABOVE, SAMPLE_ROWS
from .where import order_by, where

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.backends.duckdb.io import DuckDBSession
    from ematix_nb.backends.files.scan import LocalParquet

    from .model import Stop
    from .wanted import Wanted

HEAD = 250
"""Row numbers that a top-N scan finds; for more an index is made."""
KEPT = 16
"""Orders and conditions whose numbers are remembered."""
MAX_FILES = 500
MEMORY = "64MB"
THREADS = min(4, os.cpu_count() or 1)
NUMBER = "__row_number__"
_IN_FILE = "file_row_number"
"""DuckDB's name for the number of a row in its file, from 0."""


@dataclass
class _Numbers:
    """What is known of the numbers of the wanted rows, in the wanted order."""

    head: list[int]
    is_whole: bool
    """The head is all of them."""
    index: Path | None = None
    """A Parquet file of all of them."""
    count: int | None = None


@dataclass
class ParquetRows:
    """See `ematix_nb.query.paging.model.Rows`; one request after the other.

    Args:
        plain: The same rows by the file query, which says how the SELECT reads.
        files: In the order of their rows.
        sources: The name of each column in the files.
        folder: Of links to the files and of indexes; removed at the end.
        session: A DuckDB of its own.
    """

    plain: SqlRows
    files: Sequence[LocalParquet]
    sources: tuple[str, ...]
    folder: Path
    session: DuckDBSession
    columns: tuple[Column, ...] = ()
    counts_quickly: bool = True
    _known: dict[Wanted, _Numbers] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _names: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.columns = self.plain.columns
        self.starts = list(itertools.accumulate((file.rows for file in self.files), initial=0))
        self._end = weakref.finalize(self, _remove, self.session, self.folder)

    def select(self, wanted: Wanted) -> str:
        """In the words of a query over files."""
        return self.plain.select(wanted)

    def close(self) -> None:
        """Remove what lies on disk."""
        with self._lock:
            self._end()

    @contextlib.contextmanager
    def _asking(self, stop: Stop) -> Iterator[DuckDBSession]:
        """The session, for one request at a time; the files are what they were."""
        with self._lock:
            stop.check()
            for file in self.files:
                file.check()
            stop.on_cancel(self.session.interrupt)
            try:
                yield self.session
            finally:
                stop.remove(self.session.interrupt)

    def read(self, wanted: Wanted, offset: int, limit: int, stop: Stop) -> pa.Table:
        """By number: neighbours where nothing else is wanted."""
        with self._asking(stop):
            if wanted.conditions or wanted.orders:
                return self._by_number(self._numbers(wanted, offset, limit, stop), stop)
            return self._neighbours(offset, limit, stop)

    def _neighbours(self, offset: int, limit: int, stop: Stop) -> pa.Table:
        batches: list[pa.RecordBatch] = []
        end = min(offset + limit, self.starts[-1])
        for place, start in enumerate(self.starts[:-1]):
            first, last = max(offset, start) - start, min(end, self.starts[place + 1]) - start
            if first < last:
                stop.check()
                which = f"{_IN_FILE} >= {first} AND {_IN_FILE} < {last} ORDER BY {_IN_FILE}"
                batches += self.session.read(f"{self._select(place)} WHERE {which}", self.columns)
        return table_of(batches, self.columns)

    def _select(self, place: int, names: Sequence[str] | None = None, more: str = "") -> str:
        """The columns of one file, under the names of the query."""
        quote = self.session.dialect.quote
        pairs = zip(self.sources, (column.name for column in self.columns), strict=True)
        parts = [f"{quote(source)} AS {quote(name)}" for source, name in pairs if names is None or name in names]
        return f"SELECT {', '.join([*parts, *([more] if more else [])]) or 'NULL'} FROM {self._file(place)}"

    def _file(self, place: int) -> str:
        link = self.session.dialect.literal(str(self.folder / f"{place:08d}.parquet"))
        return f"read_parquet({link}, file_row_number = true, hive_partitioning = false)"

    def _all(self, names: Sequence[str]) -> str:
        """Some columns of all files, with the number of each row."""
        quote = self.session.dialect.quote
        selects = [
            self._select(place, names, f"{_IN_FILE}{f' + {start}' if start else ''} AS {quote(NUMBER)}")
            for place, start in enumerate(self.starts[:-1])
        ]
        return " UNION ALL ".join(selects)

    def _found(self, wanted: Wanted, shown: str) -> str:
        """A query over the rows that are wanted, by the columns that it takes."""
        dialect = self.session.dialect
        takes = {condition.column for condition in wanted.conditions} | {order.column for order in wanted.orders}
        clauses = where(dialect, wanted.conditions, self.columns)
        clauses += order_by(dialect, wanted, self.columns, dialect.quote(NUMBER)) if shown != "count(*)" else ""
        names = [column.name for column in self.columns if column.name in takes]
        return f"SELECT {shown} FROM ({self._all(names)}) AS found{clauses}"

    def _numbers(self, wanted: Wanted, offset: int, limit: int, stop: Stop) -> list[int]:
        """The numbers of a page."""
        known = self._known.get(wanted)
        number = self.session.dialect.quote(NUMBER)
        if known is None:
            order = "" if wanted.orders else f" ORDER BY {number}"
            head = [int(row[0]) for row in self.session.fetch(f"{self._found(wanted, number)}{order} LIMIT {HEAD + 1}")]
            known = _Numbers(head[:HEAD], len(head) <= HEAD, count=len(head) if len(head) <= HEAD else None)
            self._remember(wanted, known)
        if known.is_whole or offset + limit <= len(known.head):
            return known.head[offset : offset + limit]
        stop.check()
        if known.index is None:
            known.index = self._index(wanted)
        link = self.session.dialect.literal(str(known.index))
        which = f"{_IN_FILE} >= {int(offset)} AND {_IN_FILE} < {int(offset + limit)} ORDER BY {_IN_FILE}"
        found = f"SELECT {number} FROM read_parquet({link}, file_row_number = true) WHERE {which}"
        return [int(row[0]) for row in self.session.fetch(found)]

    def _remember(self, wanted: Wanted, known: _Numbers) -> None:
        while len(self._known) >= KEPT:
            oldest = self._known.pop(next(iter(self._known)))
            if oldest.index is not None:
                oldest.index.unlink(missing_ok=True)
        self._known[wanted] = known

    def _index(self, wanted: Wanted) -> Path:
        """Write the numbers of all wanted rows to disk; half a file is no index."""
        path = self.folder / f"index-{next(self._names)}.parquet"
        dialect = self.session.dialect
        number = dialect.quote(NUMBER)
        order = "" if wanted.orders else f" ORDER BY {number}"
        copy = f"COPY ({self._found(wanted, number)}{order}) TO {dialect.literal(str(path))} (FORMAT parquet)"
        self.session.execute("SET threads = 1")  # several sort more at a time than memory has room for
        try:
            self.session.execute(copy)
        except FlowError:
            path.unlink(missing_ok=True)
            raise
        finally:
            self.session.execute(f"SET threads = {THREADS}")
        return path

    def _by_number(self, numbers: Sequence[int], stop: Stop) -> pa.Table:
        """Rows in the order of their numbers."""
        import pyarrow as pa

        by_file: dict[int, list[int]] = {}
        for number in numbers:
            place = bisect.bisect_right(self.starts, number) - 1
            by_file.setdefault(place, []).append(number - self.starts[place])
        columns = (*self.columns, Column(NUMBER, BIGINT))
        batches: list[pa.RecordBatch] = []
        for place, inside in by_file.items():
            stop.check()
            select = self._select(
                place, more=f"{_IN_FILE} + {self.starts[place]} AS {self.session.dialect.quote(NUMBER)}"
            )
            wanted = ", ".join(map(str, inside))
            batches += self.session.read(f"{select} WHERE {_IN_FILE} IN ({wanted})", columns)
        found = table_of(batches, columns)
        places = {number: place for place, number in enumerate(found[NUMBER].to_pylist())}
        order = pa.array([places[number] for number in numbers], pa.int64())
        return found.drop_columns([NUMBER]).take(order)

    def count(self, wanted: Wanted, stop: Stop) -> int:
        """By the footers; with conditions by the columns that they take."""
        with self._asking(stop):
            if not wanted.conditions:
                return self.starts[-1]
            known = self._known.get(wanted)
            if known is not None and known.count is not None:
                return known.count
            found = int(self.session.fetch(self._found(wanted, "count(*)"))[0][0])
            if known is not None:
                known.count = found
            return found

    def values(self, wanted: Wanted, column: str, total: int, stop: Stop) -> Generator[pa.Array, None, None]:
        """Of very many rows the first of each row group, or with conditions every so many: the same each time."""
        if total > SAMPLE_ABOVE and not wanted.conditions:
            yield from self._heads(column, stop)
            return
        place = next(place for place, each in enumerate(self.columns) if each.name == column)
        kind = self.columns[place]
        dialect = self.session.dialect
        takes = {column, *(condition.column for condition in wanted.conditions)}
        names = [each.name for each in self.columns if each.name in takes]
        clauses = where(dialect, wanted.conditions, self.columns)
        if total > SAMPLE_ABOVE:
            clauses += f" AND {dialect.quote(NUMBER)} % {-(-total // SAMPLE_ROWS)} = 0"
        with self._asking(stop) as session:
            sql = f"SELECT {dialect.quote(column)} FROM ({self._all(names)}) AS found{clauses}"
            for batch in session.read(sql, (kind,)):
                yield batch.column(0)

    def _heads(self, column: str, stop: Stop) -> Iterator[pa.Array]:
        """The first values of each row group, as many of each hundred as of every other."""
        import pyarrow.parquet as pq

        from ematix_nb.declare.data_types import to_arrow

        place = next(place for place, each in enumerate(self.columns) if each.name == column)
        arrow = to_arrow(self.columns[place].type)
        share = SAMPLE_ROWS / self.starts[-1]
        for file in self.files:
            file.check()
            with pq.ParquetFile(file.path) as opened:
                for group in range(opened.num_row_groups):
                    stop.check()
                    rows = max(1, round(opened.metadata.row_group(group).num_rows * share))
                    batches = opened.iter_batches(rows, row_groups=[group], columns=[self.sources[place]])
                    if (batch := next(batches, None)) is not None:
                        values = batch.column(0)
                        yield values if values.type.equals(arrow) else values.cast(arrow)


def _remove(session: DuckDBSession, folder: Path) -> None:
    session.close()
    shutil.rmtree(folder, ignore_errors=True)


def parquet_rows(plain: SqlRows) -> ParquetRows | None:
    """Rows by number, where a query only picks columns of Parquet files on this machine that DuckDB reads as we do."""
    session = plain.opener()
    try:
        picked = session.picked(plain.sql) if hasattr(session, "picked") else None
        relation, pairs = picked or (None, ())
        files = relation.local_parquet() if relation is not None and hasattr(relation, "local_parquet") else ()
    finally:
        session.close()
    sources = tuple(source for source, _ in pairs)
    if not files or len(files) > MAX_FILES or not _distinct((*sources, NUMBER, _IN_FILE)):
        return None
    return _opened(plain, files, sources)


def _opened(plain: SqlRows, files: Sequence[LocalParquet], sources: tuple[str, ...]) -> ParquetRows | None:
    from ematix_nb.backends.duckdb.config import MEMORY as IN_MEMORY
    from ematix_nb.backends.duckdb.config import Settings
    from ematix_nb.backends.duckdb.io import DuckDBSession

    folder = Path(scratch_folder("preview"))
    session = DuckDBSession(
        Settings(name=plain.dialect.name, path=IN_MEMORY, allow_external=True, spill_folder=str(folder))
    )
    found = ParquetRows(plain, files, sources, folder, session)
    session.execute(f"SET memory_limit = '{MEMORY}'")
    session.execute("SET preserve_insertion_order = false")  # every query here says its own order
    session.execute(f"SET threads = {THREADS}")
    for place, file in enumerate(files):
        (folder / f"{place:08d}.parquet").symlink_to(file.path)
    try:
        same = all(session.describe(found._select(place)) == _nullable(plain.columns) for place in range(len(files)))  # noqa: SLF001 - its own maker
    except FlowError:
        same = False
    if not same:
        found.close()
        return None
    return found


def _nullable(columns: Sequence[Column]) -> tuple[Column, ...]:
    return tuple(Column(column.name, column.type) for column in columns)


def _distinct(names: Sequence[str]) -> bool:
    """Whether names differ by more than capital letters: DuckDB holds those for one."""
    return len({name.lower() for name in names}) == len(names)
