"""Executing a plan on a folder of files: hidden files first, then one manifest for data and state."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import TableInfo
from ematix_nb.declare.spec import BATCH_ID, Column
from ematix_nb.errors import DataError, UnknownNameError
from ematix_nb.events import PhaseStarted, Warned
from ematix_nb.load import window as windows
from ematix_nb.load.batches import META_TYPES, SourceBatches
from ematix_nb.load.checks import held_against_rows, settle
from ematix_nb.load.failpoints import failpoint
from ematix_nb.load.quarantine import check_some_fit, into_folder, may_hold, write_aside
from ematix_nb.load.sql_load import Outcome
from ematix_nb.load.targets import TargetSide, own_names
from ematix_nb.state.file_state import FileState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import PipelineSpec, TableRef, TargetSpec
    from ematix_nb.load.context import RunContext
    from ematix_nb.load.file_checks import FileChecks
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.load.source import OpenSource
    from ematix_nb.state.model import Lease, RunRecord, Watermark


def file_side(connection: str, ref: TableRef, thing: str, session: Any) -> TargetSide:
    """What the planner has to know of a folder."""
    manifest = session.manifest(thing)
    info = None
    if manifest is not None and manifest.files:
        try:
            info = TableInfo(ref, session.scan(thing).columns)
        except UnknownNameError:
            info = None
    return TargetSide(connection, ref, info, session.capabilities, session, session.identity, "files")


class FileLoad:
    """One load into one folder."""

    def __init__(
        self,
        plan: LoadPlan,
        spec: PipelineSpec,
        target: TargetSpec,
        source: OpenSource,
        session: Any,
        thing: str,
        context: RunContext,
    ) -> None:
        self.plan = plan
        self.spec = spec
        self.session = session
        self.thing = thing
        self.context = context
        self.outcome = Outcome()
        self.batches = SourceBatches(plan, source, context, session.store)
        self._options = dict(target.write_options)
        self._files: list[str] = []
        self._checks: FileChecks | None = None
        self._state: tuple[FileState, Lease, RunRecord, Watermark | None] | None = None

    def prepare(self) -> None:
        """Write the hidden files (a dry run only counts)."""
        try:
            self._write()
        except BaseException:
            self._close_checks()
            raise

    def _write(self) -> None:
        self.context.listener.on_event(
            PhaseStarted(run_id=self.context.run_id, pipeline=self.plan.pipeline, phase="read")
        )
        options = {name: value for name, value in self._options.items() if name != "prefix"}
        if options:
            self.session.configure(options)
        columns = [column for column in self.plan.data if column.name not in self.plan.hidden]
        columns += [Column(name, self.session.store(META_TYPES[name]).type) for name in self.plan.meta]
        failpoint("stage_create")
        written = _Counter(self._checked(self._new_rows()))
        if self.context.dry:
            collections.deque(written, maxlen=0)
        else:
            self._files = self.session.stage(self.thing, columns, written, self.context.run_id)
        failpoint("stage_write")
        self.outcome.add("rows_read", self.batches.rows)
        self.outcome.add("rows_inserted", written.rows)
        aside = self.batches.quarantined
        self.outcome.add("rows_deduplicated", self.batches.rows - aside - written.rows)
        if self.batches.held is not None and aside:
            self.outcome.add("rows_quarantined", aside)
            self._warn(self.batches.held.words())
        check_some_fit(self.plan.mode, self.outcome.counts)
        self.outcome.watermark, self.outcome.ahead = self.batches.watermark, self.batches.ahead
        for words in self.batches.warnings():
            self._warn(words)
        failpoint("stage_done")

    def _checked(self, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows; where checks are declared they are kept for them."""
        if not held_against_rows(self.plan.checks) or not self.context.checks:
            return rows
        from ematix_nb.load.file_checks import FileChecks

        self._checks = FileChecks(self.plan, self.session, self.thing, self.context)
        return self._checks.kept(rows)

    def check(self) -> None:
        """Make the declared checks on the rows that are written, and on the folder as it would be.

        Raises:
            CheckFailedError: One does not hold.
        """
        if self._checks is None:
            if held_against_rows(self.plan.checks):
                self._warn("the checks were left out (--no-checks)")
            return
        self.context.listener.on_event(
            PhaseStarted(run_id=self.context.run_id, pipeline=self.plan.pipeline, phase="check")
        )
        replaces = self.plan.mode == "truncate"
        try:
            self.outcome.checks = self._checks.results(replaces=replaces, kept_empty=self.outcome.kept_empty)
        finally:
            self._close_checks()
        if not self.context.report_checks:
            for warning in settle(self.outcome.checks):
                self._warn(warning)
        self.context.token.check()

    def _close_checks(self) -> None:
        if self._checks is not None:
            self._checks.close()

    def apply(self) -> None:
        """Decide what an empty source means; the files themselves are published by the commit."""
        self.context.token.check()
        empties = self.plan.mode == "truncate" and not self.batches.rows and self.plan.target_exists
        if empties and self.spec.policies.empty_source == "keep":
            self.outcome.kept_empty = True
            self._warn("the source gave no rows; the target is kept as it was (empty_source='apply' empties it)")
        failpoint("apply")
        counts = self.outcome.counts
        aside = self.batches.quarantined
        if counts["rows_read"] != counts["rows_inserted"] + counts["rows_deduplicated"] + aside:
            message = f"rows read and rows written do not agree: {counts}"
            raise DataError(message, "nothing was written; please report this")
        failpoint("check_counts")

    def write_state(self, state: FileState, lease: Lease, record: RunRecord, mark: Watermark | None) -> None:
        """Remember what goes into the manifest."""
        self._state = (state, lease, record, mark)
        failpoint("state_write")

    def commit(self) -> None:
        """Publish files and state by one conditional create."""
        if self._state is not None:
            state, lease, record, mark = self._state
            if may_hold(self.spec) and self.context.replay is None:
                write_aside(into_folder, self.session, self.thing, self.batches.held, state, record)
            state.publish(lease, record, mark, self._listed)

    def close(self) -> None:
        """Remove what a dry run or a failed run left."""
        if self.batches.held is not None:
            self.batches.held.close()
        self._close_checks()
        if self._state is None:
            self.session.discard(self.thing, self.context.run_id)

    def _listed(self, before: tuple[str, ...]) -> tuple[str, ...]:
        if self.plan.mode == "truncate" and not self.outcome.kept_empty:
            return tuple(self._files)
        return (*before, *self._files)

    # -- the overlap of an incremental append -----------------------------------------------------------------

    def _new_rows(self) -> Iterator[pa.RecordBatch]:
        """The rows to write; of an overlap only those that the files do not hold yet (a difference of multisets)."""
        window = self.plan.window
        if window is None or self.plan.mode != "append" or not (window.lower or window.stored or self._ran_before()):
            yield from self.batches.final()
            return
        import pyarrow as pa

        overlap = []
        for batch in self.batches.final():
            tail = self._is_tail(batch)
            if tail.true_count:
                yield batch.filter(tail)
            if tail.true_count < batch.num_rows:
                import pyarrow.compute as pc

                overlap.append(batch.filter(pc.invert(tail)))
        if overlap:
            missing = self._missing(pa.Table.from_batches(overlap))
            yield from missing.combine_chunks().to_batches()

    def _ran_before(self) -> bool:
        """Whether files of this pipeline are here; a full refresh asks for all rows once more."""
        return not self.context.full_refresh and bool(FileState(self.session, self.thing).batches(self.plan.state_name))

    def _is_tail(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Which rows are certainly new: beyond the stored watermark, with a value in each of its columns."""
        import pyarrow as pa
        import pyarrow.compute as pc

        window = self.plan.window
        if window is None or window.ahead or not window.stored or not set(window.columns) <= {*batch.schema.names}:
            return pa.array([False] * batch.num_rows, pa.bool_())
        types = {column.name: column.type for column in self.plan.data}
        kinds = [types[name] for name in window.columns]
        columns = [batch.column(name) for name in window.columns]
        values = windows.parts(window.stored, window.columns, kinds)
        new = pc.fill_null(_beyond(columns, kinds, values), False)
        for column in columns[1:]:
            new = pc.and_(new, pc.is_valid(column))
        return new

    def _missing(self, rows: pa.Table) -> pa.Table:
        import pyarrow as pa

        names = [column.name for column in self.plan.data if column.name not in self.plan.hidden]
        held = collections.Counter(_keys(self._held_rows(names), names))
        keep = []
        for key in _keys(rows, names):
            held[key] -= 1
            keep.append(held[key] < 0)
        return rows.filter(pa.array(keep, pa.bool_()))

    def _held_rows(self, names: list[str]) -> pa.Table:
        """The target's rows of the window, as they are in the files."""
        import pyarrow as pa

        from ematix_nb.declare.data_types import to_arrow
        from ematix_nb.query import open_file_query

        window = self.plan.window
        session = open_file_query(self.session)
        dialect = session.dialect
        sql = f"SELECT * FROM {dialect.quote(self.thing)}"
        have = {column.name: column for column in session.describe(sql)}
        if window is not None and set(window.columns) <= set(have):
            kinds = [have[name].type for name in window.columns]
            sql = windows.filtered(dialect, sql, window, kinds, window.columns)
        columns = session.describe(sql)
        schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
        table = self._own(pa.Table.from_batches(session.read(sql, columns), schema=schema))
        types = {column.name: to_arrow(column.type) for column in self.plan.data}
        arrays = [
            table.column(name).cast(types[name]) if name in have else pa.nulls(table.num_rows, types[name])
            for name in names
        ]
        return pa.table(arrays, names=names)

    def _own(self, rows: pa.Table) -> pa.Table:
        """Without the rows that another pipeline wrote: it may have appended equal ones."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if BATCH_ID not in rows.column_names:
            return rows
        state = FileState(self.session, self.thing)
        mine = frozenset().union(*(state.batches(name) for name in own_names(self.plan.pipeline, self.plan.ref)))
        batch = rows.column(BATCH_ID).cast(pa.string())
        return rows.filter(pc.or_(pc.is_null(batch), pc.is_in(batch, pa.array(sorted(mine), pa.string()))))

    def _warn(self, message: str) -> None:
        self.outcome.warnings.append(message)
        self.context.listener.on_event(Warned(run_id=self.context.run_id, pipeline=self.plan.pipeline, message=message))


def _beyond(columns: Sequence[pa.Array], kinds: Sequence[DataType], values: Sequence[Any]) -> pa.BooleanArray:
    """Which rows are larger than some values, compared column by column; NULL where NULLs leave that open."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column, value = columns[0], values[0]
    if (following := windows.after_cut(value, kinds[0])) is not None:  # all of its microsecond may have been read
        return pc.greater_equal(column, pa.scalar(following, column.type))
    bound = pa.scalar(value, column.type)
    larger = pc.greater(column, bound)
    if len(values) == 1:
        return larger
    rest = _beyond(columns[1:], kinds[1:], values[1:])
    return pc.or_kleene(larger, pc.and_kleene(pc.equal(column, bound), rest))


class _Counter:
    """Passes batches on and counts their rows."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch


def _keys(rows: pa.Table, names: list[str]) -> Iterator[tuple[str, ...]]:
    """Each row as comparable text: NaN equals NaN, NULL is no text."""
    columns = [[repr(value) for value in rows.column(name).to_pylist()] for name in names]
    return zip(*columns, strict=True)
