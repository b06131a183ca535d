"""Small words in messages: counts with their nouns."""

from __future__ import annotations


def counted(number: int, one: str, several: str = "") -> str:
    """A count with its noun, and with the verb where both change.

    Args:
        number: How many.
        one: What follows the number 1.
        several: What follows every other number; without it ``one`` and an ``s``.

    Example:
        >>> counted(1, "row"), counted(0, "row"), counted(1200, "row")
        ('1 row', '0 rows', '1,200 rows')
        >>> counted(1, "row has", "rows have"), counted(2, "row has", "rows have")
        ('1 row has', '2 rows have')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"
