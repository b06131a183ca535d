"""A preview as plain text: what would happen, the columns, some rows, and the rows that would change.

The facts are collected here once, as tuples of words; `preview_html` and the live view show the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.verbs.cells import show
from ematix_nb.verbs.text import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ematix_nb.verbs.results import PreviewResult, TargetPreview

TEXT_ROWS = 20
TEXT_DIFF = 20
_CELL = 32
_VALUE = 24
NULL = "NULL"
MARKS = {"insert": "+", "update": "~", "close": "-", "delete": "-", "same": "="}
"""What stands before a row of the diff."""


def preview_text(result: PreviewResult) -> str:
    """The whole preview as text: at most 20 rows and 20 changed rows; no control characters.

    Example output starts with::

        preview of orders: lake -> warehouse:analytics.orders (nothing was written)
          mode      merge on order_id (primary key of the table)
    """
    lines = [] if result.targets else [f"preview of {show(result.name, 200)} (nothing was written)"]
    for target in result.targets:
        lines += _target_lines(target)
    lines += ["", "columns", _indent(table(*column_table(result)))]
    lines += ["", rows_title(result, TEXT_ROWS), _indent(_rows_text(result))]
    for target in result.targets:
        lines += _diff_lines(target)
    for word, messages in remarks(result):
        lines += [f"{word}: {show(message, 400)}" for message in messages]
    return "\n".join(lines)


def _target_lines(target: TargetPreview) -> list[str]:
    plan = target.plan
    head = f"preview of {show(plan.pipeline, 120)}: {show(plan.source, 80)} -> {show(plan.target, 160)}"
    facts = target_facts(target)
    width = max(len(name) for name, _ in facts)
    return [f"{head} (nothing was written)", *(f"  {name:<{width}}  {show(text, 300)}" for name, text in facts)]


def target_facts(target: TargetPreview) -> list[tuple[str, str]]:
    """Pairs (word, sentence) about the load of one target: mode, keys, route, watermark, schema, rows."""
    plan = target.plan
    keys = f" on {', '.join(plan.keys)}" if plan.keys else ""
    reason = f" ({plan.keys_reason})" if plan.keys and plan.keys_reason else ""
    facts = [
        ("mode", f"{plan.mode}{keys}{reason}"),
        ("route", f"{plan.route} ({plan.route_reason})" if plan.route_reason else plan.route),
    ]
    if plan.window is not None:
        facts.append(("watermark", watermark_words(target)))
    changes = [change.text for change in plan.schema_changes] or ["no change"]
    facts += [("schema", text) for text in changes]
    if plan.quarantine is not None:
        facts.append(("quarantine", plan.quarantine.words()))
    facts += [("check", str(check)) for check in plan.checks]
    if target.expected:
        facts.append(("rows", expected_words(target.expected)))
    return facts


def watermark_words(target: TargetPreview) -> str:
    """What an incremental run would read, in words."""
    window = target.plan.window
    if window is None:
        return "everything is read"
    if not window.stored:
        names = ", ".join(window.columns)
        return f"{names}: no run yet, everything is read" + (f"; {window.late}" if window.late else "")
    late = f"; {window.late}" if window.late else ""
    bound = window.words(window.lower) if window.lower else f"every {', '.join(window.columns)}"
    stored = ", ".join(window.texts(window.stored))
    return f"{bound} (stored {stored}, overlap {window.overlap}{late})"


def expected_words(expected: Mapping[str, Any]) -> str:
    """Rows to insert, update, ... as one phrase.

    Example:
        >>> expected_words({"insert": 1200, "update": 0, "sampled": 1})
        '1,200 insert (counted on the sample alone)'
        >>> expected_words({"insert": 0})
        'nothing would change'
    """
    counts = [(name, rows) for name, rows in expected.items() if name != "sampled"]
    words = (
        ", ".join(f"{rows:,} {name.removeprefix('rows_')}" for name, rows in counts if rows) or "nothing would change"
    )
    return f"{words} (counted on the sample alone)" if expected.get("sampled") else words


def column_table(result: PreviewResult, *, width: int = _CELL) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows of the column overview: types, verdicts, and the profile of the sample."""
    profile = {str(entry["name"]): entry for entry in result.profile}
    rows = []
    for source, words in _named_columns(result):
        rows.append((*(show(word, 2 * width) for word in words), *_profile_words(profile.get(source, {}), width)))
    head = ("column", "source type", "target type", "verdict") if result.targets else ("column", "type")
    return (*head, "nulls", "distinct", "min", "max"), rows


def _named_columns(result: PreviewResult) -> list[tuple[str, tuple[str, ...]]]:
    """Source column and what is known of each column; the engine's own columns have no source."""
    if not result.targets:
        return [(field.name, (field.name, str(field.type))) for field in result.sample.schema]
    found: list[tuple[str, tuple[str, ...]]] = []
    for column in result.targets[0].plan.columns:
        renamed = column.source and column.name != column.source
        name = f"{column.name} <- {column.source}" if renamed else column.name
        verdict = f"{column.verdict.value}: {column.reason}" if column.reason else column.verdict.value
        given = str(column.source_type) if column.source_type else ""
        found.append((column.source, (name, given, str(column.target_type), verdict)))
    return found


def _profile_words(entry: Mapping[str, Any], width: int) -> tuple[str, ...]:
    found = (entry.get(name) for name in ("nulls", "distinct", "min", "max"))
    return tuple("" if value is None else show(value, width) for value in found)


def rows_title(result: PreviewResult, most: int) -> str:
    """How many of how many rows are shown."""
    sampled = result.sample.num_rows
    shown = min(sampled, most)
    if result.complete:
        whole = "all rows of the source" if shown == sampled else f"of all {sampled:,} rows of the source"
    else:
        whole = "the source has more" if shown == sampled else f"of {sampled:,} sampled; the source has more"
    return f"rows: {shown:,} ({whole})"


def _rows_text(result: PreviewResult) -> str:
    """The first rows of the sample; numbers to the right."""
    sample = result.sample.slice(0, TEXT_ROWS)
    columns = list(zip(*cell_rows(sample, _CELL), strict=True))
    for index, field in enumerate(sample.schema):
        if columns and is_number(field.type):
            wide = max(map(len, columns[index]))
            columns[index] = tuple(text.rjust(wide) for text in columns[index])
    return table([show(name, _CELL) for name in sample.schema.names], list(zip(*columns, strict=True)))


def is_number(kind: Any) -> bool:
    """Whether an Arrow type is one of numbers, which stand to the right."""
    return str(kind).startswith(("int", "uint", "float", "double", "halffloat", "decimal"))


def cell(value: Any, width: int) -> str:
    """A value as the text of a cell; NULL and the empty text can be told apart.

    Example:
        >>> cell(None, 10), cell("", 10), cell(1.5, 10)
        ('NULL', '', '1.5')
    """
    return NULL if value is None else show(value, width)


def cell_rows(rows: Any, width: int) -> list[tuple[str, ...]]:
    """The rows of an Arrow table as cell texts; works with two columns of one name."""
    columns = [[cell(value, width) for value in cell_values(column)] for column in rows.columns]
    return list(zip(*columns, strict=True))


def cell_values(column: Any) -> list[Any]:
    """The values of an Arrow column; times finer than a microsecond as text, Python has no type for them."""
    if str(column.type).startswith(("timestamp[ns", "time64[ns", "duration[ns")):
        column = column.cast("string")
    values: list[Any] = column.to_pylist()
    return values


def diff_parts(
    change: Mapping[str, Any], *, width: int = _VALUE
) -> tuple[str, str, list[tuple[str, str | None, str | None]]]:
    """One changed row as (mark, key words, [(column, before, after)]); for an update only the columns that differ."""
    before, after = change.get("before") or {}, change.get("after") or {}
    key = change.get("key") or {}
    words = ", ".join(f"{show(name, width)}={cell(value, width)}" for name, value in key.items())
    parts = []
    for name in dict.fromkeys((*before, *after)):
        if name in key or (change["change"] == "update" and before.get(name) == after.get(name)):
            continue
        old, new = (cell(side[name], width) if name in side else None for side in (before, after))
        parts.append((show(name, width), old, new))
    return MARKS.get(str(change["change"]), "?"), words, parts


def changed_rows(target: TargetPreview) -> list[dict[str, Any]]:
    """The rows of the diff that differ; those that stay the same are only counted."""
    return [change for change in target.diff if change["change"] != "same"]


def _diff_lines(target: TargetPreview) -> list[str]:
    if not target.diff:
        return []
    lines = [
        "",
        f"changes in {show(target.plan.target, 160)}"
        + (f" ({show(target.diff_note, 200)})" if target.diff_note else ""),
    ]
    changes = changed_rows(target)
    for change in changes[:TEXT_DIFF]:
        mark, key, parts = diff_parts(change)
        words = [_diff_words(mark, *part) for part in parts]
        lines.append(f"  {mark} {': '.join(text for text in (key, ', '.join(words)) if text)}")
    if len(changes) > TEXT_DIFF:
        lines.append(f"  ... {len(changes) - TEXT_DIFF:,} more")
    return lines if changes else [*lines, "  no row would change"]


def _diff_words(mark: str, name: str, old: str | None, new: str | None) -> str:
    if mark == "~":
        return f"{name} {old or 'nothing'} -> {new or 'nothing'}"
    return f"{name}={new if new is not None else old}"


def remarks(result: PreviewResult) -> list[tuple[str, tuple[str, ...]]]:
    """Warnings and notes of all plans, each once."""
    plans = [target.plan for target in result.targets]
    warnings = dict.fromkeys(text for plan in plans for text in plan.warnings)
    notes = dict.fromkeys(text for plan in plans for text in plan.notes)
    return [("warning", tuple(warnings)), ("note", tuple(notes))]


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
