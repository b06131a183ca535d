"""The dashboard of pipelines and the list of runs as static HTML, with durations as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.verbs.charts import bar, bars
from ematix_nb.verbs.preview_html import escape, framed
from ematix_nb.verbs.results import count_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ematix_nb.state.model import RunRecord
    from ematix_nb.verbs.results import RunsResult
    from ematix_nb.verbs.status import PipelineStatus, StatusResult

MAX_BYTES = 50_000
_TONES = {
    "ok": "ef-good", "success": "ef-good", "failed": "ef-bad", "abandoned": "ef-bad", "unknown": "ef-bad",
    "transform_failed": "ef-bad", "late": "ef-bad", "stale": "ef-bad", "held": "ef-warn", "cancelled": "ef-warn",
    "changed": "ef-warn", "outdated": "ef-warn", "due": "ef-warn",
}  # fmt: skip
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def status_html(result: StatusResult) -> str:
    """One line a pipeline: state, lateness, last run and its rows, watermark, durations, and when it fires next."""
    heads = ("pipeline", "state", "late by", "last run (UTC)", "rows", "watermark", "last runs", "next (UTC)", "what")
    rows = (_pipeline(one) for one in result.pipelines)
    return _page(heads, rows, len(result.pipelines), result.empty, result.notes)


def _pipeline(one: PipelineStatus) -> str:
    run = one.last_run
    begun = f"{run.started_at:%Y-%m-%d %H:%M}" if run is not None and run.started_at is not None else ""
    states = ", ".join(_toned(state) for state in one.states)
    last = f"{_toned(run.status)} {begun}<br><small>{escape(run.run_id[:8])}</small>" if run is not None else ""
    drawn = bars([(seconds, _TONES.get(state, "") if state != "success" else "") for seconds, state in one.recent])
    failed = f"<small>{one.failures} of {len(one.recent)} failed</small>" if one.failures else ""
    when = f"{one.next:%Y-%m-%d %H:%M}" if one.next is not None else ""
    late = _span(one.late_seconds) if one.late_seconds is not None else ""
    rows = count_words(one.counts) if one.counts else ""
    cells = (
        f"<b>{escape(one.pipeline)}</b><br><small>{escape(one.schedule)}</small>", states, late, last, escape(rows),
        escape(one.watermark), drawn + failed, when, escape(one.what),
    )  # fmt: skip
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _toned(state: str) -> str:
    tone = _TONES.get(state, "")
    return f'<span class="{tone}">{escape(state)}</span>' if tone else escape(state)


def _span(seconds: float) -> str:
    """A duration in two units at most.

    Example:
        >>> _span(125), _span(3720), _span(90000), _span(20)
        ('2 min', '1 h 2 min', '1 d 1 h', '20 s')
    """
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h {seconds % _HOUR // _MINUTE:.0f} min"
    return f"{seconds // _DAY:.0f} d {seconds % _DAY // _HOUR:.0f} h"


def runs_html(result: RunsResult) -> str:
    """The runs, the newest first, each with its duration as a bar."""
    from ematix_nb.verbs.history import seconds_of

    taken = [seconds_of(record) for record in result.records]
    largest = max((seconds for seconds in taken if seconds is not None), default=0.0)
    names = [*result.columns, "duration"]
    place = result.columns.index("status") if "status" in result.columns else -1
    rows = (
        _run(record, row, seconds, largest, place)
        for record, row, seconds in zip(result.records, result.rows, taken, strict=True)
    )
    return _page(names, rows, len(result.records), result.empty, result.notes)


def _run(record: RunRecord, row: Sequence[Any], seconds: float | None, largest: float, place: int) -> str:
    cells = [
        f'<td class="n">{escape(value)}</td>'
        if isinstance(value, (int, float))
        else f"<td>{_toned(record.status) if number == place else escape(value)}</td>"
        for number, value in enumerate(row)
    ]
    drawn = bar(seconds, largest) if seconds is not None else ""
    return f"<tr>{''.join(cells)}<td>{drawn}</td></tr>"


def _page(heads: Sequence[str], rows: Iterable[str], count: int, empty: str, notes: Sequence[str]) -> str:
    """The table as far as one output may hold it, and a word about the rest."""
    kept: list[str] = []
    size = 0
    for row in rows:
        size += len(row.encode())
        if size > MAX_BYTES:
            break
        kept.append(row)
    told = [*(f"note: {note}" for note in notes[:50])]
    told += [f"{count - len(kept):,} more are not shown here"] if count > len(kept) else []
    below = "".join(f"<p><small>{escape(text)}</small></p>" for text in told)
    if not kept:
        return framed(f"<p>{escape(empty)}</p>{below}")
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return framed(f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(kept)}</tbody></table>{below}")
