"""The values of ``{{name}}`` written into a SELECT, each as one literal of its type.

Source queries are wrapped, described and copied by statements that take no parameters, so that values go the way of
:meth:`Dialect.literal`, as all values of such statements do: no value can become anything but a value.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import BOOLEAN, DOUBLE, TIMESTAMP, TIMESTAMPTZ, DataType
from ematix_nb.declare.parameters import fill, names_in
from ematix_nb.errors import DeclarationError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ematix_nb.sql.dialect import Dialect


def bind(sql: str, values: Mapping[str, Any], dialect: Dialect) -> str:
    """A SELECT with the values in place of their names; the text is otherwise as it was.

    Args:
        sql: As the user wrote it.
        values: As `ematix_nb.declare.parameters.read_parameters` gives them.
        dialect: Of the system that reads.

    Raises:
        DeclarationError: A name has no value.

    Example:
        >>> from ematix_nb.sql.dialect import Dialect
        >>> print(bind("SELECT * FROM t WHERE a = {{a}} AND b IN {{b}}", {"a": "it's", "b": (1, -2)}, Dialect()))
        SELECT * FROM t WHERE a = 'it''s' AND b IN (1, (-2))
    """
    for name in names_in(sql, dialect.name):
        if name not in values:
            hint = did_you_mean(name, values) or f"values are given for {', '.join(sorted(values)) or 'no names'}"
            raise DeclarationError(f"`{{{{{name}}}}}` has no value", hint)
    return fill(sql, lambda name: _written(values[name], dialect), dialect.name)


def stand_in(sql: str, values: Mapping[str, Any], dialect: str) -> str:
    """The text as one that can be parsed: each value in its shape, types left out.

    Example:
        >>> print(stand_in("SELECT * FROM t WHERE a IN {{a}} LIMIT {{n}}", {"a": ("x",), "n": 5}, "duckdb"))
        SELECT * FROM t WHERE a IN (NULL) LIMIT 5
    """

    def shape(value: Any) -> str:
        if isinstance(value, tuple):
            return f"({', '.join(map(shape, value))})"
        return str(value) if type(value) is int and value >= 0 else "NULL"

    return fill(sql, lambda name: shape(values.get(name)), dialect)


def _written(value: Any, dialect: Dialect) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_written(item, dialect) for item in value)})"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value >= 0 else f"({value})"
    return dialect.literal(value, _kind(value))


def _kind(value: Any) -> DataType | None:
    """The type that a value has; none for texts, which take the type of what they are compared with."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, float):
        return DOUBLE
    if isinstance(value, decimal.Decimal):
        digits, _, places = format(value, "f").lstrip("-").partition(".")
        return DataType("numeric", precision=max(len(digits) + len(places), 1), scale=len(places))
    if isinstance(value, dt.datetime):
        return TIMESTAMP if value.tzinfo is None else TIMESTAMPTZ
    if isinstance(value, dt.date):
        return DataType("date")
    if isinstance(value, dt.time):
        return DataType("time")
    return DataType("uuid") if isinstance(value, uuid.UUID) else None
