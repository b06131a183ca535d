"""Rows that a target cannot take: told apart, and held beside the target.

A row goes there whole, as JSON, when a column holds a value that the target's column cannot hold, when a column that
the target does not have holds a value at all, when it has no key, or when it breaks a check that says so. All other
rows are loaded; the target itself is not changed.
"""

from __future__ import annotations

import collections
import functools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import Manifest, Verdict
from ematix_nb.connections import redact
from ematix_nb.declare.arrow_values import moment
from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ, UUID, DataType, to_arrow
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import ConflictError, DataError, LockedError, SchemaDriftError
from ematix_nb.load.conversions import caster, iso_interval, misfits, plain_text
from ematix_nb.load.drift import QUARANTINE
from ematix_nb.load.failpoints import ASIDE, failpoint
from ematix_nb.load.plan import Quarantine
from ematix_nb.load.row_checks import finders, null_key
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.data_types import Stored
    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.load.context import RunContext
    from ematix_nb.load.plan import ColumnPlan, LoadPlan
    from ematix_nb.sql.dialect import Dialect
    from ematix_nb.state.model import RunRecord

SUFFIX = "__quarantine"
COLUMNS = (
    Column("pipeline", TEXT, nullable=False),
    Column("run_id", UUID, nullable=False),
    Column("quarantined_at", TIMESTAMPTZ, nullable=False),
    Column("row_number", BIGINT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("source_row", DataType("json"), nullable=False),
)
"""What a table of such rows holds; ``row_number`` counts from 1 in the order in which the run read."""
SHOWN_REASONS = 5
TRIES = 20
KEPT_RUNS = 200
"""How many runs are looked at: as many as a state keeps."""


def beside(thing: str) -> str:
    """The folder or table for the rows that do not fit one of this name.

    Example:
        >>> beside("raw/orders/"), beside("orders")
        ('raw/orders__quarantine', 'orders__quarantine')
    """
    return f"{thing.rstrip('/')}{SUFFIX}"


def table_beside(ref: TableRef) -> TableRef:
    """The table for the rows that do not fit a table."""
    return TableRef(ref.schema, beside(ref.name))


def may_hold(spec: PipelineSpec) -> bool:
    """Whether loads of a pipeline may put rows aside at all."""
    policies = spec.policies
    chosen = QUARANTINE in (policies.on_drift, policies.on_null_key) or bool(policies.max_bad_rows)
    return chosen or any(check.on_fail == QUARANTINE for check in spec.all_checks)


def plan_quarantine(
    name: str, spec: PipelineSpec, left_out: Sequence[str], columns: Sequence[ColumnPlan], keys: Sequence[str]
) -> Quarantine | None:
    """What decides whether a row is loaded; None when every row is.

    Args:
        name: The table or folder beside the target.
        spec: Says what may go there.
        left_out: Columns that the target does not have.
        columns: Those that it has.
        keys: The key columns, and the one that dates versions.
    """
    policies = spec.policies
    drift = policies.on_drift == QUARANTINE
    doubtful = [(column, "is not in the target") for column in left_out if drift]
    for column in columns:
        if column.verdict is Verdict.REFUSED:
            doubtful.append((column.name, f"({column.source_type}) does not go into {column.target_type}"))
        elif column.reason.startswith("each") and (drift or policies.max_bad_rows):
            doubtful.append((column.name, f"({column.source_type}) may not fit {column.target_type}"))
    nulls = tuple(keys) if policies.on_null_key == QUARANTINE or policies.max_bad_rows else ()
    checks = tuple(check for check in spec.all_checks if check.on_fail == QUARANTINE)
    if not (doubtful or nulls or checks):
        return None
    return Quarantine(name, tuple(doubtful), nulls, checks, policies.max_bad_rows)


def stored_columns(store: Callable[[DataType], Stored]) -> list[Column]:
    """The columns of such a table as a system stores them."""
    return [Column(column.name, store(column.type).type, column.nullable) for column in COLUMNS]


def create_statement(dialect: Dialect, ref: TableRef) -> str:
    """The definition of such a table."""
    return dialect.create_table(ref, stored_columns(dialect.store))


def check_columns(name: str, found: Sequence[Column]) -> None:
    """Refuse a table of that name that somebody else made.

    Raises:
        SchemaDriftError: Names a column that it lacks.
    """
    have = {column.name for column in found}
    if lacks := [column.name for column in COLUMNS if column.name not in have]:
        message = f"`{name}` is not a table of rows in quarantine: it has no column `{lacks[0]}`"
        raise SchemaDriftError(message, "rename that table, or choose another on_drift")


# -- telling rows apart -------------------------------------------------------------------------------------------


class Splitter:
    """Tells the rows of a batch that fit from those that do not."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        kinds = {column.name: column.type for column in plan.source_columns}
        self._checks: list[tuple[str, Callable[[pa.Array, int], Iterator[tuple[int, str]]]]] = []
        targets = {column.name: column for column in plan.columns}
        for name, why in plan.quarantine.columns if plan.quarantine else ():
            column = targets.get(name)
            if column is None or column.verdict is Verdict.REFUSED:
                self._checks.append((name, functools.partial(_given, f"column `{name}` {why}")))
            else:
                self._checks.append((name, misfits(name, kinds[name], column.target_type)))
        for name in plan.quarantine.null_keys if plan.quarantine else ():
            self._checks.append((name, null_key(name)))
        stored = {column.name: column.type for column in plan.data}
        for check in plan.quarantine.checks if plan.quarantine else ():
            self._checks += finders(check, kinds, stored)

    def reasons(self, batch: pa.RecordBatch, before: int) -> dict[int, list[tuple[str, str]]]:
        """Row of the batch -> the columns for which it does not fit, each with the reason; empty when all fit."""
        found: dict[int, list[tuple[str, str]]] = collections.defaultdict(list)
        for name, find in self._checks:
            for row, reason in find(batch.column(name), before):
                found[row].append((name, reason))
        return dict(found)


def _given(words: str, values: pa.Array, _before: int) -> Iterator[tuple[int, str]]:
    import pyarrow.compute as pc

    yield from ((row, words) for row in pc.indices_nonzero(values.is_valid()).to_pylist())


def without(batch: pa.RecordBatch, rows: Sequence[int]) -> pa.RecordBatch:
    """The batch without some of its rows."""
    import pyarrow as pa

    gone = set(rows)
    return batch.take(pa.array([row for row in range(batch.num_rows) if row not in gone], pa.int64()))


# -- holding them -------------------------------------------------------------------------------------------------


class Held:
    """The rows of one run that do not fit: in a file until they are written beside the target."""

    def __init__(self, plan: LoadPlan, context: RunContext) -> None:
        self._plan = plan
        self._context = context
        self._splitter = Splitter(plan)
        self._folder = ""
        self._writer: Any = None
        self._sink: Any = None
        self._remove: Any = None
        self.rows = 0
        self.columns: collections.Counter[str] = collections.Counter()
        """For each column the rows that do not fit because of it."""
        self._limit = plan.quarantine.limit if plan.quarantine is not None else None
        self._first: list[str] = []
        if context.replay is not None:
            self._limit = None
            context.replay.stay.clear()

    def take(self, batch: pa.RecordBatch, before: int) -> pa.RecordBatch:
        """Keep the rows that do not fit; the others (a dry run only counts)."""
        reasons = self._splitter.reasons(batch, before)
        if not reasons:
            return batch
        rows = sorted(reasons)
        self.rows += len(rows)
        self.columns.update(name for row in rows for name in {name for name, _ in reasons[row]})
        told = ["; ".join(reason for _, reason in reasons[row]) for row in rows]
        self._check_limit(told)
        if self._context.replay is not None:
            self._context.replay.stay.update(before + row for row in rows)
        elif not self._context.dry:
            self._write(batch, rows, before, told)
        return without(batch, rows)

    def _check_limit(self, told: list[str]) -> None:
        """Refuse more rows than may be put aside."""
        self._first += told[: SHOWN_REASONS - len(self._first)]
        if self._limit is None or self.rows <= self._limit:
            return
        shown = "\n  ".join(redact(reason) for reason in self._first)
        message = f"more than {counted(self._limit, 'row')} cannot be loaded (max_bad_rows={self._limit})\n  {shown}"
        raise DataError(message, "correct them in the SELECT, or allow more; nothing was written")

    def words(self) -> str:
        """How many rows, where, and because of which columns."""
        name = self._plan.quarantine.name if self._plan.quarantine else ""
        because = ", ".join(f"`{column}` ({rows})" for column, rows in sorted(self.columns.items()))
        there = "would go to" if self._context.dry else "are in"
        if self._context.replay is not None:
            there = "stay in"
        return f"{counted(self.rows, 'row')} did not fit and {there} `{name}`, because of {because}"

    def batches(self, store: Callable[[DataType], Stored]) -> Iterator[pa.RecordBatch]:
        """The rows as a target stores them."""
        import pyarrow as pa

        if not self._folder:
            return
        self._finish()
        stored = stored_columns(store)
        casts = [caster(column.name, COLUMNS[i].type, column.type) for i, column in enumerate(stored)]
        with pa.memory_map(str(Path(self._folder) / "rows.arrow")) as file:
            for batch in pa.ipc.open_stream(file):
                arrays = [cast(array, 0) for cast, array in zip(casts, batch.columns, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, names=[column.name for column in stored])

    def close(self) -> None:
        """Remove the file; may be called twice."""
        if self._folder:
            self._finish()
            self._remove()
            self._folder = ""

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
            self._writer = None

    def _write(self, batch: pa.RecordBatch, rows: list[int], before: int, reasons: list[str]) -> None:
        import shutil
        import weakref

        import pyarrow as pa

        from ematix_nb.backends.scratch import scratch_folder

        schema = pa.schema([(column.name, to_arrow(column.type)) for column in COLUMNS])
        if self._writer is None:
            self._folder = scratch_folder("quarantine")
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            self._sink = pa.OSFile(str(Path(self._folder) / "rows.arrow"), "wb")
            self._writer = pa.ipc.new_stream(self._sink, schema)
        count = len(rows)
        arrays = [
            pa.array([self._plan.pipeline] * count, pa.string()),
            pa.array([self._context.run_id] * count, pa.string()),
            pa.repeat(moment(self._context.started), count),
            pa.array([before + row + 1 for row in rows], pa.int64()),
            pa.array(reasons, pa.string()),
            pa.array(rows_as_json(batch.take(pa.array(rows, pa.int64()))), pa.string()),
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def rows_as_json(batch: pa.RecordBatch) -> list[str]:
    """Each row as a JSON object: numbers exactly, times as ISO-8601 text, bytes as hexadecimal digits."""
    columns = [_json_values(column) for column in batch.columns]
    names = batch.schema.names
    encode = json.JSONEncoder(ensure_ascii=False).encode
    return [encode(dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def _json_values(values: pa.Array) -> list[Any]:
    import pyarrow as pa
    import pyarrow.types as pt

    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pt.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pt.is_temporal(values.type) and not pt.is_interval(values.type):
        return list(values.cast(pa.string()).to_pylist())
    return [_jsonable(value) for value in values.to_pylist()]


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(name): _jsonable(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "nanoseconds"):
        return [_jsonable(inner) for inner in value]
    return iso_interval(value) if hasattr(value, "nanoseconds") else plain_text(value)


# -- checks of a run ----------------------------------------------------------------------------------------------


def check_some_fit(mode: str, counts: dict[str, int]) -> None:
    """Refuse to put nothing in the place of a table's rows.

    Raises:
        DataError: Mode truncate, and not one row of the source fits.
    """
    read, aside = counts.get("rows_read", 0), counts.get("rows_quarantined", 0)
    if mode == "truncate" and aside and read == aside:
        message = f"none of the {counted(read, 'row')} of the source fits the target, which truncate would leave empty"
        raise DataError(message, "change the target or the SELECT, or allow on_drift='evolve'; nothing was written")


# -- writing them beside targets without SQL ----------------------------------------------------------------------


def write_aside(
    write: Callable[[Any, str, Held | None, Sequence[str]], None],
    session: Any,
    thing: str,
    held: Held | None,
    state: Any,
    record: RunRecord,
) -> None:
    """Write the rows that do not fit, right before the commit of the others: a crash between the two loses none.

    Those of runs that wrote theirs and never committed go: the rows are read again, by this run at the latest.

    Args:
        write: `into_folder` or `into_delta`.
        session: The target's.
        thing: The target.
        held: The rows; None when every row fits.
        state: The target's state.
        record: The run.
    """
    known = state.history(record.pipeline, KEPT_RUNS)
    ended = [row.run_id for row in known if row.status not in ("success", "running", "skipped")]
    write(session, beside(thing), held if held is not None and held.rows else None, [record.run_id, *ended])
    failpoint(ASIDE)


def into_folder(session: Any, thing: str, held: Held | None, gone: Sequence[str]) -> None:
    """Publish rows of the first run in a folder of their own, without what that run and others left there before."""
    plain = session.plain()
    manifest = plain.manifest(thing)
    if manifest is not None and manifest.files and held is not None:
        check_columns(thing, plain.scan(thing).columns)
    names: Sequence[str] = ()
    if held is not None:
        names = plain.stage(thing, stored_columns(plain.store), held.batches(plain.store), gone[0])
    elif manifest is None or _of_others(manifest.files, gone) == manifest.files:
        return
    try:
        _publish(plain, thing, names, gone)
    except BaseException:
        plain.discard(thing, gone[0])
        raise


def _of_others(files: Sequence[str], runs: Sequence[str]) -> tuple[str, ...]:
    """The files that none of some runs wrote: a file's name holds the run's id."""
    return tuple(name for name in files if not any(f"-{run}-" in name for run in runs))


def _publish(session: Any, thing: str, names: Sequence[str], gone: Sequence[str]) -> None:
    """Add files to those of other runs in the newest manifest; again when somebody was faster."""
    for attempt in range(TRIES):
        newest = session.manifest(thing) or Manifest(0)
        try:
            files = (*_of_others(newest.files, gone), *names)
            session.publish(thing, Manifest(newest.seq + 1, files, newest.state))
        except LockedError:
            if attempt == TRIES - 1:
                raise
            continue
        return


def into_delta(session: Any, thing: str, held: Held | None, gone: Sequence[str]) -> None:
    """Append rows of the first run to a Delta table of their own, without what that run and others left before."""
    plain = session.plain()
    info = plain.info(TableRef(None, thing), thing)
    if info is not None and any(column.name == "run_id" for column in info.columns):
        _remove(plain, thing, gone)
    if held is None:
        return
    columns = stored_columns(plain.store)
    if info is not None:
        check_columns(thing, info.columns)
    staged = plain.stage(thing, columns, held.batches(plain.store), gone[0])
    try:
        plain.commit_files(thing, plain.table(thing), staged, (), columns=columns, mode="append", alone=False)
    except BaseException:
        plain.discard(thing, gone[0])
        raise


def _remove(session: Any, thing: str, runs: Sequence[str]) -> None:
    for attempt in range(TRIES):
        try:
            session.remove_rows(thing, "run_id", runs)
        except ConflictError:
            if attempt == TRIES - 1:
                raise
            continue
        return
