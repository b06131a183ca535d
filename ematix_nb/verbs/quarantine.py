"""Rows that were not loaded: look at them, load them after all, or remove them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import redact
from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import connection_name, fingerprint
from ematix_nb.errors import FlowError, UnknownNameError
from ematix_nb.load.context import RunContext
from ematix_nb.load.quarantine_rows import opened_quarantine
from ematix_nb.load.replay import replay as load_again
from ematix_nb.verbs.commands import known_pipeline
from ematix_nb.verbs.results import Result, RunResult, TableResult
from ematix_nb.words import counted

if TYPE_CHECKING:
    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.quarantine_rows import QuarantinedRow
    from ematix_nb.load.run import TargetOutcome
    from ematix_nb.verbs.dispatch import Call

NOTHING = "no rows are in quarantine"
_SHORT = 8
_REASONS = 3
_VALUE = re.compile(r", row [\d,]+(?:: .*?(?= does not fit | is not a UUID)| is .*$)")
"""What makes the reasons of two rows differ: the row and its value."""


def listed(call: Call) -> TableResult:
    """How many rows each run put into quarantine, and why; targets that cannot be read are told in notes."""
    name = call.options["name"]
    specs = [known_pipeline(call, name)] if name else list(registry.pipelines().values())
    rows: list[tuple[Any, ...]] = []
    notes: list[str] = []
    for spec in specs:
        for target in spec.targets:
            try:
                rows += _counts(spec, target)
            except FlowError as exc:
                if name:
                    raise
                notes.append(f"{_place(target)} could not be read: {exc.what}")
    columns = ("pipeline", "target", "run", "at (UTC)", "rows", "because")
    return TableResult("", columns, tuple(rows), NOTHING, tuple(notes))


def _counts(spec: PipelineSpec, target: TargetSpec) -> list[tuple[Any, ...]]:
    by_run: dict[str, list[QuarantinedRow]] = {}
    with opened_quarantine(spec, target) as held:
        for row in held.rows():
            by_run.setdefault(row.run_id, []).append(row)
    return [
        (spec.name, _place(target), run[:_SHORT], f"{rows[0].quarantined_at:%Y-%m-%d %H:%M:%S}", len(rows), _why(rows))
        for run, rows in by_run.items()
    ]


def _why(rows: list[QuarantinedRow]) -> str:
    """The reasons without the values, the most frequent first."""
    counts: dict[str, int] = {}
    for row in rows:
        for reason in row.reason.split("; "):
            kind = _VALUE.sub("", reason)
            counts[kind] = counts.get(kind, 0) + 1
    ordered = sorted(counts, key=lambda kind: (-counts[kind], kind))
    more = f"; and {len(ordered) - _REASONS} more reasons" if len(ordered) > _REASONS else ""
    return redact("; ".join(f"{kind} ({counts[kind]:,})" for kind in ordered[:_REASONS]) + more)


def show(call: Call) -> TableResult:
    """Rows with their reasons, the oldest first."""
    spec = known_pipeline(call, call.options["name"])
    limit = call.options["limit"]
    rows = [
        (_place(target), row.run_id[:_SHORT], row.row_number, redact(row.reason), redact(row.source_row))
        for target, found in _held(spec, call.options["run"])
        for row in found
    ]
    notes = (f"{len(rows) - limit:,} more rows are there: --limit {len(rows)}",) if len(rows) > limit else ()
    columns = ("target", "run", "row", "reason", "source row")
    return TableResult("", columns, tuple(rows[:limit]), NOTHING, notes)


def _held(spec: PipelineSpec, wanted: str | None) -> list[tuple[TargetSpec, list[QuarantinedRow]]]:
    """The rows beside each target; of one run where the beginning of its id is given.

    Raises:
        UnknownNameError: No run, or more than one, that put rows there begins like that.
    """
    found: list[tuple[TargetSpec, list[QuarantinedRow]]] = []
    for target in spec.targets:
        with opened_quarantine(spec, target) as held:
            found.append((target, held.rows()))
    if wanted is None:
        return found
    runs = sorted({row.run_id for _, rows in found for row in rows if row.run_id.startswith(wanted.lower())})
    if not runs:
        message = f"no rows of a run `{wanted[:80]}` are in quarantine"
        raise UnknownNameError(message, "see `flow quarantine list` for the runs")
    if len(runs) > 1:
        message = f"{len(runs)} runs begin with `{wanted[:80]}`"
        raise UnknownNameError(message, f"give more of it: {', '.join(runs[:5])}")
    return [(target, [row for row in rows if row.run_id == runs[0]]) for target, rows in found]


def replay(call: Call) -> Result:
    """Load the rows of each target's quarantine; one run a target, in the history as ``replay``."""
    spec = known_pipeline(call, call.options["name"])
    outcomes: list[TargetOutcome] = []
    for target, rows in _held(spec, call.options["run"]):
        if rows:
            run = rows[0].run_id if call.options["run"] is not None else None
            context = RunContext(**call.run_options())
            outcome = load_again(spec, target, context, run, overwrite=call.options["overwrite"])
            outcomes += [outcome] if outcome is not None else []
    if not outcomes:
        return TableResult("", (), (), NOTHING)
    return RunResult(spec.name, fingerprint(spec), tuple(outcomes), spec=spec)


def purge(call: Call) -> TableResult:
    """Remove the rows of a pipeline, or of one run of it, for good."""
    spec = known_pipeline(call, call.options["name"])
    wanted = _held(spec, call.options["run"])
    total = sum(len(rows) for _, rows in wanted)
    if total:
        call.agreed(f"{counted(total, 'row')} of {spec.name} that were never loaded will be gone from quarantine.")
    done = []
    for target, rows in wanted:
        if rows:
            with opened_quarantine(spec, target, read_only=False) as held:
                held.remove([row.key for row in rows])
            done.append((spec.name, _place(target), len(rows)))
    return TableResult("", ("pipeline", "target", "removed"), tuple(done), NOTHING)


def _place(target: TargetSpec) -> str:
    thing = target.table.ref if target.table is not None else target.thing
    return f"{connection_name(target.connection)}:{thing}"
