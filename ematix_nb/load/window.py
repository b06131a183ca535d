"""The watermark window of an incremental run: what is read again, and from where on."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import INTEGER_KINDS, NANOSECONDS, PLAIN_TEXTS, TEXT, DataType
from ematix_nb.errors import DataError, DeclarationError, UsageError
from ematix_nb.load.plan import Window
from ematix_nb.state.model import join_parts, split_parts
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.load.spans import Span
    from ematix_nb.sql.dialect import Dialect
    from ematix_nb.state.model import Watermark

MINUTE, HOUR = 60, 3600
DIGITS = 100
"""More than any system's decimals have."""
DEFAULT_OVERLAP = dt.timedelta(minutes=10)
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
        where = f"kept as {dialect.text_encoding} in {dialect.name}"
        message = f"watermark column `{name}` ({kind}) is {where}, which does not sort by code point"
    else:
        message = f"watermark column `{name}` ({kind}) is text in {dialect.name}, which does not sort like numbers"
    raise DeclarationError(message, "choose another column, or cast it in the SELECT")


def make_window(
    columns: Sequence[str],
    kinds: Sequence[DataType],
    stored: Watermark | None,
    overlap: dt.timedelta | int | None,
    *,
    renamed: Sequence[str] = (),
) -> Window:
    """The window of this run.

    Args:
        columns: The watermark columns as the user's query has them, in the order in which they are compared.
        kinds: Their types.
        stored: How far earlier runs have read.
        overlap: How far to read back, by the first column; None for what its type has.
        renamed: What the plan calls the columns; empty: the same.

    Raises:
        DataError: When the stored watermark belongs to another column type.
        DeclarationError: When the overlap does not fit the column.
    """
    for column, kind in zip(columns, kinds, strict=True):
        check_column(column, kind)
    chosen = _overlap(columns[0], kinds[0], overlap)
    empty = _window(columns, renamed or columns, _overlap_text(chosen))
    if stored is None or not is_of(stored, empty):
        return empty
    for column, kind, was, value in zip(columns, kinds, stored.kinds, stored.values, strict=True):
        if was and _family(was) != _family(kind.kind):
            message = f"the stored watermark {value} of `{column}` is {was}, the column is now {kind}"
            raise DataError(message, "run once with --full-refresh, or set it anew with `flow watermark`")
    values = parts(stored.value, columns, kinds)
    lower = (_before(values[0], chosen),) if chosen else values
    return dataclasses.replace(empty, stored=stored.value, lower=written(lower, kinds), ahead=stored.ahead)


def _window(columns: Sequence[str], names: Sequence[str], overlap: str) -> Window:
    more = tuple(zip(names[1:], columns[1:], strict=True))
    return Window(names[0], "", "", overlap, columns[0], more=more)


def is_of(stored: Watermark, window: Window) -> bool:
    """Whether a watermark is one of a window's columns, in their order; the state may have either name of each."""
    named = tuple(zip(window.sources, window.columns, strict=True))
    known = stored.columns
    whole = len(known) == len(stored.values) == len(stored.kinds) == len(named)
    return whole and all(name in either for name, either in zip(known, named, strict=True))


def span_window(
    span: Span,
    columns: Sequence[str],
    kinds: Sequence[DataType],
    limit: Watermark | None,
    *,
    renamed: Sequence[str] = (),
) -> Window:
    """The window of one part of a backfill, by the first column: nothing before it, nothing after it.

    Rows without a watermark are in no part. ``limit`` is the stored watermark where rows from it on are left to the
    next run, which takes them for new.

    Raises:
        DeclarationError: When a column's values have no dependable order.
    """
    for column, kind in zip(columns, kinds, strict=True):
        check_column(column, kind)
    window = _window(columns, renamed or columns, "")
    low, high, warning = (parse(span.low, kinds[0]),), (parse(span.high, kinds[0]),), ""
    if limit is not None and is_of(limit, window):
        known = parts(limit.value, columns, kinds)
        if known[0] < high[0]:
            high = known
            warning = f"rows from the watermark {limit.value} on are left to the next run, which appends them"
    return dataclasses.replace(window, lower=written(low, kinds), upper=written(high, kinds), warning=warning)


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


def parts(value: str, columns: Sequence[str], kinds: Sequence[DataType]) -> tuple[Any, ...]:
    """The values of a stored watermark or of a bound, one for each column that it bounds.

    Raises:
        DataError: When the text is not of the types; it names the column.
    """
    if len(kinds) == 1:
        return (parse(value, kinds[0]),)
    found = []
    for text_, column, kind in zip(split_parts(value), columns, kinds, strict=False):
        try:
            found.append(parse(text_, kind))
        except DataError as exc:
            message = f"`{column}`: {exc.what}"
            raise DataError(message, exc.hint) from exc
    return tuple(found)


def written(values: Sequence[Any], kinds: Sequence[DataType]) -> str:
    """The values of a watermark or of a bound as one text: what the state stores.

    Args:
        values: One for each column, or for the first ones.
        kinds: Of all columns.

    Example:
        >>> (
        ...     written((dt.date(2026, 1, 1), 7), (DataType("date"), DataType("bigint"))),
        ...     written((7,), (DataType("bigint"),)),
        ... )
        ('["2026-01-01", "7"]', '7')
    """
    return join_parts([text(value) for value in values], composite=len(kinds) > 1)


def newer(left: str, right: str, *kinds: DataType) -> str:
    """The larger of two watermarks; empty text counts as none, and as a value it is the smallest of all texts.

    Example:
        >>> newer('["2026-01-01", "10"]', '["2026-01-01", "9"]', DataType("date"), DataType("bigint"))
        '["2026-01-01", "10"]'
    """
    if not left or not right:
        return left or right
    names = [kind.kind for kind in kinds]
    return written(max(parts(left, names, kinds), parts(right, names, kinds)), kinds)


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


def wanted(dialect: Dialect, window: Window, kinds: Sequence[DataType], names: Sequence[str] | None = None) -> str:
    """The condition for the rows of a window: from the lower bound on, and those without a watermark.

    A row has none when it is NULL in one of the columns. With an upper bound (a backfill) neither those nor the rows
    from it on belong to the window.

    Args:
        dialect: Of the system that is asked.
        window: It has a bound.
        kinds: The types of its columns there.
        names: What the columns are called there; None: as in the plan.
    """
    columns = names or window.columns
    quoted = [dialect.quote(name) for name in columns]
    low = _from_bound(dialect, columns, kinds, parts(window.lower, columns, kinds), ">=")
    if not window.upper:
        return " OR ".join([low, *(f"{name} IS NULL" for name in quoted)])
    high = _from_bound(dialect, columns, kinds, parts(window.upper, columns, kinds), "<")
    return " AND ".join([low, high, *(f"{name} IS NOT NULL" for name in quoted[1:])])


def below(dialect: Dialect, window: Window, kinds: Sequence[DataType]) -> str:
    """The condition for the rows of the user's query before the lower bound."""
    return _from_bound(dialect, window.sources, kinds, parts(window.lower, window.sources, kinds), "<")


def _from_bound(
    dialect: Dialect, names: Sequence[str], kinds: Sequence[DataType], values: Sequence[Any], operator: str
) -> str:
    """``(a, b) operator (x, y)`` as ``a >= x AND (a > x OR b >= y)``: row values are not the same in all systems.

    The first comparison stands by itself, so that an index or the bounds of a file can answer it.
    """
    name, kind, bound = names[0], kinds[0], text(values[0])
    if len(values) == 1:
        return compared(dialect, name, kind, operator, bound)
    strict = operator[0]
    rest = _from_bound(dialect, names[1:], kinds[1:], values[1:], operator)
    wide = compared(dialect, name, kind, f"{strict}=", bound)
    return f"({wide} AND ({compared(dialect, name, kind, strict, bound)} OR {rest}))"


def tail(dialect: Dialect, window: Window, kinds: Sequence[DataType]) -> tuple[str, str]:
    """Which rows are certainly new, and which were perhaps read before: two conditions, the other of each other.

    Rows without a watermark were perhaps read before. A watermark is kept to the microsecond, so with nanoseconds all
    of its microsecond may have been read.
    """
    names = window.columns
    quoted = [dialect.quote(name) for name in names]
    new, again = _beyond(dialect, names, kinds, parts(window.stored, names, kinds))
    new = " AND ".join([new, *(f"{name} IS NOT NULL" for name in quoted[1:])])
    return new, f"({' OR '.join([again, *(f'{name} IS NULL' for name in quoted)])})"


def _beyond(
    dialect: Dialect, names: Sequence[str], kinds: Sequence[DataType], values: Sequence[Any]
) -> tuple[str, str]:
    """The condition for the rows beyond some values, and its contrary."""
    name, kind, bound = names[0], kinds[0], text(values[0])
    if (following := after_cut(values[0], kind)) is not None:
        bound = text(following)
        return compared(dialect, name, kind, ">=", bound), compared(dialect, name, kind, "<", bound)
    larger, others = (compared(dialect, name, kind, operator, bound) for operator in (">", "<="))
    if len(values) == 1:
        return larger, others
    equal, smaller = (compared(dialect, name, kind, operator, bound) for operator in (">=", "<"))
    new, again = _beyond(dialect, names[1:], kinds[1:], values[1:])
    return f"({larger} OR ({equal} AND {new}))", f"({others} AND ({smaller} OR {again}))"


def after_cut(value: Any, kind: DataType) -> Any:
    """The first value after the microsecond of a watermark that was cut to it; None when nothing was cut off."""
    if not is_cut(kind) or value == dt.datetime.max.replace(tzinfo=value.tzinfo):
        return None
    return value + dt.timedelta(microseconds=1)


def is_cut(kind: DataType) -> bool:
    """Whether a column has more digits than its watermark keeps."""
    return kind.kind in ("timestamp", "timestamptz") and (kind.precision or 0) >= NANOSECONDS


def compared(dialect: Dialect, column: str, kind: DataType, operator: str, bound: str) -> str:
    """``column operator bound`` with a typed literal; texts by code point, whatever the column's own rules are."""
    # a type with a length would cut a longer text, one with a list of values would refuse others
    value = dialect.literal(parse(bound, kind), TEXT if kind.kind in PLAIN_TEXTS else kind)
    return f"{dialect.ordered(dialect.quote(column), kind)} {operator} {dialect.ordered(value, kind)}"


def filtered(
    dialect: Dialect,
    sql: str,
    window: Window | None,
    kinds: Sequence[DataType],
    names: Sequence[str] | None = None,
) -> str:
    """The query, reading only from the lower bound on; rows whose watermark is NULL are read too.

    With an upper bound (a backfill) neither those nor the rows from it on are read.

    ``names`` are those of the watermark columns in the query; None: as the user's query has them.
    """
    if window is None or not kinds or not (window.lower or window.upper):
        return sql
    condition = wanted(dialect, window, kinds, names or window.sources)
    return f"SELECT * FROM {dialect.wrap(sql, 'windowed')} WHERE {condition}"
