"""The verb ``diff``: what a run would change, cell by cell; executed and rolled back, for exact counts."""

from __future__ import annotations

import datetime as dt
import decimal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.declare.data_types import to_arrow
from ematix_nb.declare.spec import IS_CURRENT, VALID_FROM, VALID_TO
from ematix_nb.errors import UsageError, did_you_mean
from ematix_nb.events import SILENT
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.context import RunContext
from ematix_nb.load.diff import diff_rows
from ematix_nb.load.planner import make_plan
from ematix_nb.load.run import opened
from ematix_nb.verbs.cells import json_value
from ematix_nb.verbs.preview_html import escape, framed
from ematix_nb.verbs.preview_text import diff_parts
from ematix_nb.verbs.results import Changes, Result, count_words
from ematix_nb.verbs.run import run as run_pipeline
from ematix_nb.verbs.text import neutral
from ematix_nb.verbs.text import table as text_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column, PipelineSpec
    from ematix_nb.events import Listener
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.load.run import OpenTarget
    from ematix_nb.verbs.dispatch import Call

BATCH_ROWS = 1_000
"""Rows of the source that are compared at a time."""
TOGETHER = 100_000
"""Rows of a source with several rows of one key, which are compared all at once."""
SEARCHED = 100_000
"""Rows of the source that are looked through for those to show; the counts are those of all rows."""
HTML_BYTES = 44_000
TIMELINE_BYTES = 8_000
HTML_ROWS = 500
_TEXT_ROWS = 200
_TONES = {"insert": "ef-good", "update": "ef-warn", "new version": "ef-warn", "delete": "ef-bad"}
_MARKS = {"insert": "+", "update": "~", "new version": "~", "delete": "-"}


@dataclass(frozen=True)
class TargetDiff:
    """What would change in one target."""

    plan: LoadPlan
    counts: dict[str, int]
    """Exact, of the dry run."""
    changes: tuple[dict[str, Any], ...]
    """Rows: ``change`` (insert, update, new version), ``key``, ``before`` (or None) and ``after``."""
    complete: bool
    """The whole source was compared."""
    versions: tuple[dict[str, Any], ...] | None = None
    """Of one key in mode scd2: what the target holds, oldest first; None when no key was asked for."""

    def changed(self) -> int:
        """Rows that a run would insert or update; a new version counts once."""
        return _changed(self.plan.mode, self.counts)


def _changed(mode: str, counts: Mapping[str, int]) -> int:
    new = counts.get("rows_inserted", 0)
    return new if mode == "scd2" else new + counts.get("rows_updated", 0)


@dataclass(frozen=True, repr=False)
class DiffResult(Changes, Result):
    """Rows that a run would change, the old values beside the new ones; nothing was written."""

    kind: ClassVar[str] = "diff"

    pipeline: str
    targets: tuple[TargetDiff, ...]
    limit: int
    key: dict[str, str]
    """The row that was asked for; empty for all."""

    @property
    def counts(self) -> dict[str, int]:
        """Row counts of all targets, exactly those of a dry run."""
        total: dict[str, int] = {}
        for target in self.targets:
            for name, rows in target.counts.items():
                total[name] = total.get(name, 0) + rows
        return total

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; cells as text where JSON has no type."""
        return {
            "pipeline": self.pipeline,
            "limit": self.limit,
            "key": self.key,
            "targets": [
                {
                    "target": target.plan.target,
                    "mode": target.plan.mode,
                    "counts": target.counts,
                    "changes": [json_value(change) for change in target.changes],
                    "complete": target.complete,
                    "versions": None if target.versions is None else [json_value(row) for row in target.versions],
                }
                for target in self.targets
            ],
        }

    def to_text(self) -> str:
        """A line for each row: ``+`` is new, ``~`` changes; then how much of it that is."""
        return "\n".join(line for target in self.targets for line in self._lines(target))

    def _lines(self, target: TargetDiff) -> Iterator[str]:
        yield f"{self._head(target)}: {count_words(target.counts)} (nothing was written)"
        for change in target.changes[:_TEXT_ROWS]:
            yield f"  {_MARKS.get(str(change['change']), '?')} {neutral(_words(change), newlines=False)}"
        yield f"  {self.covers(target, min(len(target.changes), _TEXT_ROWS))}"
        if target.versions is not None:
            yield "versions in the target"
            yield _indented(_version_table(target.versions))

    def _head(self, target: TargetDiff) -> str:
        key = ", ".join(f"{name}={value}" for name, value in self.key.items())
        return neutral(
            f"diff of {self.pipeline} -> {target.plan.target}{f' where {key}' if key else ''}", newlines=False
        )

    def covers(self, target: TargetDiff, shown: int) -> str:
        """How many of the changed rows are shown."""
        whole = target.changed()
        if self.key:
            return f"{shown:,} of {whole:,} changed rows: those with this key"
        if not whole:
            return "no row would be inserted or updated"
        parts = [f"{shown:,} of {whole:,} changed rows shown" if shown < whole else f"all {whole:,} changed rows shown"]
        gone = target.counts.get("rows_deleted", 0)
        parts += [f"{gone:,} deleted rows are counted only"] if gone else []
        if len(target.changes) < min(whole, self.limit) and not target.complete:
            parts.append(f"only the first {SEARCHED:,} rows of the source were looked through for them")
        return "; ".join(parts) + (
            " (--limit shows more)" if shown < whole and len(target.changes) >= self.limit else ""
        )

    def to_html(self) -> str:
        """Tables of old and new cells, side by side; with a key, its versions as a timeline."""
        return framed("".join(self._target_html(target, HTML_BYTES // len(self.targets)) for target in self.targets))

    def _target_html(self, target: TargetDiff, most: int) -> str:
        rows, size = [], 0
        for change in target.changes[:HTML_ROWS]:
            row = _row_html(change)
            size += len(row.encode())
            if size > most:
                break
            rows.append(row)
        head = f"<p><b>{escape(self._head(target))}</b> <small>nothing was written</small></p>"
        words = (
            f"<p>{escape(count_words(target.counts))}<br><small>{escape(self.covers(target, len(rows)))}</small></p>"
        )
        heads = "".join(f'<th scope="col">{name}</th>' for name in ("change", "row", "values"))
        grid = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""
        timeline = _timeline(target.versions) if target.versions is not None else ""
        return head + words + (f'<div class="ef-scroll" tabindex="0">{grid}</div>' if grid else "") + timeline


def _words(change: Mapping[str, Any]) -> str:
    _, key, parts = diff_parts({**change, "change": "update" if change["before"] else "insert"})
    both = change["before"] is not None
    values = ", ".join(f"{name} {old} -> {new}" if both else f"{name}={new}" for name, old, new in parts)
    return ": ".join(part for part in (key, values) if part)


def _row_html(change: Mapping[str, Any]) -> str:
    kind = str(change["change"])
    _, key, parts = diff_parts({**change, "change": "update" if change["before"] else "insert"})
    cells = "<br>".join(
        f"<small>{escape(name)}</small> "
        + (f"<del>{escape(old)}</del> → " if change["before"] is not None else "")
        + f"<ins>{escape(new)}</ins>"
        for name, old, new in parts
    )
    tone = _TONES.get(kind, "")
    return (
        f'<tr><td class="{tone}">{_MARKS.get(kind, "?")} {escape(kind)}</td><td>{escape(key)}</td><td>{cells}</td></tr>'
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def _version_table(versions: Sequence[Mapping[str, Any]]) -> str:
    if not versions:
        return "none"
    return text_table(list(versions[0]), [list(row.values()) for row in versions])


def _timeline(versions: Sequence[Mapping[str, Any]]) -> str:
    """One line a version, the oldest first: since when, until when, and what changed from the one before."""
    rows, before, size = [], None, 0
    for row in versions[-HTML_ROWS:]:
        until = row.get(VALID_TO)
        values = {name: value for name, value in row.items() if name not in (VALID_FROM, VALID_TO, IS_CURRENT)}
        told = [(name, value) for name, value in values.items() if before is None or before.get(name) != value]
        words = ", ".join(f"<small>{escape(name, 40)}</small> {escape(value, 40)}" for name, value in told[:20])
        held = f"<td>{escape(row.get(VALID_FROM), 40)}</td><td>{'now' if until is None else escape(until, 40)}</td>"
        line = f"<tr>{held}<td>{words or '<small>no other values</small>'}</td></tr>"
        size += len(line.encode())
        if size > TIMELINE_BYTES:
            break
        rows.append(line)
        before = values
    if not versions:
        return "<p>no versions in the target</p>"
    left_out = f"<p><small>{len(versions) - len(rows):,} more</small></p>" if len(versions) > len(rows) else ""
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("from", "until", "values that changed"))
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<p>versions in the target</p>{table}{left_out}"


def command(call: Call) -> DiffResult:
    """The diff of a pipeline."""
    from ematix_nb.verbs.commands import known_pipeline

    spec = known_pipeline(call, call.options["name"])
    options = {**call.run_options(), "full_refresh": call.options["full_refresh"]}
    return diff(spec, limit=call.options["limit"], key=_key(call.options["key"]), **options)


def _key(words: Sequence[str]) -> dict[str, str]:
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"`--key` is COLUMN=VALUE, got `{word[:80]}`", hint="--key order_id=5")
        found[name] = value
    return found


def diff(
    spec: PipelineSpec,
    *,
    limit: int = 50,
    key: Mapping[str, str] | None = None,
    full_refresh: bool = False,
    listener: Listener = SILENT,
    token: CancelToken | None = None,
) -> DiffResult:
    """What a run of a pipeline would change; nothing is written.

    The load is executed and rolled back, which gives the counts. Then the source is read once more, as far as it takes
    to find the rows to show.

    Args:
        spec: The pipeline.
        limit: Changed rows to show, for each target.
        key: Key columns and the text of their values: only rows with this key; in mode scd2 its versions too.
        full_refresh: Read everything, whatever the watermark says.
        listener: Who gets the events.
        token: To stop it from elsewhere.

    Raises:
        FlowError: What would stop the load, or the key does not fit.
    """
    token = token or CancelToken()
    done = run_pipeline(spec, dry=True, full_refresh=full_refresh, listener=listener, token=token).raise_for_status()
    found = []
    for target, outcome in zip(spec.targets, done.targets, strict=True):
        context = RunContext(full_refresh=full_refresh, token=token)
        with opened(spec, target, context, read_only=True, create=False) as (side, source):
            plan = make_plan(spec, target, source, side.side(), side.watermark(), full_refresh=full_refresh)
            wanted = _values(plan, dict(key or {}))
            batches = _batches(source.session, plan, together=bool(outcome.counts.get("rows_deduplicated")))
            most = min(limit, _changed(plan.mode, outcome.counts))
            changes, complete = _changes(plan, side, batches, most, wanted, token)
            versions = _versions(plan, side, wanted) if wanted and plan.mode == "scd2" else None
        found.append(TargetDiff(plan, dict(outcome.counts), changes, complete, versions))
    return DiffResult(spec.name, tuple(found), limit, dict(key or {}))


def _batches(session: Any, plan: LoadPlan, *, together: bool) -> Iterator[pa.Table]:
    """The source in parts; where a key comes more than once in one part, as far as memory allows."""
    import pyarrow as pa

    schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in plan.source_columns])
    most = TOGETHER if together else BATCH_ROWS
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in session.read(plan.source_sql, plan.source_columns):
        held.append(batch)
        rows += batch.num_rows
        while rows >= most:
            whole = pa.Table.from_batches(held, schema=schema)
            yield whole.slice(0, most)
            rest = whole.slice(most)
            held, rows = rest.to_batches(), rest.num_rows
    if rows:
        yield pa.Table.from_batches(held, schema=schema)


def _changes(
    plan: LoadPlan,
    side: OpenTarget,
    batches: Iterator[pa.Table],
    most: int,
    wanted: Mapping[str, Any],
    token: CancelToken,
) -> tuple[tuple[dict[str, Any], ...], bool]:
    """The first changed rows, and whether the source was read to its end."""
    found: list[dict[str, Any]] = []
    seen = 0
    for batch in batches if most else ():
        token.check()
        rows, _, _ = diff_rows(plan, side, batch, complete=False)
        changed = (row for row in rows if row["change"] != "same")
        found += [row for row in changed if all((row["key"] or row["after"]).get(n) == v for n, v in wanted.items())]
        seen += batch.num_rows
        if len(found) >= most or (wanted and found) or seen >= SEARCHED:
            return tuple(found[:most]), False
    return tuple(found), True


def _values(plan: LoadPlan, key: Mapping[str, str]) -> dict[str, Any]:
    """The values of a key, out of their texts.

    Raises:
        UsageError: A column is not part of the key, or a text is no value of its type.
    """
    columns = {column.name: column for column in plan.data}
    found = {}
    for name, text in key.items():
        if name not in columns or (plan.keys and name not in plan.keys):
            names = list(plan.keys) or list(columns)
            hint = did_you_mean(name, names) or f"the key is {', '.join(names)}"
            raise UsageError(f"`{name}` is no key column of `{plan.pipeline}`", hint)
        try:
            found[name] = _value(columns[name], text)
        except (ValueError, ArithmeticError):
            what = f"`{text[:80]}` is no {columns[name].type}, which `{name}` is"
            raise UsageError(what, hint=f"--key {name}=...") from None
    return found


def _value(column: Column, text: str) -> Any:
    kind = column.type.kind
    if kind.endswith("int") or kind == "integer":
        return int(text)
    if kind == "numeric":
        return decimal.Decimal(text)
    if kind == "boolean":
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else int(text) == 1
    if kind == "date":
        return dt.date.fromisoformat(text)
    if kind in ("timestamp", "timestamptz"):
        moment = dt.datetime.fromisoformat(text)
        return moment.replace(tzinfo=dt.UTC) if kind == "timestamptz" and moment.tzinfo is None else moment
    return text


def _versions(plan: LoadPlan, side: OpenTarget, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """What the target holds of one key, oldest first."""
    import pyarrow as pa

    if not plan.target_exists:
        return ()
    session, name = side.reader()
    dialect = session.dialect
    kinds = {column.name: column.type for column in plan.data}
    match = " AND ".join(f"{dialect.quote(n)} = {dialect.literal(v, kinds[n])}" for n, v in wanted.items())
    query = f"SELECT * FROM {name} WHERE {match} ORDER BY {dialect.quote(VALID_FROM)}"
    columns = session.describe(query)
    schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
    rows = pa.Table.from_batches(list(session.read(query, columns)), schema=schema).to_pylist()
    shown = [column.name for column in plan.data if column.name not in plan.hidden]
    names = list(dict.fromkeys((VALID_FROM, VALID_TO, *shown)))
    return tuple({one: row.get(one) for one in names} for row in rows)
