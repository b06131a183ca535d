"""The verbs ``run`` and ``dry-run``."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import redact
from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.declare.pipelines import override
from ematix_nb.errors import CANCELLED, MAY_PASS, CancelledError, FlowError, LockedError
from ematix_nb.events import SILENT, Listener, Warned
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.context import RunContext
from ematix_nb.load.held import hold
from ematix_nb.load.post import run_transforms
from ematix_nb.load.run import TargetOutcome, run_target
from ematix_nb.state.model import LEASE_SECONDS
from ematix_nb.verbs.results import RunResult

if TYPE_CHECKING:
    from ematix_nb.declare.spec import PipelineSpec, TargetSpec

WAIT_STEP = 0.25
RETRY_BACKOFF = dt.timedelta(seconds=10)
"""The pause before the first retry, where the pipeline does not say."""
MAX_PAUSE = dt.timedelta(minutes=15)
"""Before any retry."""


def spec_of(pipeline: str | PipelineSpec) -> PipelineSpec:
    """A declaration, by name or as it is."""
    return registry.get_pipeline(pipeline) if isinstance(pipeline, str) else pipeline


def run(  # noqa: PLR0913  the options of the verb
    pipeline: str | PipelineSpec,
    *,
    dry: bool = False,
    full_refresh: bool = False,
    wait: float = 0.0,
    listener: Listener = SILENT,
    token: CancelToken | None = None,
    trigger: str = "manual",
    slot: dt.datetime | None = None,
    overrides: dict[str, Any] | None = None,
    no_checks: bool = False,
    report_checks: bool = False,
    lease_seconds: float = LEASE_SECONDS,
) -> RunResult:
    """Run a pipeline, all targets in order.

    Args:
        pipeline: Name or declaration.
        dry: Execute and roll back: exact counts, nothing written.
        full_refresh: Read everything, whatever the watermark says.
        wait: Seconds to wait while another run of the pipeline is alive.
        listener: Who gets the events.
        token: To stop it from elsewhere.
        trigger: What started it, for the history.
        slot: The scheduled time that fired it.
        overrides: Options replaced for this run.
        no_checks: Leave the declared checks out; the history says so.
        report_checks: Of a dry run: checks that fail are in the result, and do not end it.
        lease_seconds: How long the lease holds when this process hangs.

    Returns:
        How each target ended; errors of a load are in the result, not raised.

    Raises:
        LockedError: When another run of the pipeline is alive after waiting.
        FlowError: When the (only) target's run could not start, after the retries that the pipeline allows.
        UsageError: When the declaration does not fit; nothing was written.
    """
    spec = spec_of(pipeline)
    if overrides:
        spec = override(spec, **overrides)
    template = RunContext(
        listener=listener,
        token=token or CancelToken(),
        trigger=trigger,
        slot=slot,
        full_refresh=full_refresh,
        dry=dry,
        checks=not no_checks,
        report_checks=report_checks and dry,
        lease_seconds=lease_seconds,
    )
    outcomes: list[TargetOutcome] = []
    for target in spec.targets:
        outcome = load_target(spec, target, _context(template), wait, several=len(spec.targets) > 1)
        outcomes.append(outcome)
        if outcome.error is not None and not spec.continue_on_target_failure:
            break
    steps: tuple[dict[str, Any], ...] = ()
    if not dry and spec.transforms_post and all(outcome.status == "success" for outcome in outcomes):
        steps = run_transforms(spec, outcomes[0], token=template.token)
    return RunResult(spec.name, fingerprint(spec), tuple(outcomes), dry=dry, transforms=steps, spec=spec)


def dry_run(pipeline: str | PipelineSpec, **options: Any) -> RunResult:
    """Run a pipeline and roll back."""
    return run(pipeline, dry=True, **options)


def held(spec: PipelineSpec, parents: tuple[str, ...], *, trigger: str) -> RunResult:
    """Record that a pipeline is not started because others, on which it depends, failed; a result that says so."""
    names = " and ".join(f"`{name}`" for name in parents)
    outcomes = hold(spec, f"{names} did not succeed, and `{spec.name}` depends on it", trigger=trigger)
    return RunResult(spec.name, fingerprint(spec), outcomes, spec=spec)


def _context(template: RunContext, earlier: tuple[str, ...] = ()) -> RunContext:
    """A run of its own for each target and each attempt: own id and start."""
    fresh = RunContext()
    return dataclasses.replace(template, run_id=fresh.run_id, earlier=earlier)


def load_target(
    spec: PipelineSpec, target: TargetSpec, first: RunContext, wait: float, *, several: bool
) -> TargetOutcome:
    """Load one target; after an error that may pass all of it again, as often as the pipeline says.

    The type of the error decides. Each attempt is a run of its own in the history; the last one counts.

    Args:
        spec: The pipeline.
        target: One of its targets.
        first: The context of the first attempt.
        wait: Seconds to wait for another run of the pipeline to end.
        several: Of several targets, one that cannot start has failed; the only one raises.

    Raises:
        LockedError: When another run of the pipeline is alive after waiting.
        FlowError: When the only target could not start.
    """
    earlier: tuple[str, ...] = ()
    bad: TargetOutcome | None = None
    while True:
        context = _context(first, earlier) if earlier else first
        outcome = _outcome(spec, target, context, 0 if earlier else wait)
        busy = isinstance(outcome.error, LockedError)
        if bad is None or not busy:  # on a retry: the lease of the attempt before has not run out yet
            bad = outcome
        error = outcome.error
        may_pass = isinstance(error, MAY_PASS) or (busy and bool(earlier))
        if error is None or not may_pass or first.dry or len(earlier) >= spec.retries:
            break
        earlier = (*earlier, context.run_id)
        if not _paused(spec, context, len(earlier), error):
            bad = TargetOutcome(context.run_id, bad.target, "cancelled", error=CancelledError(CANCELLED))
            break
    final = outcome if error is None else bad
    if final.error is not None and final.status == "not-started" and not several:
        raise final.error
    return dataclasses.replace(final, status="failed") if final.status == "not-started" else final


def _paused(spec: PipelineSpec, context: RunContext, number: int, error: FlowError) -> bool:
    """Wait before a retry, twice as long as before the last one; False when somebody asked to stop meanwhile."""
    first = RETRY_BACKOFF if spec.retry_backoff is None else spec.retry_backoff
    seconds = min(first.total_seconds() * 2 ** (number - 1), MAX_PAUSE.total_seconds())
    what = f"{redact(error.what)}: tried again in {seconds:g} s (attempt {number + 1} of {spec.retries + 1})"
    context.listener.on_event(Warned(run_id=context.run_id, pipeline=spec.name, message=what))
    return not context.token.wait(seconds)


def _outcome(spec: PipelineSpec, target: TargetSpec, context: RunContext, wait: float) -> TargetOutcome:
    """How one attempt ended; what keeps it from starting is an outcome as well, ``not-started``."""
    deadline = time.monotonic() + wait
    while True:
        try:
            return run_target(spec, target, context)
        except LockedError as exc:
            if time.monotonic() >= deadline:
                if not context.earlier:
                    raise
                return _not_started(target, context, exc)
            context.token.check()
            time.sleep(WAIT_STEP)
            context.started = context.clock.now()  # not before the run that it waited for
        except FlowError as exc:
            return _not_started(target, context, exc)


def _not_started(target: TargetSpec, context: RunContext, error: FlowError) -> TargetOutcome:
    return TargetOutcome(context.run_id, str(target.thing or target.table), "not-started", error=error)
