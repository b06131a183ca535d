"""What verbs return: plain objects that render themselves as text, HTML and JSON.

A front end that can show more registers a live view in :data:`LIVE_VIEWS`; no
verb knows a widget.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.errors import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, UsageError
from ematix_nb.interop.frames import Frames
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.load.run import TargetOutcome
    from ematix_nb.query.paging import Page, PreviewModel
    from ematix_nb.state.model import RunRecord

LIVE_VIEWS: dict[type, Callable[[Any], dict[str, Any] | None]] = {}
"""Result class -> function that gives the widget part of the MIME bundle, or None when no front end is there."""


def _moment(text: str) -> str:
    """A watermark for people: whole seconds without their zeros."""
    return text.replace(".000000", "")


def count_words(counts: Mapping[str, int]) -> str:
    """Row counts in one order, whatever the load counted first.

    Example:
        >>> count_words({"rows_read": 1200, "rows_closed": 2, "rows_inserted": 3, "rows_updated": 0})
        '1,200 read, 3 inserted, 2 closed'
    """
    from ematix_nb.state.model import COUNT_NAMES

    names = [*COUNT_NAMES, *(name for name in counts if name not in COUNT_NAMES)]
    words = [f"{counts[name]:,} {name.removeprefix('rows_')}" for name in names if counts.get(name)]
    return ", ".join(words) or "no rows"


class Result:
    """The root of all results."""

    exit_code: int = EXIT_OK
    """What the command line exits with."""
    kind: ClassVar[str] = "result"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values for ``--format json``."""
        raise NotImplementedError  # each result has its own fields

    def to_text(self) -> str:
        """For a terminal or a notebook without a front end; no control characters."""
        raise NotImplementedError  # each result has its own words

    def to_html(self) -> str:
        """Static HTML, at most 60 kB, every data byte escaped."""
        from ematix_nb.verbs.html import preformatted

        return preformatted(self.to_text())

    def __repr__(self) -> str:
        from ematix_nb.verbs.text import neutral

        return neutral(self.to_text())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:  # noqa: ARG002
        """Text and HTML always; the live view on top when a front end is there."""
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.to_html()}
        view = LIVE_VIEWS.get(type(self))
        live = view(self) if view is not None else None
        return {**bundle, **live} if live else bundle


class Changes:
    """Rows by what became, or would become, of them; of anything that has ``counts``."""

    @property
    def counts(self) -> dict[str, int]:
        """Row counts: ``rows_read``, ``rows_inserted``, ..."""
        raise NotImplementedError  # each result counts its own way

    @property
    def inserts(self) -> int:
        """New rows; with mode scd2 new keys and new versions."""
        return self.counts.get("rows_inserted", 0)

    @property
    def updates(self) -> int:
        """Rows that are given other values."""
        return self.counts.get("rows_updated", 0)

    @property
    def closes(self) -> int:
        """Versions that end (mode scd2)."""
        return self.counts.get("rows_closed", 0)

    @property
    def deletes(self) -> int:
        """Rows that are removed."""
        return self.counts.get("rows_deleted", 0)


@dataclass(frozen=True, repr=False)
class RunResult(Changes, Result, Frames):
    """How a run (or a dry run) of one pipeline ended."""

    kind: ClassVar[str] = "run"

    pipeline: str
    fingerprint: str
    targets: tuple[TargetOutcome, ...]
    dry: bool = False
    transforms: tuple[dict[str, Any], ...] = ()
    """Post-transforms: name, status, error, metrics."""
    spec: PipelineSpec | None = dataclasses.field(default=None, compare=False)
    """The declaration that ran."""

    @property
    def status(self) -> str:
        """success, failed, held (a pipeline that it depends on failed), cancelled, partial, already-done or dry-run."""
        states = {outcome.status for outcome in self.targets}
        if "success" in states:
            states.discard("already-done")
        if len(states) == 1:
            (state,) = states
            bad = any(step["status"] == "transform_failed" for step in self.transforms)
            return "partial" if bad and state == "success" else state
        return "partial" if "success" in states else "failed"

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # computed from the targets
        """0, 1 or 3."""
        if self.status in ("success", "dry-run", "already-done"):
            return EXIT_OK
        return EXIT_PARTIAL if self.status == "partial" else EXIT_FAILED

    @property
    def run_id(self) -> str:
        """The id of the (first) run."""
        return self.targets[0].run_id

    @property
    def counts(self) -> dict[str, int]:
        """Row counts, summed over the targets: ``rows_read``, ``rows_inserted``, ..."""
        total: dict[str, int] = {}
        for outcome in self.targets:
            for name, rows in outcome.counts.items():
                total[name] = total.get(name, 0) + rows
        return total

    def to_arrow(self) -> pa.Table:
        """The rows that the (first) target holds now, read anew: not only those of this run.

        Raises:
            UsageError: When the result does not say where the target is.
        """
        from ematix_nb.verbs.read import read_target

        if self.spec is None:
            message = f"this result of `{self.pipeline}` does not say where its target is"
            raise UsageError(message, "read the target with `read_df`")
        return read_target(self.spec)

    @property
    def rows_inserted(self) -> int:
        """Rows that are new in the targets."""
        return self.counts.get("rows_inserted", 0)

    def raise_for_status(self) -> RunResult:
        """Raise the error of the first target that failed; the result itself when none did."""
        for outcome in self.targets:
            if outcome.error is not None:
                raise outcome.error
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pipeline": self.pipeline,
            "status": self.status,
            "fingerprint": self.fingerprint,
            "dry_run": self.dry,
            "targets": [
                {
                    "target": outcome.target,
                    "run_id": outcome.run_id,
                    "status": outcome.status,
                    "counts": outcome.counts,
                    "warnings": list(outcome.warnings),
                    "error": str(outcome.error) if outcome.error else None,
                    "seconds": round(outcome.seconds, 3),
                    "watermark_before": outcome.watermark_before,
                    "watermark_after": outcome.watermark_after,
                    "checks": [check.as_dict() for check in outcome.checks],
                }
                for outcome in self.targets
            ],
            "transforms": [dict(step) for step in self.transforms],
        }

    def to_text(self) -> str:
        """One line a target, its warnings below."""
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        lines = []
        for outcome in self.targets:
            what = count_words(outcome.counts)
            lines.append(f"{self.pipeline} -> {outcome.target}: {outcome.status} ({what}) in {outcome.seconds:.1f} s")
            if outcome.watermark_after and not self.dry:
                before, after = _moment(outcome.watermark_before), _moment(outcome.watermark_after)
                lines.append(
                    f"  watermark: {before or 'none'} -> {after}" if before != after else f"  watermark: {after}"
                )
            lines += [f"  warning: {warning}" for warning in outcome.warnings]
            if outcome.error is not None:
                lines.append(f"  {outcome.error}")
            if self.dry and outcome.plan is not None:
                lines.append("  nothing was written")
                lines += [f"  note: {note}" for note in outcome.plan.notes if "dry run" in note]
        lines += [
            f"  then {step['name']}: {step['status']}" + (f" ({step['error']})" if step.get("error") else "")
            for step in self.transforms
        ]
        return lines


@dataclass(frozen=True, repr=False)
class TargetPreview:
    """What a run would do to one target."""

    plan: LoadPlan
    expected: dict[str, int] = dataclasses.field(default_factory=dict)
    """Rows to insert, update, close, delete, as far as they are known; ``sampled`` when from the sample alone."""
    diff: tuple[dict[str, Any], ...] = ()
    """Changed rows: ``change`` (insert, update, new version, same), ``key``, ``before`` (or None) and ``after``."""
    diff_note: str = ""
    """What the diff covers: ``first 50 of the sampled rows``."""


@dataclass(frozen=True, repr=False)
class PreviewResult(Result, Frames):
    """The plan, a sample of the source and the rows that would change; nothing was written."""

    kind: ClassVar[str] = "preview"

    name: str
    """The pipeline's name, ``connection:thing`` for a look at a table, or the name of a frame."""
    query: str
    """The SELECT that was sampled."""
    sample: pa.Table
    """The first rows of the source, with source types."""
    limit: int
    complete: bool
    """The source has no more rows than the sample."""
    profile: tuple[dict[str, Any], ...] = ()
    """Per column of the sample: name, type, nulls, distinct, min, max, bars (up to 12 counts for a histogram)."""
    targets: tuple[TargetPreview, ...] = ()
    model: PreviewModel | None = dataclasses.field(default=None, compare=False)
    """The whole source, page by page, to sort, filter and profile; None when only the sample is there."""
    screen: Screen = dataclasses.field(default_factory=lambda: Screen(), compare=False)  # noqa: PLW0108 - defined below
    """What a live view shows now."""

    @property
    def sql(self) -> str:
        """The SELECT of what is on screen: the one that was sampled, until a live view sorts or filters."""
        return self.query if self.screen.model is None else self.screen.model.sql

    @property
    def covers(self) -> str:
        """Which rows are on screen, in words."""
        from ematix_nb.verbs.preview_html import sample_words

        if self.screen.page is None:
            return sample_words(self, self.sample.num_rows)
        return self.screen.page.covers(self.screen.total)

    def arrow(self, *, limit: int | None = None) -> pa.Table:
        """The rows that are on screen, with the types of the source; its metadata says in words which rows these are.

        Args:
            limit: Instead of those on screen so many of the first rows in the same order, under the same conditions.

        Raises:
            UsageError: The limit is out of range.
            RunError: The rows could not be read.
        """
        rows, words = self._on_screen(limit)
        return rows.replace_schema_metadata({**(rows.schema.metadata or {}), b"ematix_nb.covers": words.encode()})

    def polars(self, *, limit: int | None = None) -> pl.DataFrame:
        """The same rows as a polars frame; `covers` says which these are."""
        from ematix_nb.interop.frames import to_polars

        return to_polars(self._on_screen(limit)[0])

    def pandas(self, *, limit: int | None = None, arrow_types: bool = True) -> pd.DataFrame:
        """The same rows as a pandas frame; its ``attrs["covers"]`` says which these are."""
        from ematix_nb.interop.frames import to_pandas

        rows, words = self._on_screen(limit)
        frame = to_pandas(rows, arrow_types=arrow_types)
        frame.attrs["covers"] = words
        return frame

    def _on_screen(self, limit: int | None) -> tuple[pa.Table, str]:
        """Rows, and which they are."""
        if limit is None:
            return (self.sample if self.screen.page is None else self.screen.page.rows), self.covers
        model = self.screen.model or self.rows_model()
        page = model.page(0, limit)
        return page.rows, page.covers(model.known_count)

    def rows_model(self) -> PreviewModel:
        """The whole source; where only the sample is there, the sample."""
        if self.model is not None:
            return self.model
        from ematix_nb.query.paging import frame_model

        return frame_model(self.name, self.sample)

    def to_arrow(self) -> pa.Table:
        """The sampled rows."""
        return self.sample

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; cells as text where JSON has no type."""
        from ematix_nb.verbs.cells import json_value

        return {
            "name": self.name,
            "sql": self.query,
            "limit": self.limit,
            "complete": self.complete,
            "columns": [{"name": field.name, "type": str(field.type)} for field in self.sample.schema],
            "rows": [[json_value(value) for value in row.values()] for row in self.sample.to_pylist()],
            "profile": [dict(column) for column in self.profile],
            "targets": [
                {
                    "plan": target.plan.as_dict(),
                    "expected": target.expected,
                    "diff": [_json_change(change) for change in target.diff],
                    "diff_note": target.diff_note,
                }
                for target in self.targets
            ],
        }

    def to_text(self) -> str:
        """Plan, rows and row diff as text."""
        from ematix_nb.verbs.preview_text import preview_text

        return preview_text(self)

    def to_html(self) -> str:
        """Plan, rows with profile, SQL and row diff as static HTML."""
        from ematix_nb.verbs.preview_html import preview_html

        return preview_html(self)


@dataclass
class Screen:
    """What a live view of a preview shows; it says so here, so that code can ask for the same."""

    model: PreviewModel | None = None
    """In the order and under the conditions of the view; None before anything was asked of it."""
    page: Page | None = None
    total: int | None = None
    """Rows in all, where that is known."""


def _json_change(change: dict[str, Any]) -> dict[str, Any]:
    from ematix_nb.verbs.cells import json_value

    def plain(part: Any) -> Any:
        return {name: json_value(value) for name, value in part.items()} if isinstance(part, dict) else json_value(part)

    return {name: plain(part) for name, part in change.items()}


@dataclass(frozen=True, repr=False)
class TableResult(Result):
    """A table of words: lists, histories, checks."""

    kind: ClassVar[str] = "table"

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    empty: str = "nothing to show"
    """What to say when there are no rows."""
    notes: tuple[str, ...] = ()
    code: int = EXIT_OK

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # given by the verb
        """What the verb decided."""
        return self.code

    def to_dict(self) -> dict[str, Any]:
        """``{"title", "rows": [{column: value}], "notes"}``."""
        from ematix_nb.verbs.cells import json_value

        return {
            "title": self.title,
            "rows": [dict(zip(self.columns, map(json_value, row), strict=True)) for row in self.rows],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """An aligned table, or the sentence for none."""
        from ematix_nb.verbs.text import table

        head = [self.title] if self.title else []
        body = table(self.columns, self.rows) if self.rows else self.empty
        return "\n".join([*head, body, *(f"note: {note}" for note in self.notes)])

    def to_html(self) -> str:
        """A plain HTML table."""
        from ematix_nb.verbs.html import table_html

        return table_html(self.title, self.columns, self.rows, self.empty, self.notes)


@dataclass(frozen=True, repr=False)
class RunsResult(TableResult):
    """The run history."""

    kind: ClassVar[str] = "runs"

    records: tuple[RunRecord, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Every field of every run."""
        return {"runs": [record.as_dict() for record in self.records], "notes": list(self.notes)}

    def to_html(self) -> str:
        """The table with a bar for each duration."""
        from ematix_nb.verbs.status_html import runs_html

        return runs_html(self)


@dataclass(frozen=True, repr=False)
class DueResult(Result):
    """What ``run-due`` fired."""

    kind: ClassVar[str] = "due"

    ran: tuple[RunResult, ...] = ()
    failed: tuple[dict[str, str], ...] = ()
    """``{"pipeline", "error"}`` of what could not even start."""
    skipped: tuple[str, ...] = ()
    """Words about slots that were not fired and why."""
    held: tuple[dict[str, str], ...] = ()
    """``{"pipeline", "slot", "reason"}`` of what is due and waits for a pipeline that it depends on."""
    checked: int = 0
    """Scheduled pipelines that were looked at."""
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # computed from the runs
        """0 when all that fired committed, 1 when some did not; a pipeline that is held changes nothing."""
        bad = bool(self.failed) or any(run.exit_code for run in self.ran)
        return EXIT_FAILED if bad else EXIT_OK

    def to_dict(self) -> dict[str, Any]:
        """``{"ran", "failed", "held", "skipped", "checked", "notes"}``."""
        return {
            "ran": [{**run.to_dict(), "_pipeline": run.pipeline} for run in self.ran],
            "failed": [dict(entry) for entry in self.failed],
            "held": [dict(entry) for entry in self.held],
            "skipped": list(self.skipped),
            "checked": self.checked,
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """What fired, what failed, or that nothing was due."""
        lines = [line for run in self.ran for line in run.to_text().splitlines()]
        lines += [f"{entry['pipeline']}: {entry['error']}" for entry in self.failed]
        lines += [
            f"held: {entry['pipeline']}: {entry['reason']}; the slot {entry['slot']} stays open" for entry in self.held
        ]
        lines += [f"skipped: {text}" for text in self.skipped]
        lines += [f"note: {note}" for note in self.notes]
        if not self.ran and not self.failed and not self.held:
            lines.insert(0, f"nothing was due ({counted(self.checked, 'scheduled pipeline')} checked)")
        return "\n".join(lines)
