"""One cleaning step on its way into SQL, and what the spellings of all systems share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import MAX_DECIMAL128
from ematix_nb.errors import DeclarationError

if TYPE_CHECKING:
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column

BLANK = " \t\n\r\f\v"
CANNOT = "cannot read a time from "
NUMBER = r"^-?[0-9]+([.][0-9]+)?$"
MAX_EXACT = "1000000000000000"
"""Below it a double has at least one exact digit behind the point."""
FLOATS = ("float", "double")
FREE = ("sql", "derive")
"""Steps whose result has a type that we do not know."""
MAKE_TIMES = ("parse_timestamp", "parse_date", "to_timezone", "date_trunc")


@dataclass(frozen=True)
class Step:
    """One step to be compiled."""

    engine: str
    x: str
    """The expression so far."""
    arguments: tuple[Any, ...]
    column: Column
    earlier: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    source: DataType | None = None
    """The type of the source's column; None when it is not known."""

    @property
    def time_kind(self) -> str:
        """What a time becomes: the column's kind, or a moment where that is no time."""
        kind = self.column.type.kind
        return kind if kind in ("timestamp", "date") else "timestamptz"

    @property
    def digits(self) -> tuple[int, int]:
        """Precision and scale of a parsed number.

        Raises:
            DeclarationError: Neither the step nor the column tells them.
        """
        if self.arguments:
            return int(self.arguments[0]), int(self.arguments[1])
        kind = self.column.type
        if kind.kind != "numeric" or kind.precision is None:
            what = f"column `{self.column.name}`: parse_numeric needs to know the digits of a {kind} column"
            raise DeclarationError(what, hint="write parse_numeric(38, 10)")
        if kind.precision > MAX_DECIMAL128:
            what = f"column `{self.column.name}`: parse_numeric reads at most {MAX_DECIMAL128} digits"
            raise DeclarationError(what, hint=f"write parse_numeric({MAX_DECIMAL128}, {kind.scale or 0})")
        return kind.precision, kind.scale or 0


Template = str | Callable[[Step], str]
"""A step as SQL: a text with ``{x}`` for the expression so far and ``{0}`` for the first argument, or a function."""


def refuse_nul(text: str) -> None:
    """Refuse a text that no statement can hold.

    Raises:
        DeclarationError: It holds a NUL character.
    """
    if "\x00" in text:
        message = "a text in a normalizer holds a NUL character"
        raise DeclarationError(message)


def result_kind(column: Column, source: DataType | None) -> str:
    """The kind that the value has after all steps of a column; empty when an expression of the user made it."""
    made = source.kind if source is not None else ""
    for step in (normalizer.name for normalizer in column.normalizers):
        if step in FREE:
            made = ""
        elif step in MAKE_TIMES:
            made = "date" if step == "parse_date" else "timestamptz"
        elif step == "parse_bool":
            made = "boolean"
    return made
