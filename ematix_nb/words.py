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


def pace(rows: int, size: int, seconds: float, expected: int | None = None) -> str:
    """How far a read has come, how fast it is, and how long it will take, as far as that is known.

    Args:
        rows: Read so far.
        size: Bytes read so far; 0 when unknown.
        seconds: Since the start.
        expected: Rows in all, about.

    Example:
        >>> pace(1000, 2_000_000, 2.0)
        '1,000 rows, 2.0 MB, 500 rows/s'
        >>> pace(1000, 0, 2.0, 5000)
        '1,000 rows of about 5,000 (20 %), 500 rows/s, about 8 s left'
    """
    known = expected if expected is not None and expected > rows > 0 else None
    share = f" of about {known:,} ({rows * 100 // known} %)" if known else ""
    parts = [f"{counted(rows, 'row')}{share}"]
    parts += [f"{size / 1e6:,.1f} MB"] if size else []
    if rows and seconds > 0:
        parts.append(f"{rows / seconds:,.0f} rows/s")
        parts += [f"about {_span((known - rows) * seconds / rows)} left"] if known else []
    return ", ".join(parts)


def _span(seconds: float) -> str:
    """A duration, no finer than it is known.

    Example:
        >>> _span(7.6), _span(95), _span(7300)
        ('8 s', '2 min', '2 h')
    """
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:  # noqa: PLR2004 - an hour and a half
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h"
