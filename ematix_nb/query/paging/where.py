"""Typed conditions and orders in the SQL of a system: names are quoted, values are literals of the column's type."""

from __future__ import annotations

import decimal
import math
from typing import TYPE_CHECKING

from ematix_nb.declare.data_types import INTEGER_KINDS, TEXT, DataType

from .wanted import can_sort, kinds_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ematix_nb.declare.spec import Column
    from ematix_nb.sql.dialect import Dialect

    from .wanted import Condition, Wanted

_BITS = {"tiny": 8, "small": 16, "": 32, "big": 64}
_SIZES = {
    f"{sign}{size}int{'' if size else 'eger'}": (sign, bits) for sign in ("", "u") for size, bits in _BITS.items()
}
MAX_TIES = 16
"""Columns behind the wanted order that tell equal rows apart."""


def where(dialect: Dialect, conditions: Sequence[Condition], columns: Sequence[Column]) -> str:
    """The WHERE clause, a blank in front; empty without conditions."""
    kinds = kinds_of(columns)
    parts = [_condition(dialect, condition, kinds[condition.column]) for condition in conditions]
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def order_by(dialect: Dialect, wanted: Wanted, columns: Sequence[Column], last: str = "") -> str:
    """The ORDER BY clause, a blank in front; empty without a wanted order.

    Args:
        dialect: Of the system.
        wanted: What is wanted.
        columns: Of the rows.
        last: An expression that tells rows apart; without one the other columns do, so that pages never overlap.
    """
    if not wanted.orders:
        return ""
    kinds = kinds_of(columns)
    sorted_by = {order.column for order in wanted.orders}
    parts = [
        dialect.last_nulls(_key(dialect, order.column, kinds[order.column]), "DESC" if order.descending else "ASC")
        for order in wanted.orders
    ]
    if last:
        parts.append(last)
    else:
        others = [(name, kind) for name, kind in kinds.items() if name not in sorted_by and can_sort(kind)]
        parts += [dialect.last_nulls(_key(dialect, name, kind), "ASC") for name, kind in others[:MAX_TIES]]
    return f" ORDER BY {', '.join(parts)}"


def _key(dialect: Dialect, name: str, kind: DataType) -> str:
    return dialect.sort_key(dialect.quote(name), kind)


def _condition(dialect: Dialect, condition: Condition, kind: DataType) -> str:
    name = dialect.quote(condition.column)
    if condition.operator in ("is null", "is not null"):
        return f"{name} {condition.operator.upper()}"
    if condition.operator in ("contains", "starts with"):
        place = dialect.position(dialect.comparable(name, kind), dialect.literal(condition.value, TEXT))
        return f"{place} {'> 0' if condition.operator == 'contains' else '= 1'}"
    operator = "<>" if condition.operator == "!=" else condition.operator
    value = condition.value
    if isinstance(value, decimal.Decimal):
        return _number(dialect, name, kind, operator, value)
    if isinstance(value, float) and math.isnan(value):
        return _nan(dialect, name, kind, operator)
    left = dialect.ordered(dialect.comparable(name, kind), kind)
    right = dialect.literal(value, kind)
    return f"{left} {operator} {dialect.ordered(right, kind)}"


def _nan(dialect: Dialect, name: str, kind: DataType, operator: str) -> str:
    """A comparison with NaN, the largest number and equal to itself."""
    if operator in ("=", ">="):
        return dialect.is_nan(name, kind)
    if operator in ("<>", "<"):
        return f"NOT {dialect.is_nan(name, kind)}"
    return f"{name} IS NOT NULL" if operator == "<=" else "1 = 0"


def _number(dialect: Dialect, name: str, kind: DataType, operator: str, value: decimal.Decimal) -> str:
    """A comparison with a number that the column may not be able to hold: it is never rounded."""
    if kind.kind == "numeric" and (kind.precision is None or not dialect.orderable(kind)):
        return " AND ".join(_beyond(dialect, name, kind, operator, value))
    found = bounded(kind, operator, value)
    if found is None:
        return "1 = 0"
    if found == ("", 0):
        return f"{name} IS NOT NULL"
    sign, bound = found
    return f"{name} {sign} {dialect.literal(int(bound) if kind.kind in INTEGER_KINDS else bound, kind)}"


def _beyond(dialect: Dialect, name: str, kind: DataType, operator: str, value: decimal.Decimal) -> Iterator[str]:
    less, more = (dialect.beyond(name, kind, sign, value) for sign in "<>")
    if operator in ("<", ">"):
        yield less if operator == "<" else more
    elif operator == "<>":
        yield f"({less} OR {more})"
    else:
        yield from (f"NOT {more}",) if operator in ("<=", "=") else ()
        yield from (f"NOT {less}",) if operator in (">=", "=") else ()


def bounded(kind: DataType, operator: str, value: decimal.Decimal) -> tuple[str, decimal.Decimal | int] | None:
    """A comparison of a column with any number as one with a number that the column can hold.

    Returns:
        Operator and number; ``("", 0)`` when every value meets it, None when no value does.

    Example:
        >>> bounded(DataType("integer"), ">=", decimal.Decimal("1.5"))
        ('>', Decimal('1'))
        >>> (
        ...     bounded(DataType("tinyint"), "<", decimal.Decimal(1000)),
        ...     bounded(DataType("tinyint"), "=", decimal.Decimal("0.5")),
        ... )
        (('', 0), None)
    """
    low, high, step = _limits(kind)
    with decimal.localcontext(prec=1000):
        below = (value / step).to_integral_value(decimal.ROUND_FLOOR) * step
        if value > high or below < low:
            is_over = value > high
            return ("", 0) if operator in (("<", "<=", "<>") if is_over else (">", ">=", "<>")) else None
        if below == value:
            return operator, below
        if operator in ("=", "<>"):
            return None if operator == "=" else ("", 0)
        return ("<=" if operator in ("<", "<=") else ">"), below


def _limits(kind: DataType) -> tuple[decimal.Decimal, decimal.Decimal, decimal.Decimal]:
    """Smallest and largest value of a type, and the step between two."""
    if kind.kind == "numeric":
        step = decimal.Decimal(1).scaleb(-(kind.scale or 0))
        high = (decimal.Decimal(10) ** (kind.precision or 0) - 1) * step
        return -high, high, step
    sign, bits = _SIZES[kind.kind]
    low, high = (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return decimal.Decimal(low), decimal.Decimal(high), decimal.Decimal(1)
