"""The parts of a backfill: half-open ranges of the watermark column, one run each."""

from __future__ import annotations

import datetime as dt
import decimal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.declare import values
from ematix_nb.declare.data_types import INTEGER_KINDS, PLAIN_TEXTS
from ematix_nb.errors import DeclarationError, UsageError
from ematix_nb.load import window as windows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.state.model import RunRecord

MAX_SPANS = 10_000
METRIC = "backfill"
"""Under which the history keeps what a run loaded."""


@dataclass(frozen=True, slots=True)
class Span:
    """One part: rows whose watermark is at least ``low`` and below ``high``."""

    column: str
    low: str
    """As a watermark is stored: ISO 8601 (UTC where zoned) or digits."""
    high: str
    number: int
    """From 1."""
    count: int
    """How many parts there are."""
    whole: tuple[str, str, str]
    """The backfill that it is a part of: from, to, chunk."""

    def words(self) -> str:
        """For people: which part, from where to where.

        Example:
            >>> Span("id", "0", "50", 1, 2, ("0", "100", "50")).words()
            'chunk 1 of 2: id from 0 to 50'
        """
        return f"chunk {self.number} of {self.count}: {self.column} from {self.low} to {self.high}"

    def as_metric(self) -> dict[str, Any]:
        """What the history keeps of it."""
        return {
            "column": self.column,
            "from": self.low,
            "to": self.high,
            "chunk": self.number,
            "chunks": self.count,
            "of": list(self.whole),
        }


def spans(column: str, kind: DataType, start: str, end: str, chunk: str | None) -> tuple[Span, ...]:
    """The parts of a range, in order; the last one may be smaller.

    Args:
        column: The watermark column.
        kind: Its type.
        start: The first value: digits, a date or a time in ISO 8601 (without a zone: UTC), or a text as it is.
        end: The first value after the range.
        chunk: A duration (``1d``, ``12h``) for times, whole days for dates, a number for numbers; None for one part,
            the only one that texts can have.

    Raises:
        UsageError: A value does not fit the column, the range is empty, or there are too many parts.

    Example:
        >>> from ematix_nb.declare.data_types import BIGINT
        >>> [(span.low, span.high) for span in spans("id", BIGINT, "0", "120", "50")]
        [('0', '50'), ('50', '100'), ('100', '120')]
    """
    first, last = _bound("--from", start, kind), _bound("--to", end, kind)
    if not first < last:
        message = f"the range from {start} to {end} is empty"
        raise UsageError(message, "--to is the first value after the range, and larger than --from")
    width = _width(chunk, kind) if chunk is not None else None
    with decimal.localcontext(prec=windows.DIGITS):
        if width is not None and (last - first) // width > MAX_SPANS:
            message = f"--chunk {chunk} makes more than {MAX_SPANS:,} chunks of the range"
            raise UsageError(message, "give a larger chunk, or a smaller range")
        cuts = list(_cuts(first, last, width))
    whole = (windows.text(first), windows.text(last), str(width) if width is not None else "")
    return tuple(
        Span(column, windows.text(low), windows.text(high), number, len(cuts), whole)
        for number, (low, high) in enumerate(cuts, 1)
    )


def _cuts(first: Any, last: Any, width: Any) -> Iterator[tuple[Any, Any]]:
    low = first
    while low < last:
        # compared by the rest, because the sum may be after the last day of the calendar
        high = last if width is None or last - low <= width else low + width
        yield low, high
        low = high


def _bound(option: str, text: str, kind: DataType) -> Any:
    if kind.kind in PLAIN_TEXTS:
        return windows.checked_text(option, text)
    given = text.strip()
    try:
        if kind.kind in INTEGER_KINDS:
            return int(given)
        if kind.kind == "numeric":
            return _finite(given)
        if kind.kind == "date":
            return dt.date.fromisoformat(given)
        moment = dt.datetime.fromisoformat(given)
    except (ValueError, decimal.InvalidOperation) as exc:
        message = f"`{option} {given[:80]}` does not fit the watermark column, which is {kind}"
        raise UsageError(message, _bound_hint(kind)) from exc
    if kind.kind == "timestamptz":
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    if moment.tzinfo is not None:
        message = f"`{option} {given[:80]}` has a time zone, the watermark column ({kind}) has none"
        raise UsageError(message, "leave the zone out")
    return moment


def _bound_hint(kind: DataType) -> str:
    if kind.kind in (*INTEGER_KINDS, "numeric"):
        return "write a number, such as 1000"
    return "write a date, such as 2026-01-05" if kind.kind == "date" else "write ISO 8601, such as 2026-01-05T12:00:00Z"


def _finite(text: str) -> decimal.Decimal:
    number = decimal.Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    return number


def _width(chunk: str, kind: DataType) -> Any:
    if kind.kind in PLAIN_TEXTS:
        message = f"`--chunk {chunk[:80]}` does not fit the watermark column, which is {kind}: texts have no distances"
        raise UsageError(message, "leave --chunk out: the range is loaded as a whole")
    hint = "write --chunk 1000" if kind.kind in (*INTEGER_KINDS, "numeric") else "write --chunk 1d, 12h or 30m"
    try:
        if kind.kind in INTEGER_KINDS:
            width: Any = int(chunk)
        elif kind.kind == "numeric":
            width = _finite(chunk)
        else:
            width = values.duration("--chunk", chunk)
        fits = width > type(width)(0)
    except (ValueError, decimal.InvalidOperation, DeclarationError, OverflowError) as exc:
        message = f"`--chunk {chunk[:80]}` does not fit the watermark column, which is {kind}"
        raise UsageError(message, hint) from exc
    if not fits or (kind.kind == "date" and width % dt.timedelta(days=1)):
        message = f"`--chunk {chunk[:80]}` is no size of a chunk of {kind}"
        raise UsageError(message, "write whole days, such as --chunk 7d" if kind.kind == "date" else hint)
    return width


def done_before(history: list[RunRecord], pipeline: str, fingerprint: str, found: tuple[Span, ...]) -> int:
    """How many parts an earlier backfill of the same range has loaded before it ended too early; 0 when none did.

    Args:
        history: The newest runs first.
        pipeline: The name under which the target knows the pipeline.
        fingerprint: Of the declaration; one that changed loads other rows.
        found: The parts.
    """
    for run in history:
        loaded = run.metrics.get(METRIC)
        if run.status != "success" or run.pipeline != pipeline or not isinstance(loaded, dict):
            continue
        same = (loaded.get("of"), loaded.get("column"), loaded.get("chunks"), run.fingerprint)
        if same == (list(found[0].whole), found[0].column, len(found), fingerprint):
            number = int(loaded.get("chunk") or 0)
            return number if number < len(found) else 0
    return 0
