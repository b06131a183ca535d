"""What the server says of tables. Every question sees the session's own temporary tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import TableInfo
from ematix_nb.declare.spec import Column, TableRef

from .errors import code_of
from .types import Declared, declared_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dialect import MySQLDialect

    Ask = Callable[[str], list[tuple[Any, ...]]]

NO_SUCH_TABLE = (1146, 1049, 1051, 1109)
OWN_DATABASES = ("information_schema", "mysql", "performance_schema", "sys")
INNODB = "InnoDB"


class Catalogue:
    """Asks the server about tables.

    Args:
        ask: Runs one query; raises the driver's errors.
        dialect: Learns which columns have defaults.
        database: The session's own.
    """

    def __init__(self, ask: Ask, dialect: MySQLDialect, database: str) -> None:
        self._ask = ask
        self._dialect = dialect
        self._database = database

    def tables(self, schema: str | None) -> list[TableRef]:
        """Tables and views of a database; of the session's own one when none is named."""
        name = self._dialect.literal(schema or self._database)
        rows = self._ask(
            "SELECT table_name FROM information_schema.tables"
            f" WHERE table_schema = {name} AND table_type NOT LIKE '%TEMPORARY%' ORDER BY table_name"
        )
        return [TableRef(schema, row[0]) for row in rows]

    def declared(self, ref: TableRef) -> list[Declared] | None:
        """The columns of a table or view, in order; None when it is not there."""
        import pymysql

        try:
            rows = self._ask(f"SHOW FULL COLUMNS FROM {self._dialect.table(ref)}")
        except pymysql.err.Error as exc:
            if code_of(exc) in NO_SUCH_TABLE:
                return None
            raise
        texts = [row for row in rows if row[1].lower() == "longtext"]
        checked = self._json_columns(ref) if texts and self._dialect.mariadb else frozenset()
        return [
            Declared(
                name=row[0], declaration=row[1], collation=row[2], nullable=row[3] == "YES", key=row[4],
                default=row[5], extra=row[6], comment=row[8], json=row[0] in checked,
            )
            for row in rows
        ]  # fmt: skip

    def _json_columns(self, ref: TableRef) -> frozenset[str]:
        """The columns which MariaDB keeps as LONGTEXT with a check: that is its JSON."""
        schema = self._dialect.literal(ref.schema or self._database)
        rows = self._ask(
            "SELECT constraint_name, check_clause FROM information_schema.check_constraints"
            f" WHERE constraint_schema = {schema} AND table_name = {self._dialect.literal(ref.name)}"
            " AND check_clause LIKE 'json_valid(%'"
        )
        return frozenset(name for name, clause in rows if clause == f"json_valid({self._dialect.quote(name)})")

    def table(self, ref: TableRef) -> TableInfo | None:
        """One table; None when there is none."""
        found = self.declared(ref)
        if found is None:
            return None
        kind, engine, hooks = self._kind(ref)
        keys = self._keys(ref) if kind in ("table", "partitioned") else {}
        primary = keys.get("PRIMARY", ())
        defaults = frozenset(
            column.name
            for column in found
            if column.default is not None or "auto_increment" in column.extra or "DEFAULT_GENERATED" in column.extra
        )
        self._dialect.with_default |= {(ref, name) for name in defaults}
        columns = tuple(
            Column(
                column.name,
                declared_type(column, self._dialect.collation),
                nullable=column.nullable,
                primary_key=column.name in primary,
            )
            for column in found
        )
        return TableInfo(
            ref=ref,
            columns=columns,
            primary_key=primary,
            unique_keys=tuple(dict.fromkeys(keys.values())),
            generated=frozenset(column.name for column in found if column.generated),
            defaults=defaults,
            kind=kind,
            hooks=hooks,
            unfit=_unfit(ref, engine, self._dialect.table(ref)),
        )

    def _kind(self, ref: TableRef) -> tuple[str, str, bool]:
        """Kind, engine, and whether triggers may change rows; temporary tables are the session's own."""
        schema, name = self._dialect.literal(ref.schema or self._database), self._dialect.literal(ref.name)
        rows = self._ask(
            "SELECT table_type, COALESCE(engine, ''), COALESCE(create_options, ''),"
            " (SELECT count(*) FROM information_schema.triggers AS g"
            f" WHERE g.event_object_schema = {schema} AND g.event_object_table = {name})"
            f" FROM information_schema.tables AS t WHERE t.table_schema = {schema} AND t.table_name = {name}"
            f" AND t.table_type NOT LIKE '%TEMPORARY%' ORDER BY CAST(t.table_name AS BINARY) = {name} DESC"
        )  # where names fold case, there is but one
        if not rows:
            return "table", INNODB, False
        kind, engine, options, triggers = rows[0]
        if "VIEW" in kind:
            return "view", "", False
        if kind == "SEQUENCE":
            return "sequence", "", False
        return "partitioned" if "partitioned" in options else "table", engine, bool(triggers)

    def _keys(self, ref: TableRef) -> dict[str, tuple[str, ...]]:
        """Unique indexes over whole columns, the primary key first."""
        found: dict[str, list[str]] = {}
        partial = set()
        for row in self._ask(f"SHOW INDEX FROM {self._dialect.table(ref)}"):
            unique, name, column, front = not int(row[1]), row[2], row[4], row[7]
            if not unique:
                continue
            found.setdefault(name, []).append(column)
            if front is not None or column is None:
                partial.add(name)
        return {name: tuple(columns) for name, columns in found.items() if name not in partial}


def _unfit(ref: TableRef, engine: str, quoted: str) -> tuple[str, str] | None:
    if engine in (INNODB, ""):
        return None
    message = f"the engine of `{ref}` is {engine}, which has no transactions: a load could be left half done"
    return message, f"ALTER TABLE {quoted} ENGINE=InnoDB, or name another table"
