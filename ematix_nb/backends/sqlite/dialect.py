"""SQLite's types and statements.

``schema.table`` is a table of an attached database when one of that name is attached, and the table ``schema_table``
otherwise. How each column type is stored stands in :mod:`ematix_nb.backends.sqlite.types`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ClassVar, NoReturn

from ematix_nb.backends.base import Stored, Verdict
from ematix_nb.declare.data_types import NANOSECONDS, NESTED_KINDS, TEXT, DataType
from ematix_nb.declare.spec import TableRef
from ematix_nb.errors import DataError, SchemaDriftError
from ematix_nb.sql.dialect import NUL, Dialect

from . import types
from .functions import COMPARED_DECIMAL, DOUBLE_TEXT, ORDERED_TIME, SHA256
from .values import encode

if TYPE_CHECKING:
    import decimal
    from collections.abc import Callable, Collection, Sequence

    from ematix_nb.declare.spec import Column

_LEAST = -(2**63)
UTF8 = "UTF-8"


class SQLiteDialect(Dialect):
    """How SQLite spells things.

    Args:
        attached: Names of the databases that the session can name.
        encoding: Tells how the database keeps texts, and compares their bytes; asked when a text is a watermark.
    """

    name: ClassVar[str] = "sqlite"
    random: ClassVar[str] = "(random() / 18446744073709551616.0 + 0.5)"
    """From a whole number of 64 bits."""
    has_except_all: ClassVar[bool] = False
    type_names: ClassVar[dict[str, str]] = types.NAMES

    now_seconds: ClassVar[str] = "((julianday('now') - 2440587.5) * 86400.0)"

    def parameter(self, index: int) -> str:
        """Parameters are numbered."""
        return f"?{index}"

    def orderable(self, kind: DataType) -> bool:
        """Decimals with a fraction are kept as text, which sorts like words; UTF-16 does not sort by code point."""
        return super().orderable(kind) and not _is_text(kind)

    def beyond(self, expression: str, kind: DataType, sign: str, bound: decimal.Decimal) -> str:
        """Decimals that are kept as text are compared as the numbers they are."""
        if not _is_text(kind):
            return super().beyond(expression, kind, sign, bound)
        return f"{COMPARED_DECIMAL}({expression}, '{bound:f}') {sign} 0"

    def ordered(self, expression: str, kind: DataType) -> str:
        """Times in one form: ``2026-01-31T10:00:00`` and ``2026-01-31 10:00:00.000000`` are one moment."""
        if kind.kind in ("timestamp", "timestamptz"):
            return f"{ORDERED_TIME}({expression})"
        return super().ordered(expression, kind)

    def by_code_point(self, expression: str) -> str:
        """By the bytes, whatever the column's collation is."""
        return f"({expression} COLLATE BINARY)"

    def sort_key(self, expression: str, kind: DataType) -> str:
        """Decimals that are kept as text by their size; beyond 15 digits neighbours may change places."""
        return f"CAST({expression} AS REAL)" if _is_text(kind) else super().sort_key(expression, kind)

    def position(self, text: str, part: str) -> str:
        """Where a part stands in a text, from 1."""
        return f"instr({text}, {part})"

    def moment(self, expression: str, kind: DataType) -> str:
        """Text of one form, whatever the column's own form is; nanoseconds are cut to microseconds."""
        if kind.kind == "date":
            return f"(substr({expression}, 1, 10) || ' 00:00:00.000000+00:00')"
        return f"({self.ordered(expression, kind)} || '+00:00')"

    def __init__(
        self, attached: Collection[str] = ("main", "temp"), *, encoding: Callable[[], str] = lambda: UTF8
    ) -> None:
        self.attached = frozenset(name.lower() for name in attached)
        self._encoding = functools.cache(encoding)

    @property
    def text_encoding(self) -> str:
        """The encoding of the database."""
        return self._encoding()

    def place(self, ref: TableRef) -> tuple[str | None, str]:
        """The database (None: wherever it is found) and the name of a table."""
        if ref.schema and ref.schema.lower() not in self.attached:
            return None, f"{ref.schema}_{ref.name}"
        return ref.schema or None, ref.name

    def table(self, ref: TableRef) -> str:
        """The quoted name of a table, behind its database's when that is attached."""
        database, name = self.place(ref)
        return f"{self.quote(database)}.{self.quote(name)}" if database else self.quote(name)

    def store(self, kind: DataType) -> Stored:
        """Nested values are JSON; spellings of other systems are what their kind says."""
        if kind.native:
            stored = self.store(kind.logical)
            reason = stored.reason or f"`{kind.native}` of {kind.system} is kept as {stored.type}"
            return Stored(stored.type, Verdict.WIDENED, reason)
        if kind.kind in NESTED_KINDS:
            return Stored(DataType("json"), Verdict.WIDENED, f"{kind.kind} is kept as JSON text")
        if kind.kind == "null":
            return Stored(TEXT, Verdict.WIDENED, "only NULLs were seen")
        if kind.kind == "numeric" and kind.precision is not None:
            return Stored(DataType("numeric", precision=kind.precision, scale=kind.scale or 0))
        if kind.kind == "string":
            return Stored(DataType("string", length=kind.length) if kind.length else TEXT)
        if kind.kind in ("timestamp", "timestamptz") and (kind.precision or 0) >= NANOSECONDS:
            return Stored(DataType(kind.kind, precision=NANOSECONDS))
        return Stored(DataType(kind.kind))

    def type_sql(self, kind: DataType) -> str:
        """The declared type."""
        return types.type_name(kind)

    def literal(self, value: object, kind: DataType | None = None) -> str:
        """A value as SQL text, in the form in which a column of the type stores it.

        Raises:
            DataError: When it cannot be stored, or is a text with a NUL character.
        """
        plain = encode(value, kind)
        if plain is None:
            return "NULL"
        if isinstance(plain, bytes):
            return f"X'{plain.hex()}'"
        if isinstance(plain, float):
            return {"inf": "9e999", "-inf": "-9e999"}.get(repr(plain), repr(plain))
        if isinstance(plain, int):
            return str(plain) if plain != _LEAST else f"({_LEAST + 1} - 1)"
        if NUL in plain:
            message = "a text value holds a NUL character and cannot be written into a statement"
            raise DataError(message)
        return "'" + plain.replace("'", "''") + "'"

    def create_schema(self, schema: str) -> str:  # noqa: ARG002 - as the base class
        """Nothing: a schema is the front part of a table's name."""
        return ""

    def unique_index(self, ref: TableRef, name: str, columns: Sequence[str], where: str = "") -> str:
        """Make a unique index; SQLite wants the database in front of the index's name."""
        database, table = self.place(ref)
        head = f"{self.quote(database)}." if database else ""
        tail = f" WHERE {where}" if where else ""
        return f"CREATE UNIQUE INDEX {head}{self.quote(name)} ON {self.quote(table)} ({self.columns(columns)}){tail}"

    def alter_type(self, ref: TableRef, column: Column) -> NoReturn:
        """Refuse: SQLite cannot.

        Raises:
            SchemaDriftError: Always.
        """
        message = f"column `{column.name}` of `{ref}` would have to become {column.type}; SQLite cannot change a type"
        raise SchemaDriftError(message, hint="cast it in the query, or make the table anew")

    def distinct(self, left: str, right: str) -> str:
        """True when two expressions differ, NULL being equal to NULL."""
        return f"({left} IS NOT {right})"

    def as_text(self, expression: str, kind: DataType) -> str:
        """The value as text; bytes in hexadecimal, doubles with all their digits."""
        if kind.kind == "bytes":
            return f"CASE WHEN {expression} IS NOT NULL THEN hex({expression}) END"
        if kind.kind in ("float", "double"):
            return f"{DOUBLE_TEXT}({expression})"
        return super().as_text(expression, kind)

    def sha256(self, text: str) -> str:
        """SHA-256 of a text expression (UTF-8), as bytes; by a function of the session."""
        return f"{SHA256}({text})"

    def state_table(self, name: str) -> TableRef:
        """The engine's own tables stand beside the others, behind a prefix."""
        return TableRef(None, f"ematix_flow_{name}")


DIALECT = SQLiteDialect()


def _is_text(kind: DataType) -> bool:
    """Whether it is a number that is kept as text."""
    return types.type_name(kind).startswith("DECIMAL_TEXT")
