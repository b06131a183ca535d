"""Small charts as inline SVG, in the colours of the page: no script, and the same bytes for the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

POINTS = 60
"""Of one line at most."""


def sparkline(values: Sequence[float], height: int = 16) -> str:
    """The last values as thin columns side by side, the newest to the right; empty for less than two of them.

    Args:
        values: Numbers, not below 0.
        height: Pixels.

    Example:
        >>> sparkline([0, 5, 10]).count("<rect"), sparkline([1])
        (3, '')
    """
    last = list(values)[-POINTS:]
    if len(last) < 2:  # noqa: PLR2004 - one value is no course of things
        return ""
    return _columns([(value, "") for value in last], height, 2, "rate over time")


def bar(value: float, largest: float, width: int = 90, height: int = 10, label: str = "duration") -> str:
    """A bar as long as its share of the largest value.

    Example:
        >>> bar(5, 10, width=40).partition("<rect")[2].partition("height")[0]
        ' width="20" '
    """
    share = min(max(value / largest, 0.0), 1.0) if largest > 0 else 0.0
    long = max(share * width, 1.0)
    rect = f'<rect width="{_short(long)}" height="{height}" fill="currentColor"/>'
    return _svg(rect, width, height, label)


def bars(values: Sequence[tuple[float, str]], height: int = 16) -> str:
    """One bar for each value, the newest to the right, none higher than the largest; empty for no values.

    Args:
        values: Numbers, not below 0, each with the class of its colour (may be empty).
        height: Pixels.

    Example:
        >>> bars([(1, ""), (2, "ef-bad")]).count("<rect")
        2
    """
    last = list(values)[-POINTS:]
    return _columns(last, height, 4, "durations of the last runs") if last else ""


def _columns(values: Sequence[tuple[float, str]], height: int, wide: int, label: str) -> str:
    """Columns with a gap of one pixel between them, none higher than that of the largest value."""
    top = max(value for value, _ in values) or 1.0
    rects = []
    for place, (value, tone) in enumerate(values):
        tall = max(1, round((height - 1) * max(0.0, value) / top))
        mark = f' class="{tone}"' if tone else ""
        size = f'x="{(wide + 1) * place}" y="{height - tall}" width="{wide}" height="{tall}"'
        rects.append(f'<rect {size} fill="currentColor"{mark}/>')
    return _svg("".join(rects), (wide + 1) * len(values), height, label)


def _svg(body: str, width: int, height: int, label: str) -> str:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg {size} role="img" aria-label="{label}">{body}</svg>'


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
