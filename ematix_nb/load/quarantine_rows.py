"""The rows in the quarantine of one target: looked at, taken out again."""

from __future__ import annotations

import collections
import contextlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import Manifest
from ematix_nb.backends.registry import backend_for
from ematix_nb.connections import resolve
from ematix_nb.declare.data_types import TEXT, UUID
from ematix_nb.declare.spec import TableRef
from ematix_nb.errors import ConflictError, DataError, LockedError
from ematix_nb.load.conversions import caster
from ematix_nb.load.quarantine import (
    COLUMNS,
    KEPT_RUNS,
    TRIES,
    beside,
    check_columns,
    stored_columns,
    table_beside,
)
from ematix_nb.load.targets import file_thing, state_store, target_ref
from ematix_nb.words import counted

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column, PipelineSpec, TargetSpec
    from ematix_nb.state.model import StateStore

Key = tuple[str, int]
"""Run and number of a row."""
REPLAYED = "replayed"
"""Where the history of a run keeps the rows that it loaded out of a quarantine."""
AT_ONCE = 500
"""Row numbers in one statement."""


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """One row that was not loaded."""

    run_id: str
    quarantined_at: dt.datetime
    row_number: int
    reason: str
    source_row: str
    """The row as a JSON object."""

    @property
    def key(self) -> Key:
        """What tells it from all others of its pipeline."""
        return self.run_id, self.row_number


def remove_keys(session: Any, ref: TableRef, pipeline: str, keys: Sequence[Key]) -> None:
    """Delete rows of a pipeline from a table of rows in quarantine, in the open transaction.

    Raises:
        DataError: Some of them are not there any more.
    """
    dialect = session.dialect
    by_run: dict[str, list[int]] = collections.defaultdict(list)
    for run, number in keys:
        by_run[run].append(number)
    for run, numbers in by_run.items():
        for start in range(0, len(numbers), AT_ONCE):
            some = numbers[start : start + AT_ONCE]
            listed = ", ".join(str(int(number)) for number in some)
            mine = f"{_of(dialect, pipeline, run)} AND {dialect.quote('row_number')} IN ({listed})"
            gone = session.execute(f"DELETE FROM {dialect.table(ref)} WHERE {mine}")
            if gone not in (-1, len(some)):
                message = f"`{ref}` was changed meanwhile: {counted(len(some) - gone, 'row')} of run {run} left it"
                raise DataError(message, "look at it again with `flow quarantine list`; nothing was loaded")


def _of(dialect: Any, pipeline: str, run: str | None) -> str:
    """The condition for the rows of a pipeline, or of one run of it."""
    mine = f"{dialect.quote('pipeline')} = {dialect.literal(pipeline, TEXT)}"
    return mine if run is None else f"{mine} AND {dialect.quote('run_id')} = {dialect.literal(run, UUID)}"


def as_ranges(keys: Sequence[Key]) -> dict[str, list[list[int]]]:
    """Rows by run, neighbours as one range of their first and last number: short enough for a history.

    Example:
        >>> as_ranges([("a", 1), ("a", 2), ("b", 9), ("a", 7)])
        {'a': [[1, 2], [7, 7]], 'b': [[9, 9]]}
    """
    found: dict[str, list[list[int]]] = {}
    for run, number in sorted(keys):
        ranges = found.setdefault(run, [])
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return found


def replayed(state: StateStore, pipeline: str) -> set[Key]:
    """The rows that committed runs loaded out of a quarantine beside a target without SQL."""
    runs = (run for run in state.history(pipeline, KEPT_RUNS) if run.status == "success")
    return {
        (origin, number)
        for run in runs
        for origin, ranges in dict(run.metrics.get(REPLAYED, {})).items()
        for first, last in ranges
        for number in range(first, last + 1)
    }


def refuse_replayed(state: StateStore, pipeline: str, keys: Sequence[Key]) -> None:
    """Refuse to load rows that another replay has loaded since they were read.

    Raises:
        DataError: Says how many.
    """
    twice = replayed(state, pipeline).intersection(keys)
    if twice:
        message = f"another replay has loaded {counted(len(twice), 'row')} of these meanwhile; nothing was loaded"
        raise DataError(message, "look at what is left with `flow quarantine list`")


@contextlib.contextmanager
def opened_quarantine(spec: PipelineSpec, target: TargetSpec, *, read_only: bool = True) -> Iterator[Quarantined]:
    """The quarantine of one target of a pipeline; nothing is created."""
    connection = resolve(target.connection)
    session = backend_for(connection.kind).open(connection, read_only=read_only, create=False)
    try:
        kind: Callable[..., Quarantined] = _InTable
        if not session.capabilities.has_sql:
            kind = _InDelta if session.capabilities.executor == "delta" else _InFolder
        yield kind(spec, target, session, state_store(session, target))
    finally:
        session.close()


class Quarantined:
    """The rows of one pipeline in the quarantine of one target."""

    def __init__(self, spec: PipelineSpec, target: TargetSpec, session: Any, state: StateStore) -> None:
        self._pipeline = spec.name
        self._session = session
        self._state = state
        self._ref = target_ref(target)
        self._thing = "" if session.capabilities.has_sql else beside(file_thing(target))

    @property
    def place(self) -> str:
        """The name of the table or folder."""
        return self._thing or str(table_beside(self._ref))

    def rows(self, run: str | None = None) -> list[QuarantinedRow]:
        """The rows that committed runs put there, the oldest first; of one run where it is named.

        Those of a run that died before its commit are left out: they will be read again.
        """
        dead = self._ended("failed", "cancelled", "abandoned", "running")
        found = [row for row in self._read() if row.run_id not in dead and run in (None, row.run_id)]
        return sorted(found, key=lambda row: (row.quarantined_at, row.run_id, row.row_number))

    def _ended(self, *states: str) -> set[str]:
        """The runs of the pipeline that are in one of some states."""
        runs = self._state.history(self._pipeline, KEPT_RUNS)
        return {run.run_id for run in runs if run.status in states}

    def _read(self) -> Iterator[QuarantinedRow]:
        """All rows of the pipeline."""
        raise NotImplementedError  # each kind of target has its own way

    def replayed(self) -> set[Key]:
        """Rows that are loaded already, and still here because the process ended before it took them out."""
        return replayed(self._state, self._pipeline) if self._thing else set()

    def remove(self, keys: Sequence[Key]) -> None:
        """Take rows out, at once."""
        raise NotImplementedError  # as above


def _as_rows(batches: Iterator[pa.RecordBatch], columns: Sequence[Column], pipeline: str) -> Iterator[QuarantinedRow]:
    """Rows of a pipeline, from whatever types a system gives them in."""
    types = {column.name: column.type for column in columns}
    wanted = {column.name: column.type for column in COLUMNS}
    casts = {name: caster(name, types[name], TEXT if name == "run_id" else kind) for name, kind in wanted.items()}
    for batch in batches:
        values = {name: cast(batch.column(name), 0).to_pylist() for name, cast in casts.items()}
        for mine, run, at, number, reason, row in zip(*values.values(), strict=True):
            if mine == pipeline:
                yield QuarantinedRow(str(uuid.UUID(run)), at, number, reason, row)


class _InTable(Quarantined):
    """Beside a table of a database."""

    def _read(self) -> Iterator[QuarantinedRow]:
        ref, dialect = table_beside(self._ref), self._session.dialect
        info = self._session.table(ref)
        if info is None:
            return
        check_columns(str(ref), info.columns)
        names = dialect.columns([column.name for column in COLUMNS])
        query = f"SELECT {names} FROM {dialect.table(ref)} WHERE {_of(dialect, self._pipeline, None)}"
        columns = self._session.describe(query)
        yield from _as_rows(self._session.read(query, columns), columns, self._pipeline)

    def remove(self, keys: Sequence[Key]) -> None:
        """In one transaction."""
        self._session.begin()
        try:
            remove_keys(self._session, table_beside(self._ref), self._pipeline, keys)
            self._session.commit()
        except BaseException:
            self._session.rollback()
            raise


class _WithoutSql(Quarantined):
    """Beside a folder or a Delta table: rows are taken out by writing the others again."""

    def _is_there(self, plain: Any) -> bool:
        raise NotImplementedError  # of the two kinds

    def _replace(self, plain: Any, keys: set[Key], run_id: str) -> None:
        raise NotImplementedError  # of the two kinds

    def _query(self, plain: Any) -> tuple[Iterator[pa.RecordBatch], Sequence[Column]]:
        from ematix_nb.query import open_file_query

        session = open_file_query(plain)
        names = session.dialect.columns([column.name for column in COLUMNS])
        query = f"SELECT {names} FROM {session.dialect.quote(self._thing)}"
        columns = session.describe(query)
        return session.read(query, columns), columns

    def _read(self) -> Iterator[QuarantinedRow]:
        plain = self._session.plain()
        if self._is_there(plain):
            yield from _as_rows(*self._query(plain), self._pipeline)

    def remove(self, keys: Sequence[Key]) -> None:
        """By one commit; again when another writer was faster."""
        run_id = str(uuid.uuid4())
        for attempt in range(TRIES):
            plain = self._session.plain()
            try:
                if self._is_there(plain):
                    self._replace(plain, set(keys), run_id)
            except (ConflictError, LockedError):
                plain.discard(self._thing, run_id)
                if attempt == TRIES - 1:
                    raise
                continue
            except BaseException:
                plain.discard(self._thing, run_id)
                raise
            return

    def _others(self, plain: Any, keys: set[Key]) -> Iterator[pa.RecordBatch]:
        """All rows but some of this pipeline and those of its dead runs, as the system stores them.

        What a dead run left is found by the name of its file, which is another one from now on.
        """
        import pyarrow as pa

        dead = self._ended("failed", "cancelled", "abandoned")
        batches, columns = self._query(plain)
        types = {column.name: column.type for column in columns}
        stored = stored_columns(plain.store)
        casts = [caster(column.name, types[column.name], column.type) for column in stored]
        names = [column.name for column in stored]
        for batch in batches:
            arrays = [cast(batch.column(name), 0) for name, cast in zip(names, casts, strict=True)]
            runs = caster("run_id", types["run_id"], TEXT)(batch.column("run_id"), 0).to_pylist()
            marks = zip(batch.column("pipeline").to_pylist(), runs, batch.column("row_number").to_pylist(), strict=True)
            keep = [self._stays(name, (str(uuid.UUID(run)), int(number)), keys, dead) for name, run, number in marks]
            yield pa.RecordBatch.from_arrays(arrays, names=names).filter(pa.array(keep, pa.bool_()))

    def _stays(self, pipeline: str, key: Key, keys: set[Key], dead: set[str]) -> bool:
        return pipeline != self._pipeline or not (key in keys or key[0] in dead)


class _InFolder(_WithoutSql):
    """Beside a folder of files."""

    def _is_there(self, plain: Any) -> bool:
        manifest = plain.manifest(self._thing)
        return manifest is not None and bool(manifest.files)

    def _replace(self, plain: Any, keys: set[Key], run_id: str) -> None:
        newest = plain.manifest(self._thing)
        names = plain.stage(self._thing, stored_columns(plain.store), self._others(plain, keys), run_id)
        plain.publish(self._thing, Manifest(newest.seq + 1, tuple(names), newest.state))


class _InDelta(_WithoutSql):
    """Beside a Delta table."""

    def _is_there(self, plain: Any) -> bool:
        return plain.info(TableRef(None, self._thing), self._thing) is not None

    def _replace(self, plain: Any, keys: set[Key], run_id: str) -> None:
        table = plain.table(self._thing)
        columns = stored_columns(plain.store)
        staged = plain.stage(self._thing, columns, self._others(plain, keys), run_id)
        plain.commit_files(self._thing, table, staged, (), columns=columns, mode="overwrite", alone=True)
