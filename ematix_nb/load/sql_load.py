"""Executing a plan on an SQL target: stage, apply, check, and one commit (or rollback) for everything."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import TEXT, TIMESTAMPTZ, UUID
from ematix_nb.declare.spec import BATCH_ID, LOADED_AT, Column, TableRef
from ematix_nb.errors import DataError
from ematix_nb.events import PhaseStarted, SchemaChanged, Warned
from ematix_nb.load import window as windows
from ematix_nb.load.batches import META_TYPES, SourceBatches
from ematix_nb.load.checks import CheckResult, SqlChecks, held_against_rows, settle
from ematix_nb.load.failpoints import failpoint
from ematix_nb.load.plan import COPY_THROUGH, INSERT_SELECT
from ematix_nb.load.quarantine import check_columns, check_some_fit, create_statement, stored_columns, table_beside
from ematix_nb.load.quarantine_rows import remove_keys
from ematix_nb.load.targets import own_names
from ematix_nb.sql.statements import CHAIN, NEW_VERSIONS, LoadStatements
from ematix_nb.words import counted

if TYPE_CHECKING:
    from ematix_nb.backends.base import TableInfo
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.context import RunContext
    from ematix_nb.load.plan import LoadPlan, Window
    from ematix_nb.load.source import OpenSource
    from ematix_nb.state.model import Lease, RunRecord, Watermark

STAGE = TableRef(None, "ematix_stage")
STAND_IN = TableRef(None, "ematix_target")
"""What a dry run changes in place of the target, where changes of the schema cannot be rolled back."""
SAMPLE_KEYS = 3


@dataclass
class Outcome:
    """What a load did."""

    counts: dict[str, int] = field(default_factory=dict)
    watermark: str = ""
    """The largest watermark that was read, as text; empty when none was."""
    ahead: int = 0
    """Rows that were read whose watermark is in the future."""
    warnings: list[str] = field(default_factory=list)
    kept_empty: bool = False
    """The source gave no rows and the target was left as it was."""
    checks: tuple[CheckResult, ...] = ()
    """How the declared checks ended."""

    def add(self, name: str, rows: int) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + max(rows, 0)


class SqlLoad:
    """One load into one SQL target. ``prepare`` may be slow and holds no lock; ``apply`` runs in the transaction."""

    def __init__(
        self,
        plan: LoadPlan,
        spec: PipelineSpec,
        target: TargetSpec,
        source: OpenSource,
        session: Any,
        context: RunContext,
    ) -> None:
        self._first = not session.capabilities.transactional_ddl
        """Changes of the schema commit by themselves, so they come before the transaction."""
        self._real = plan.ref
        self._made: list[TableRef] = []
        self._schema_stays = False
        """The schema is changed, and no rollback takes that back."""
        self._beside: TableRef | None = None
        """The table for the rows that do not fit, where this load makes it."""
        if self._first and context.dry and plan.schema_changes:
            plan = dataclasses.replace(plan, ref=STAND_IN)
        self.plan = plan
        self.spec = spec
        self.target = target
        self.source = source
        self.session = session
        self.context = context
        self.outcome = Outcome()
        self.statements = statements_for(plan, session.dialect, context)
        encoded = session.capabilities.takes_dictionaries
        self.batches = SourceBatches(plan, source, context, session.dialect.store, encoded=encoded)
        self._reopened = 0
        """Versions beyond those of the staged rows: deleted keys that came back."""
        self._kinds = {column.name: column.type for column in plan.source_columns}

    # -- the steps --------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Fill the staging table, when the plan has one; then change a schema that no transaction can change."""
        if self.plan.staged:
            self._stage()
        if self._first:
            self._change_schema()

    def _stage(self) -> None:
        self._phase("read")
        dialect = self.session.dialect
        self._drop_stage()
        columns = [Column(column.name, column.type) for column in self.plan.data]
        self.session.execute(dialect.create_table(STAGE, columns, temporary=True, index=self._joined_by()))
        failpoint("stage_create")
        rows = self._fill_stage(columns)
        failpoint("stage_write")
        if analyze := dialect.analyze(STAGE, self._joined_by()):
            self.session.execute(analyze)
        self.outcome.add("rows_read", rows + self.batches.quarantined)
        if self.batches.quarantined:
            self.outcome.add("rows_quarantined", self.batches.quarantined)
        failpoint("stage_done")
        self.context.token.check()

    def _joined_by(self) -> list[str]:
        """The staged columns whose values decide how the statements after it are best run."""
        staged = {column.name for column in self.plan.data}
        wanted = (*self.plan.keys, self.plan.event_column, *self._order_columns())
        return [name for name in dict.fromkeys(wanted) if name in staged]

    def apply(self) -> None:
        """Change the schema and the rows, inside the open transaction; fills the outcome."""
        self._phase("apply")
        if not self._first:
            self._change_schema()
        getattr(self, f"_{self.plan.mode}")()
        self._hold()
        failpoint("apply")
        self._find_watermark()
        self.context.token.check()
        self._check_counts()
        failpoint("check_counts")

    def check(self) -> None:
        """Hold the declared checks against the staged rows and the changed target, inside the open transaction.

        Raises:
            CheckFailedError: One does not hold.
        """
        if not held_against_rows(self.plan.checks):
            return
        if not self.context.checks:
            self._warn("the checks were left out (--no-checks)")
            return
        self._phase("check")
        self.outcome.checks = SqlChecks(self.plan, self.session, self.context.started, STAGE, self.plan.ref).results()
        if not self.context.report_checks:
            for warning in settle(self.outcome.checks):
                self._warn(warning)
        self.context.token.check()

    def _change_schema(self) -> None:
        if self.plan.ref != self._real:
            self._stand_in()
            return
        for change in self.plan.schema_changes:
            self.session.execute(change.sql)
            if self._first and not self.plan.target_exists and self.plan.ref not in self._made:
                self._made.append(self.plan.ref)
            self._emit_change(change.text)
        self._make_quarantine()
        self._schema_stays = self._first

    def _make_quarantine(self) -> None:
        """Make the table for the rows that do not fit, when there are some and it is not there."""
        if not self._holds:
            return
        ref = table_beside(self._real)
        if (found := self.session.table(ref)) is not None:
            check_columns(str(ref), found.columns)
            return
        self._beside = ref
        self.session.execute(create_statement(self.session.dialect, ref))
        if self._first:
            self._made.append(ref)
        self._emit_change(f"create table {ref}")

    @property
    def _holds(self) -> bool:
        """Whether rows have to be written beside the target."""
        aside = self.plan.quarantine is not None and bool(self.batches.quarantined)
        return aside and not self.context.dry and self.context.replay is None

    def _hold(self) -> None:
        """Write the rows that do not fit, in the transaction of those that do; or take those out that do now."""
        self._release()
        held = self.batches.held
        if held is None or not held.rows:
            return
        check_some_fit(self.plan.mode, self.outcome.counts)
        self._warn(held.words())
        if self._holds:
            store = self.session.dialect.store
            self.session.write(table_beside(self._real), stored_columns(store), held.batches(store))

    def _release(self) -> None:
        """Take the rows out of the quarantine that are loaded after all."""
        if self.context.replay is not None:
            remove_keys(self.session, table_beside(self._real), self.plan.pipeline, self.context.replay.loaded())

    def _stand_in(self) -> None:
        """A temporary table that looks and is filled like the target, with the planned changes: nobody else sees it."""
        dialect = self.session.dialect
        self._drop(STAND_IN)
        if self.plan.target_exists:
            info = self.session.table(self._real)
            names = [column.name for column in info.columns if column.name not in info.generated]
            for statement in dialect.copy_table(self._real, STAND_IN, names):
                self.session.execute(statement)
        old, new = dialect.table(self._real), dialect.table(STAND_IN)
        for change in self.plan.schema_changes:
            if statement := dialect.temporary(change.sql):
                self.session.execute(statement.replace(old, new, 1))
            self._emit_change(change.text)

    def undo(self) -> None:
        """After a failure and its rollback: remove the tables that this run made, unless somebody has filled them."""
        while self._made:
            self.session.drop_if_empty(self._made.pop())

    def is_outdated(self, planned: TableInfo | None) -> bool:
        """After a failure and its rollback: whether others made or changed a table that the plan took for another."""
        if self._schema_stays:
            return False
        made = self._beside is not None and self.session.table(self._beside) is not None
        return made or self.session.table(self._real) != planned

    def start_over(self) -> bool:
        """After a load that lost: remove what it made, so that another can take its place.

        False when the source gives its rows only once.
        """
        if self.source.once:
            return False
        self.close()
        return True

    def write_state(self, state: Any, lease: Lease, record: RunRecord, mark: Watermark | None) -> None:
        """Watermark, slot, history and the fence, in the open transaction."""
        state.write_commit(lease, record, mark)
        failpoint("state_write")

    def commit(self) -> None:
        """Commit data and state together."""
        self.session.commit()

    def close(self) -> None:
        """Drop the temporary tables."""
        if self.batches.held is not None:
            self.batches.held.close()
        self._drop_stage()
        if self.plan.ref != self._real:
            self._drop(STAND_IN)

    # -- staging and streaming --------------------------------------------------------------------------------

    def _fill_stage(self, columns: list[Column]) -> int:
        if self.plan.route == INSERT_SELECT:
            return int(self.session.execute(self.statements.stage_select(self.plan.source_sql)))
        if self.plan.route == COPY_THROUGH:
            return int(self.session.copy_into(STAGE, columns, self.batches.chunks(self._selected())))
        return int(self.session.write(STAGE, columns, self.batches.staged()))

    def _direct(self) -> int:
        """Rows straight into the target, without staging."""
        if self.plan.route == INSERT_SELECT:
            return int(self.session.execute(self.statements.insert_select(self.plan.source_sql)))
        meta = [Column(name, self.session.dialect.store(META_TYPES[name]).type) for name in self.plan.meta]
        columns = [*self.plan.data, *meta]
        if self.plan.route == COPY_THROUGH:
            query = self._selected("".join(f", {value}" for _, value in self.statements.meta))
            return int(self.session.copy_into(self.plan.ref, columns, self.batches.chunks(query)))
        return int(self.session.write(self.plan.ref, columns, self.batches.final()))

    def _selected(self, more: str = "") -> str:
        """The query for the columns that are written; some of the source's may be left out."""
        names = self.session.dialect.columns([column.name for column in self.plan.data])
        return f"SELECT {names}{more} FROM {self.session.dialect.wrap(self.plan.source_sql, 'source')}"

    # -- modes ------------------------------------------------------------------------------------------------

    def _append(self) -> None:
        if not self.plan.staged:
            rows = self._direct()
            self.outcome.add("rows_read", rows)
            self.outcome.add("rows_inserted", rows)
            return
        window = self.plan.window
        if window is None or not (window.lower or window.stored or self._ran_before()):
            self.outcome.add("rows_inserted", self.session.execute(self.statements.append_stage()))
            return
        inserted = self._append_window() if window.lower else self._append_missing()
        self.outcome.add("rows_inserted", inserted)
        self.outcome.add("rows_deduplicated", self._staged_rows() - inserted)

    def _append_window(self) -> int:
        """Overlap first (a difference of multisets against what this pipeline appended), then the new tail."""
        window, dialect = self.plan.window, self.session.dialect
        if window is None:
            return 0
        kinds = self._window_kinds(window)
        if self.plan.hidden.intersection(window.columns):
            target = "1 = 1"
        else:
            target = f"({windows.wanted(dialect, window, kinds)})"
        mine = self._own_batches()
        if window.upper:  # what the range has here already is not appended again
            return int(self.session.execute(self.statements.append_overlap("1 = 1", f"{target}{mine}")))
        tail, overlap = windows.tail(dialect, window, kinds)
        if window.ahead:
            return int(self.session.execute(self.statements.append_overlap("1 = 1", f"{target}{mine}")))
        late = int(self.session.execute(self.statements.append_overlap(overlap, f"{target}{mine}")))
        return late + int(self.session.execute(self.statements.append_stage(tail)))

    def _window_kinds(self, window: Window) -> list[DataType]:
        """The types of the watermark columns as they are staged."""
        return [self.statements.column(name).type for name in window.columns]

    def _append_missing(self) -> int:
        """No watermark was set, yet the pipeline ran before: all rows may be here already."""
        everything = "1 = 1"
        query = self.statements.append_overlap(everything, f"{everything}{self._own_batches()}")
        return int(self.session.execute(query))

    def _ran_before(self) -> bool:
        """Whether an earlier run of this pipeline committed here; a full refresh asks for all rows once more."""
        dialect = self.session.dialect
        history = dialect.state_table("run_history")
        if self.context.full_refresh or not self.plan.target_exists or self.session.table(history) is None:
            return False
        name = dialect.literal(self.plan.state_name, TEXT)
        return bool(
            self.session.fetch(
                f"SELECT 1 FROM {dialect.table(history)} WHERE pipeline_name = {name} AND status = 'success' LIMIT 1"
            )
        )

    def _own_batches(self) -> str:
        """Restrict the comparison to rows that this pipeline wrote: another one may have appended equal rows."""
        if BATCH_ID not in self.plan.meta:
            return ""
        dialect = self.session.dialect
        history = dialect.state_table("run_history")
        if self.session.table(history) is None:
            return ""
        names = ", ".join(dialect.literal(name, TEXT) for name in own_names(self.plan.pipeline, self.plan.ref))
        batch = dialect.quote(BATCH_ID)
        return (
            f" AND ({batch} IS NULL OR {batch} IN (SELECT run_id FROM {dialect.table(history)}"
            f" WHERE pipeline_name IN ({names})))"
        )

    def _truncate(self) -> None:
        self.session.execute(self.session.dialect.truncate(self.plan.ref))
        self._append()
        if not self.outcome.counts.get("rows_read") and self.plan.target_exists:
            self._keep_if_empty()

    def _keep_if_empty(self) -> None:
        if self.spec.policies.empty_source == "keep":
            self.outcome.kept_empty = True
            self._warn("the source gave no rows; the target is kept as it was (empty_source='apply' empties it)")

    def _merge(self) -> None:
        self._check_newer()
        self._settle_keys(self._order_columns(), ())
        self._drop_overtaken()
        inserted, updated, unchanged = self._upsert_in_one() if self._tells_touched() else self._upsert_and_count()
        self.outcome.add("rows_inserted", inserted)
        self.outcome.add("rows_updated", updated)
        self.outcome.add("rows_unchanged", unchanged)
        if self.target.handle_deletes == "hard" and self._deletes_allowed():
            self.outcome.add("rows_deleted", self.session.execute(self.statements.delete_missing()))

    def _drop_overtaken(self) -> None:
        """A backfill brings old rows: of two with one key the larger one by the order columns wins here, too."""
        window, order = self.plan.window, self._order_columns()
        if window is None or not window.upper or not order or self.plan.hidden.intersection(order):
            return
        self.outcome.add("rows_filtered", self.session.execute(self.statements.drop_overtaken(order)))

    def _tells_touched(self) -> bool:
        """Whether the upsert itself can count; a trigger could drop rows unseen, so then they are counted before."""
        if not self.session.dialect.tells_inserted:
            return False
        info = self.session.table(self.plan.ref)
        return info is not None and info.kind == "table" and not info.hooks

    def _upsert_in_one(self) -> tuple[int, int, int]:
        """Inserted, updated, unchanged: one pass over the target."""
        staged = self._staged_rows()
        inserted, touched = map(int, self.session.fetch(self.statements.counted_upsert())[0])
        return inserted, touched - inserted, staged - touched

    def _upsert_and_count(self) -> tuple[int, int, int]:
        """Inserted, updated, unchanged: counted by a join first, and compared with what the upsert touched."""
        inserted, updated, unchanged = map(int, self.session.fetch(self.statements.count_merge())[0])
        touched = [int(self.session.execute(statement)) for statement in self.statements.upserts()]
        self._compare_counts(inserted + updated, -1 if min(touched) < 0 else sum(touched))
        return inserted, updated, unchanged

    def _compare_counts(self, expected: int, touched: int) -> None:
        if touched >= 0 and touched != expected:
            message = f"the merge touched {counted(touched, 'row')} where {expected} were counted before it"
            raise DataError(message, "another writer changed the target in between; run again")

    def _scd2(self) -> None:
        if self.plan.event_column:
            self._scd2_chain()
        else:
            self._scd2_snapshot()
        if self.target.handle_deletes == "soft" and self._deletes_allowed():
            self.outcome.add("rows_closed", self.session.execute(self.statements.close_missing()))
        if self.target.ttl is not None:
            limit = self.context.started - self.target.ttl
            self.outcome.add("rows_closed", self.session.execute(self.statements.close_expired(limit)))

    def _scd2_snapshot(self) -> None:
        self._check_newer()
        self._settle_keys(self._order_columns(), ())
        if self._tells_touched():
            staged = self._staged_rows()
            closed, later = map(int, self.session.fetch(self.statements.counted_close())[0])
            self._check_clocks(later)
            inserted = int(self.session.execute(self.statements.insert_versions()))
            unchanged = staged - inserted
        else:
            unchanged = int(self.session.fetch(self.statements.count_versions())[0][2])
            self._check_clocks(int(self.session.fetch(self.statements.count_later())[0][0]))
            closed = int(self.session.execute(self.statements.close_changed()))
            inserted = int(self.session.execute(self.statements.insert_versions()))
        self.outcome.add("rows_closed", closed)
        self.outcome.add("rows_inserted", inserted)
        self.outcome.add("rows_unchanged", unchanged)

    def _check_clocks(self, later: int) -> None:
        """A version must not end before it began."""
        if later:
            message = f"{counted(later, 'current version begins', 'current versions begin')} after this run"
            hint = "set the clocks of the machines that run this pipeline, or correct valid_from"
            raise DataError(f"{message}, which would close what had not begun", hint)

    def _staged_rows(self) -> int:
        counts = self.outcome.counts
        aside = ("quarantined", "deduplicated", "filtered")
        return counts.get("rows_read", 0) - sum(counts.get(f"rows_{name}", 0) for name in aside)

    def _scd2_chain(self) -> None:
        event = self.plan.event_column or ""
        self._settle_keys((), (event,))
        dialect = self.session.dialect
        for ref in (CHAIN, NEW_VERSIONS):
            self._drop(ref)
            index = self.statements.chain_index()
            self.session.execute(
                dialect.create_table(ref, self.statements.chain_columns(), temporary=True, index=index)
            )
        for statement in self.statements.fill_chain():
            self.session.execute(statement)
        self.session.execute(self.statements.resolve_chain())
        self.outcome.add("rows_updated", self.session.execute(self.statements.drop_replaced()))
        self.outcome.add("rows_closed", self.session.execute(self.statements.move_ends()))
        inserted = self.session.execute(self.statements.insert_chain())
        self.outcome.add("rows_inserted", inserted)
        staged = int(self.session.fetch(self.statements.count_stage())[0][0])
        self.outcome.add("rows_unchanged", staged - inserted)
        if self.target.handle_deletes == "soft":
            self._reopened = self.session.execute(self.statements.reopen())
            self.outcome.add("rows_inserted", self._reopened)
        for ref in (CHAIN, NEW_VERSIONS):
            self._drop(ref)

    # -- keys -------------------------------------------------------------------------------------------------

    def _order_columns(self) -> tuple[str, ...]:
        """What decides which of two rows with one key stays: the larger one by these; empty: the later one."""
        if named := self.plan.order_column or self.plan.event_column:
            return (named,)
        return self.plan.window.columns if self.plan.window is not None else ()

    def _settle_keys(self, order_by: tuple[str, ...], extra: tuple[str, ...]) -> None:
        """Refuse rows without a key, and keep the last of those that share one; one look tells that all is well."""
        if self.session.fetch(self.statements.doubtful_keys(extra)):
            self._check_keys(extra)
            self._deduplicate(order_by, extra)

    def _check_keys(self, extra: tuple[str, ...]) -> None:
        names = (*self.plan.keys, *extra)
        builder = statements_for(self.plan, self.session.dialect, self.context, keys=names)
        missing = int(self.session.fetch(builder.null_keys())[0][0])
        if missing:
            message = f"{counted(missing, 'row has', 'rows have')} no value in a key column ({', '.join(names)})"
            raise DataError(message, "filter them in the SELECT, or choose other keys")

    def _check_newer(self) -> None:
        """Refuse rows of a quarantine that are older than what the target has for their keys."""
        replay = self.context.replay
        if replay is None or replay.since is None:
            return
        if LOADED_AT not in self.plan.meta:
            self._warn(f"the target has no {LOADED_AT}: its rows may have been newer than those of the quarantine")
            return
        keys = self.session.fetch(self.statements.changed_later(replay.since, SAMPLE_KEYS))
        if keys:
            shown = "; ".join(", ".join(str(value) for value in key) for key in keys)
            named = ", ".join(self.plan.keys)
            message = f"the target was given newer rows for keys of rows in quarantine ({named}): {shown}"
            hint = "purge the older rows, choose others with --run, or load them over the newer ones with --overwrite"
            raise DataError(message, hint)

    def _deduplicate(self, order_by: tuple[str, ...], extra: tuple[str, ...]) -> None:
        samples = self.session.fetch(self.statements.duplicate_keys(extra, SAMPLE_KEYS))
        if not samples:
            return
        if self.spec.policies.on_duplicate_key == "error":
            shown = "; ".join(", ".join(str(value) for value in row[:-1]) + f" ({row[-1]} times)" for row in samples)
            message = f"the source has rows with the same key ({', '.join(self.plan.keys)}): {shown}"
            raise DataError(message, "make the keys unique in the SELECT, or use on_duplicate_key='last'")
        touched = [self.session.execute(statement) for statement in self.statements.keep_last(order_by, extra)]
        self.outcome.add("rows_deduplicated", touched[-1])

    def _deletes_allowed(self) -> bool:
        if self.batches.quarantined:
            self._warn("some rows went to quarantine; nothing was deleted, because their keys are not gone")
            return False
        if self.outcome.counts.get("rows_read") or self.spec.policies.empty_source == "apply":
            return True
        self._warn("the source gave no rows; nothing was deleted (empty_source='apply' deletes all)")
        return False

    # -- checks -----------------------------------------------------------------------------------------------

    def _find_watermark(self) -> None:
        window = self.plan.window
        self.outcome.watermark, self.outcome.ahead = self.batches.watermark, self.batches.ahead
        for words in self.batches.warnings():
            self._warn(words)
        seen = self.outcome.watermark or self.batches.ahead
        if window is None or seen or not self.outcome.counts.get("rows_read"):
            return
        place, mine = STAGE, []
        if not self.plan.staged:
            batch = self.session.dialect.literal(self.context.run_id, UUID)
            place = self.plan.ref
            mine = [f"{self.session.dialect.quote(BATCH_ID)} = {batch}"] if BATCH_ID in self.plan.meta else []
        if window.more:  # a row without one of the values has no watermark
            mine += [f"{self.session.dialect.quote(name)} IS NOT NULL" for name in window.columns]
        top, now = self._largest(window, place, mine), self.context.clock.now()
        limit = None if window.horizon else windows.limit(self._kinds[window.column], now)
        if top and limit is not None and top[0] > limit:
            later, come = (self._compared(window.column, operator, limit) for operator in (">", "<="))
            table, where = self.session.dialect.table(place), " AND ".join([*mine, later])
            self.outcome.ahead = int(self.session.fetch(f"SELECT count(*) FROM {table} WHERE {where}")[0][0])
            self._warn(windows.ahead_words(window.column, self.outcome.ahead, top[0], now))
            top = self._largest(window, place, [*mine, come])
        if top:
            self.outcome.watermark = windows.written(top, [self._kinds[name] for name in window.columns])

    def _compared(self, column: str, operator: str, bound: Any) -> str:
        """A condition on a watermark column as the target has it."""
        kind = self.statements.column(column).type
        return windows.compared(self.session.dialect, column, kind, operator, windows.text(bound))

    def _largest(self, window: Window, place: TableRef, conditions: list[str]) -> tuple[Any, ...]:
        """The largest watermark among the rows of a table, found column by column; empty when there is none."""
        found: list[Any] = []
        for name in window.columns:
            where = " AND ".join(conditions)
            top = self.session.fetch(self.statements.maximum(name, place, where))[0][0]
            if top is None:
                return ()
            found.append(windows.parse(str(top), self._kinds[name]))
            conditions = [*conditions, self._compared(name, ">=", found[-1])]
        return tuple(found)

    def _check_counts(self) -> None:
        """Rows read = applied + deduplicated + quarantined; anything else is a loss and stops the run."""
        counts = self.outcome.counts
        read = counts.get("rows_read", 0)
        aside = ("deduplicated", "filtered", "quarantined")
        applied = sum(counts.get(f"rows_{name}", 0) for name in ("inserted", "unchanged", *aside))
        applied -= self._reopened
        if self.plan.mode == "merge":
            applied += counts.get("rows_updated", 0)
        if read != applied:
            message = f"{read} rows were read but {applied} are accounted for: {counts}"
            raise DataError(message, "nothing was written; please report this")

    # -- small things -----------------------------------------------------------------------------------------

    def _drop_stage(self) -> None:
        for ref in (STAGE, CHAIN, NEW_VERSIONS):
            self._drop(ref)

    def _drop(self, ref: TableRef) -> None:
        self.session.execute(self.session.dialect.drop_temporary(ref))

    def _phase(self, phase: str) -> None:
        self.context.listener.on_event(
            PhaseStarted(run_id=self.context.run_id, pipeline=self.plan.pipeline, phase=phase)
        )

    def _emit_change(self, text: str) -> None:
        self.context.listener.on_event(
            SchemaChanged(run_id=self.context.run_id, pipeline=self.plan.pipeline, change=text)
        )

    def _warn(self, message: str) -> None:
        self.outcome.warnings.append(message)
        self.context.listener.on_event(Warned(run_id=self.context.run_id, pipeline=self.plan.pipeline, message=message))


def statements_for(
    plan: LoadPlan,
    dialect: Any,
    context: RunContext,
    keys: tuple[str, ...] | None = None,
) -> LoadStatements:
    """The statement builder of a plan, for this run's time and id."""
    values: dict[str, tuple[Any, Any]] = {LOADED_AT: (TIMESTAMPTZ, context.started), BATCH_ID: (UUID, context.run_id)}
    meta = tuple(
        (Column(name, kind), dialect.literal(value, kind))
        for name, (kind, value) in values.items()
        if name in plan.meta
    )
    return LoadStatements(
        dialect=dialect,
        target=plan.ref,
        stage=STAGE,
        columns=plan.data,
        meta=meta,
        keys=plan.keys if keys is None else keys,
        update_columns=plan.update_columns,
        compare_columns=plan.compare_columns,
        now=context.started,
        event_column=plan.event_column,
        hidden=plan.hidden,
    )


def shown_statements(plan: LoadPlan, target: TargetSpec, dialect: Any, context: RunContext) -> tuple[str, ...]:
    """The statements that a run would execute after staging, for a preview; in order."""
    builder = statements_for(plan, dialect, context)
    if plan.mode == "append":
        return (builder.append_stage() if plan.staged else builder.insert_select(plan.source_sql),)
    if plan.mode == "truncate":
        load = builder.append_stage() if plan.staged else builder.insert_select(plan.source_sql)
        return (dialect.truncate(plan.ref), load)
    if plan.mode == "merge":
        deletes = (builder.delete_missing(),) if target.handle_deletes else ()
        return (*builder.upserts(), *deletes)
    if plan.event_column:
        steps = (builder.resolve_chain(), builder.drop_replaced(), builder.move_ends(), builder.insert_chain())
        return (*builder.fill_chain(), *steps)
    return (builder.close_changed(), builder.insert_versions())
