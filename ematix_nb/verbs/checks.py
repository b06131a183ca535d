"""The verb ``check``: what the declared checks say of a load that is executed and rolled back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.errors import EXIT_FAILED, EXIT_OK, FlowError
from ematix_nb.verbs.results import TableResult
from ematix_nb.verbs.run import run

if TYPE_CHECKING:
    from ematix_nb.declare.spec import PipelineSpec

COLUMNS = ("pipeline", "target", "check", "result", "rows", "found")


@dataclass(frozen=True, repr=False)
class CheckReport(TableResult):
    """Every check of some pipelines; nothing was written."""

    kind: ClassVar[str] = "check"

    errors: tuple[FlowError, ...] = ()
    """What kept a load from being checked."""


def check(specs: list[PipelineSpec], *, full_refresh: bool = False, **options: Any) -> CheckReport:
    """Execute pipelines, make their checks, and roll back.

    Args:
        specs: The pipelines.
        full_refresh: Read everything, whatever the watermark says.
        options: ``listener`` and ``token`` of a run.

    Raises:
        FlowError: A load could not be executed.
    """
    rows: list[tuple[Any, ...]] = []
    errors: list[FlowError] = []
    notes = [f"{spec.name} declares no checks" for spec in specs if not spec.all_checks]
    for spec in (spec for spec in specs if spec.all_checks):
        done = run(spec, dry=True, report_checks=True, full_refresh=full_refresh, **options)
        for outcome in done.targets:
            if outcome.error is not None:
                errors.append(outcome.error)
                notes.append(f"{spec.name} -> {outcome.target} could not be checked: {outcome.error.what}")
            rows += [(spec.name, outcome.target, *_words(dataclasses.asdict(one))) for one in outcome.checks]
            aside = outcome.counts.get("rows_quarantined", 0)
            if aside:
                notes.append(f"{spec.name} -> {outcome.target}: {aside:,} rows would go to quarantine")
    failed = bool(errors) or any(row[3] == "failed" for row in rows)
    code = EXIT_FAILED if failed else EXIT_OK
    return CheckReport("", COLUMNS, tuple(rows), "no checks were made", tuple(notes), code, tuple(errors))


def _words(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["check"], one["status"], one["rows"], one["told"]
