"""Aligned plain text: tables and lines that cannot disturb a terminal."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from ematix_nb.verbs.cells import show

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_WIDTH = 100
"""Of one cell, in columns of the terminal."""
_WIDE = ("W", "F")
_INVISIBLE = ("Cc", "Cs")
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u2028\u2029")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, max_width: int = MAX_WIDTH) -> str:
    """Columns below their names; numbers to the right, NULL as nothing, long cells cut with an ellipsis.

    Example:
        >>> print(table(["name", "rows"], [["orders", 12], ["x", 1234]]))
        name    rows
        ------  ----
        orders    12
        x       1234
    """
    heads = [neutral(str(name), newlines=False) for name in columns]
    cells = [[show(value, max_width) for value in row] for row in rows]
    right = [_is_numeric([row[index] for row in rows]) for index in range(len(heads))]
    widths = [
        max([display_width(head), *(display_width(row[index]) for row in cells)]) for index, head in enumerate(heads)
    ]
    lines = [heads, ["-" * width for width in widths], *cells]
    return "\n".join(_joined(line, widths, right) for line in lines)


def neutral(text: str, *, newlines: bool = True) -> str:
    r"""A text in which control characters and changes of the writing direction are spelled out.

    Args:
        text: Any text.
        newlines: Leave line ends (and tabs, as a space) as they are.

    Example:
        >>> neutral("a" + chr(27) + "[31mb")
        'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(_spelled(char, newlines=newlines) for char in text)


def _spelled(char: str, *, newlines: bool) -> str:
    if newlines and char in "\n\t":
        return "\n" if char == "\n" else " "
    if char in "\n\r\t" and not newlines:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char]
    if unicodedata.category(char) in _INVISIBLE or char in _BIDI:
        return char.encode("unicode_escape", "surrogatepass").decode("ascii")
    return char


def display_width(text: str) -> int:
    """How many columns a terminal needs for a text.

    Example:
        >>> display_width("abc"), display_width("日本"), display_width("e" + chr(0x301))
        (3, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in _WIDE else 1


def cut(text: str, width: int) -> str:
    """A text of at most so many columns.

    Example:
        >>> cut("abcdef", 4)
        'abc…'
    """
    if display_width(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += _char_width(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def _is_numeric(values: list[Any]) -> bool:
    from decimal import Decimal

    present = [value for value in values if value is not None]
    return bool(present) and all(
        isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) for value in present
    )


def _joined(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = []
    for cell, width, to_right in zip(cells, widths, right, strict=True):
        gap = " " * (width - display_width(cell))
        parts.append(gap + cell if to_right else cell + gap)
    return "  ".join(parts).rstrip()
