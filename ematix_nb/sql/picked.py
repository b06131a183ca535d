"""Does a SELECT only pick columns of one table? Then no engine is needed to answer it.

Follows brackets and WITH, so that the wrapping around a user's query does not hide a plain one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALLOWED = {"kind", "expressions", "from_", "with_"}
"""Parts of a SELECT that pick columns; any other one (WHERE, DISTINCT, LIMIT, ...) does more."""


@dataclass(frozen=True, slots=True)
class Picked:
    """A SELECT that picks columns, all rows of them, in the order of the table."""

    columns: tuple[tuple[str, str], ...] | None = None
    """Pairs (name in the table, name in the result); None for all columns."""

    def of(self, names: tuple[str, ...]) -> tuple[tuple[str, str], ...] | None:
        """The pairs for a table with columns of these names; None when one is not there or comes twice."""
        pairs = tuple((name, name) for name in names) if self.columns is None else self.columns
        known = all(source in names for source, _ in pairs)
        return pairs if pairs and known and len({name for _, name in pairs}) == len(pairs) else None


def picked(tree: Any) -> Picked | None:
    """What a syntax tree picks; None when it does more than that.

    Names without quotes are folded to lower case.

    Example:
        >>> import sqlglot
        >>> picked(sqlglot.parse_one('SELECT Id, name AS n FROM (SELECT * FROM "a.parquet")'))
        Picked(columns=(('id', 'id'), ('name', 'n')))
        >>> picked(sqlglot.parse_one("SELECT id FROM t WHERE id > 1")) is None
        True
    """
    return _select(tree, {})


def _select(tree: Any, known: Mapping[str, Picked]) -> Picked | None:
    from sqlglot import exp

    if not isinstance(tree, exp.Select) or any(value for name, value in tree.args.items() if name not in _ALLOWED):
        return None
    for cte in tree.args["with_"].expressions if tree.args.get("with_") else ():
        inner = _select(cte.this, known)
        if inner is None or cte.args["alias"].args.get("columns") or tree.args["with_"].args.get("recursive"):
            return None
        known = {**known, folded_name(cte.args["alias"].this): inner}
    below = _from(tree, known)
    pairs = _pairs(tree)
    if below is None or pairs == ():
        return None
    return below if pairs is None else _through(below, pairs)


def _from(tree: Any, known: Mapping[str, Picked]) -> Picked | None:
    """What stands behind FROM: a table, the name of a WITH, or a SELECT in brackets."""
    from sqlglot import exp

    source = tree.args["from_"].this if tree.args.get("from_") else None
    if isinstance(source, exp.Subquery) and not _extras(source, {"this", "alias"}):
        return _select(source.this, known)
    if not isinstance(source, exp.Table) or _extras(source, {"this", "db", "catalog", "alias"}):
        return None
    parts = source.parts
    if not all(isinstance(part, exp.Identifier) for part in parts):
        return None
    return known.get(folded_name(parts[0]), Picked()) if len(parts) == 1 else Picked()


def _extras(node: Any, allowed: set[str]) -> bool:
    return any(value for name, value in node.args.items() if name not in allowed) or _renamed(node)


def _renamed(node: Any) -> bool:
    """An alias that also names the columns."""
    alias = node.args.get("alias")
    return bool(alias and alias.args.get("columns"))


def _pairs(tree: Any) -> tuple[tuple[str, str], ...] | None:
    """Pairs of names; None for ``*``, empty when an expression is more than a column."""
    from sqlglot import exp

    found = []
    for each in tree.expressions:
        if isinstance(each, exp.Star) and len(tree.expressions) == 1 and not any(each.args.values()):
            return None
        column, alias = (each.this, each.args["alias"]) if isinstance(each, exp.Alias) else (each, None)
        plain = isinstance(column, exp.Column) and isinstance(column.this, exp.Identifier)
        if not plain or _extras(column, {"this"}):
            return ()
        name = folded_name(column.this)
        found.append((name, folded_name(alias) if alias is not None else name))
    return tuple(found)


def _through(below: Picked, pairs: tuple[tuple[str, str], ...]) -> Picked | None:
    """Pairs over what another SELECT gave, as pairs over the table."""
    if below.columns is None:
        return Picked(pairs)
    inner = {name: source for source, name in below.columns}
    if len(inner) != len(below.columns) or any(source not in inner for source, _ in pairs):
        return None
    return Picked(tuple((inner[source], name) for source, name in pairs))


def folded_name(identifier: Any) -> str:
    """The name that an identifier of a syntax tree means: in lower case unless it is quoted."""
    name: str = identifier.name
    return name if identifier.args.get("quoted") else name.lower()
