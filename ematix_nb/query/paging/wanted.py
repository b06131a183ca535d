"""What somebody wants to see of some rows: typed conditions and an order, never a piece of SQL.

A front end sends names, operators and values as text; here they become values of the column's own type, or one error.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import INTEGER_KINDS, NESTED_KINDS, DataType
from ematix_nb.errors import UnknownNameError, UsageError, known_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ematix_nb.declare.spec import Column

COMPARING = ("=", "!=", "<", "<=", ">", ">=")
SEARCHING = ("contains", "starts with")
MISSING = ("is null", "is not null")
OPERATORS = (*COMPARING, *SEARCHING, *MISSING)
MAX_CONDITIONS = 20
MAX_TEXT = 10_000
"""Characters of a value."""
_NOT_SORTED = (*NESTED_KINDS, "json", "jsonb", "interval", "null")


@dataclass(frozen=True, slots=True)
class Condition:
    """``column operator value``; rows where the column is NULL meet ``is null`` alone.

    Example:
        >>> str(Condition("amount", ">", 5))
        'amount > 5'
    """

    column: str
    operator: str
    """One of `OPERATORS`."""
    value: Any = None
    """Of the column's type, or its text; times without a zone are UTC where the column has one."""

    def __str__(self) -> str:
        return f"{self.column} {self.operator}" + ("" if self.operator in MISSING else f" {self.value}")


@dataclass(frozen=True, slots=True)
class Order:
    """One column to sort by; NULLs come last either way, and NaN counts as the largest number."""

    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """All conditions hold; rows that the order leaves equal are ordered by what else tells them apart."""

    conditions: tuple[Condition, ...] = ()
    orders: tuple[Order, ...] = ()


def kinds_of(columns: Sequence[Column]) -> dict[str, DataType]:
    """Names and types."""
    return {column.name: column.type for column in columns}


def operators_for(kind: DataType) -> tuple[str, ...]:
    """What a column of a type can be asked.

    Example:
        >>> operators_for(DataType("boolean"))
        ('=', '!=', 'is null', 'is not null')
    """
    if kind.native or kind.kind not in _PARSERS:
        return MISSING
    if kind.kind in ("boolean", "uuid"):
        return ("=", "!=", *MISSING)
    return OPERATORS if kind.kind in ("text", "string") else (*COMPARING, *MISSING)


def typed_conditions(conditions: Sequence[Condition], columns: Sequence[Column]) -> tuple[Condition, ...]:
    """The conditions with values of their columns' types.

    Raises:
        UnknownNameError: There is no such column.
        UsageError: The operator does not fit the type, or the value is none of it.
    """
    if len(conditions) > MAX_CONDITIONS:
        message = f"{len(conditions)} conditions; expected at most {MAX_CONDITIONS}"
        raise UsageError(message, "write a query for more")
    kinds = kinds_of(columns)
    return tuple(_typed(condition, kinds) for condition in conditions)


def _typed(condition: Condition, kinds: Mapping[str, DataType]) -> Condition:
    kind = _known(condition.column, kinds)
    fits = operators_for(kind)
    if condition.operator not in fits:
        message = f"column `{condition.column}` is {kind}, which cannot be asked `{condition.operator}`"
        raise UsageError(message, f"it can be asked: {', '.join(fits)}")
    if condition.operator in MISSING:
        return Condition(condition.column, condition.operator)
    return Condition(condition.column, condition.operator, _value(condition, kind))


def _known(name: object, kinds: Mapping[str, DataType]) -> DataType:
    if not isinstance(name, str) or name not in kinds:
        message = f"there is no column `{name}`"
        raise UnknownNameError(message, known_names(str(name), kinds, "columns"))
    return kinds[name]


def typed_orders(orders: Sequence[Order | str], columns: Sequence[Column]) -> tuple[Order, ...]:
    """The order, each column once; a text is a name, with ``-`` in front where it is descending.

    Raises:
        UnknownNameError: There is no such column.
        UsageError: Its values have no order, or it is named twice.
    """
    kinds = kinds_of(columns)
    found = [_order(order, kinds) for order in orders]
    names = [order.column for order in found]
    if len(set(names)) < len(names):
        message = f"sorted by `{next(name for name in names if names.count(name) > 1)}` twice"
        raise UsageError(message, "name each column once")
    return tuple(found)


def _order(order: Order | str, kinds: Mapping[str, DataType]) -> Order:
    if isinstance(order, str):
        is_plain = order in kinds or not order.startswith("-")
        order = Order(order) if is_plain else Order(order[1:], descending=True)
    kind = _known(order.column, kinds)
    if not can_sort(kind):
        message = f"column `{order.column}` is {kind}, whose values have no order"
        raise UsageError(message, "sort by another column")
    return order


def can_sort(kind: DataType) -> bool:
    """Whether rows can be sorted by a column of a type."""
    return kind.kind not in _NOT_SORTED


def _value(condition: Condition, kind: DataType) -> Any:
    value = condition.value
    if isinstance(value, str) and len(value) > MAX_TEXT:
        message = f"the value for `{condition.column}` has {len(value):,} characters; expected at most {MAX_TEXT:,}"
        raise UsageError(message, "ask for the beginning with `starts with`")
    parse, example = _PARSERS[kind.kind]
    try:
        found = parse(value)
    except (ValueError, TypeError, ArithmeticError):
        found = None
    if found is None:
        message = f"`{str(value)[:80]}` is no value for `{condition.column}`, which is {kind}"
        raise UsageError(message, f"for example {example}")
    return found


def _number(value: Any) -> decimal.Decimal | None:
    if isinstance(value, (bool, float)):
        value = repr(value)
    found = decimal.Decimal(value.strip().replace("_", "x") if isinstance(value, str) else value)
    sizes = found.is_finite() and abs(found.adjusted()) <= 400  # noqa: PLR2004 - an exponent that would fill a page
    return found if sizes else None


def _float(value: Any) -> float:
    return float(value.strip().replace("_", "x") if isinstance(value, str) else value)


def _boolean(value: Any) -> bool | None:
    return {"true": True, "false": False}.get(str(value).strip().lower())


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and "\x00" not in value else None


def _date(value: Any) -> dt.date | None:
    if isinstance(value, dt.datetime):
        return None
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value).strip())


def _time(value: Any) -> dt.time | None:
    found = value if isinstance(value, dt.time) else dt.time.fromisoformat(str(value).strip())
    return found if found.tzinfo is None else None


def _moment(value: Any) -> dt.datetime:
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, dt.date):
        return dt.datetime.combine(value, dt.time())
    return dt.datetime.fromisoformat(str(value).strip())


def _plain_moment(value: Any) -> dt.datetime | None:
    found = _moment(value)
    return found if found.tzinfo is None else None


def _zoned_moment(value: Any) -> dt.datetime:
    found = _moment(value)
    return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found.astimezone(dt.UTC)


def _uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value).strip())


_PARSERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    **dict.fromkeys(INTEGER_KINDS, (_number, "42")),
    "numeric": (_number, "10.50"),
    "float": (_float, "0.5, NaN or inf"),
    "double": (_float, "0.5, NaN or inf"),
    "boolean": (_boolean, "true or false"),
    "text": (_text, "any text without NUL characters"),
    "string": (_text, "any text without NUL characters"),
    "date": (_date, "2026-01-31"),
    "time": (_time, "12:30:00"),
    "timestamp": (_plain_moment, "2026-01-31T12:00:00, without a zone"),
    "timestamptz": (_zoned_moment, "2026-01-31T12:00:00+01:00; without a zone it is UTC"),
    "uuid": (_uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
}
