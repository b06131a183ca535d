"""Running a pipeline: one lease, one plan, one commit per target; or the same, rolled back.

The steps and their failpoints, in order: lock, read_state, open_source,
stage_create, fetch, stage_write, stage_done, tx_begin, apply, check_counts,
state_write, history_write, before_commit, commit, ack_source, release,
post_transform.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.registry import backend_for
from ematix_nb.backends.schemas import has_schema
from ematix_nb.connections import redact, resolve
from ematix_nb.declare.spec import MODES
from ematix_nb.errors import (
    CANCELLED,
    CancelledError,
    ConflictError,
    DeclarationError,
    FlowError,
    LockedError,
    TransientError,
)
from ematix_nb.events import RunFinished, RunStarted, Warned
from ematix_nb.load import window as windows
from ematix_nb.load.failpoints import failpoint
from ematix_nb.load.failure import recorded
from ematix_nb.load.heartbeat import Heartbeat
from ematix_nb.load.planner import make_plan
from ematix_nb.load.quarantine_rows import REPLAYED, as_ranges, refuse_replayed
from ematix_nb.load.renamed import refuse_renamed
from ematix_nb.load.source import open_source
from ematix_nb.load.spans import METRIC
from ematix_nb.load.sql_load import SqlLoad
from ematix_nb.load.targets import TargetSide, file_thing, own_names, state_name, state_store, target_ref
from ematix_nb.state import liveness
from ematix_nb.state.model import AHEAD, COUNT_NAMES, Claim, Lease, RunRecord, Watermark, join_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ematix_nb.backends.base import TableInfo
    from ematix_nb.clock import Clock
    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.checks import CheckResult
    from ematix_nb.load.context import RunContext
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.load.source import OpenSource
    from ematix_nb.state.model import StateStore


TRIES = 5
"""How often a load is worked out anew while other writers change its target first."""
PAUSE_S = 0.1
"""Seconds before the second try of such a load, four times as many before each next: the other may be at work yet."""
SEARCHED_RUNS = 1000
"""Runs that are searched for the table which an old watermark belongs to."""


@dataclass(frozen=True)
class TargetOutcome:
    """How the load of one target ended."""

    run_id: str
    target: str
    status: str
    """success, failed, cancelled, already-done (a slot that had fired) or dry-run."""
    counts: dict[str, int] = field(default_factory=dict)
    plan: LoadPlan | None = None
    warnings: tuple[str, ...] = ()
    error: FlowError | None = None
    seconds: float = 0.0
    watermark_before: str = ""
    watermark_after: str = ""
    checks: tuple[CheckResult, ...] = ()
    """How the declared checks ended."""


class OpenTarget:
    """A target that is open: its session, its state and what the planner needs."""

    def __init__(
        self,
        spec: PipelineSpec,
        target: TargetSpec,
        clock: Clock,
        *,
        read_only: bool,
        create: bool,
        anew: bool = False,
    ) -> None:
        self.spec = spec
        self._anew = anew
        self.target = target
        self._clock = clock
        self.connection = resolve(target.connection)
        self.backend = backend_for(self.connection.kind)
        if not read_only and getattr(self.connection, "read_only", False):
            message = f"connection `{self.connection.name}` is read-only, so it cannot be a target"
            raise DeclarationError(message, "take `read_only` out of its settings, or name another connection")
        self.ref = target_ref(target)
        self.session: Any = self.backend.open(self.connection, read_only=read_only, create=create)
        self.name = state_name(spec, self.ref)
        self.is_sql = self.session.capabilities.has_sql
        self.state = state_store(self.session, target, clock)
        self.info: TableInfo | None = None
        """The table of an SQL target as the planner was last told of it; None when it was not there."""
        self.landing: TargetOutcome | None = None
        """What the run is when its commit lands; set right before the commit is sent."""
        self.committed = False
        """Set by the commit: what happens after it cannot make the run a failed one."""

    @property
    def thing(self) -> str:
        """The folder of a file target."""
        return file_thing(self.target)

    def side(self) -> TargetSide:
        """What the planner has to know."""
        if not self.is_sql:
            describe, _ = self._executor()
            return describe(self.connection.name, self.ref, self.thing, self.session)
        self.info = self.session.table(self.ref)
        return TargetSide(
            self.connection.name,
            self.ref,
            self.info,
            self.session.capabilities,
            self.session.dialect,
            self.session.identity,
            self.session.dialect.name,
            getattr(self.session, "place", ""),
            schema_exists=self.info is not None or has_schema(self.session, self.ref.schema),
        )

    def watermark(self) -> Watermark | None:
        """The stored watermark, if it is one of this table.

        Also found when the pipeline had another number of targets when it was stored.

        Raises:
            DeclarationError: There is none because the pipeline was renamed, and its rows would be appended again.
        """
        found = self.state.watermark(self.name)
        if found is not None:
            last = self._last_success(self.name)
            return found if last is None or self._is_here(last) else None
        other = next(name for name in own_names(self.spec.name, self.ref) if name != self.name)
        if (found := self.state.watermark(other)) is None:
            if self.spec.incremental and self.target.mode == "append" and not self._anew:
                refuse_renamed(self.spec, filter(self._loaded, self.state.history(None, SEARCHED_RUNS)))
            return None
        last = self._last_success(other)
        return found if last is not None and self._is_here(last) else None

    def _last_success(self, name: str) -> RunRecord | None:
        """The newest load that committed under a name; None when the history does not say (an adopted watermark)."""
        runs = (run for run in self.state.history(self.spec.name, SEARCHED_RUNS) if run.pipeline == name)
        return next((run for run in runs if run.status == "success" and run.mode in MODES), None)

    def _loaded(self, run: RunRecord) -> bool:
        """Whether a run committed rows of this very table."""
        return run.status == "success" and run.mode in MODES and self._is_here(run)

    def _is_here(self, run: RunRecord) -> bool:
        """Whether a run loaded this very table: a pipeline that was pointed at another one begins anew there."""
        home = self.session.capabilities.default_schema or ""
        there = (run.target_schema or home, run.target_table)
        return there == (self.ref.schema or home, self.ref.name)

    def reopen_state(self) -> tuple[StateStore, Callable[[], None]]:
        """A second session for the heartbeat."""
        session = self.backend.open(self.connection, read_only=False, create=False)
        return state_store(session, self.target, self._clock), session.close

    def loader(self, plan: LoadPlan, source: OpenSource, context: RunContext) -> Any:
        """The executor for this kind of target."""
        if self.is_sql:
            return SqlLoad(plan, self.spec, self.target, source, self.session, context)
        return self._executor()[1](plan, self.spec, self.target, source, self.session, self.thing, context)

    def _executor(self) -> tuple[Callable[..., TargetSide], Callable[..., Any]]:
        """What describes a target without SQL to the planner, and what loads it; imported for such a target alone."""
        if self.session.capabilities.executor == "delta":
            from ematix_nb.load.delta_load import DeltaLoad, delta_side

            return delta_side, DeltaLoad
        from ematix_nb.load.file_load import FileLoad, file_side

        return file_side, FileLoad

    def reader(self) -> tuple[Any, str]:
        """A session that answers SELECT over the target, and the target's name in it."""
        if self.is_sql:
            return self.session, self.session.dialect.table(self.ref)
        from ematix_nb.query import open_file_query

        found = open_file_query(self.session)
        return found, found.dialect.quote(self.thing)

    def close(self) -> None:
        """Close the session."""
        self.session.close()


@contextlib.contextmanager
def opened(
    spec: PipelineSpec, target: TargetSpec, context: RunContext, *, read_only: bool = False, create: bool = True
) -> Iterator[tuple[OpenTarget, OpenSource]]:
    """Target and source, both open, with their interrupts tied to the run's cancel token."""
    hooks = []
    side = OpenTarget(spec, target, context.clock, read_only=read_only, create=create, anew=context.full_refresh)
    try:
        hooks.append(getattr(side.session, "interrupt", lambda: None))
        context.token.on_cancel(hooks[-1])
        with contextlib.nullcontext() if read_only else recorded(side, context):
            source = open_source(spec, resolve(spec.source), side.connection, side.session)
        try:
            hooks.append(source.session.interrupt)
            context.token.on_cancel(hooks[-1])
            yield side, source
        finally:
            context.token.remove(hooks[-1])
            source.close()
    finally:
        context.token.remove(hooks[0])
        side.close()


def run_target(spec: PipelineSpec, target: TargetSpec, context: RunContext) -> TargetOutcome:
    """Load one target; the outcome tells how it ended (errors are in it, not raised).

    Raises:
        LockedError: When another run of the pipeline is alive.
        FlowError: When the run could not start; the history says so where the target can be reached.
    """
    with opened(spec, target, context, create=not context.dry) as (side, source):
        with recorded(side, context):
            stored = side.watermark()
            plan = make_plan(
                spec, target, source, side.side(), stored, full_refresh=context.full_refresh, span=context.span
            )
            if context.dry:
                return _dry_run(side, source, plan, context)
            side.state.ensure()
            if context.slot is not None and side.state.slot(side.name, context.slot).done:
                return TargetOutcome(context.run_id, plan.target, "already-done", plan=plan)
            context.token.check()
        return _leased_run(side, source, plan, context)


def _leased_run(side: OpenTarget, source: OpenSource, plan: LoadPlan, context: RunContext) -> TargetOutcome:
    record = _record(side, plan, context)
    claim = Claim(side.name, context.run_id, liveness.host_name(), liveness.process_token(), context.lease_seconds)
    try:
        lease = side.state.acquire(claim, record)
    except BaseException:
        liveness.ended(context.run_id)  # it may hold the lease, when only the answer was lost
        raise
    try:
        failpoint("lock")
        return _work(side, source, lease, record, context)
    except BaseException as exc:  # noqa: BLE001  whatever ends the run, its history row is closed
        context.token.noticed()
        return _failed(side, lease, record, context, exc)


def _work(side: OpenTarget, source: OpenSource, lease: Lease, record: RunRecord, context: RunContext) -> TargetOutcome:
    """Load under the lease; where another writer changes the target first, all of it again on what is there then."""
    if context.slot is not None and side.state.slot(side.name, context.slot).done:
        side.state.withdraw(lease)
        return TargetOutcome(context.run_id, f"{side.connection.name}:{side.ref}", "already-done")
    if (landed := _landed(side, context)) is not None:
        side.state.withdraw(lease)
        return landed
    beat = Heartbeat(lease, side.reopen_state) if side.session.capabilities.many_writers else contextlib.nullcontext()
    done: TargetOutcome | None = None
    attempt = 0
    with beat:
        while done is None:
            attempt += 1
            done = _attempt(side, source, lease, record, context, attempt)
    failpoint("release")
    _finished(context, side.spec.name, done)
    return done


def _landed(side: OpenTarget, context: RunContext) -> TargetOutcome | None:
    """What a run before this retry did after all: its commit landed, and nobody could be asked whether it had.

    Asked under the lease: until that was given or taken, the commit might have been on its way.
    """
    if not context.earlier:
        return None
    rows = side.state.history(side.name, SEARCHED_RUNS)
    done = next((row for row in rows if row.run_id in context.earlier and row.status == "success"), None)
    if done is None:
        return None
    return TargetOutcome(
        done.run_id,
        f"{side.connection.name}:{side.ref}",
        "success",
        counts=done.counts,
        warnings=("the answer to the commit was lost; the commit had landed",),
        watermark_before=done.watermark_before,
        watermark_after=done.watermark_after,
    )


def _attempt(
    side: OpenTarget, source: OpenSource, lease: Lease, record: RunRecord, context: RunContext, attempt: int
) -> TargetOutcome | None:
    """Plan (another run may have moved the watermark since the lease was asked for), load, commit.

    None when another writer was first and the load can be worked out anew.
    """
    if context.replay is not None:
        refuse_replayed(side.state, side.spec.name, [key for keys in context.replay.keys for key in keys])
    stored = side.watermark()
    failpoint("read_state")
    plan = make_plan(
        side.spec, side.target, source, side.side(), stored, full_refresh=context.full_refresh, span=context.span
    )
    failpoint("open_source")
    if attempt == 1:
        context.listener.on_event(
            RunStarted(run_id=context.run_id, pipeline=plan.pipeline, target=plan.target, mode=plan.mode)
        )
    loader = side.loader(plan, source, context)
    context.token.check()
    try:
        with _undone(side, loader):
            loader.prepare()
            _begin(side)
            failpoint("tx_begin")
            loader.apply()
            if loader.outcome.kept_empty and side.is_sql:
                side.session.rollback()
                _begin(side)
            loader.check()
            done = _commit(side, loader, plan, lease, record, stored, context)
    except ConflictError as error:
        _again(loader, context, attempt, error)
        return None
    with contextlib.suppress(FlowError):
        loader.close()
    return done


def _again(loader: Any, context: RunContext, attempt: int, error: ConflictError) -> None:
    """Prepare the next attempt of a load that lost.

    Raises:
        ConflictError: When it cannot be done again.
        TransientError: When it lost too often.
    """
    if not loader.start_over():
        raise error
    if attempt == TRIES:
        message = f"{error.what}; so it went {TRIES} times"
        raise TransientError(message, "run it while the other writers rest") from error
    context.token.wait(PAUSE_S * 4 ** (attempt - 1))
    context.token.check()
    message = f"another writer changed the target first: the load is worked out anew (try {attempt + 1} of {TRIES})"
    context.listener.on_event(Warned(run_id=context.run_id, pipeline=loader.plan.pipeline, message=message))
    context.started = context.clock.now()  # not before the run that was first


@contextlib.contextmanager
def _undone(side: OpenTarget, loader: Any) -> Iterator[None]:
    """After a failure take back what no rollback does: a table that was made before the transaction.

    Raises:
        ConflictError: In place of another error, when the table is not the one any more that the plan was made for.
    """
    try:
        yield
    except BaseException as exc:
        if side.is_sql and not side.committed and _taken_back(side, loader, exc):
            what = getattr(exc, "what", exc)
            message = f"`{side.ref}` was made or changed by another writer while this run was at work: {what}"
            raise ConflictError(message, "run again: the run plans anew") from exc
        raise


def _taken_back(side: OpenTarget, loader: Any, exc: BaseException) -> bool:
    """Roll back; whether the table is not the one any more that the plan was made for, which explains the failure."""
    with contextlib.suppress(Exception):  # the first error counts; an empty table is all that stays
        side.session.rollback()
        loader.undo()
        if isinstance(exc, FlowError) and not isinstance(exc, (CancelledError, TransientError)):
            return bool(loader.is_outdated(side.info))
    return False


def _begin(side: OpenTarget) -> None:
    if side.is_sql:
        side.session.begin()


def _commit(
    side: OpenTarget,
    loader: Any,
    plan: LoadPlan,
    lease: Lease,
    record: RunRecord,
    stored: Watermark | None,
    context: RunContext,
) -> TargetOutcome:
    """The one place that commits: (1) watermark, slot, history and fence; (2) the data with them; (3) the source."""
    mark = _next_watermark(plan, loader, stored)
    before = stored.value if stored else ""
    finished = context.clock.now()
    record = dataclasses.replace(
        record,
        status="success",
        path=plan.route,
        fingerprint=plan.fingerprint,
        counts={name: loader.outcome.counts.get(name, 0) for name in COUNT_NAMES},
        finished_at=finished,
        watermark_before=before,
        watermark_after=mark.value if mark else before,
        metrics={**record.metrics, **_metrics(loader)},
    )
    loader.write_state(side.state, lease, record, mark)
    failpoint("history_write")
    context.token.check()
    failpoint("before_commit")
    done = TargetOutcome(
        context.run_id,
        plan.target,
        "success",
        counts=record.counts,
        plan=plan,
        warnings=(*plan.warnings, *loader.outcome.warnings, *_took_over(lease)),
        seconds=(finished - context.started).total_seconds(),
        watermark_before=before,
        watermark_after=record.watermark_after,
        checks=loader.outcome.checks,
    )
    side.landing = done
    loader.commit()
    side.committed = True
    failpoint("commit")
    failpoint("ack_source")
    return done


def _metrics(loader: Any) -> dict[str, Any]:
    """What the history keeps of a run beside its counts."""
    found: dict[str, Any] = {"warnings": loader.outcome.warnings} if loader.outcome.warnings else {}
    replay = loader.context.replay
    if replay is not None and not loader.session.capabilities.has_sql:
        found[REPLAYED] = as_ranges(replay.loaded())
    if loader.outcome.checks:
        found["checks"] = [
            {"check": one.check, "status": one.status, "rows": one.rows} for one in loader.outcome.checks
        ]
    return found


def _took_over(lease: Lease) -> tuple[str, ...]:
    """Tell that a run before this one died: its work was rolled back, and this run did it again."""
    if not lease.took_over:
        return ()
    return (f"took over from run {lease.took_over}, which had ended without committing",)


def _next_watermark(plan: LoadPlan, loader: Any, stored: Watermark | None) -> Watermark | None:
    if plan.window is None or plan.window.upper:
        return None
    ahead = AHEAD if loader.outcome.ahead else ""
    if not loader.outcome.watermark:
        if stored is None or not (plan.window.horizon or ahead):
            return None
        return dataclasses.replace(stored, horizon=plan.window.horizon, type=stored.type.removesuffix(ahead) + ahead)
    types = {column.name: column.type for column in plan.source_columns}
    kinds = [types[name] for name in plan.window.columns]
    old = stored.value if stored is not None and plan.window.stored else ""
    value = windows.newer(old, loader.outcome.watermark, *kinds)
    composite = len(kinds) > 1
    column = join_parts(plan.window.sources, composite=composite)
    kind = join_parts([each.kind for each in kinds], composite=composite)
    return Watermark(column, value, kind + ahead, plan.window.horizon)


def _dry_run(side: OpenTarget, source: OpenSource, plan: LoadPlan, context: RunContext) -> TargetOutcome:
    loader = side.loader(plan, source, context)
    try:
        loader.prepare()
        _begin(side)
        loader.apply()
        if loader.outcome.kept_empty and side.is_sql:
            side.session.rollback()
            _begin(side)
        loader.check()
    finally:
        context.token.noticed()
        if side.is_sql:
            side.session.rollback()
        with contextlib.suppress(FlowError):
            loader.close()
    return TargetOutcome(
        context.run_id,
        plan.target,
        "dry-run",
        counts=dict(loader.outcome.counts),
        plan=plan,
        warnings=(*plan.warnings, *loader.outcome.warnings),
        seconds=(context.clock.now() - context.started).total_seconds(),
        watermark_before=plan.window.stored if plan.window else "",
        watermark_after=loader.outcome.watermark,
        checks=loader.outcome.checks,
    )


def _record(side: OpenTarget, plan: LoadPlan, context: RunContext) -> RunRecord:
    return RunRecord(
        run_id=context.run_id,
        pipeline=side.name,
        target_schema=plan.ref.schema or "",
        target_table=plan.ref.name,
        mode=plan.mode,
        path=plan.route,
        started_at=context.started,
        fingerprint=plan.fingerprint,
        trigger=context.trigger,
        slot=context.slot,
        metrics={METRIC: context.span.as_metric()} if context.span is not None else {},
        watermark_before=plan.window.stored if plan.window else "",
        host=liveness.host_name(),
        process=liveness.process_token(),
        **context.told(),
    )


def _failed(
    side: OpenTarget, lease: Lease, record: RunRecord, context: RunContext, exc: BaseException
) -> TargetOutcome:
    """Close the history row of a run that did not commit; a failure to do so must not hide the first error."""
    cancelled = isinstance(exc, (CancelledError, KeyboardInterrupt)) or context.token.cancelled
    status = "cancelled" if cancelled else "failed"
    finished = context.clock.now()
    stopped = CancelledError(CANCELLED)
    text = redact(str(stopped if cancelled else exc) or type(exc).__name__)
    record = dataclasses.replace(record, status=status, error=text, finished_at=finished)
    liveness.ended(context.run_id)
    if side.committed or _close(side, lease, record):
        return _after_commit(side, exc)
    seconds = (finished - context.started).total_seconds()
    context.listener.on_event(
        RunFinished(run_id=context.run_id, pipeline=side.spec.name, status=status, seconds=seconds, error=text)
    )
    if not isinstance(exc, FlowError):
        raise exc
    if cancelled:
        exc = stopped
    return TargetOutcome(context.run_id, f"{side.connection.name}:{side.ref}", status, error=exc, seconds=seconds)


def _close(side: OpenTarget, lease: Lease, record: RunRecord) -> bool:
    """Close the history row; True when it turns out that the commit landed and only its answer was lost."""
    try:
        return side.state.close_failed(lease, record)
    except Exception:  # noqa: BLE001  whatever it is: the error that the run failed with counts
        # the connection may be gone: a new one; where that fails as well, the next run closes the row as abandoned
        with contextlib.suppress(Exception):
            side.close()  # it may hold locks
            state, close = side.reopen_state()
            try:
                return state.close_failed(lease, record)
            finally:
                close()
    return False


def _after_commit(side: OpenTarget, exc: BaseException) -> TargetOutcome:
    """The run is a success, whatever came after its commit; a request to stop goes on to the caller."""
    if side.landing is None or not isinstance(exc, FlowError):
        raise exc
    return dataclasses.replace(side.landing, warnings=(*side.landing.warnings, f"after the commit: {exc.what}"))


def _finished(context: RunContext, pipeline: str, done: TargetOutcome) -> None:
    context.listener.on_event(
        RunFinished(
            run_id=context.run_id,
            pipeline=pipeline,
            status=done.status,
            counts=done.counts,
            seconds=done.seconds,
        )
    )


__all__ = ["LockedError", "OpenTarget", "TargetOutcome", "opened", "run_target"]
