"""Rows that committed late: found by the number of the transaction that wrote them.

Each version of a row carries ``xmin``, the lower 32 bits of that number. Before a run reads, it notes the oldest
transaction that has not ended (the *horizon*): whatever is older is visible to the read, or never will be. The next run
looks for rows whose ``xmin`` is not older than that horizon. A few of them were seen before, none is missed.

Freezing does not change ``xmin``. After four billion transactions the 32 bits come again, so an old row may look new
and be read once more; a new row never looks old, because a horizon two billion transactions back is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ematix_nb.backends.base import Late
from ematix_nb.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.sql.dialect import Dialect

    Fetch = Callable[..., list[tuple[Any, ...]]]

WRAP = 1 << 32
USABLE = 1 << 31
"""How far the 32 bits tell older from newer."""
MARK = "ematix_xmin"
OVERLAP_HINT = "or take late_rows='overlap', which reads back by `overlap`"
_ALLOWED = {"kind", "expressions", "from_", "where", "order"}
_TABLE_PARTS = {"this", "db", "catalog", "alias", "only"}
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}

_NOW_SQL = """
SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint, d.oid::bigint,
       has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
       AND has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE')
FROM pg_current_snapshot() AS s, pg_catalog.pg_database AS d WHERE d.datname = current_database()"""

_SERVER_SQL = """
SELECT s.system_identifier::text || '/' || c.timeline_id::text
FROM pg_control_system() AS s, pg_control_checkpoint() AS c"""

_RELATIONS_SQL = """
WITH RECURSIVE tree AS (
    SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.oid = to_regclass($1::text)
    UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.oid
)
SELECT c.relkind::text, coalesce(a.amname::text, ''), c.relname::text
FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid LEFT JOIN pg_catalog.pg_am AS a ON a.oid = c.relam"""


class Horizon(NamedTuple):
    """The oldest transaction that had not ended, and where it was counted."""

    place: str
    """Server, timeline and database: a restored copy or a promoted standby counts on by itself."""
    transaction: int
    """With its epoch: 64 bits."""

    def __str__(self) -> str:
        return f"{self.place}:{self.transaction}"


def parse(text: str) -> Horizon | None:
    """A horizon as the state keeps it; None when it is none.

    Example:
        >>> parse("771/1/16384:728")
        Horizon(place='771/1/16384', transaction=728)
        >>> parse("soon") is None
        True
    """
    place, colon, number = text.rpartition(":")
    return Horizon(place, int(number)) if colon and number.isdigit() else None


def take(fetch: Fetch) -> Horizon:
    """The horizon now."""
    return _now(fetch)[0]


def _now(fetch: Fetch) -> tuple[Horizon, int]:
    """The horizon, and the first number that no transaction had yet."""
    oldest, following, database, may = fetch(_NOW_SQL)[0]
    server = fetch(_SERVER_SQL)[0][0] if may else "?"
    return Horizon(f"{server}/{database}", oldest), following


def newer(name: str, since: int, end: str) -> str:
    """The condition that a row was written by a transaction from ``since`` on and before ``end``.

    Args:
        name: The row's ``xmin``, as SQL.
        since: A 64-bit number, less than 2^31 before ``end``.
        end: A 64-bit number, as SQL.

    Example:
        >>> newer("xmin", 4294967297, "4294967300")
        '(xmin::text::bigint - 1 + 4294967296) % 4294967296 < 4294967300 - 4294967297'
    """
    return f"({name}::text::bigint - {since % WRAP} + {WRAP}) % {WRAP} < {end} - {since}"


def unusable(horizon: Horizon | None, here: str, following: int) -> str:
    """Why a stored horizon says nothing about the rows that are there now; empty when it does."""
    if horizon is None or horizon.place != here or horizon.transaction > following:
        return "the source was restored, promoted or exchanged since the last run"
    if following - horizon.transaction >= USABLE:
        return "the source had more than two billion transactions since the last run"
    return ""


def find(fetch: Fetch, dialect: Dialect, query: str, column: str, kind: DataType, since: str, below: str) -> Late:
    """Rows of a query that a run with the horizon ``since`` could not see, where ``below`` holds."""
    here, following = _now(fetch)
    stored = parse(since)
    why_not = unusable(stored, here.place, following)
    if stored is None or why_not:
        return Late(0, None, why_not)
    condition = newer(MARK, stored.transaction, "(SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint)")
    name = dialect.quote(column)
    rows = (
        f"SELECT {name} AS mark FROM (\n{marked(query)}\n) AS ematix_source WHERE {condition} AND {below}"
        " OFFSET 0"  # else the smallest value is searched through an index on it, row by row
    )
    smallest = dialect.as_text(f"min({dialect.ordered('mark', kind)})", kind)
    count, oldest = fetch(f"SELECT count(*)::bigint, {smallest} FROM ({rows}) AS late")[0]
    return Late(count, oldest)


def check(fetch: Fetch, query: str) -> None:
    """Refuse a query whose rows are not versions of one table's rows.

    Raises:
        DeclarationError: Naming what is in the way, and what works.
        SqlError: The server refuses the query with ``xmin`` in it.
    """
    tree = _tree(query)
    _check_shape(tree)
    name = ".".join(part.sql(dialect="postgres") for part in tree.args["from_"].this.parts)
    _check_relations(name, fetch(_RELATIONS_SQL, [name]))
    fetch(f"SELECT {MARK} FROM (\n{marked(query)}\n) AS ematix_source LIMIT 0")


def marked(query: str) -> str:
    """The query with the number of each row's transaction as its first column; the rest of the text is not touched.

    Example:
        >>> marked("SELECT id, at FROM raw.orders AS o")
        'SELECT o.xmin AS ematix_xmin, id, at FROM raw.orders AS o'
    """
    import sqlglot

    table = _tree(query).args["from_"].this
    alias = table.args.get("alias")
    name = (alias.this if alias else table.this).sql(dialect="postgres")
    words = (token for token in sqlglot.tokenize(query, read="postgres") if token.text.upper() == "SELECT")
    if (first := next(words, None)) is None:  # TABLE orders
        raise _refused("it does not begin with SELECT")
    return f"{query[: first.end + 1]} {name}.xmin AS {MARK},{query[first.end + 1 :]}"


def _tree(query: str) -> Any:
    import sqlglot
    from sqlglot.errors import ParseError

    try:
        return sqlglot.parse_one(query, dialect="postgres")
    except ParseError as exc:
        raise _refused("it cannot be taken apart") from exc


def _check_shape(tree: Any) -> None:
    from sqlglot import exp

    if not isinstance(tree, exp.Select) or tree.args.get("with_"):
        raise _refused("it is more than one SELECT from a table")
    if tree.args.get("joins") or tree.args.get("laterals"):
        raise _refused("it joins tables")
    source = tree.args["from_"].this if tree.args.get("from_") else None
    if not isinstance(source, exp.Table) or not all(isinstance(part, exp.Identifier) for part in source.parts):
        raise _refused("it does not read a plain table")
    if any(value for name, value in source.args.items() if name not in _TABLE_PARTS):
        raise _refused("it does not read a plain table")
    if len(list(tree.find_all(exp.Select))) > 1:
        raise _refused("it has a SELECT inside")
    grouped = any(value for name, value in tree.args.items() if name not in _ALLOWED)
    if grouped or tree.find(exp.AggFunc, exp.Window):
        raise _refused("it groups, numbers or limits rows")


def _check_relations(name: str, relations: Sequence[tuple[str, str, str]]) -> None:
    for kind, method, relation in relations:
        if kind in ("r", "p") and method in ("", "heap"):
            continue
        what = _KINDS.get(kind, f"kept by the access method {method}")
        part = "" if name.rpartition(".")[2].strip('"') == relation else f" ({relation} is)"
        message = f"late_rows='snapshot' cannot read `{name}`: {'a part of it' if part else 'it'} is {what}{part}"
        raise DeclarationError(
            f"{message}, whose rows do not tell their transaction", f"select from the table itself, {OVERLAP_HINT}"
        )


def _refused(why: str) -> DeclarationError:
    message = f"late_rows='snapshot' cannot follow this query: {why}"
    return DeclarationError(message, f"select from one table, with WHERE at most, {OVERLAP_HINT}")
