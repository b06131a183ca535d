"""The watermark window of an incremental run: what is read again, and from where on."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import INTEGER_KINDS, NANOSECONDS, PLAIN_TEXTS, TEXT, DataType
from ematix_nb.errors import DataError, DeclarationError, UsageError
from ematix_nb.load.plan import Window
from ematix_nb.words import counted

if TYPE_CHECKING:
    from ematix_nb.load.spans import Span
    from ematix_nb.sql.dialect import Dialect
    from ematix_nb.state.model import Watermark

MINUTE, HOUR = 60, 3600
DIGITS = 100
"""More than any system's decimals have."""
DEFAULT_OVERLAP = dt.timedelta(minutes=10)
AHEAD = "+"
"""Stored behind the type of a watermark when rows beyond it were loaded, whose time had not come."""
MAX_FUTURE = dt.timedelta(minutes=5)
"""How far the clock of a source may be ahead of this machine's."""
FIRST_ZONE = dt.timedelta(hours=14)
"""What a time without a zone may be ahead of UTC: somewhere it is that time now."""
ORDERED_KINDS = (*INTEGER_KINDS, "numeric", "date", "timestamp", "timestamptz", *PLAIN_TEXTS)
NO_OVERLAP = "none (ties are read again)"
NUL = "\x00"


def check_column(name: str, kind: DataType) -> None:
    """Refuse a watermark column whose values have no dependable order.

    Raises:
        DeclarationError: For floats, booleans, UUIDs and everything else that is no number, time or text.
    """
    if kind.kind in ORDERED_KINDS and not (kind.kind == "numeric" and kind.precision is None):
        return
    what = "a whole number, a decimal, a date, a timestamp or a text"
    message = f"watermark column `{name}` is {kind}; a watermark needs {what}"
    raise DeclarationError(message, "choose another column, or cast it in the SELECT")


def check_order(dialect: Dialect, name: str, kind: DataType) -> None:
    """Refuse a watermark column that the system keeps in a form that does not sort like its values.

    Raises:
        DeclarationError: For decimals that are kept as text, for texts of a type with an order of its own.
    """
    if dialect.orderable(kind):
        return
    if kind.kind in PLAIN_TEXTS and kind.native:
        message = f"watermark column `{name}` is `{kind.native}` in {dialect.name}, which sorts by rules of its own"
    elif kind.kind in PLAIN_TEXTS:
        message = f"watermark column `{name}` ({kind}) is kept as UTF-16 in {dialect.name}, which sorts by its bytes"
    else:
        message = f"watermark column `{name}` ({kind}) is text in {dialect.name}, which does not sort like numbers"
    raise DeclarationError(message, "choose another column, or cast it in the SELECT")


def make_window(
    column: str,
    kind: DataType,
    stored: Watermark | None,
    overlap: dt.timedelta | int | None,
    *,
    renamed: str | None = None,
) -> Window:
    """The window of this run; ``renamed`` is what the plan calls the column.

    Raises:
        DataError: When the stored watermark belongs to another column type.
        DeclarationError: When the overlap does not fit the column.
    """
    check_column(column, kind)
    chosen = _overlap(column, kind, overlap)
    name = renamed or column
    if stored is None or stored.column not in (column, name):
        return Window(name, "", "", _overlap_text(chosen), column)
    was, ahead = stored.type.removesuffix(AHEAD), stored.type.endswith(AHEAD)
    if was and _family(was) != _family(kind.kind):
        message = f"the stored watermark {stored.value} of `{column}` is {was}, the column is now {kind}"
        raise DataError(message, "run once with --full-refresh, or set it anew with `flow watermark`")
    value = parse(stored.value, kind)
    return Window(name, stored.value, text(_before(value, chosen)), _overlap_text(chosen), column, ahead=ahead)


def span_window(
    span: Span, column: str, kind: DataType, limit: Watermark | None, *, renamed: str | None = None
) -> Window:
    """The window of one part of a backfill: nothing before it, nothing after it, no row without a watermark.

    ``limit`` is the stored watermark where rows from it on are left to the next run, which takes them for new.

    Raises:
        DeclarationError: When the column's values have no dependable order.
    """
    check_column(column, kind)
    name = renamed or column
    high, warning = span.high, ""
    known = limit is not None and limit.column in (column, name)
    if known and limit is not None and parse(limit.value, kind) < parse(span.high, kind):
        high = limit.value
        warning = f"rows from the watermark {high} on are left to the next run, which appends them"
    return Window(name, "", span.low, "", column, upper=high, warning=warning)


def _before(value: Any, overlap: Any) -> Any:
    """The value less the overlap: every digit is kept, and nothing is earlier than the first day of the calendar."""
    if isinstance(value, str):
        return value
    with decimal.localcontext(prec=DIGITS):
        try:
            return value - overlap
        except OverflowError:
            if isinstance(value, dt.datetime):
                return dt.datetime.min.replace(tzinfo=value.tzinfo)
            return dt.date.min


def _overlap(column: str, kind: DataType, overlap: dt.timedelta | int | None) -> Any:
    if kind.kind in PLAIN_TEXTS:
        if overlap:
            message = f"overlap is {overlap}, but watermark column `{column}` is {kind}: texts have no distances"
            raise DeclarationError(message, "leave the overlap out: rows with the stored value itself are read again")
        return 0
    if kind.kind in ("timestamp", "timestamptz"):
        if overlap is None:
            return DEFAULT_OVERLAP
        return overlap if isinstance(overlap, dt.timedelta) else dt.timedelta(seconds=overlap)
    if kind.kind == "date":
        if isinstance(overlap, int):
            return dt.timedelta(days=overlap)
        return overlap or dt.timedelta(0)
    if isinstance(overlap, dt.timedelta):
        message = f"overlap is a duration, but watermark column `{column}` is {kind}"
        raise DeclarationError(message, "give the overlap as a whole number")
    return overlap or 0


def _overlap_text(overlap: Any) -> str:
    if isinstance(overlap, dt.timedelta):
        seconds = int(overlap.total_seconds())
        if seconds and seconds % MINUTE == 0 and seconds < HOUR:
            return f"{seconds // MINUTE} minutes"
        return str(overlap) if seconds else NO_OVERLAP
    return str(overlap) if overlap else NO_OVERLAP


def _family(kind: str) -> str:
    if kind in PLAIN_TEXTS:
        return "text"
    return "number" if kind in (*INTEGER_KINDS, "numeric") else kind


def parse(value: str, kind: DataType) -> Any:
    """A stored watermark as a value.

    Raises:
        DataError: When the text is not of the type.
    """
    if kind.kind in PLAIN_TEXTS:
        return value
    try:
        if kind.kind in INTEGER_KINDS:
            return int(value)
        if kind.kind == "numeric":
            return decimal.Decimal(value)
        if kind.kind == "date":
            return dt.date.fromisoformat(value[:10])
        moment = dt.datetime.fromisoformat(value)
    except (ValueError, decimal.InvalidOperation) as exc:
        message = f"the stored watermark {value!r} is no {kind}"
        raise DataError(message, "run once with --full-refresh, or set it anew with `flow watermark`") from exc
    if kind.kind == "timestamptz":
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    return moment.replace(tzinfo=None)


def text(value: Any) -> str:
    """A watermark value as text at full precision: what the state stores. A text stays as it is.

    Raises:
        DataError: For a text with a NUL character, which no statement can hold.
    """
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ", timespec="microseconds")
    if isinstance(value, str) and NUL in value:
        message = f"the watermark {value[:80]!r} holds a NUL character"
        raise DataError(message, "take it out in the SELECT, or leave the row out")
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def checked_text(what: str, value: str) -> str:
    """A text as somebody wrote it, to be compared with watermarks.

    Raises:
        UsageError: It holds a NUL character, or bytes that are no UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        message = f"`{what}` is no text: {value[:80]!r} holds bytes that are no UTF-8"
        raise UsageError(message, "write it as UTF-8") from exc
    if NUL in value:
        message = f"`{what}` {value[:80]!r} holds a NUL character"
        raise UsageError(message, "watermarks have none")
    return value


def newer(left: str, right: str, kind: DataType) -> str:
    """The larger of two watermarks; empty text counts as none, and as a value it is the smallest of all texts."""
    if not left or not right:
        return left or right
    return text(max(parse(left, kind), parse(right, kind)))


def limit(kind: DataType, now: dt.datetime) -> Any:
    """The largest value that may become the watermark: a time that has come. None for numbers.

    A row from the future is loaded, but would hide all rows that come until then; without the limit one wrong date
    would end the loads. Rows beyond it are read again each time, and known for what they are.

    Args:
        kind: Of the watermark column.
        now: This machine's clock, with its zone.

    Example:
        >>> noon = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
        >>> str(limit(DataType("timestamptz"), noon)), str(limit(DataType("date"), noon))
        ('2026-03-02 12:05:00+00:00', '2026-03-03')
    """
    latest = now.astimezone(dt.UTC) + MAX_FUTURE
    if kind.kind == "timestamptz":
        return latest
    if kind.kind not in ("timestamp", "date"):
        return None
    anywhere = (latest + FIRST_ZONE).replace(tzinfo=None)
    return anywhere.date() if kind.kind == "date" else anywhere


def ahead_words(column: str, rows: int, newest: Any, now: dt.datetime) -> str:
    """The warning about rows whose watermark has not come yet, with how far they are ahead.

    Example:
        >>> noon = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
        >>> ahead_words("at", 1, dt.datetime(2026, 3, 2, 12, 7, tzinfo=dt.UTC), noon)
        "1 row has a later `at` than this machine's clock, by up to 0:07:00: it does not move the watermark"
    """
    if isinstance(newest, dt.datetime):
        moment = newest if newest.tzinfo else newest.replace(tzinfo=dt.UTC)
    else:
        moment = dt.datetime(newest.year, newest.month, newest.day, tzinfo=dt.UTC)
    ahead = dt.timedelta(seconds=round((moment - now).total_seconds()))
    has, what = ("has", "it does") if rows == 1 else ("have", "they do")
    clock = f"has a later `{column}` than this machine's clock, by up to {ahead}".replace("has", has, 1)
    return f"{counted(rows, 'row')} {clock}: {what} not move the watermark"


def predicate(dialect: Dialect, window: Window, kind: DataType, operator: str, bound: str) -> str:
    """``column operator bound`` with a typed literal; rows without a watermark always belong to the overlap."""
    return compared(dialect, window.column, kind, operator, bound)


def tail(dialect: Dialect, window: Window, kind: DataType) -> tuple[str, str]:
    """Which rows are certainly new, and which were perhaps read before: two conditions, the other of each other.

    A watermark is kept to the microsecond, so with nanoseconds all of its microsecond may have been read.
    """
    value = parse(window.stored, kind)
    if not is_cut(kind) or value == dt.datetime.max.replace(tzinfo=value.tzinfo):
        return (
            compared(dialect, window.column, kind, ">", window.stored),
            compared(dialect, window.column, kind, "<=", window.stored),
        )
    after = text(value + dt.timedelta(microseconds=1))
    return compared(dialect, window.column, kind, ">=", after), compared(dialect, window.column, kind, "<", after)


def is_cut(kind: DataType) -> bool:
    """Whether a column has more digits than its watermark keeps."""
    return kind.kind in ("timestamp", "timestamptz") and (kind.precision or 0) >= NANOSECONDS


def compared(dialect: Dialect, column: str, kind: DataType, operator: str, bound: str) -> str:
    """``column operator bound`` with a typed literal; texts by code point, whatever the column's own rules are."""
    # a type with a length would cut a longer text, one with a list of values would refuse others
    value = dialect.literal(parse(bound, kind), TEXT if kind.kind in PLAIN_TEXTS else kind)
    return f"{dialect.ordered(dialect.quote(column), kind)} {operator} {dialect.ordered(value, kind)}"


def filtered(
    dialect: Dialect, sql: str, window: Window | None, kind: DataType | None, column: str | None = None
) -> str:
    """The query, reading only from the lower bound on; rows whose watermark is NULL are read too.

    With an upper bound (a backfill) neither those nor the rows from it on are read.

    ``column`` is the name of the watermark column in the query; None: as the user's query has it.
    """
    if window is None or kind is None or not (window.lower or window.upper):
        return sql
    name = column or window.source
    bound = compared(dialect, name, kind, ">=", window.lower)
    if window.upper:
        bound = f"{bound} AND {compared(dialect, name, kind, '<', window.upper)}"
        return f"SELECT * FROM {dialect.wrap(sql, 'windowed')} WHERE {bound}"
    return f"SELECT * FROM {dialect.wrap(sql, 'windowed')} WHERE {bound} OR {dialect.quote(name)} IS NULL"
