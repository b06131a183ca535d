"""What runs in a process of its own: runs of one pipeline, with actions at failpoints; told back through a file."""

from __future__ import annotations

import datetime as dt
import json
import os
import resource
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.duckdb import config as duckdb_config
from ematix_nb.clock import FixedClock
from ematix_nb.config import connect, register_connection
from ematix_nb.connections import DeltaAzureConnection, DeltaS3Connection
from ematix_nb.declare import registry
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import FlowError
from ematix_nb.load.cancel import CancelToken
from ematix_nb.state import model
from ematix_nb.testing import install_from
from ematix_nb.verbs import due
from ematix_nb.verbs.due import RETRY_AFTER, run_due
from ematix_nb.verbs.run import run

if TYPE_CHECKING:
    from ematix_nb.declare.spec import PipelineSpec


DELTA: dict[str, Any] = {"delta_s3": DeltaS3Connection, "delta_azure": DeltaAzureConnection}


@dataclass(frozen=True)
class Step:
    """One run."""

    source: str
    """URL of the source connection."""
    failpoint: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the verb `run`, or `run-due`."""
    due: tuple[str, str] | None = None
    """Not `run` but `run-due`: now (ISO 8601) and the catch-up policy."""
    sigterm: bool = False
    """SIGTERM asks the run to stop, as under the command `flow`."""


@dataclass(frozen=True)
class Job:
    """Runs of one pipeline, one after the other."""

    target: str
    """URL of the target connection; or its settings as JSON, where no URL stands for them."""
    pipeline: dict[str, Any]
    """Options of the declaration."""
    steps: tuple[Step, ...]
    out: str
    """The file for the report; it is there only when the process came to its end."""
    environment: dict[str, str] = field(default_factory=dict)
    lease_seconds: float = model.LEASE_SECONDS
    duckdb_wait_ms: int = 10_000
    """How long a DuckDB file that another process has open is waited for."""
    file_limit: int = 0
    """A full disk, as one process sees it: files cannot grow beyond so many bytes; 0: no limit."""
    ended: str = ""
    """A folder where a file is put at the end: whoever waits there for this process need not wait any longer."""


def declared(options: dict[str, Any], target: str, source: str) -> PipelineSpec:
    """The pipeline, after its two connections were made known."""
    if target.startswith("{"):
        settings = json.loads(target)
        register_connection(DELTA[settings.pop("kind")](name="target", **settings))
    else:
        connect(target, name="target")
    connect(source, name="source")
    return build_pipeline(**options)


def work(job: Job) -> None:
    """Do the runs, write the report."""
    os.environ.update(job.environment)
    duckdb_config.BUSY_TIMEOUT_MS = job.duckdb_wait_ms
    if job.file_limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.file_limit, job.file_limit))
    reports = [_one(job, step) for step in job.steps]
    if job.ended:
        (Path(job.ended) / f"{os.getpid()}.ended").touch()
    fresh = Path(f"{job.out}.part")
    fresh.write_text(json.dumps(reports), encoding="utf-8")
    fresh.replace(job.out)


def _one(job: Job, step: Step) -> dict[str, Any]:
    spec = declared(job.pipeline, job.target, step.source)
    visits = install_from(step.failpoint)
    token = CancelToken()
    if step.sigterm:
        signal.signal(signal.SIGTERM, lambda *_: token.cancel())
    if step.due is not None:
        return _due(spec, *step.due, **step.options)
    started = time.monotonic()
    report: dict[str, Any] = {"status": "", "error": "", "type": "", "counts": {}, "run_id": "", "pid": os.getpid()}
    try:
        result = run(spec, token=token, lease_seconds=job.lease_seconds, **step.options)
        outcome = result.targets[0]
        report.update(status=result.status, counts=result.counts, run_id=result.run_id)
        report["warnings"] = list(outcome.warnings)
        if outcome.error is not None:
            report.update(error=str(outcome.error), type=type(outcome.error).__name__)
    except (FlowError, KeyboardInterrupt, MemoryError, ValueError) as exc:
        report.update(status="raised", error=str(exc), type=type(exc).__name__)
    report["seconds"] = time.monotonic() - started
    report["visits"] = dict(visits)
    return report


def _due(
    spec: PipelineSpec, now: str, catch_up: str, *, spaced: bool = False, ahead: float = 0, **options: Any
) -> dict[str, Any]:
    """``spaced`` keeps the waits between the tries of a slot; ``ahead`` (seconds) moves the clock that judges them.

    Otherwise a slot is tried three times, without a wait.
    """
    due.RETRY_AFTER = RETRY_AFTER if spaced else (dt.timedelta(),) * 2
    clock = FixedClock(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=ahead))
    due.SYSTEM_CLOCK = clock  # type: ignore[assignment,attr-defined]
    registry.register_pipeline(spec)
    result = run_due(now=dt.datetime.fromisoformat(now), catch_up=catch_up, **options)
    return {
        "ran": [one.status for one in result.ran],
        "failed": [one["error"] for one in result.failed],
        "skipped": list(result.skipped),
        "text": result.to_text(),
    }
