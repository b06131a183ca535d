"""The verbs ``run`` and ``dry-run``."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.declare.pipelines import override
from ematix_nb.errors import FlowError, LockedError
from ematix_nb.events import SILENT, Listener
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.context import RunContext
from ematix_nb.load.post import run_transforms
from ematix_nb.load.run import TargetOutcome, run_target
from ematix_nb.state.model import LEASE_SECONDS
from ematix_nb.verbs.results import RunResult

if TYPE_CHECKING:
    import datetime as dt

    from ematix_nb.declare.spec import PipelineSpec, TargetSpec

WAIT_STEP = 0.25


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
        outcome = _one(spec, target, _context(template), wait, several=len(spec.targets) > 1)
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


def _context(template: RunContext) -> RunContext:
    """A run of its own for each target: own id and start."""
    fresh = RunContext()
    return dataclasses.replace(template, run_id=fresh.run_id)


def _one(spec: PipelineSpec, target: TargetSpec, context: RunContext, wait: float, *, several: bool) -> TargetOutcome:
    deadline = time.monotonic() + wait
    while True:
        try:
            return run_target(spec, target, context)
        except LockedError:
            if time.monotonic() >= deadline:
                raise
            context.token.check()
            time.sleep(WAIT_STEP)
            context.started = context.clock.now()  # not before the run that it waited for
        except FlowError as exc:
            if not several:
                raise
            return TargetOutcome(context.run_id, str(target.thing or target.table), "failed", error=exc)
