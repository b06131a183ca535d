"""Checks of a load, as data: what has to hold before it may commit, and how a text says so.

A check is made by one of the functions below, or by its text: ``not_null(amount)``, ``between(amount, 0, 1e6)``,
``amount >= 0``, ``SELECT ... rows that are wrong``. Both give the same check, with the same fingerprint.
"""

from __future__ import annotations

import ast
import datetime as dt
import decimal
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ematix_nb.declare import values
from ematix_nb.errors import DeclarationError, did_you_mean

Bound = int | float | str | None

NAMES = ("not_null", "unique", "between", "sql", "freshness", "row_count")
FAIL, WARN, QUARANTINE = "fail", "warn", "quarantine"
ON_ROWS = ("not_null", "between")
"""Checks that look at one row at a time, so that a row can be put aside for it."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*\(.*\)\s*\Z", re.DOTALL)
_SELECT = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:select|with)\b", re.IGNORECASE | re.DOTALL)
_WARN = re.compile(r"\s*warn\s*:\s*", re.IGNORECASE)
_HINT = 'not_null(amount), unique(order_id), between(amount, 0, 100), freshness(updated_at, "2h"), row_count(min=1)'


@dataclass(frozen=True, slots=True)
class Check:
    """Something that has to hold before a load commits."""

    name: str
    """One of :data:`NAMES`."""
    columns: tuple[str, ...] = ()
    low: Bound = None
    """``between``: the least value, ``row_count``: the least number; None: there is none. Dates and times as text."""
    high: Bound = None
    text: str = ""
    """``sql``: a SELECT of the rows that are wrong, or a condition that no row may break."""
    max_age: dt.timedelta | None = None
    """``freshness``: how old the newest value may be when the run starts."""
    on_fail: str = FAIL
    """``fail``: nothing is written; ``warn``: told and counted; ``quarantine``: the rows are put aside."""

    @property
    def is_select(self) -> bool:
        """Whether it is a SELECT of the wrong rows, in place of a condition."""
        return self.name == "sql" and _SELECT.match(self.text) is not None

    def __str__(self) -> str:
        """The check as a call, which `parse_check` reads again."""
        given = [_literal(name) for name in self.columns]
        if self.name == "between":
            given += [_literal(self.low), _literal(self.high)]
        elif self.name == "row_count":
            given += [f"{word}={bound}" for word, bound in (("min", self.low), ("max", self.high)) if bound is not None]
        elif self.name == "sql":
            given.append(_literal(self.text))
        elif self.max_age is not None:
            given.append(_literal(_age(self.max_age)))
        if self.on_fail != FAIL:
            given.append(f"on_fail={_literal(self.on_fail)}")
        return f"{self.name}({', '.join(given)})"


def _literal(value: Bound) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _age(age: dt.timedelta) -> str:
    seconds = age.total_seconds()
    for size, unit in _UNITS:
        if seconds and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


# -- what a user writes -------------------------------------------------------------------------------------------


def not_null(*columns: str, on_fail: str = FAIL) -> Check:
    """No row of the load is NULL in one of these columns.

    Example:
        >>> print(not_null("order_id", "amount"))
        not_null("order_id", "amount")
    """
    return Check("not_null", _columns("not_null", columns), on_fail=_on_fail("not_null", on_fail))


def unique(*columns: str, on_fail: str = FAIL) -> Check:
    """No two rows of the target are equal in these columns; a row with a NULL among them equals none.

    Mode scd2: no two current versions.
    """
    return Check("unique", _columns("unique", columns), on_fail=_on_fail("unique", on_fail))


def between(column: str, low: Any = None, high: Any = None, *, on_fail: str = FAIL) -> Check:
    """No row of the load is below ``low`` or above ``high`` in a column of numbers, dates or times; NULL passes.

    Args:
        column: Its name.
        low: The least value that is right: a number, a date, a time (without a zone: UTC) or its ISO 8601 text.
        high: The largest one; None: there is none.
        on_fail: ``fail``, ``warn`` or ``quarantine``.

    Raises:
        DeclarationError: Both bounds are missing, or one is no number and no text.

    Example:
        >>> print(between("amount", 0, 1e6, on_fail="warn"))
        between("amount", 0, 1000000.0, on_fail="warn")
    """
    found = _columns("between", (column,))
    bounds = _bound("between", low), _bound("between", high)
    _ordered("between", *bounds)
    return Check("between", found, *bounds, on_fail=_on_fail("between", on_fail))


def sql(text: str, *, on_fail: str = FAIL) -> Check:
    """A SELECT of the rows that are wrong, or a condition that every row of the load meets (NULL passes).

    The SELECT reads ``loaded`` (the rows of the load) and ``target`` (the table after it).

    Example:
        >>> print(sql("amount >= 0"))
        sql("amount >= 0")
    """
    from ematix_nb.declare.functions import dedent_sql

    if not isinstance(text, str):
        raise DeclarationError(f"sql() is a text, got {text!r}", hint='sql("amount >= 0")')
    found = dedent_sql(text).strip().removesuffix(";").rstrip()
    if not found:
        raise DeclarationError("the SQL of a check is empty", hint='sql("amount >= 0")')
    return Check("sql", text=found, on_fail=_on_fail("sql", on_fail))


def freshness(column: str, max_age: Any, *, on_fail: str = FAIL) -> Check:
    """The newest value of a column of the target is at most so old when the run starts.

    Args:
        column: Of dates or times; without a zone they are UTC.
        max_age: ``2h``, ``30m``, ``1d``, seconds or a timedelta.
        on_fail: ``fail`` or ``warn``.

    Example:
        >>> print(freshness("updated_at", 7200))
        freshness("updated_at", "2h")
    """
    age = values.duration("the age of freshness()", max_age)
    return Check("freshness", _columns("freshness", (column,)), max_age=age, on_fail=_on_fail("freshness", on_fail))


def row_count(min: int | None = None, max: int | None = None, *, on_fail: str = FAIL) -> Check:  # noqa: A002 - its words
    """The target has at least ``min`` and at most ``max`` rows after the load (mode scd2: current versions).

    Example:
        >>> print(row_count(min=1))
        row_count(min=1)
    """
    for bound in (min, max):
        if bound is not None:
            values.count("a bound of row_count()", bound)
    _ordered("row_count", min, max)
    return Check("row_count", low=min, high=max, on_fail=_on_fail("row_count", on_fail))


def _columns(name: str, columns: Iterable[Any]) -> tuple[str, ...]:
    found = tuple(columns)
    if not found:
        raise DeclarationError(f"{name}() names no column", hint=f'{name}("order_id")')
    return values.names(f"{name}()", found)


def _on_fail(name: str, value: object) -> str:
    if value == QUARANTINE and name not in ON_ROWS:
        what = f"{name}() does not look at one row alone, so it cannot put rows into quarantine"
        raise DeclarationError(what, hint="on_fail is fail or warn there; quarantine is for not_null and between")
    if not isinstance(value, str) or value not in (FAIL, WARN, QUARANTINE):
        hint = did_you_mean(str(value), (FAIL, WARN, QUARANTINE)) or "it may be fail, warn or quarantine"
        raise DeclarationError(f"on_fail of {name}() is `{value}`", hint=hint)
    return value


def _bound(name: str, value: Any) -> Bound:
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    if value is None or (isinstance(value, str) and value.strip()):
        return None if value is None else str(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise DeclarationError(f"a bound of {name}() is a number, a date or a time, got {value!r}", hint=_HINT)


def _ordered(name: str, low: Bound, high: Bound) -> None:
    if low is None and high is None:
        raise DeclarationError(f"{name}() has no bound", hint="row_count(min=1)" if name == "row_count" else _HINT)
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
        raise DeclarationError(f"{name}(): {low} is more than {high}", hint="the smaller bound comes first")


_MAKERS = {
    "not_null": not_null,
    "unique": unique,
    "between": between,
    "sql": sql,
    "freshness": freshness,
    "row_count": row_count,
}

# -- texts --------------------------------------------------------------------------------------------------------


def parse_check(text: str) -> Check:
    """A check from its text: a call, a condition, or a SELECT of wrong rows; ``warn:`` before it makes it a warning.

    Names of columns need no quotes when they are plain.

    Raises:
        DeclarationError: It is not understood; says what would be.

    Example:
        >>> print(parse_check("between(amount, 0, 100)"))
        between("amount", 0, 100)
        >>> print(parse_check("warn: amount >= 0"))
        sql("amount >= 0", on_fail="warn")
    """
    given = _WARN.match(text)
    body = text[given.end() :] if given else text
    call = _CALL.match(body)
    if call is None or call[1] not in _MAKERS or not _is_one_call(body):
        if call is not None and _is_one_call(body) and (hint := did_you_mean(call[1], NAMES)):
            raise DeclarationError(f"there is no check `{call[1]}`", hint=hint)
        return sql(body, on_fail=WARN if given else FAIL)
    names, keywords = _arguments(call[1], body)
    if given:
        keywords["on_fail"] = WARN
    try:
        return _MAKERS[call[1]](*names, **keywords)  # type: ignore[operator,no-any-return]
    except TypeError:
        raise DeclarationError(f"`{body.strip()[:80]}` has wrong arguments", hint=_HINT) from None


def _is_one_call(text: str) -> bool:
    """Whether a text is one call and nothing behind it; ``f(a) > g(b)`` is a condition."""
    try:
        return isinstance(ast.parse(text.strip(), mode="eval").body, ast.Call)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # not Python, such as freshness(updated_at, 2h): told apart by its brackets
        head = text.strip().partition("(")
        return head[0].strip() in _MAKERS and "(" not in head[2] and head[2].endswith(")")


def _arguments(name: str, text: str) -> tuple[list[Any], dict[str, Any]]:
    hint = f'{_HINT}; a text stands in quotes: freshness(updated_at, "2h")'
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise DeclarationError(f"`{text.strip()[:80]}` is not understood", hint=hint) from None
    if not isinstance(call, ast.Call) or any(word.arg is None for word in call.keywords):
        raise DeclarationError(f"`{text.strip()[:80]}` is not understood", hint=hint)
    try:
        return [_argument(one) for one in call.args], {str(word.arg): _argument(word.value) for word in call.keywords}
    except ValueError:
        raise DeclarationError(f"an argument of {name}() is neither a name, a text nor a number", hint=hint) from None


def _argument(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def parse_body(body: str, first: int = 1) -> tuple[Check, ...]:
    r"""The checks of a cell: one a line; a SELECT goes on up to a semicolon, an empty line or the end.

    Lines that begin with ``#`` or ``--`` say nothing.

    Raises:
        DeclarationError: A line is not understood, or there is none; names the line, counted from ``first``.

    Example:
        >>> [str(check) for check in parse_body("not_null(id)\nselect *\nfrom loaded;\nid > 0")]
        ['not_null("id")', 'sql("select *\\nfrom loaded")', 'sql("id > 0")']
    """
    found = []
    for number, text in _pieces(body, first):
        try:
            found.append(parse_check(text))
        except DeclarationError as error:
            raise DeclarationError(error.what, error.hint, f"cell line {number}") from None
    if not found:
        raise DeclarationError("there is no check in the cell", hint=f"write one a line: {_HINT}", where="cell")
    return tuple(found)


def _pieces(body: str, first: int) -> list[tuple[int, str]]:
    """The checks of a cell as texts, with the line on which each begins."""
    found: list[tuple[int, str]] = []
    within = False
    for number, line in enumerate(body.splitlines(), start=first):
        text = line.strip()
        if within and text:
            found[-1] = (found[-1][0], f"{found[-1][1]}\n{line.rstrip()}")
        elif text and not text.startswith(("#", "--")):
            found.append((number, text))
            within = _SELECT.match(_WARN.sub("", text, count=1)) is not None
        within = within and bool(text) and not text.endswith(";")
    return found


def read_checks(given: object) -> tuple[Check, ...]:
    """The keyword ``checks=``: checks, or their texts; one or several.

    Raises:
        DeclarationError: It holds something else.
    """
    if isinstance(given, (str, Check)):
        given = [given]
    if not isinstance(given, Iterable):
        raise DeclarationError(f"checks is a list of checks, got {type(given).__name__}", hint=f"checks=[{_HINT}]")
    found = []
    for one in given:
        if not isinstance(one, (str, Check)):
            raise DeclarationError(f"checks holds {one!r}, which is no check", hint='checks.not_null("amount")')
        found.append(one if isinstance(one, Check) else parse_check(one))
    return tuple(dict.fromkeys(found))
