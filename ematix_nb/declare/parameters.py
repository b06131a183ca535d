"""``{{name}}`` in SQL: a value that is bound, never text that is pasted.

A name counts where a value can stand; in quotes and comments it is text like any other. The value is written by the
dialect of the system that reads, as one literal of its type (`ematix_nb.sql.parameters`).
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ematix_nb.errors import DeclarationError, did_you_mean

Scalar = None | bool | int | float | decimal.Decimal | str | dt.date | dt.datetime | dt.time | uuid.UUID
Value = Scalar | tuple[Scalar, ...]

_NAME = r"\{\{\s*(?P<name>[A-Za-z_]\w*)\s*\}\}"
_QUOTED = r""""(?:[^"]|"")*(?:"|\Z)"""
_TEXT = r"'(?:[^']|'')*(?:'|\Z)"
_COMMENT = r"--[^\n]*|(?P<comment>/\*.*?(?:\*/|\Z))"
_STANDARD = (r"\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)", _TEXT, _QUOTED, r"\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)", _COMMENT)
_BACKSLASH = r"'(?:[^'\\]|\\.|'')*(?:'|\Z)|\"(?:[^\"\\]|\\.|\"\")*(?:\"|\Z)|`[^`]*(?:`|\Z)"
_SKIPPED: dict[str, tuple[str, ...]] = {
    "mysql": (_BACKSLASH, r"\#[^\n]*", _COMMENT),
    "sqlite": (_TEXT, _QUOTED, r"`[^`]*(?:`|\Z)", r"\[[^\]]*(?:\]|\Z)", _COMMENT),
}
"""Dialect -> what holds text; all others quote as standard SQL does, with ``$$`` and ``E''`` beside it."""
_PLAIN = (str, int, float, decimal.Decimal, uuid.UUID)
_LARGEST = 2**63
_MAX_DIGITS = 38


@functools.cache
def _pattern(dialect: str) -> re.Pattern[str]:
    return re.compile("|".join((*_SKIPPED.get(dialect, _STANDARD), _NAME)), re.DOTALL)


def names_in(sql: str, dialect: str = "") -> tuple[str, ...]:
    """The parameters of a text, each once, in the order in which they stand.

    Example:
        >>> names_in("SELECT '{{a}}' FROM t WHERE x > {{b}} -- {{c}}")
        ('b',)
    """
    found: list[str] = []

    def keep(name: str) -> str:
        found.append(name)
        return ""

    fill(sql, keep, dialect)
    return tuple(dict.fromkeys(found))


def fill(sql: str, write: Callable[[str], str], dialect: str = "") -> str:
    """The text with what ``write`` gives for each name.

    Raises:
        DeclarationError: The text has parameters, and a comment within a comment: systems differ on where it ends.
    """
    if re.search(_NAME, sql) is None:
        return sql

    def one(found: re.Match[str]) -> str:
        if found["name"] is not None:
            return write(found["name"])
        if "/*" in (found["comment"] or "")[2:]:
            message = "the SQL has parameters, and a comment within a comment"
            raise DeclarationError(message, "take the inner comment out")
        return found[0]

    return _pattern(dialect).sub(one, sql)


def read_parameters(given: object) -> tuple[tuple[str, Value], ...]:
    """The values of parameters, checked, by name.

    Raises:
        DeclarationError: A name is not one of Python, or a value cannot be bound; the value itself is not repeated.

    Example:
        >>> read_parameters({"since": dt.date(2026, 1, 1), "ids": [1, 2]})
        (('ids', (1, 2)), ('since', datetime.date(2026, 1, 1)))
    """
    if not isinstance(given, Mapping):
        hint = 'params={"since": "2026-01-01"}'
        raise DeclarationError(f"params is a dict of names and values, got {type(given).__name__}", hint)
    found = []
    for name, value in given.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise DeclarationError(f"params has the name {name!r}", "a name is a word: {{since}}")
        found.append((name, _value(name, value)))
    return tuple(sorted(found))


def _value(name: str, value: Any) -> Value:
    if not isinstance(value, (list, tuple)):
        return _scalar(name, value)
    if not value:
        hint = f"`IN {{{{{name}}}}}` needs at least one value"
        raise DeclarationError(f"the value of `{{{{{name}}}}}` is an empty list", hint)
    return tuple(_scalar(name, item) for item in value)


def _scalar(name: str, value: Any) -> Scalar:
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "item"):
        value = value.item()
    if hasattr(value, "to_pydatetime") and value == value and not getattr(value, "nanosecond", 0):  # noqa: PLR0124
        value = value.to_pydatetime()
    if value is None or isinstance(value, bool):
        return value
    if type(value) in (dt.date, dt.datetime, dt.time) or (isinstance(value, _PLAIN) and _is_sound(value)):
        return str(value) if isinstance(value, str) else value
    kind = type(value).__name__
    hint = "a value is a text, a number, a truth value, None, a date or time, a UUID, or a list of these"
    raise DeclarationError(f"the value of `{{{{{name}}}}}` is a {kind}, which cannot be bound", hint)


def _is_sound(value: Any) -> bool:
    """Whether every system has the number, and every text can be written."""
    if isinstance(value, str):
        return "\x00" not in value
    if isinstance(value, int):
        return -_LARGEST <= value < _LARGEST
    if isinstance(value, decimal.Decimal):
        return value.is_finite() and len(format(value, "f").strip("-").replace(".", "")) <= _MAX_DIGITS
    return not isinstance(value, float) or abs(value) < float("inf")


def check_parameters(sql: str, names: Iterable[str]) -> None:
    """Refuse a parameter without a value, and a value that no parameter asks for.

    Raises:
        DeclarationError: Naming the first one.
    """
    wanted, given = names_in(sql), list(names)
    for name in wanted:
        if name not in given:
            hint = did_you_mean(name, given) or f'give it one: params={{"{name}": ...}}'
            raise DeclarationError(f"`{{{{{name}}}}}` has no value", hint)
    for name in given:
        if name not in wanted:
            hint = f"write {{{{{name}}}}} where the value belongs, outside of quotes"
            raise DeclarationError(f"params gives `{name}`, and the SQL has no `{{{{{name}}}}}`", hint)
