"""Names and types of a query's columns, from the server's own preparation of it: no row is read."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import SqlError

from .types import GEOMETRIES, declared_type, result_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ematix_nb.declare.data_types import DataType

    from .types import Declared

    Listed = Callable[[TableRef], list[Declared] | None]

PREPARE, CLOSE = 0x16, 0x19
DEEPEST = 12
"""How many queries inside each other are followed to the table that a column comes from."""


def prepare(connection: Any, query: str) -> list[Any]:
    """What the server says of a query's columns, from a statement that is prepared and never executed.

    Raises:
        SqlError: The query has parameters.
        pymysql.err.Error: The query is wrong.
    """
    from pymysql.protocol import FieldDescriptorPacket

    connection._execute_command(PREPARE, query)  # noqa: SLF001  the driver has no prepared statements
    head = connection._read_packet().get_all_data()  # noqa: SLF001
    statement, columns, parameters = struct.unpack("<IHH", head[1:9])
    for _ in range(parameters + (1 if parameters else 0)):
        connection._read_packet()  # noqa: SLF001
    fields = [connection._read_packet(FieldDescriptorPacket) for _ in range(columns)]  # noqa: SLF001
    if columns:
        connection._read_packet()  # noqa: SLF001
    connection._execute_command(CLOSE, struct.pack("<I", statement))  # noqa: SLF001
    if parameters:
        message = "the query has a parameter `?`, and nothing gives it a value"
        raise SqlError(message, "write the value itself")
    return fields


def describe(connection: Any, query: str, listed: Listed) -> tuple[Column, ...]:
    """The columns of a query; those that come from a table unchanged have the table's own types.

    Raises:
        SqlError: There is no column, two have one name, or one is a geometry.
        pymysql.err.Error: The query is wrong.
    """
    fields = prepare(connection, query)
    check_names([field.name for field in fields])
    origins = _Origins(connection, listed)
    return tuple(Column(field.name, origins.type_of(query, field)) for field in fields)


def check_names(names: Sequence[str]) -> None:
    """Refuse results that no table can hold."""
    if not names:
        message = "syntax error: the text is no SELECT, it gives no columns"
        raise SqlError(message, "name at least one column after SELECT")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"the query gives the column `{twice[0]}` {names.count(twice[0])} times"
        raise SqlError(message, f"give each its own name: SELECT ... AS {twice[0]}_2")


class _Origins:
    """Follows columns through queries inside queries to the tables that they come from."""

    def __init__(self, connection: Any, listed: Listed) -> None:
        self._connection = connection
        self._listed = listed
        self._tables: dict[TableRef, dict[str, Declared]] = {}
        self._inner: dict[tuple[str, str], tuple[str, list[Any]] | TableRef | None] = {}

    def type_of(self, query: str, field: Any) -> DataType:
        """The type of a result's column."""
        found = self._declared(query, field, 0)
        if found is not None and found.declaration.lower() not in GEOMETRIES:
            return declared_type(found, as_source=True)
        return result_type(field)

    def _declared(self, query: str, field: Any, depth: int) -> Declared | None:
        if not field.org_name or not field.table_name or depth > DEEPEST:
            return None
        key = (query, field.table_name)
        if key not in self._inner:
            self._inner[key] = self._source(query, field)
        source = self._inner[key]
        if isinstance(source, TableRef):
            return self._columns(source).get(field.org_name)
        if source is None:
            return None
        inner, fields = source
        match = next((one for one in fields if one.name == field.org_name), None)
        return self._declared(inner, match, depth + 1) if match is not None else None

    def _columns(self, ref: TableRef) -> dict[str, Declared]:
        if ref not in self._tables:
            self._tables[ref] = {column.name: column for column in self._listed(ref) or ()}
        return self._tables[ref]

    def _source(self, query: str, field: Any) -> tuple[str, list[Any]] | TableRef | None:
        """What an alias of a query stands for: a table, a query with its columns, or something that is not known."""
        import pymysql

        inner = inner_query(query, field.table_name)
        if inner is None or isinstance(inner, TableRef):
            return inner
        try:
            return inner, prepare(self._connection, inner)
        except pymysql.err.Error:  # a query that only works in its place: the result's own types count then
            return None


def inner_query(query: str, alias: str) -> str | TableRef | None:
    """What an alias of a query's FROM stands for: a table, the text of a query, or None when that is not clear.

    Example:
        >>> inner_query("WITH a AS (SELECT * FROM t) SELECT * FROM a AS x", "x")
        'SELECT * FROM `t`'
        >>> inner_query("SELECT * FROM s.t AS x", "x")
        TableRef(schema='s', name='t')
    """
    import sqlglot
    from sqlglot import exp

    try:
        tree = sqlglot.parse_one(query, dialect="mysql")
    except sqlglot.errors.SqlglotError:
        return None
    if not isinstance(tree, exp.Select):
        return None
    with_clause = tree.args.get("with_") or tree.args.get("with")
    common = {one.alias: one for one in with_clause.expressions} if with_clause is not None else {}
    start = tree.args.get("from_") or tree.args.get("from")
    joins = [join.this for join in tree.args.get("joins") or ()]
    for source in [*([start.this] if start is not None else []), *joins]:
        if source.alias_or_name != alias:
            continue
        if isinstance(source, exp.Subquery):
            return _text(common, list(common), source.this)
        if isinstance(source, exp.Table) and not source.db and source.name in common:
            return _common(common, source.name)
        if isinstance(source, exp.Table):
            return TableRef(source.db or None, source.name)
    return None


def _common(common: dict[str, Any], name: str) -> str | None:
    """A common table expression as a query of its own, behind those that stand before it."""
    before = list(common)[: list(common).index(name)]
    return _text(common, before, common[name].this)


def _text(common: dict[str, Any], names: list[str], body: Any) -> str | None:
    if body.args.get("with_") or body.args.get("with"):
        return None
    sql = str(body.sql(dialect="mysql", identify=True))
    heads = ", ".join(common[name].sql(dialect="mysql", identify=True) for name in names)
    return f"WITH {heads} {sql}" if heads else sql
