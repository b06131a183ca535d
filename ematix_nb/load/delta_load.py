"""Executing a plan on a Delta table: one commit for rows, schema and state.

Rows that are only added are written as they come, into files that no reader sees, and the commit names them. Where
rows have to be compared with those that are there (merge, scd2, the overlap of an append), the change is worked out
by the statements of the SQL targets in a database of the run's own, and the commit carries just the change.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.spec import Column
from ematix_nb.errors import ConflictError, DataError
from ematix_nb.events import PhaseStarted, SchemaChanged, Warned
from ematix_nb.load.batches import META_TYPES, SourceBatches
from ematix_nb.load.checks import held_against_rows, on_target
from ematix_nb.load.delta_scratch import Scratch
from ematix_nb.load.failpoints import failpoint
from ematix_nb.load.quarantine import check_some_fit, into_delta, may_hold, write_aside
from ematix_nb.load.schema import VERSIONED
from ematix_nb.load.sql_load import Outcome
from ematix_nb.load.targets import TargetSide, own_names
from ematix_nb.state.delta_state import DeltaState

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from ematix_nb.backends.delta.places import PlacedRows
    from ematix_nb.declare.checks import Check
    from ematix_nb.declare.spec import PipelineSpec, TableRef, TargetSpec
    from ematix_nb.load.context import RunContext
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.load.source import OpenSource
    from ematix_nb.state.model import Lease, RunRecord, Watermark

KEYED = ("merge", "scd2")


def delta_side(connection: str, ref: TableRef, thing: str, session: Any) -> TargetSide:
    """What the planner has to know of a Delta table."""
    info = session.info(ref, thing)
    return TargetSide(
        connection, ref, info, session.capabilities, session, session.identity, "delta", target_word="a Delta table"
    )


class DeltaLoad:
    """One load into one Delta table."""

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
        self.target = target
        self.source = source
        self.session = session
        self.thing = thing
        self.context = context
        self.outcome = Outcome()
        session.configure({name: value for name, value in target.write_options if name != "prefix"})
        self._table = session.table(session.target(thing))
        session.check_target(self._table, self._columns(), thing, plan.mode)
        self._batches = SourceBatches(plan, source, context, session.store)
        self._scratch: Scratch | None = None
        self._staged: Any = None
        self._state: tuple[DeltaState, Lease, RunRecord, Watermark | None] | None = None

    def _columns(self) -> list[Column]:
        """The columns that this load writes, in the order of the table."""
        columns = [column for column in self.plan.data if column.name not in self.plan.hidden]
        if self.plan.mode == "scd2":
            columns += [Column(column.name, self.session.store(column.type).type) for column in VERSIONED]
        return columns + [Column(name, self.session.store(META_TYPES[name]).type) for name in self.plan.meta]

    # -- the steps --------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Read the source: into hidden files, or into the run's own database (a dry run writes no file)."""
        if self._compares():
            self._scratch = Scratch(self)
            self._scratch.prepare()
            self.outcome = self._scratch.outcome
            return
        self._phase("read")
        failpoint("stage_create")
        rows = self._batches.final()
        if self.context.dry:
            collections.deque(rows, maxlen=0)
        else:
            self._staged = self.session.stage(self.thing, self._columns(), rows, self.context.run_id)
        failpoint("stage_write")
        aside = self._batches.quarantined
        self.outcome.add("rows_read", self._batches.rows)
        self.outcome.add("rows_inserted", self._batches.rows - aside if self.context.dry else self._staged.rows)
        if self._batches.held is not None and aside:
            self.outcome.add("rows_quarantined", aside)
            self.warn(self._batches.held.words())
        check_some_fit(self.plan.mode, self.outcome.counts)
        self.outcome.watermark, self.outcome.ahead = self._batches.watermark, self._batches.ahead
        for words in self._batches.warnings():
            self.warn(words)
        failpoint("stage_done")

    def _compares(self) -> bool:
        """Whether rows of the source are compared with rows of the table or with each other, or are checked."""
        if self.plan.mode in KEYED or self.checks:
            return True
        window = self.plan.window
        return (
            self.plan.mode == "append"
            and window is not None
            and bool(window.lower or window.stored or self.ran_before())
        )

    def ran_before(self) -> bool:
        """Whether rows of this pipeline are here; a full refresh asks for all rows once more."""
        return not self.context.full_refresh and self._table is not None and bool(self.own_batches())

    def own_batches(self) -> frozenset[str]:
        """The runs of this pipeline that wrote rows here."""
        state = DeltaState(self.session, self.thing)
        return frozenset().union(*(state.batches(name) for name in own_names(self.plan.pipeline, self.plan.ref)))

    def apply(self) -> None:
        """Work out the change and check the counts; the table itself is changed by the commit."""
        self.context.token.check()
        for change in self.plan.schema_changes:
            self.context.listener.on_event(
                SchemaChanged(run_id=self.context.run_id, pipeline=self.plan.pipeline, change=change.text)
            )
        if self._scratch is not None:
            self._scratch.apply()
            if not self.context.dry and not self._is_empty() and (rows := self._scratch.rows_to_write()) is not None:
                checked = self._until_stopped(rows)
                self._staged = self.session.stage(self.thing, self._scratch.columns, checked, self.context.run_id)
            return
        self._phase("apply")
        empties = self.plan.mode == "truncate" and not self._batches.rows and self.plan.target_exists
        if empties and self.spec.policies.empty_source == "keep":
            self.outcome.kept_empty = True
            self.warn("the source gave no rows; the target is kept as it was (empty_source='apply' empties it)")
        failpoint("apply")
        counts = self.outcome.counts
        if counts["rows_read"] != counts["rows_inserted"] + self._batches.quarantined:
            message = f"rows read and rows written do not agree: {counts}"
            raise DataError(message, "nothing was written; please report this")
        failpoint("check_counts")

    def _until_stopped(self, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in rows:
            self.context.token.check()
            yield batch

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks that are made when the rows are there."""
        return held_against_rows(self.plan.checks) if self.context.checks else ()

    @property
    def checks_table(self) -> bool:
        """Whether one of them has to see the whole table."""
        return any(on_target(check) for check in self.checks)

    def check(self) -> None:
        """Nothing is left to do: the working database has made the checks, while it was there."""
        if held_against_rows(self.plan.checks) and not self.context.checks:
            self.warn("the checks were left out (--no-checks)")

    def _is_empty(self) -> bool:
        """Whether the comparison found nothing to change in a table that is there."""
        if self.plan.mode == "truncate":
            return False
        return self._scratch is not None and self._scratch.nothing and self._table is not None

    def write_state(self, state: DeltaState, lease: Lease, record: RunRecord, mark: Watermark | None) -> None:
        """Remember what the commit carries."""
        self._state = (state, lease, record, mark)
        failpoint("state_write")

    def commit(self) -> None:
        """Write the state that the commit names, commit rows and state together, give the lease back."""
        if self._state is None:
            return
        state, lease, record, mark = self._state
        keyed = self._scratch is not None and self.plan.mode in KEYED
        table = self._table if keyed else self._newest()
        tags = state.before_commit(table, lease, record, mark)
        if may_hold(self.spec) and self.context.replay is None:
            write_aside(into_delta, self.session, self.thing, self._batches.held, state, record)
        if self.outcome.kept_empty or self._is_empty():
            self.session.commit_nothing(self.thing, table, tags)
            self.session.discard(self.thing, self.context.run_id)
        elif self._scratch is not None and self._scratch.replaced:
            self.session.commit_replaced(
                self.thing, table, self._staged, self._scratch.replaced, tags, columns=self._scratch.columns
            )
        elif self._scratch is not None and not self._scratch.only_new:
            changes, identity = self._scratch.changes()
            self.session.commit_changes(self.thing, table, changes, identity, tags, columns=self._scratch.columns)
        else:
            mode = "overwrite" if self.plan.mode == "truncate" else "append"
            columns = self._columns() if self._scratch is None else self._scratch.columns
            self.session.commit_files(self.thing, table, self._staged, tags, columns=columns, mode=mode, alone=keyed)
        state.committed(lease)

    def _newest(self) -> Any:
        """The newest version of the table: rows that are only added go to whatever is there, in the same columns."""
        newest = self.session.table(self.session.target(self.thing))
        if (newest is None) != (self._table is None) or (newest and newest.schema() != self._table.schema()):
            message = f"the columns of `{self.thing}` changed while this run was at work; nothing was committed"
            raise ConflictError(message, "run again: the run plans anew")
        return newest

    def start_over(self) -> bool:
        """After a commit that lost: remove what this load made, so that another can take its place.

        False when there is nothing to do again: the commit landed after all, or the source gives its rows only once.
        """
        if self._state is not None:
            state, lease = self._state[:2]
            if state.has_committed(lease) or self.source.once:
                return False
        if self._scratch is not None:
            self._scratch.close()
        self.session.discard(self.thing, self.context.run_id)
        return True

    def close(self) -> None:
        """Remove what a dry run or a failed run left."""
        if self._batches.held is not None:
            self._batches.held.close()
        if self._scratch is not None:
            self._scratch.close()
        if self._state is None and not self.context.dry:
            self.session.discard(self.thing, self.context.run_id)

    # -- what the scratch database asks for -------------------------------------------------------------------

    @property
    def table(self) -> Any:
        """The version of the table that this load compares with; None when it makes the table."""
        return self._table

    def held(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        """The table's rows as this load found them."""
        from ematix_nb.backends.delta.scan import make_scan

        return make_scan(self._table, self.thing).batches(names)

    def placed(self, columns: list[Column], keys: list[str]) -> PlacedRows | None:
        """The table's rows by their place, with these columns; None where the library has to change the table."""
        placed: PlacedRows | None = self.session.placed(self.thing, self._table, columns, keys)
        return placed

    def source_rows(self) -> SourceBatches:
        """The source's rows, cast for the table."""
        return self._batches

    def all_columns(self) -> list[Column]:
        """The columns of the table after this load."""
        from ematix_nb.backends.delta.scan import make_scan

        have = [] if self._table is None else list(make_scan(self._table, self.thing).columns)
        known = {column.name for column in have}
        return [*have, *(column for column in self._columns() if column.name not in known)]

    def inner_plan(self, **changes: Any) -> LoadPlan:
        """The plan with other fields."""
        return dataclasses.replace(self.plan, **changes)

    # -- small things -----------------------------------------------------------------------------------------

    def _phase(self, phase: str) -> None:
        self.context.listener.on_event(
            PhaseStarted(run_id=self.context.run_id, pipeline=self.plan.pipeline, phase=phase)
        )

    def warn(self, message: str) -> None:
        """Tell, and keep for the history."""
        self.outcome.warnings.append(message)
        self.context.listener.on_event(Warned(run_id=self.context.run_id, pipeline=self.plan.pipeline, message=message))
