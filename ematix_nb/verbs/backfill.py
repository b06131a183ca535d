"""The verb ``backfill``: a range of the watermark column is loaded anew, part by part; the watermark stays."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.errors import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, FlowError, UsageError
from ematix_nb.events import SILENT, Listener, PhaseStarted
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.context import RunContext
from ematix_nb.load.post import run_transforms
from ematix_nb.load.spans import done_before, spans
from ematix_nb.load.targets import open_state
from ematix_nb.verbs.commands import known_pipeline
from ematix_nb.verbs.results import Result, count_words
from ematix_nb.verbs.run import load_target, spec_of
from ematix_nb.verbs.text import neutral, table
from ematix_nb.verbs.watermark import place_of, source_kinds
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.run import TargetOutcome
    from ematix_nb.load.spans import Span
    from ematix_nb.verbs.dispatch import Call

SEARCHED_RUNS = 1000
"""Newest runs among which an earlier backfill of the same range is looked for."""
SHOWN = 20
"""Chunks that are listed at either end of a long table."""
DONE, WAITING = "done before", "to do"


@dataclass(frozen=True)
class Chunk:
    """One part of a backfill, in one target."""

    target: str
    span: Span
    status: str
    """``to do``, ``done before`` (by an earlier backfill that ended too early), or how its run ended."""
    outcome: TargetOutcome | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = self.outcome
        return {
            "target": self.target,
            "chunk": self.span.number,
            "from": self.span.low,
            "to": self.span.high,
            "status": self.status,
            "run_id": found.run_id if found else None,
            "counts": dict(found.counts) if found else {},
            "error": str(found.error) if found and found.error else None,
        }


@dataclass(frozen=True, repr=False)
class BackfillResult(Result):
    """What became of each part of a range."""

    kind: ClassVar[str] = "backfill"

    pipeline: str
    column: str
    chunks: tuple[Chunk, ...]
    dry: bool = False
    transforms: tuple[dict[str, Any], ...] = field(default=())
    """Post-transforms: they run once, when all chunks are loaded."""

    @property
    def error(self) -> FlowError | None:
        """What stopped it; None when nothing did."""
        return next((chunk.outcome.error for chunk in self.chunks if chunk.outcome and chunk.outcome.error), None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of all runs, each once."""
        found = [text for chunk in self.chunks if chunk.outcome for text in chunk.outcome.warnings]
        return tuple(dict.fromkeys(found))

    @property
    def counts(self) -> dict[str, int]:
        """Row counts, summed over the chunks that this backfill loaded."""
        total: dict[str, int] = {}
        for chunk in self.chunks:
            for name, rows in (chunk.outcome.counts if chunk.outcome else {}).items():
                total[name] = total.get(name, 0) + rows
        return total

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # computed from the parts
        """0; 1 when the first chunk failed, 3 when others before it are loaded."""
        failed = any(step["status"] == "transform_failed" for step in self.transforms)
        if self.error is None:
            return EXIT_PARTIAL if failed else EXIT_OK
        return EXIT_PARTIAL if any(chunk.status in (DONE, "success") for chunk in self.chunks) else EXIT_FAILED

    def to_dict(self) -> dict[str, Any]:
        """``{"pipeline", "column", "dry", "counts", "chunks", "transforms"}``."""
        return {
            "pipeline": self.pipeline,
            "column": self.column,
            "dry": self.dry,
            "counts": self.counts,
            "chunks": [chunk.as_dict() for chunk in self.chunks],
            "transforms": list(self.transforms),
        }

    def to_text(self) -> str:
        """A line for each chunk, and what to do when it stopped."""
        lines = [neutral(self._head(), newlines=False), self._table()]
        lines += [f"warning: {neutral(text, newlines=False)}" for text in self.warnings]
        lines += [f"post-transform {step['name']}: {step['status']}" for step in self.transforms]
        if self.error is not None:
            lines.append(f"stopped: {neutral(str(self.error))}")
            lines.append("the chunks before it are loaded; the same line goes on where this one stopped")
        return "\n".join(lines)

    def _head(self) -> str:
        words = counted(len({chunk.span.number for chunk in self.chunks}), "chunk")
        if self.dry:
            return f"backfill of {self.pipeline} by {self.column}: {words} (nothing was read or written)"
        return f"backfill of {self.pipeline} by {self.column}: {words}; {count_words(self.counts)}"

    def _table(self) -> str:
        several = len({chunk.target for chunk in self.chunks}) > 1
        rows = [
            (
                *((chunk.target,) if several else ()),
                chunk.span.number,
                chunk.span.low,
                chunk.span.high,
                chunk.status,
                count_words(chunk.outcome.counts) if chunk.outcome else "",
            )
            for chunk in self.chunks
        ]
        names = (*(("target",) if several else ()), "chunk", "from", "to", "status", "rows")
        if len(rows) <= 2 * SHOWN + 1:
            return table(names, rows)
        gap = f"... {len(rows) - 2 * SHOWN} more"
        return "\n".join((table(names, rows[:SHOWN]), gap, table(names, rows[-SHOWN:])))

    def raise_for_status(self) -> BackfillResult:
        """The result itself; raises what stopped it."""
        if self.error is not None:
            raise self.error
        return self


def command(call: Call) -> BackfillResult:
    """Backfill the named pipeline."""
    options = call.options
    spec = known_pipeline(call, options["name"])
    missing = [f"--{name}" for name in ("from", "to") if options[name] is None]
    if missing:
        raise UsageError(f"{' and '.join(missing)} is missing", hint="--from 2026-01-01 --to 2026-02-01 --chunk 1d")
    return backfill(
        spec,
        options["from"],
        options["to"],
        chunk=options["chunk"],
        dry=options["dry_run"],
        wait=options["wait"],
        trigger=call.trigger,
        **call.run_options(),
    )


def backfill(  # noqa: PLR0913  the options of the verb
    pipeline: str | PipelineSpec,
    start: str,
    end: str,
    *,
    chunk: str | None = None,
    dry: bool = False,
    wait: float = 0.0,
    listener: Listener = SILENT,
    token: CancelToken | None = None,
    trigger: str = "manual",
) -> BackfillResult:
    """Load the rows of a range of the watermark column, part by part, each in a run and a transaction of its own.

    What the target has of the range already is recognised: by key, or in mode append by comparing the values of the
    rows and how often they come. A stored watermark is neither used nor changed. Each run notes its part in the
    history of the target, in the transaction of its rows: after a failure or a crash the same call goes on behind the
    last part that was loaded. A call after one that came to its end begins anew.

    Args:
        pipeline: Name or declaration; incremental.
        start: The first value: digits, ISO 8601 (without a zone: UTC), or a text as it is.
        end: The first value after the range.
        chunk: ``1d``, ``12h``, ``1000``; None for one part.
        dry: Only tell the parts; reads no rows and writes nothing.
        wait: Seconds to wait while another run of the pipeline is alive, before each part.
        listener: Who gets the events of the runs.
        token: To stop it from elsewhere.
        trigger: What started it, for the history.

    Returns:
        How each part ended; the error of a load is in the result, and no part after it was begun.

    Raises:
        LockedError: When another run of the pipeline is alive after waiting.
        UsageError: When the range or the declaration does not fit; nothing was written.
    """
    spec = spec_of(pipeline)
    if not spec.incremental or not spec.watermark_columns:
        message = f"pipeline `{spec.name}` has no watermark column, so it has no ranges to load"
        raise UsageError(message, "declare one: --watermark updated_at; or run it as a whole: flow run --full-refresh")
    template = RunContext(listener=listener, token=token or CancelToken(), trigger=trigger)
    first = spec.watermark_columns[0]
    chunks: list[Chunk] = []
    for target in spec.targets:
        found = spans(first, source_kinds(spec, target, template.token)[0], start, end, chunk)
        chunks += _dry(spec, target, found) if dry else _load(spec, target, found, template, wait)
        if chunks[-1].outcome is not None and chunks[-1].outcome.error and not spec.continue_on_target_failure:
            break
    result = BackfillResult(spec.name, first, tuple(chunks), dry=dry)
    return result if dry or result.error is not None else _transformed(result, spec, template)


def _transformed(result: BackfillResult, spec: PipelineSpec, template: RunContext) -> BackfillResult:
    last = result.chunks[-1].outcome
    if not spec.transforms_post or last is None:
        return result
    return dataclasses.replace(result, transforms=run_transforms(spec, last, token=template.token))


def _done(spec: PipelineSpec, target: TargetSpec, found: tuple[Span, ...]) -> int:
    """How many parts need not be loaded again."""
    with open_state(spec, target) as (state, name):
        return done_before(state.history(spec.name, SEARCHED_RUNS), name, fingerprint(spec), found)


def _dry(spec: PipelineSpec, target: TargetSpec, found: tuple[Span, ...]) -> Iterator[Chunk]:
    done = _done(spec, target, found)
    for span in found:
        yield Chunk(place_of(target), span, DONE if span.number <= done else WAITING)


def _load(
    spec: PipelineSpec, target: TargetSpec, found: tuple[Span, ...], template: RunContext, wait: float
) -> Iterator[Chunk]:
    """Load the parts in their order, up to the first that fails."""
    done = _done(spec, target, found)
    place = place_of(target)
    yield from (Chunk(place, span, DONE) for span in found[:done])
    for span in found[done:]:
        context = dataclasses.replace(template, run_id=RunContext().run_id, span=span)
        context.listener.on_event(PhaseStarted(run_id=context.run_id, pipeline=spec.name, phase=span.words()))
        outcome = load_target(spec, target, context, wait, several=len(spec.targets) > 1)
        yield Chunk(place, span, outcome.status, outcome)
        if outcome.error is not None:
            return
