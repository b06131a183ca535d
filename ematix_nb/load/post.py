"""Post-transforms: what runs after a load has committed, each step in a transaction of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.registry import backend_for
from ematix_nb.clock import SYSTEM_CLOCK
from ematix_nb.connections import redact, resolve
from ematix_nb.declare import registry
from ematix_nb.declare.transforms import Transform, TransformRef
from ematix_nb.errors import DeclarationError, FlowError, RunError
from ematix_nb.load.failpoints import failpoint
from ematix_nb.state import liveness
from ematix_nb.state.model import Claim, RunRecord
from ematix_nb.state.sql_state import SqlState

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.load.run import TargetOutcome


@dataclass(frozen=True)
class ParentContext:
    """What a post-transform may know of the load before it."""

    pipeline_name: str
    run_id: str
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def rows_inserted(self) -> int:
        """Rows that the load inserted."""
        return self.counts.get("rows_inserted", 0)

    @property
    def rows_updated(self) -> int:
        """Rows that the load updated."""
        return self.counts.get("rows_updated", 0)

    @property
    def rows_unchanged(self) -> int:
        """Rows that were equal."""
        return self.counts.get("rows_unchanged", 0)


class TransformConnection:
    """What a transform function receives: the target, inside the step's transaction."""

    def __init__(self, name: str, session: Any) -> None:
        self.name = name
        self._session = session

    def execute(self, sql: str, params: tuple[object, ...] = ()) -> int:
        """Run one statement; the rows it touched."""
        return int(self._session.execute(sql, params))

    def fetch(self, sql: str, params: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of a small query."""
        return list(self._session.fetch(sql, params))

    def __repr__(self) -> str:
        return f"<connection {self.name}>"


def run_transforms(spec: PipelineSpec, parent: TargetOutcome, *, token: CancelToken) -> tuple[dict[str, Any], ...]:
    """Run the post-transforms of a pipeline in order; stops at the first failure unless the pipeline says otherwise.

    The load stays committed whatever happens here.
    """
    results: list[dict[str, Any]] = []
    for index, step in enumerate(spec.transforms_post):
        token.check()
        result = run_step(
            step,
            spec.targets[0].connection,
            ParentContext(spec.name, parent.run_id, dict(parent.counts)),
            name=_step_name(index, step),
        )
        results.append(result)
        failpoint("post_transform")
        if result["status"] == "transform_failed" and not spec.continue_on_failure_post:
            break
    return tuple(results)


def _step_name(index: int, step: Any) -> str:
    if isinstance(step, str):
        return f"transform[{index}]:sql"
    if isinstance(step, TransformRef):
        return f"transform[{index}]:ref={step.name}"
    return f"transform[{index}]:{getattr(step, '__name__', 'function')}"


def run_step(step: Any, connection: Any, parent: ParentContext | None, *, name: str) -> dict[str, Any]:
    """One step in its own transaction, recorded in the run history of its target."""
    if isinstance(step, TransformRef):
        if step.name in registry.transforms():
            step = registry.get_transform(step.name)
        else:
            message = f"there is no transform `{step.name}`"
            raise DeclarationError(message, "declare it with @ematix.transform")
    if isinstance(step, Transform):
        connection, step = step.target_connection, step.function
    started = SYSTEM_CLOCK.now()
    run_id = str(uuid.uuid4())
    status, error, metrics = "transform_success", "", {}
    with _session(connection) as (resolved, session):
        try:
            session.begin()
            metrics = _call(step, TransformConnection(resolved.name, session), parent)
            session.commit()
        except FlowError as exc:
            session.rollback()
            status, error = "transform_failed", redact(str(exc))
        except Exception as exc:  # noqa: BLE001  the user's function may raise anything; it is recorded
            session.rollback()
            status, error = "transform_failed", redact(f"{type(exc).__name__}: {exc}")
        _record(session, run_id, name, parent, started, status, error, metrics)
    return {"name": name, "run_id": run_id, "status": status, "error": error, "metrics": metrics}


def transform_slot(transform: Transform) -> dt.datetime | None:
    """The newest slot of a scheduled transform that committed."""
    resolved = resolve(transform.target_connection)
    session = backend_for(resolved.kind).open(resolved, read_only=True, create=False)
    try:
        return SqlState(session).slot(_scheduled_name(transform)).last_done
    finally:
        session.close()


def run_scheduled(transform: Transform, slot: dt.datetime) -> TargetOutcome | None:
    """Run a scheduled transform for one slot: its work, the slot and the history commit together.

    Returns:
        None when the slot was done meanwhile.
    """
    from ematix_nb.load.run import TargetOutcome

    started = SYSTEM_CLOCK.now()
    name = _scheduled_name(transform)
    record = RunRecord(
        run_id=str(uuid.uuid4()), pipeline=name, mode="transform", path="transform", started_at=started,
        trigger="schedule", slot=slot, host=liveness.host_name(), process=liveness.process_token(),
    )  # fmt: skip
    with _session(transform.target_connection) as (resolved, session):
        state = SqlState(session)
        state.ensure()
        lease = state.acquire(Claim(name, record.run_id, record.host, record.process), record)
        if state.slot(name, slot).done:
            state.withdraw(lease)
            return None
        error: FlowError | None = None
        try:
            session.begin()
            metrics = _call(transform.function, TransformConnection(resolved.name, session), None)
            record = dataclasses.replace(record, status="success", metrics=metrics, finished_at=SYSTEM_CLOCK.now())
            state.write_commit(lease, record, None)
            session.commit()
        except Exception as exc:  # noqa: BLE001  the user's function may raise anything; it is recorded
            error = exc if isinstance(exc, FlowError) else RunError(redact(f"{type(exc).__name__}: {exc}"))
            failed = dataclasses.replace(record, status="failed", error=str(error), finished_at=SYSTEM_CLOCK.now())
            state.close_failed(lease, failed)
    seconds = (SYSTEM_CLOCK.now() - started).total_seconds()
    status = "failed" if error else "success"
    return TargetOutcome(record.run_id, resolved.name, status, error=error, seconds=seconds)


def _scheduled_name(transform: Transform) -> str:
    return f"transform:{transform.name}"


def _call(step: Any, connection: TransformConnection, parent: ParentContext | None) -> dict[str, Any]:
    if isinstance(step, str):
        connection.execute(step)
        return {}
    arguments = [connection, parent][: len(inspect.signature(step).parameters)]
    result = step(*arguments)
    if inspect.iscoroutine(result):
        import asyncio

        result = asyncio.run(result)
    if isinstance(result, str):
        connection.execute(result)
        return {}
    return result if isinstance(result, dict) else {}


@contextlib.contextmanager
def _session(connection: Any) -> Iterator[tuple[Any, Any]]:
    resolved = resolve(connection)
    session = backend_for(resolved.kind).open(resolved)
    if not session.capabilities.has_sql:
        session.close()
        message = f"`{resolved.name}` has no SQL, so it cannot run a transform"
        raise DeclarationError(message, "give the transform another target_connection")
    try:
        yield resolved, session
    finally:
        session.close()


def _record(
    session: Any,
    run_id: str,
    name: str,
    parent: ParentContext | None,
    started: Any,
    status: str,
    error: str,
    metrics: dict[str, Any],
) -> None:
    state = SqlState(session)
    state.ensure()
    state.add_history(
        RunRecord(
            run_id=run_id,
            pipeline=parent.pipeline_name if parent else name,
            mode="transform",
            path="post" if parent else "transform",
            status=status,
            started_at=started,
            finished_at=SYSTEM_CLOCK.now(),
            error=error,
            parent_run_id=parent.run_id if parent else "",
            step_name=name,
            metrics=metrics,
        )
    )
