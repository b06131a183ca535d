"""Static HTML for notebooks: escaped, small, readable on light and dark pages without any script."""

from __future__ import annotations

import html
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ematix_nb.verbs.cells import show

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES = 60_000
"""Of one HTML text."""
MAX_ROWS = 200
_MAX_TEXT = 40_000
_CUT_NOTE = "the rest is not shown here"

STYLE = """<style>
.ematix-flow{font:13px/1.5 var(--jp-ui-font-family,system-ui,sans-serif);color:var(--jp-ui-font-color1,inherit);\
--ef-page:var(--jp-layout-color1,var(--vscode-editor-background,transparent));\
--ef-line:color-mix(in srgb,currentColor 16%,transparent);--ef-head:color-mix(in srgb,currentColor 5%,var(--ef-page));\
--ef-dim:color-mix(in srgb,currentColor 75%,transparent)}
.ematix-flow.ematix-flow table{border-collapse:collapse;border:0;margin:4px 0;display:block;overflow-x:auto;\
max-width:100%;font-size:inherit}
.ematix-flow.ematix-flow.ematix-flow tr{background:none}
.ematix-flow.ematix-flow th,.ematix-flow.ematix-flow td{text-align:left;border:0;\
border-bottom:1px solid var(--ef-line);padding:3px 16px 3px 8px;vertical-align:top;white-space:pre-wrap;\
max-width:none;line-height:1.5;font-variant-numeric:tabular-nums}
.ematix-flow.ematix-flow th{background:var(--ef-head);font-weight:600}
.ematix-flow.ematix-flow.ematix-flow tbody tr:hover{background:var(--ef-head)}
.ematix-flow.ematix-flow td.n{text-align:right}
.ematix-flow pre{font:12px/1.5 var(--jp-code-font-family,ui-monospace,monospace);white-space:pre-wrap;\
word-break:normal;overflow-wrap:anywhere;margin:4px 0;color:inherit;background:none}
.ematix-flow .t{font-weight:600}.ematix-flow .d{color:var(--ef-dim)}
</style>"""
"""Colours are shades of the page's own text, and so readable on any page, light or dark."""


def escape(text: object) -> str:
    """A text that is safe between tags and in quoted attributes; control characters are spelled out.

    Example:
        >>> escape('<b title="x">')
        '&lt;b title=&quot;x&quot;&gt;'
    """
    from ematix_nb.verbs.text import neutral

    return html.escape(neutral(str(text)), quote=True)


def wrap(body: str) -> str:
    """A piece of HTML with our style around it."""
    return f'<div class="ematix-flow">{STYLE}{body}</div>'


def preformatted(text: str) -> str:
    """A text as it stands, in one block."""
    if len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT]}\n… {_CUT_NOTE}"
    escaped = escape(text)
    if len(escaped.encode("utf-8", "replace")) > MAX_BYTES - len(STYLE) - 200:
        escaped = escape(text[: _MAX_TEXT // 6]) + f"\n… {_CUT_NOTE}"
    return wrap(f"<pre>{escaped}</pre>")


def table_html(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "", notes: Sequence[str] = ()
) -> str:
    """A table with title and notes; rows that do not fit are left out, and that is said."""
    head = f'<div class="t">{escape(title)}</div>' if title else ""
    if not rows:
        return wrap(head + f"<div>{escape(empty)}</div>" + _notes(notes))
    body, left_out = _rows(rows)
    more = [f"{left_out:,} more rows are not shown here"] if left_out else []
    names = "".join(f"<th>{escape(name)}</th>" for name in columns)
    grid = f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"
    return wrap(head + grid + _notes([*notes[:50], *more]))


def _rows(rows: Sequence[Sequence[Any]]) -> tuple[str, int]:
    parts: list[str] = []
    size = 0
    for row in rows[:MAX_ROWS]:
        line = f"<tr>{''.join(map(_cell, row))}</tr>"
        size += len(line.encode("utf-8", "replace"))
        if size > _MAX_TEXT:
            break
        parts.append(line)
    return "".join(parts), len(rows) - len(parts)


def _cell(value: Any) -> str:
    number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    kind = ' class="n"' if number else ""
    return f"<td{kind}>{escape(show(value, 200))}</td>"


def _notes(notes: Sequence[str]) -> str:
    return "".join(f'<div class="d">note: {escape(show(note, 500))}</div>' for note in notes)
