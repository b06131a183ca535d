"""Failures before a run holds its lease (the source is not reachable, the plan is refused): they leave a trace too."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ematix_nb.connections import redact
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.errors import CANCELLED, CancelledError, LockedError, UsageError
from ematix_nb.state import liveness
from ematix_nb.state.model import RunRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.load.context import RunContext
    from ematix_nb.load.run import OpenTarget


@contextlib.contextmanager
def recorded(side: OpenTarget, context: RunContext) -> Iterator[None]:
    """Write a history row for what fails in here, and let the error go on; a failure to do so must not hide it.

    A dry run writes nothing. A mistake in the declaration of a run without a slot is told to whoever started it:
    it is recorded where a history is, and creates none.
    """
    try:
        yield
    except LockedError:
        raise
    except Exception as exc:
        if not context.dry:
            with contextlib.suppress(Exception):
                _record(side, context, exc)
        raise


def _record(side: OpenTarget, context: RunContext, exc: Exception) -> None:
    context.token.noticed()
    if side.is_sql:
        side.session.rollback()
    if isinstance(exc, UsageError) and context.slot is None and not side.state.exists():
        return
    side.state.ensure()
    cancelled = context.token.cancelled
    text = str(CancelledError(CANCELLED) if cancelled else exc)
    side.state.add_history(
        RunRecord(
            run_id=context.run_id,
            pipeline=side.name,
            target_schema=side.ref.schema or "",
            target_table=side.ref.name,
            mode=side.target.mode,
            status="cancelled" if cancelled else "failed",
            started_at=context.started,
            finished_at=context.clock.now(),
            error=redact(text or type(exc).__name__),
            fingerprint=fingerprint(side.spec),
            trigger=context.trigger,
            slot=context.slot,
            host=liveness.host_name(),
            process=liveness.process_token(),
            **context.told(),
        )
    )
