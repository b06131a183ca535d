"""Quoting, literals, types and definitions of one SQL system.

The base class writes what PostgreSQL, DuckDB and SQLite agree on; a backend's
``dialect.py`` overrides the one method that differs. Every identifier of every
statement goes through :meth:`Dialect.quote`, every value through a parameter
or, where a statement takes none (``COPY``, a wrapped source query),
:meth:`Dialect.literal`.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import TYPE_CHECKING, ClassVar

from ematix_nb.declare.data_types import PLAIN_TEXTS, TEXT, TIMESTAMPTZ
from ematix_nb.errors import DataError, DeclarationError
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.data_types import DataType, Stored
    from ematix_nb.declare.spec import Column, TableRef

NUL = "\x00"
BY_CODE_POINT = ("UTF8", "UTF-8", "LATIN1", "SQL_ASCII")
"""Encodings whose bytes are in the order of the code points; what is said to be none is what the clients make of it."""


class Dialect:
    """How one system spells things."""

    name: ClassVar[str] = ""
    """The backend's name, and the name of its sqlglot dialect."""
    max_identifier_bytes: ClassVar[int | None] = None
    row_order: ClassVar[str] = "rowid"
    """An expression that orders the rows of a fresh staging table by arrival."""
    schema_separator: ClassVar[str] = "."
    has_except_all: ClassVar[bool] = True
    limit_keeps_order: ClassVar[bool] = True
    """Whether a query in brackets under a LIMIT gives its rows in its own order."""
    upserts_on_conflict: ClassVar[bool] = True
    """``INSERT ... ON CONFLICT (keys) DO UPDATE ... WHERE`` exists; without it a merge is an update, then an insert."""
    tells_inserted: ClassVar[str] = ""
    """A condition over a row that an upsert of a plain table ``t`` returns: it was inserted, not updated."""
    random: ClassVar[str] = "random()"
    """A number from 0 to 1, another one for each row."""
    type_names: ClassVar[dict[str, str]] = {}
    """Kind -> type name, for kinds without parameters."""

    @property
    def steps_engine(self) -> str:
        """Under which name `ematix_nb.sql.normalizers` knows the system."""
        return self.name

    def quote(self, identifier: str) -> str:
        """Quote one identifier.

        Raises:
            DeclarationError: When it is empty, holds a NUL or is longer than the system allows (bytes of UTF-8).

        Example:
            >>> print(Dialect().quote('a"b'))
            "a""b"
        """
        if not identifier or NUL in identifier:
            message = f"`{identifier!r}` is not a name: it is empty or holds a NUL character"
            raise DeclarationError(message)
        size = len(identifier.encode("utf-8", "surrogatepass"))
        if self.max_identifier_bytes is not None and size > self.max_identifier_bytes:
            message = f"`{identifier}` is {size} bytes long; {self.name} names have at most {self.max_identifier_bytes}"
            over = counted(size - self.max_identifier_bytes, "byte")
            raise DeclarationError(message, f"shorten it by {over} (use column_map)")
        return '"' + identifier.replace('"', '""') + '"'

    def table(self, ref: TableRef) -> str:
        """The quoted, qualified name of a table."""
        parts = (ref.schema, ref.name) if ref.schema else (ref.name,)
        return self.schema_separator.join(self.quote(part) for part in parts)

    def named(self, thing: str) -> str:
        """What a person calls a table (``schema.table``, parts in double quotes where needed), as it stands in SQL.

        Raises:
            DeclarationError: When it is not the name of a table.
        """
        from ematix_nb.declare.address import parse_table_name

        return self.table(parse_table_name(thing))

    def columns(self, names: Sequence[str], prefix: str = "") -> str:
        """A quoted, comma separated list of columns, each behind ``prefix.`` when given."""
        head = f"{prefix}." if prefix else ""
        return ", ".join(head + self.quote(name) for name in names)

    def literal(self, value: object, kind: DataType | None = None) -> str:
        """A value as SQL text of the given type; for statements that take no parameters.

        Raises:
            DataError: When the text holds a NUL character.

        Example:
            >>> print(Dialect().literal("it's"))
            'it''s'
        """
        text = self._literal_text(value)
        if kind is None or value is None:
            return text
        return self.cast(text, self.store(kind).type)

    def cast(self, expression: str, kind: DataType) -> str:
        """An expression turned into a stored type."""
        return f"CAST({expression} AS {self.type_sql(kind)})"

    def _literal_text(self, value: object) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, (int, decimal.Decimal)):
            return str(value)
        if isinstance(value, float):
            return f"'{value!r}'"
        if isinstance(value, dt.datetime) and value.tzinfo is not None:
            value = value.astimezone(dt.UTC).isoformat(sep=" ")
        elif isinstance(value, (dt.datetime, dt.date, dt.time)):
            value = value.isoformat(sep=" ") if isinstance(value, dt.datetime) else value.isoformat()
        elif isinstance(value, uuid.UUID):
            value = str(value)
        text = str(value)
        if NUL in text:
            message = "a text value holds a NUL character and cannot be written into a statement"
            raise DataError(message)
        return "'" + text.replace("'", "''") + "'"

    def parameter(self, index: int) -> str:
        """How the parameter number ``index`` (from 1) is written; a number may be used more than once."""
        return f"${index}"

    def store(self, kind: DataType) -> Stored:
        """How this system stores values of a type, with the verdict."""
        raise NotImplementedError  # every backend's dialect has its own table of types

    def type_sql(self, kind: DataType) -> str:
        """The type's name in a definition; ``kind`` comes out of :meth:`store`."""
        if kind.native and kind.system == self.name:
            return kind.native
        if kind.kind == "array" and kind.item is not None:
            return f"{self.type_sql(kind.item)}[]"
        if kind.kind == "numeric" and kind.precision is not None:
            return f"{self.type_names['numeric']}({kind.precision},{kind.scale or 0})"
        if kind.kind == "string" and kind.length:
            return f"{self.type_names['string']}({kind.length})"
        return self.type_names[kind.kind]

    def create_schema(self, schema: str) -> str:
        """Make a schema unless it exists."""
        return f"CREATE SCHEMA IF NOT EXISTS {self.quote(schema)}"

    def schema_exists(self, schema: str) -> str:
        """A query that gives a row when a schema is there."""
        query = "SELECT 1 FROM information_schema.schemata WHERE catalog_name = current_database() AND schema_name"
        return f"{query} = {self.literal(schema, TEXT)}"

    def key_type(self, kind: DataType, count: int) -> DataType:
        """The stored type of a column that is one of the ``count`` columns of a key or unique index."""
        return kind

    def create_table(
        self,
        ref: TableRef,
        columns: Sequence[Column],
        primary_key: Sequence[str] = (),
        *,
        temporary: bool = False,
        index: Sequence[str] = (),
    ) -> str:
        """Define a table; a temporary one lives in the session alone and vanishes with it.

        ``index`` names columns that a temporary table is searched by, for systems that make no index by themselves.
        """
        lines = [self.column_definition(column) for column in columns]
        if primary_key:
            lines.append(f"PRIMARY KEY ({self.columns(primary_key)})")
        head = "CREATE TEMPORARY TABLE" if temporary else "CREATE TABLE"
        return f"{head} {self.table(ref)} (\n  " + ",\n  ".join(lines) + "\n)"

    def column_definition(self, column: Column) -> str:
        """Name, type and nullability of one column."""
        null = "" if column.nullable else " NOT NULL"
        return f"{self.quote(column.name)} {self.type_sql(column.type)}{null}"

    def add_column(self, ref: TableRef, column: Column) -> str:
        """Add a nullable column."""
        return f"ALTER TABLE {self.table(ref)} ADD COLUMN {self.quote(column.name)} {self.type_sql(column.type)}"

    def alter_type(self, ref: TableRef, column: Column) -> str:
        """Widen the type of a column."""
        return f"ALTER TABLE {self.table(ref)} ALTER COLUMN {self.quote(column.name)} TYPE {self.type_sql(column.type)}"

    def unique_index(self, ref: TableRef, name: str, columns: Sequence[str], where: str = "") -> str:
        """Make a unique index, partial when ``where`` is given."""
        tail = f" WHERE {where}" if where else ""
        return f"CREATE UNIQUE INDEX {self.quote(name)} ON {self.table(ref)} ({self.columns(columns)}){tail}"

    def drop_table(self, ref: TableRef) -> str:
        """Remove a table."""
        return f"DROP TABLE {self.table(ref)}"

    def drop_temporary(self, ref: TableRef) -> str:
        """Remove a temporary table, if it is there, inside the transaction."""
        return f"DROP TABLE IF EXISTS {self.table(ref)}"

    def temporary(self, definition: str) -> str:
        """A change of a schema as one of a temporary table, empty when there is none; where DDL commits by itself."""
        return definition

    def copy_table(self, ref: TableRef, copy: TableRef, names: Sequence[str]) -> tuple[str, ...]:
        """Make a temporary table like another one, with the values of some columns; where DDL commits by itself."""
        raise NotImplementedError  # only systems without transactional DDL are asked

    def delete_from(self, ref: TableRef, alias: str) -> str:
        """The head of a DELETE whose table has an alias; a WHERE follows."""
        return f"DELETE FROM {self.table(ref)} AS {alias}"

    def delete_places(self, ref: TableRef, places: str) -> tuple[str, ...]:
        """Delete the rows of a staging table whose place (`row_order`) a query gives; the last statement counts."""
        return (f"DELETE FROM {self.table(ref)} WHERE {self.row_order} IN ({places})",)

    def insert_missing(self, insert: str, keys: Sequence[str]) -> str:
        """An INSERT that does nothing where the key is there already; it tells the rows that it inserted."""
        return f"{insert} ON CONFLICT ({self.columns(keys)}) DO NOTHING"

    def insert_or_update(self, insert: str, keys: Sequence[str], names: Sequence[str]) -> str:
        """An INSERT that sets some columns to its own values where the key is there already."""
        sets = ", ".join(f"{self.quote(name)} = excluded.{self.quote(name)}" for name in names)
        return f"{insert} ON CONFLICT ({self.columns(keys)}) DO UPDATE SET {sets}"

    def last_nulls(self, expression: str, direction: str) -> str:
        """One item of an ORDER BY (``direction`` is ``ASC``, ``DESC`` or empty) with NULLs at the end."""
        return f"{expression}{direction and ' '}{direction} NULLS LAST"

    def equal(self, left: str, right: str, kind: DataType) -> str:
        """True when two values of a key column are the same."""
        return f"{left} = {right}"

    def distinct(self, left: str, right: str) -> str:
        """True when two expressions differ, NULL being equal to NULL."""
        return f"({left} IS DISTINCT FROM {right})"

    def comparable(self, expression: str, kind: DataType) -> str:
        """An expression that can be compared for equality (types without it become text)."""
        return expression

    def grouped(self, expression: str) -> str:
        """What rows of a query are grouped by: equal for equal values of one column, whatever its rules are."""
        return expression

    def doubtful_keys(self, rows: str, keys: Sequence[str]) -> str:
        """A query with one row when a key is NULL or there twice; ``rows`` and ``keys`` are SQL."""
        missing = " OR ".join(f"count({key}) < count(*)" for key in keys)
        return f"SELECT 1 FROM {rows} GROUP BY {', '.join(keys)} HAVING count(*) > 1 OR {missing} LIMIT 1"

    def moment(self, expression: str, kind: DataType) -> str:
        """A date or time as the system stores a ``timestamptz``; without a zone it is UTC."""
        stored = self.store(TIMESTAMPTZ).type
        return self.cast(expression, stored)

    def moment_text(self, value: dt.datetime) -> str:
        """A moment as a text that a parameter may bring for a ``timestamptz``."""
        return value.astimezone(dt.UTC).isoformat(sep=" ", timespec="microseconds")

    def ordered(self, expression: str, kind: DataType) -> str:
        """An expression that sorts like the values, and is equal where they are.

        Where times are text, texts of several forms may mean one time. Texts sort by code point (as the bytes of
        their UTF-8 do), whatever the rules of the column or the database are.
        """
        return self.by_code_point(expression) if kind.kind in PLAIN_TEXTS and self.orderable(kind) else expression

    def by_code_point(self, expression: str) -> str:
        """A text expression that is compared and sorted by code point."""
        return expression

    def sort_key(self, expression: str, kind: DataType) -> str:
        """What rows that a person looks at are sorted by: the values' own order, that of their texts otherwise."""
        return self.ordered(self.comparable(expression, kind), kind)

    def position(self, text: str, part: str) -> str:
        """Where a part stands in a text, from 1; 0 when it does not. Capital and small letters differ."""
        return f"strpos({text}, {part})"

    def is_nan(self, expression: str, kind: DataType) -> str:
        """True for NaN, in systems that hold it."""
        return f"{expression} = {self.literal(float('nan'), kind)}"

    def beyond(self, expression: str, kind: DataType, sign: str, bound: decimal.Decimal) -> str:
        """A number ``<`` or ``>`` a bound, which is written as it is: a cast to the column's type could round it."""
        return f"{expression} {sign} {bound:f}"

    def orderable(self, kind: DataType) -> bool:
        """Whether the stored form of a type sorts like its values.

        Decimals kept as text do not, nor do the texts of types that have an order of their own (an enum), nor texts in
        an encoding whose bytes are in another order than the code points.
        """
        return kind.kind not in PLAIN_TEXTS or (not kind.native and self.text_encoding in BY_CODE_POINT)

    @property
    def text_encoding(self) -> str:
        """In which encoding the system keeps texts, and compares their bytes."""
        return "UTF8"

    def as_text(self, expression: str, kind: DataType) -> str:
        """The value as text, for hashes and samples."""
        return f"CAST({expression} AS {self.type_names['text']})"

    def row_hash(self, columns: Sequence[Column], prefix: str = "") -> str:
        """SHA-256 over the typed, length-prefixed values of some columns, as bytes (32).

        NULL is ``-``; a value is its length in characters, a colon and its text: ('a','bc') and ('ab','c') differ.
        """
        head = f"{prefix}." if prefix else ""
        parts = []
        for column in columns:
            text = self.as_text(head + self.quote(column.name), column.type)
            parts.append(f"COALESCE(CAST(length({text}) AS {self.type_names['text']}) || ':' || {text}, '-')")
        return self.sha256(" || ".join(parts) or "''")

    def sha256(self, text: str) -> str:
        """SHA-256 of a text expression (UTF-8), as bytes."""
        raise NotImplementedError  # every backend's dialect has its own function

    def analyze(self, ref: TableRef, names: Sequence[str]) -> str:
        """A statement that tells the planner the size of a fresh staging table and the spread of some columns.

        Empty when the system does without.
        """
        return ""

    def truncate(self, ref: TableRef) -> str:
        """Remove all rows, inside the transaction."""
        return f"DELETE FROM {self.table(ref)}"

    def wrap(self, query: str, alias: str) -> str:
        """A user's query as a table expression; its own line, so that a trailing comment ends before the bracket."""
        return f"(\n{query}\n) AS {self.quote(alias)}"

    now_seconds: ClassVar[str] = "0"
    """The system's own clock as seconds since 1970 (a double), read anew at each statement."""

    def setup_lock(self) -> str:
        """A statement that lets one session at a time create the state tables; empty when not needed."""
        return ""

    def setup_unlock(self) -> str:
        """A query that gives the lock of `setup_lock` back; empty when the commit does that."""
        return ""

    def unfit_tables(self, refs: Sequence[TableRef]) -> str:
        """A query for those of some tables that cannot be part of a transaction: name and why; empty: no such thing."""
        return ""

    def try_liveness_lock(self, key: int) -> str:
        """A query for a lock bound to the session (1 got it, 0 somebody lives); empty when the system has none."""
        return ""

    def state_table(self, name: str) -> TableRef:
        """The name of one of the engine's own tables (``watermarks``, ``run_history``, ...)."""
        from ematix_nb.declare.spec import TableRef

        return TableRef("ematix_flow", name)
