"""The user's query, wrapped: cleaning steps, renames, and the steps before a load, all in the source's SQL.

The parts are common table expressions: the user's query, its columns under the
target's names, then one for each step. Columns that are not the target's stay
visible to the steps (a row may be chosen by one) and are left out at the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ematix_nb.errors import DeclarationError, SqlError, known_names
from ematix_nb.sql.check import check_expression
from ematix_nb.sql.normalizer_step import FREE
from ematix_nb.sql.normalizers import compile_normalizers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column, PreTransform
    from ematix_nb.sql.dialect import Dialect

MAKES_A_VALUE = ("derive", "default")
"""Steps that give a column a value even when the query does not select it."""
_ROW = "_flow_row"


def build_source_query(
    dialect: Dialect,
    user_sql: str,
    *,
    columns: tuple[Column, ...] | None,
    column_map: Sequence[tuple[str, str]] = (),
    transforms_pre: Sequence[PreTransform] = (),
    available: Mapping[str, DataType],
) -> str:
    """Wrap a SELECT so that it yields the target's columns.

    Args:
        dialect: Of the system that runs the query.
        user_sql: One SELECT.
        columns: The wanted columns in order, with their steps; None leaves every column through. A wanted column that
            the query does not select is left out, unless a step makes a value for it.
        column_map: Pairs (target column, source column).
        transforms_pre: Steps before the load, which use the target's names.
        available: The columns of ``user_sql``, in order, with their types.

    Raises:
        SqlError: When ``column_map`` or a step names a column that the query does not select.

    Example:
        >>> from ematix_nb.declare.data_types import BIGINT
        >>> from ematix_nb.sql.dialect import Dialect
        >>> available = {"a": BIGINT}
        >>> print(
        ...     build_source_query(
        ...         Dialect(), "SELECT 1 AS a", columns=None, column_map=[("b", "a")], available=available
        ...     )
        ... )
        WITH "_flow_user" AS (
        SELECT 1 AS a
        ),
        "_flow_columns" AS (
        SELECT "a" AS "b" FROM "_flow_user"
        )
        SELECT "b" FROM "_flow_columns"
    """
    if columns is None and not column_map and not transforms_pre:
        return user_sql
    for text in _expressions(columns or (), transforms_pre):
        check_expression(text, dialect.name)
    renamed = {target: _source(source, available, "column_map") for target, source in column_map}
    wanted = _wanted(dialect, columns, renamed, available)
    helpers = _helpers(dialect, wanted, available) if transforms_pre and columns is not None else {}
    expressions = {**wanted, **helpers}
    selected = ", ".join(
        sql if sql == dialect.quote(name) else f"{sql} AS {dialect.quote(name)}" for name, sql in expressions.items()
    )
    parts = [
        f"{dialect.quote('_flow_user')} AS (\n{user_sql.rstrip().rstrip(';')}\n)",
        f"{dialect.quote('_flow_columns')} AS (\nSELECT {selected} FROM {dialect.quote('_flow_user')}\n)",
    ]
    last = dialect.quote("_flow_columns")
    for number, step in enumerate(transforms_pre, start=1):
        name = dialect.quote(f"_flow_step_{number}")
        parts.append(f"{name} AS (\n{_step(dialect, step, last, tuple(expressions))}\n)")
        last = name
    return "WITH " + ",\n".join(parts) + f"\nSELECT {dialect.columns(tuple(wanted))} FROM {last}"


def _expressions(columns: Sequence[Column], transforms_pre: Sequence[PreTransform]) -> Iterator[str]:
    """The texts of the user that are to stand inside of our SQL as they are."""
    for column in columns:
        yield from (str(step.arguments[0]) for step in column.normalizers if step.name in FREE)
    for pre in transforms_pre:
        if pre.name == "filter_where":
            yield str(pre.arguments[0])
        if pre.name == "deduplicate_by" and pre.arguments[1]:
            yield str(pre.arguments[1])


def _source(name: str, available: Collection[str], option: str) -> str:
    """The column of the query that a name means; its case may differ when only one fits."""
    if name in available:
        return name
    near = [one for one in available if one.casefold() == name.casefold()]
    if len(near) == 1:
        return near[0]
    raise SqlError(f"{option} names `{name}`, which the query does not select", known_names(name, available, "columns"))


def _wanted(
    dialect: Dialect,
    columns: tuple[Column, ...] | None,
    renamed: dict[str, str],
    available: Mapping[str, DataType],
) -> dict[str, str]:
    """Target column -> expression over the user's columns."""
    if columns is None:
        back = {source: target for target, source in renamed.items()}
        names = [back.get(name, name) for name in available]
        if twice := [name for name in names if names.count(name) > 1]:
            raise SqlError(f"column_map gives two columns the name `{twice[0]}`", "choose another name")
        return dict(zip(names, map(dialect.quote, available), strict=True))
    found: dict[str, str] = {}
    for column in columns:
        source = renamed.get(column.name) or _same_name(column.name, available)
        makes = any(step.name in MAKES_A_VALUE for step in column.normalizers)
        if source is None and not makes:
            continue
        expression, kind = ("NULL", None) if source is None else (dialect.quote(source), available[source])
        found[column.name] = compile_normalizers(dialect.steps_engine, column, expression, source=kind)
    if not found:
        raise SqlError("the query selects none of the target's columns", f"it selects {', '.join(available)}")
    return found


def _same_name(name: str, available: Collection[str]) -> str | None:
    near = [one for one in available if one.casefold() == name.casefold()]
    return name if name in available else near[0] if len(near) == 1 else None


def _helpers(dialect: Dialect, wanted: dict[str, str], available: Collection[str]) -> dict[str, str]:
    """The query's other columns, for the steps; none whose name a wanted column has but for case."""
    taken = {name.casefold() for name in wanted}
    return {name: dialect.quote(name) for name in available if name.casefold() not in taken}


def _step(dialect: Dialect, step: PreTransform, source: str, names: tuple[str, ...]) -> str:
    compiled = _STEPS.get(step.name)
    if compiled is None:
        raise DeclarationError(f"there is no step `{step.name}` before a load", f"steps are {', '.join(_STEPS)}")
    return compiled(dialect, step, source, names)


def _deduplicate(dialect: Dialect, step: PreTransform, source: str, names: tuple[str, ...]) -> str:
    keys, order_by = step.arguments
    quoted = ", ".join(dialect.grouped(dialect.quote(_source(key, names, "deduplicate_by"))) for key in keys)
    order = f" ORDER BY {_order(dialect, order_by, names)}" if order_by else ""
    row = dialect.quote(_ROW)
    numbered = f"SELECT *, row_number() OVER (PARTITION BY {quoted}{order}) AS {row} FROM {source}"
    return f"SELECT {dialect.columns(names)} FROM (\n{numbered}\n) AS {dialect.quote('_flow_numbered')} WHERE {row} = 1"


_ORDER = re.compile(
    r"(?P<expression>.*?)(?P<direction>\s+(?:asc|desc))?(?P<nulls>\s+nulls\s+(?:first|last))?",
    re.IGNORECASE | re.DOTALL,
)


def _order(dialect: Dialect, order_by: str, names: Sequence[str]) -> str:
    """Each item with NULLs last unless it says otherwise, and a name as the query has it in quotes."""
    items = []
    for item in _items(order_by):
        match = _ORDER.fullmatch(item)
        expression, direction, nulls = match.groups(default="") if match else (item, "", "")
        name = _same_name(expression, names)
        ordered = dialect.quote(name) if name else expression
        items.append(f"{ordered}{direction}{nulls}" if nulls else dialect.last_nulls(ordered, direction.strip()))
    return ", ".join(items)


def _items(text: str) -> list[str]:
    """The parts of a list at its outer commas."""
    depth, quote, parts, start = 0, "", [], 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
        depth += 0 if quote else (character == "(") - (character == ")")
    return [part for part in (*parts, text[start:].strip()) if part]


def _filter(dialect: Dialect, step: PreTransform, source: str, names: tuple[str, ...]) -> str:
    return f"SELECT {dialect.columns(names)} FROM {source} WHERE (\n{step.arguments[0]}\n)"


def _limit(dialect: Dialect, step: PreTransform, source: str, names: tuple[str, ...]) -> str:
    return f"SELECT {dialect.columns(names)} FROM {source} LIMIT {step.arguments[0]}"


def _sample(dialect: Dialect, step: PreTransform, source: str, names: tuple[str, ...]) -> str:
    return f"SELECT {dialect.columns(names)} FROM {source} WHERE {dialect.random} < {step.arguments[0]!r}"


_STEPS: dict[str, Callable[[Dialect, PreTransform, str, tuple[str, ...]], str]] = {
    "deduplicate_by": _deduplicate,
    "filter_where": _filter,
    "limit": _limit,
    "sample_pct": _sample,
}
