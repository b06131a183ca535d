"""``late_rows="snapshot"``: rows that committed late are found by their transactions, however late that was.

Before it reads, a run takes the source's *horizon*: all older transactions have ended, so the read sees what they
committed. It is stored beside the watermark. The next run asks the source for rows below its window that are not older
than that horizon, and reads from the oldest of them on; what it reads twice is recognised like any other overlap.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ematix_nb.errors import DataError, DeclarationError
from ematix_nb.load import window as windows
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.backends.base import Late
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.load.plan import Window
    from ematix_nb.load.source import OpenSource
    from ematix_nb.state.model import Watermark

SNAPSHOT = "snapshot"
HINT = "late_rows='overlap' reads back by `overlap`; 'snapshot' is for tables in PostgreSQL"


def look_back(source: OpenSource, window: Window, kinds: Sequence[DataType], stored: Watermark | None) -> Window:
    """The window with everything in it that committed late, and with the horizon that the next run needs.

    Raises:
        DeclarationError: The source cannot tell which transaction wrote a row.
        DataError: A late row has a watermark that cannot be one.
    """
    capabilities = getattr(source.session, "capabilities", None)
    if capabilities is None or not capabilities.tells_transactions:
        message = f"late_rows='snapshot' does not work on `{source.name}`: its rows do not tell their transaction"
        raise DeclarationError(message, HINT)
    source.session.check_late(source.sql)
    since = stored.horizon if stored is not None and window.stored else ""
    if (window.lower, since) not in source.late:
        source.late[window.lower, since] = _ask(source, window, kinds, since)
    horizon, late = source.late[window.lower, since]
    return _with(dataclasses.replace(window, horizon=horizon), kinds, late, known=bool(since))


def _ask(source: OpenSource, window: Window, kinds: Sequence[DataType], since: str) -> tuple[str, Late | None]:
    """The horizon first: what commits after it is for the next run, whatever the question after it finds."""
    horizon = source.session.horizon()
    if not window.lower or not since:
        return horizon, None
    below = windows.below(source.dialect, window, kinds)
    return horizon, source.session.late_rows(source.sql, window.source, kinds[0], since, below)


def _with(window: Window, kinds: Sequence[DataType], late: Late | None, *, known: bool) -> Window:
    if not window.stored:
        return dataclasses.replace(window, late="late rows are found by their transactions")
    if late is None and not known:
        words = "the last run took no note of transactions: what committed late before this run is not looked for"
        return dataclasses.replace(window, late=words, warning=f"{words} (--full-refresh reads everything)")
    if late is None:
        return window
    if late.unusable:
        words = f"{late.unusable}, so everything is read and compared"
        return dataclasses.replace(window, lower="", late=words, warning=words)
    if late.oldest is None:
        return dataclasses.replace(window, late="no row below that committed late")
    try:
        first = windows.parse(late.oldest, kinds[0])
    except DataError as exc:
        message = f"a row that committed late has `{window.source}` = {late.oldest}, which cannot be a watermark"
        raise DataError(message, "correct it, or leave it out in the SELECT") from exc
    oldest = windows.text(first)
    words = f"{counted(late.rows, 'row')} below {window.lower} committed late or changed, the oldest at {oldest}"
    # by the first column alone: among the rows that have it there may be others that are late
    return dataclasses.replace(window, lower=windows.written((first,), kinds), late=words)
