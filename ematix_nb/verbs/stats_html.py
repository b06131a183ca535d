"""The profile of one column as HTML, with the same words in every view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ematix_nb.verbs.cells import show
from ematix_nb.verbs.preview_html import escape, framed, histogram

if TYPE_CHECKING:
    from ematix_nb.query.paging import ColumnStats

_WIDTH = 60


def stats_html(stats: ColumnStats) -> str:
    """What is known of the values of a column."""
    head = f"<p><b>{escape(stats.column, _WIDTH)}</b> {escape(stats.type)} <small>{escape(stats.covers())}</small></p>"
    rows = "".join(
        f"<tr><td><small>{escape(name)}</small></td><td>{escape(text, 4 * _WIDTH)}</td></tr>"
        for name, text in stats_facts(stats)
    )
    return framed(f'{head}{histogram(stats.bars)}<table class="ef-facts">{rows}</table>')


def stats_facts(stats: ColumnStats) -> list[tuple[str, str]]:
    """Pairs (word, text) about the values of a column; what is not known is left out."""
    facts = [("NULL", _share(stats.nulls, stats.rows))]
    if stats.nans:
        facts.append(("NaN", _share(stats.nans, stats.rows)))
    if stats.distinct is not None:
        facts.append(("distinct", f"{'' if stats.is_distinct_exact else 'more than '}{stats.distinct:,}"))
    if stats.low is not None:
        facts += [("min", show(stats.low, _WIDTH)), ("max", show(stats.high, _WIDTH))]
    return facts + [
        ("commonest" if place == 0 else "", f"{show(value, _WIDTH) or 'empty'}: {_share(count, stats.rows)}")
        for place, (value, count) in enumerate(stats.common)
    ]


def _share(count: int, rows: int) -> str:
    """A count, and its part of all.

    Example:
        >>> _share(1200, 4800), _share(0, 10), _share(1, 100_000)
        ('1,200 (25 %)', '0', '1 (less than 1 %)')
    """
    if not count:
        return "0"
    part = 100 * count / rows
    return f"{count:,} ({'less than 1' if part < 1 else f'{part:.0f}'} %)"
