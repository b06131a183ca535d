"""What the rows that a query wants have to meet, as far as bounds of values can tell: files leave out what cannot.

A condition only leaves out; the query still looks at every row. So it may say less than the query does, never more.
Floating point numbers are in none: engines differ in how they order NaN.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import from_arrow

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

_HOLDS: dict[str, Callable[[Any, Any, Any], bool]] = {
    "=": lambda low, high, value: low <= value <= high,
    "<": lambda low, _, value: low < value,
    "<=": lambda low, _, value: low <= value,
    ">": lambda _, high, value: high > value,
    ">=": lambda _, high, value: high >= value,
}
OPERATORS = tuple(_HOLDS)
CUT = dt.timedelta(milliseconds=1)
EXACT_DIGITS = 15
"""Logs of tables keep the bounds of longer decimals as doubles, which rounds them."""
_ARROW = {
    "date": "Date32",
    "timestamp": "Timestamp(Microsecond, None)",
    "timestamptz": 'Timestamp(Microsecond, Some("UTC"))',
}
KINDS = ("tinyint", "smallint", "integer", "bigint", "numeric", "text", "date", "timestamp", "timestamptz")
"""Types of values that all engines order alike."""


@dataclass(frozen=True)
class Bounds:
    """What is known of a column in a part of a file; None for what is not known."""

    low: Any = None
    high: Any = None
    nulls: int | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Compared:
    """``column operator value``; NULL does not meet it."""

    column: str
    operator: str
    value: pa.Scalar

    def may_hold(self, known: Callable[[str], Bounds]) -> bool:
        """Whether some row of a part can meet it."""
        bounds, value = known(self.column), self.value.as_py()
        if bounds.rows is not None and bounds.nulls == bounds.rows:
            return False
        if type(bounds.low) is not type(value) or type(bounds.high) is not type(value):
            return True
        try:
            return _HOLDS[self.operator](bounds.low, bounds.high, value)
        except TypeError:  # times with and without a zone
            return True

    def sql(self) -> str:
        """The condition as DataFusion reads it; times begin a millisecond earlier, to which logs of tables cut them."""
        name, value = _quoted(self.column), self.value.as_py()
        if not isinstance(value, dt.datetime) or self.operator in ("<", "<="):
            return f"{name} {self.operator} {_literal(self.value, value)}"
        until = f" AND {name} <= {_literal(self.value, value)}" if self.operator == "=" else ""
        earlier = value if value.replace(tzinfo=None) - dt.datetime.min < CUT else value - CUT  # noqa: DTZ901
        return f"({name} >= {_literal(self.value, earlier)}{until})"


@dataclass(frozen=True)
class Missing:
    """``column IS NULL``, or ``IS NOT NULL``."""

    column: str
    is_null: bool

    def may_hold(self, known: Callable[[str], Bounds]) -> bool:
        """Whether some row of a part can meet it."""
        bounds = known(self.column)
        return bounds.nulls is None or (bounds.nulls > 0 if self.is_null else bounds.nulls != bounds.rows)

    def sql(self) -> str:
        """The condition as DataFusion reads it."""
        return f"{_quoted(self.column)} IS {'' if self.is_null else 'NOT '}NULL"


@dataclass(frozen=True)
class Joined:
    """Conditions that all hold (``AND``), or one of which holds (``OR``)."""

    word: str
    parts: tuple[Condition, ...]

    def may_hold(self, known: Callable[[str], Bounds]) -> bool:
        """Whether some row of a part can meet it."""
        return (all if self.word == "AND" else any)(part.may_hold(known) for part in self.parts)

    def sql(self) -> str:
        """The condition as DataFusion reads it."""
        return f"({f' {self.word} '.join(part.sql() for part in self.parts)})"


Condition = Compared | Missing | Joined


def joined(word: str, parts: tuple[Condition | None, ...]) -> Condition | None:
    """Several conditions as one: of an ``AND`` what is known, of an ``OR`` nothing when one part is not known."""
    known = tuple(part for part in parts if part is not None)
    if not known or (word == "OR" and len(known) < len(parts)):
        return None
    return known[0] if len(known) == 1 else Joined(word, known)


def compared(column: str, word: str, value: pa.Scalar) -> Condition | None:
    """A comparison, when bounds can tell something of it."""
    if word not in OPERATORS or not value.is_valid or getattr(value.type, "unit", "") == "ns":
        return None
    kind = from_arrow(value.type)
    if kind.kind not in KINDS or (kind.precision or 0) > EXACT_DIGITS:
        return None
    try:
        value.as_py()
    except (ValueError, OverflowError):  # a time that Python does not have
        return None
    return Compared(column, word, value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(scalar: pa.Scalar, value: object) -> str:
    """A value of a scalar's type."""
    kind = from_arrow(scalar.type)
    text = str(value)
    if kind.kind in ("tinyint", "smallint", "integer", "bigint"):
        return text
    escaped = text.replace("'", "''")
    if kind.kind == "text":
        return f"'{escaped}'"
    if kind.kind == "numeric":
        return f"arrow_cast('{escaped}', 'Decimal128({kind.precision}, {kind.scale})')"
    return f"arrow_cast('{escaped}', '{_ARROW[kind.kind]}')"
