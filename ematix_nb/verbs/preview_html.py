"""A preview as static HTML: what a saved notebook, a mail or a code host shows.

Deterministic (no ids, no times), at most 60 kB, no script; every byte of data is escaped.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from ematix_nb.verbs.cells import show
from ematix_nb.verbs.html import STYLE
from ematix_nb.verbs.preview_text import (
    cell_rows,
    changed_rows,
    column_table,
    is_number,
    remarks,
    target_facts,
)
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ematix_nb.verbs.results import PreviewResult, TargetPreview

MAX_BYTES = 60_000
HTML_ROWS = 50
_SIZES = ((50, 80, 60), (50, 40, 60), (25, 32, 60), (15, 24, 40), (8, 16, 24), (4, 10, 16))
"""Rows, characters a cell and columns to try, until the whole is small enough."""
_SQL_CHARACTERS = 6_000
_STYLE = (
    "<style>.ematix-flow{--ef-good:color-mix(in srgb,#1a7f37 55%,currentColor);"
    "--ef-bad:color-mix(in srgb,#d1242f 55%,currentColor);--ef-warn:color-mix(in srgb,#b27b00 55%,currentColor);"
    "--ef-bar:color-mix(in srgb,#2f6fd0 65%,currentColor)}"
    ".ematix-flow .ef-scroll{overflow:auto;max-height:460px;max-width:100%;contain:inline-size}"
    ".ematix-flow.ematix-flow .ef-scroll table{display:table;overflow:visible;margin:0;max-width:none}"
    ".ematix-flow.ematix-flow .ef-scroll th,.ematix-flow.ematix-flow .ef-scroll td{white-space:pre}"
    ".ematix-flow .ef-scroll th{position:sticky;top:0;z-index:1;backdrop-filter:blur(9px);"
    "box-shadow:inset 0 -1px var(--ef-line)}"
    ".ematix-flow small{color:var(--ef-dim);font-size:12px;font-weight:400}"
    ".ematix-flow.ematix-flow .ef-right{text-align:right;padding:3px 8px 3px 16px}"
    ".ematix-flow .ef-right svg{margin-left:auto}"
    ".ematix-flow .ef-good{color:var(--ef-good)}.ematix-flow .ef-bad{color:var(--ef-bad)}"
    ".ematix-flow .ef-warn{color:var(--ef-warn)}"
    ".ematix-flow .ef-null{color:var(--ef-dim);font-style:italic;font-size:11px;border:1px solid var(--ef-line);"
    "border-radius:3px;padding:0 4px}.ematix-flow del .ef-null,.ematix-flow ins .ef-null{color:inherit}"
    ".ematix-flow.ematix-flow .ef-facts td{border:0;padding:0 16px 0 0}"
    ".ematix-flow svg{color:var(--ef-bar);display:block;margin-top:2px;max-width:none}"
    ".ematix-flow details{margin:6px 0}.ematix-flow summary{cursor:pointer;font-weight:600}"
    ".ematix-flow p{margin:4px 0}.ematix-flow del{color:var(--ef-bad)}.ematix-flow .ef-part{margin-right:16px}"
    ".ematix-flow ins{color:var(--ef-good);text-decoration:none}</style>"
)
_CLASSES = "ematix-flow tex2jax_ignore mathjax_ignore"
_VERDICTS = {"exact": "ef-good", "widened": "ef-good", "lossy": "ef-warn", "refused": "ef-bad"}
_RIGHT = ' class="ef-right"'
_CHANGE_WORDS = {
    "insert": "to insert",
    "update": "to update",
    "new version": "to get a new version",
    "close": "to close",
    "delete": "to delete",
    "same": "unchanged",
    "quarantine": "to go to quarantine",
}
_CHANGE_MARKS = {
    "insert": ("+", "ef-good"),
    "update": ("~", "ef-warn"),
    "new version": ("~", "ef-warn"),
    "close": ("-", "ef-bad"),
    "delete": ("-", "ef-bad"),
}
"""Sign and colour of a change; its word stands beside them."""
_BOTH_SIDES = ("update", "new version")


def preview_html(result: PreviewResult) -> str:
    """The whole preview as one HTML element of at most 60 kB; rows and cells are cut first when it is larger."""
    for rows, width, columns in _SIZES:
        text = _page(result, rows, width, columns)
        if len(text.encode()) <= MAX_BYTES:
            return text
    return framed(f"<p><b>{escape(result.name, 200)}</b>: too wide to be shown here; nothing was written</p>")


def _page(result: PreviewResult, rows: int, width: int, columns: int) -> str:
    parts = [heading(result), *(facts_html(target) for target in result.targets), remarks_html(result)]
    parts += [rows_html(result, result.sample.slice(0, rows), sample_words(result, rows), width=width, columns=columns)]
    parts += [diff for target in result.targets if (diff := diff_html(target, most=rows, width=width))]
    parts += [section("Columns", columns_html(result, width=width, most=columns)), section("SQL", sql_html(result))]
    return framed("".join(parts))


def framed(body: str) -> str:
    """HTML of ours in the element that carries its style; formulas in data are not typeset."""
    return f'<div class="{_CLASSES}">{STYLE}{_STYLE}{body}</div>'


def escape(value: object, width: int = 400) -> str:
    """Text of any origin for HTML: shortened, control characters made visible, escaped."""
    return html.escape(show(value, width), quote=True)


def section(title: str, body: str, *, is_open: bool = False) -> str:
    """A part that folds."""
    return f"<details{' open' if is_open else ''}><summary>{escape(title)}</summary>{body}</details>"


def heading(result: PreviewResult) -> str:
    """What is previewed, and that nothing was written."""
    if not result.targets:
        return f"<p><b>{escape(result.name)}</b> <small>nothing was written</small></p>"
    plan = result.targets[0].plan
    goals = ", ".join(escape(target.plan.target) for target in result.targets)
    return f"<p><b>{escape(plan.pipeline)}</b>: {escape(plan.source)} → {goals} <small>nothing was written</small></p>"


def facts_html(target: TargetPreview) -> str:
    """Mode, keys, route, watermark, schema changes and rows of one target."""
    rows, last = [], ""
    for name, text in target_facts(target):
        words = change_words(target.expected) if name == "rows" else text
        label = escape(name) if name != last else ""
        rows.append(f"<tr><td><small>{label}</small></td><td>{escape(words)}</td></tr>")
        last = name
    return f'<table class="ef-facts">{"".join(rows)}</table>'


def change_words(expected: Mapping[str, int]) -> str:
    """Rows to insert, update, ... as one phrase.

    Example:
        >>> change_words({"same": 1, "update": 39, "insert": 10, "sampled": 1})
        '10 rows to insert, 39 to update, 1 unchanged (counted on the sample alone)'
        >>> change_words({"insert": 1}), change_words({"insert": 0}), change_words({"same": 2})
        ('1 row to insert', 'nothing would change', 'nothing would change, 2 rows unchanged')
    """
    names = [*_CHANGE_WORDS, *(name for name in expected if name not in (*_CHANGE_WORDS, "sampled"))]
    found = [(name, expected[name]) for name in names if expected.get(name)]
    start = [] if any(name != "same" for name, _ in found) else ["nothing would change"]
    words = [
        f"{counted(rows, 'row') if place == 0 else format(rows, ',')} {_CHANGE_WORDS.get(name, name)}"
        for place, (name, rows) in enumerate(found)
    ]
    covers = " (counted on the sample alone)" if expected.get("sampled") else ""
    return ", ".join([*start, *words]) + covers


def sample_words(result: PreviewResult, most: int) -> str:
    """How many of how many rows are shown."""
    sampled = result.sample.num_rows
    if not sampled:
        return "no rows: the source is empty"
    if sampled > most:
        rest = "rows of the source" if result.complete else "sampled rows; the source has more"
        return f"the first {most:,} of {sampled:,} {rest}"
    if result.complete:
        return f"{counted(sampled, 'row')}, all of the source"
    return f"the first {counted(sampled, 'row').removeprefix('1 ')} of the source; it has more"


def remarks_html(result: PreviewResult) -> str:
    """Warnings and notes."""
    classes = {"warning": "ef-warn", "note": ""}
    return "".join(
        f'<p class="{classes[word]}"><b>{word}</b> {escape(message)}</p>'
        for word, messages in remarks(result)
        for message in messages
    )


def rows_html(result: PreviewResult, rows: Any, title: str, *, width: int = 80, columns: int = 60) -> str:
    """Rows of the source (an Arrow table) under their names, types, null counts and histograms."""
    shown = rows.select(list(range(min(columns, rows.num_columns))))
    profile = {str(entry["name"]): entry for entry in result.profile}
    types = _declared_types(result)
    right = [is_number(field.type) for field in shown.schema]
    heads = "".join(
        _head(field.name, types.get(field.name, str(field.type)), profile.get(field.name, {}), width, right[x])
        for x, field in enumerate(shown.schema)
    )
    nulls = [column.is_null().to_pylist() for column in shown.columns]
    body = "".join(
        "<tr>" + "".join(_cell(text, nulls[x][y], right[x]) for x, text in enumerate(row)) + "</tr>"
        for y, row in enumerate(cell_rows(shown, width))
    )
    left_out = rows.num_columns - shown.num_columns
    more = f"; {counted(left_out, 'more column')} not shown" if left_out else ""
    return f"<p><small>{escape(title)}{more}</small></p>{_grid('rows', heads, body)}"


def _grid(label: str, heads: str, body: str) -> str:
    """A table that scrolls, also by keyboard; its head stays."""
    head = f"<thead><tr>{heads}</tr></thead>" if heads else ""
    table = f"<table>{head}<tbody>{body}</tbody></table>"
    return f'<div class="ef-scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def _declared_types(result: PreviewResult) -> dict[str, str]:
    """Source column -> type in the words of the plan; empty for a mere table."""
    plan = result.targets[0].plan if result.targets else None
    return {column.name: str(column.type) for column in plan.source_columns} if plan else {}


def _head(name: str, kind: str, entry: Mapping[str, Any], width: int, is_number: bool) -> str:  # noqa: FBT001 - a fact about the column
    nulls = entry.get("nulls")
    missing = f", {nulls:,} NULL" if isinstance(nulls, int) and nulls else ""
    bars = histogram(entry.get("bars") or ())
    text = f"{escape(name, width)}<br><small>{escape(kind, width)}{missing}</small>{bars}"
    return f'<th scope="col"{_RIGHT if is_number else ""}>{text}</th>'


def _cell(text: str, is_null: bool, is_number: bool) -> str:  # noqa: FBT001 - two facts about the value
    return f"<td{_RIGHT if is_number else ''}>{_value(text, is_null)}</td>"


def _value(text: str, is_null: bool) -> str:  # noqa: FBT001 - a fact about the value
    """NULL and the empty text are framed, so that they differ from a text that says so."""
    if is_null:
        return '<em class="ef-null">NULL</em>'
    return f"<bdi>{html.escape(text)}</bdi>" if text else '<em class="ef-null">empty</em>'


def histogram(bars: Sequence[Any]) -> str:
    """Up to 12 counts as a small inline SVG; nothing for no counts.

    Example:
        >>> histogram([1, 2]).count("<rect")
        2
        >>> histogram([])
        ''
    """
    counts = [max(0.0, float(count)) for count in list(bars)[:12]]
    if not counts or not max(counts):
        return ""
    top = max(counts)
    heights = [round(14 * count / top) if count else 0 for count in counts]
    rects = "".join(
        f'<rect x="{6 * x}" y="{15 - max(height, 1)}" width="5" height="{max(height, 1)}" fill="currentColor"/>'
        for x, height in enumerate(heights)
        if counts[x]
    )
    wide = 6 * len(counts)
    return f'<svg width="{wide}" height="16" viewBox="0 0 {wide} 16" role="img" aria-label="histogram">{rects}</svg>'


def columns_html(result: PreviewResult, *, width: int = 60, most: int = 200) -> str:
    """Types, verdicts and the profile of the sample, one line a column."""
    head, rows = column_table(result, width=width)
    bars = {str(entry["name"]): histogram(entry.get("bars") or ()) for entry in result.profile}
    plan = result.targets[0].plan if result.targets else None
    sources = [column.source for column in plan.columns] if plan else list(result.sample.schema.names)
    verdicts = [column.verdict.value for column in plan.columns] if plan else [""] * len(sources)
    body = "".join(
        f"<tr>{_column_cells(row, verdicts[y])}<td>{bars.get(sources[y], '')}</td></tr>"
        for y, row in enumerate(rows[:most])
    )
    count = len(head) - len(("nulls", "distinct", "min", "max"))
    heads = "".join(
        f'<th scope="col"{_RIGHT if x in (count, count + 1) else ""}>{escape(name)}</th>'
        for x, name in enumerate((*head, "distribution"))
    )
    left_out = len(rows) - most
    more = f"<p><small>{counted(left_out, 'more column')}</small></p>" if left_out > 0 else ""
    return _grid("columns", heads, body) + more


def _column_cells(row: Sequence[str], verdict: str) -> str:
    """The words of a column; its verdict in the tone that fits, its counts to the right."""
    count = len(row) - len(("nulls", "distinct", "min", "max"))
    tones = {count - 1: f' class="{_VERDICTS.get(verdict, "")}"' if verdict else "", count: _RIGHT, count + 1: _RIGHT}
    return "".join(f"<td{tones.get(x, '')}>{html.escape(text)}</td>" for x, text in enumerate(row))


def sql_html(result: PreviewResult) -> str:
    """The SELECT that was sampled, and the statements of each plan."""
    parts = [code_html(result.query)]
    for target in result.targets:
        statements = [*(change.sql for change in target.plan.schema_changes if change.sql), *target.plan.statements]
        if statements:
            parts += [f"<p><small>then, in {escape(target.plan.target)}</small></p>", code_html(";\n".join(statements))]
    return "".join(parts)


def code_html(sql: str) -> str:
    """A statement as it stands; a very long one is cut."""
    lines = [escape(line, 2_000) for line in sql[:_SQL_CHARACTERS].splitlines()]
    return f"<pre>{chr(10).join(lines)}{chr(10) + '...' if len(sql) > _SQL_CHARACTERS else ''}</pre>"


def diff_html(target: TargetPreview, *, most: int = HTML_ROWS, width: int = 40) -> str:
    """The rows that would change, as a part that folds; nothing when none were compared."""
    body = changes_html(target, most=most, width=width)
    return section(f"Changes in {target.plan.target}", body, is_open=True) if body else ""


def changes_html(target: TargetPreview, *, most: int = HTML_ROWS, width: int = 40) -> str:
    """The rows that would change, old and new values side by side; nothing when none were compared."""
    if not target.diff:
        return ""
    changes = changed_rows(target)
    note = f"<p><small>{escape(target.diff_note)}</small></p>" if target.diff_note else ""
    if not changes:
        return f"{note}<p>no row would change</p>"
    more = f"<p><small>{len(changes) - most:,} more</small></p>" if len(changes) > most else ""
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("change", "row", "values"))
    return f"{note}{_grid('changes', heads, ''.join(_diff_row(change, width) for change in changes[:most]))}{more}"


def _diff_row(change: Mapping[str, Any], width: int) -> str:
    kind = str(change["change"])
    mark, tone = _CHANGE_MARKS.get(kind, ("?", ""))
    key = change.get("key") or {}
    row = ", ".join(f"{escape(name, width)}={_shown(value, width)}" for name, value in key.items())
    apart = "<br>" if kind in _BOTH_SIDES else " "
    values = apart.join(f'<span class="ef-part">{part}</span>' for part in _differences(change, width))
    return f'<tr><td class="{tone}">{mark} {escape(kind, 20)}</td><td>{row}</td><td>{values}</td></tr>'


def _differences(change: Mapping[str, Any], width: int) -> Iterable[str]:
    """The columns beside the key with the old and the new value; where there are both, only those that differ."""
    before, after = change.get("before") or {}, change.get("after") or {}
    for name in dict.fromkeys((*before, *after)):
        if name in (change.get("key") or {}):
            continue
        if change["change"] in _BOTH_SIDES and before.get(name) == after.get(name):
            continue
        old = f"<del>{_shown(before[name], width)}</del>" if name in before else ""
        new = f"<ins>{_shown(after[name], width)}</ins>" if name in after else ""
        yield f"<small>{escape(name, width)}</small> {' → '.join(text for text in (old, new) if text)}"


def _shown(value: Any, width: int) -> str:
    return _value(show(value, width), value is None)
