"""How MariaDB and MySQL spell things, and how each column type is stored.

==============================  ========================================  ==========================================
column type                     declared as                               values
==============================  ========================================  ==========================================
tinyint ... ubigint             TINYINT ... BIGINT UNSIGNED               whole numbers
float, double                   DOUBLE                                    no NaN, no infinity, -0.0 becomes 0.0
numeric(p,s) up to 65 digits    DECIMAL(p,s)                              all digits
numeric beyond, numeric         LONGTEXT                                  text
boolean                         TINYINT(1) 'boolean'                      0 and 1
text, string(n)                 LONGTEXT, VARCHAR(n)                      text
text, bytes in a key            VARCHAR(n), VARBINARY(n)                  longer values are refused
json, jsonb, arrays, structs    JSON; in MySQL LONGTEXT 'json'            JSON text, digit for digit
uuid                            CHAR(36) 'uuid'                           text
bytes                           LONGBLOB                                  bytes
date, time                      DATE, TIME(6)
timestamp                       DATETIME(6)                               years 0001 to 9999
timestamptz                     DATETIME(6) 'timestamptz'                 UTC, years 0001 to 9999
interval                        LONGTEXT                                  ISO 8601
==============================  ========================================  ==========================================

A word in quotes is the comment of the column: it is what tells the type where the declaration does not. TIMESTAMP
is not used for new columns because it ends in the year 2038. Texts compare by their bytes, blanks at the end included.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
from typing import TYPE_CHECKING, ClassVar

from ematix_nb.backends.base import Stored, Verdict
from ematix_nb.declare.data_types import NESTED_KINDS, TEXT, TEXT_KINDS, TIMESTAMPTZ, DataType
from ematix_nb.declare.spec import TableRef
from ematix_nb.errors import DeclarationError, SchemaDriftError
from ematix_nb.sql.dialect import NUL, Dialect
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.spec import Column

SYSTEM = "mysql"
MAX_IDENTIFIER = 64
LAST_CHARACTER = "\uffff"
"""Of names; values may hold any character."""
MAX_VARCHAR = 4096
"""Characters up to which a text with a limit is a VARCHAR: all VARCHARs of a row share 65,535 bytes."""
MAX_DIGITS = 65
MAX_SCALE = 30
MICROSECOND_DIGITS = 6
KEY_CHARACTERS = 700
"""Of all text columns of a key together; an index of InnoDB holds 3,072 bytes, four for each character."""
INDEX_BYTES = 3072
INDEX_COLUMNS = 8
BYTES_A_CHARACTER = 4
WHOLE = ("enum", "set", "inet4", "inet6", "bit", "year")
"""Types of which an index cannot hold a front part alone."""
PLACE = "ematix_place"
"""The column that keeps the order of arrival in working tables."""
SAFE = frozenset(chr(code) for code in range(0x20, 0x7F)) - {"'", "\\"}
NANOSECONDS_REFUSED = "times are kept to the microsecond; a value with more digits is refused"
MARKED = ("boolean", "uuid", "timestamptz")
"""Types that a column's comment tells."""

INTEGERS = {
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "integer": "INT",
    "bigint": "BIGINT",
    "utinyint": "TINYINT UNSIGNED",
    "usmallint": "SMALLINT UNSIGNED",
    "uinteger": "INT UNSIGNED",
    "ubigint": "BIGINT UNSIGNED",
}


class MySQLDialect(Dialect):
    """One server's spelling.

    Args:
        mariadb: MariaDB, not Oracle's MySQL.
        version: Of the server, as numbers.
    """

    name: ClassVar[str] = SYSTEM
    row_order: ClassVar[str] = PLACE
    limit_keeps_order: ClassVar[bool] = False
    upserts_on_conflict: ClassVar[bool] = False
    random: ClassVar[str] = "RAND()"
    now_seconds: ClassVar[str] = "CAST(UNIX_TIMESTAMP(SYSDATE(6)) AS DOUBLE)"
    type_names: ClassVar[dict[str, str]] = {
        **INTEGERS,
        "float": "DOUBLE",
        "double": "DOUBLE",
        "numeric": "DECIMAL",
        "boolean": "TINYINT(1)",
        "text": "LONGTEXT",
        "string": "VARCHAR",
        "json": "JSON",
        "bytes": "LONGBLOB",
        "date": "DATE",
        "null": "LONGTEXT",
    }

    def __init__(self, *, mariadb: bool = True, version: tuple[int, ...] = (10, 11)) -> None:
        self.mariadb = mariadb
        self.version = version
        self.collation = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
        """Compares by bytes, blanks at the end included."""
        self.ascii = "ascii_nopad_bin" if mariadb else "ascii_bin"
        self.with_default: set[tuple[TableRef, str]] = set()
        """Columns of tables that were looked at which have a default: changing their type would lose it."""

    @property
    def steps_engine(self) -> str:
        """The two systems have other regular expressions."""
        return "mariadb" if self.mariadb else SYSTEM

    def quote(self, identifier: str) -> str:
        """Quote one identifier with backticks.

        Raises:
            DeclarationError: It is empty, ends with a blank, holds a NUL, or has more than 64 characters.

        Example:
            >>> print(MySQLDialect().quote("a`b"))
            `a``b`
        """
        if not identifier or NUL in identifier or identifier.endswith(" "):
            message = f"`{identifier!r}` is not a name here: it is empty, ends with a blank or holds a NUL character"
            raise DeclarationError(message)
        if max(identifier) > LAST_CHARACTER:
            message = f"`{identifier}` holds a character that MySQL's names cannot hold: {max(identifier)}"
            raise DeclarationError(message, "use another name (column_map)")
        if len(identifier) > MAX_IDENTIFIER:
            message = f"`{identifier}` has {len(identifier)} characters; MySQL names have at most {MAX_IDENTIFIER}"
            more = counted(len(identifier) - MAX_IDENTIFIER, "character")
            raise DeclarationError(message, f"shorten it by {more} (use column_map)")
        return "`" + identifier.replace("`", "``") + "`"

    def parameter(self, index: int) -> str:
        """Parameters are numbered: ``?1``."""
        return f"?{index}"

    # -- values -----------------------------------------------------------------------------------------------

    def _literal_text(self, value: object) -> str:
        if isinstance(value, decimal.Decimal):
            return f"{value:f}"
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"X'{bytes(value).hex()}'"
        if isinstance(value, dt.datetime):
            plain = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo is not None else value
            return f"'{plain.isoformat(sep=' ')}'"
        if isinstance(value, str):
            return text_literal(value)
        return super()._literal_text(value)

    def cast(self, expression: str, kind: DataType) -> str:
        """An expression as a stored type: MySQL's CAST knows only some names."""
        name = kind.kind
        if name == "uuid":
            return f"CAST({expression} AS CHAR(36) CHARACTER SET ascii) COLLATE {self.ascii}"
        if name in TEXT_KINDS:
            return f"CONVERT({expression} USING utf8mb4) COLLATE {self.collation}"
        if name in INTEGERS:
            return f"CAST({expression} AS {'UNSIGNED' if name.startswith('u') else 'SIGNED'})"
        if name == "numeric":
            return f"CAST({expression} AS DECIMAL({kind.precision},{kind.scale or 0}))"
        if name in ("float", "double"):
            return f"CAST({expression} AS DOUBLE)"
        if name == "bytes":
            return f"CAST({expression} AS BINARY)"
        if name in ("date", "time", "timestamp", "timestamptz"):
            return f"CAST({expression} AS {self._time_sql(dataclasses.replace(kind, native=''))})"
        return expression

    def as_text(self, expression: str, kind: DataType) -> str:
        """The value as text; bytes in hexadecimal, moments with their offset."""
        if kind.kind == "bytes":
            return f"CONVERT(HEX({expression}) USING utf8mb4)"
        if kind.kind in TEXT_KINDS:
            return f"CONVERT({expression} USING utf8mb4)"
        if kind.kind == "float":
            expression = f"CAST({expression} AS DOUBLE)"  # a FLOAT prints six digits
        if kind.kind == "timestamptz":
            return f"CONCAT(CONVERT({expression} USING utf8mb4), '+00:00')"
        return f"CONVERT({expression} USING utf8mb4)"

    def row_hash(self, columns: Sequence[Column], prefix: str = "") -> str:
        """SHA-256 over the typed, length-prefixed values of some columns, as bytes (32)."""
        head = f"{prefix}." if prefix else ""
        parts = []
        for column in columns:
            text = self.as_text(head + self.quote(column.name), column.type)
            parts.append(f"COALESCE(CONCAT(CHAR_LENGTH({text}), ':', {text}), '-')")
        return self.sha256(f"CONCAT({', '.join(parts)})" if parts else "''")

    def sha256(self, text: str) -> str:
        """SHA-256 of a text expression (UTF-8), as bytes."""
        return f"UNHEX(SHA2(CONVERT({text} USING utf8mb4), 256))"

    def distinct(self, left: str, right: str) -> str:
        """True when two expressions differ, NULL being equal to NULL."""
        return f"(NOT ({left} <=> {right}))"

    def comparable(self, expression: str, kind: DataType) -> str:
        """Texts by their bytes, whatever the column's own rules are."""
        return self.by_code_point(expression) if folds(kind) or kind.kind in ("json", "jsonb") else expression

    def by_code_point(self, expression: str) -> str:
        """By the bytes of UTF-8, blanks at the end included."""
        return f"CONVERT({expression} USING utf8mb4) COLLATE {self.collation}"

    def orderable(self, kind: DataType) -> bool:
        """Texts of every collation sort by code point once they are told to."""
        del kind
        return True

    def position(self, text: str, part: str) -> str:
        """Where a part stands in a text, from 1."""
        return f"INSTR({text}, {part})"

    def grouped(self, expression: str) -> str:
        """Texts by their bytes."""
        return f"CAST({expression} AS BINARY)"

    def equal(self, left: str, right: str, kind: DataType) -> str:
        """Equal by the columns' own rules, which may use an index, and by their bytes."""
        plain = f"{left} = {right}"
        if not folds(kind):
            return plain
        return f"({plain} AND {self.comparable(left, kind)} = {self.comparable(right, kind)})"

    def last_nulls(self, expression: str, direction: str) -> str:
        """NULLs are the smallest values here, and there is no NULLS LAST."""
        if direction.upper() == "DESC":
            return f"{expression} DESC"
        return f"{expression} IS NULL, {expression}{direction and ' '}{direction}"

    # -- types ------------------------------------------------------------------------------------------------

    def store(self, kind: DataType) -> Stored:  # noqa: PLR0911  one branch a family of types
        """How the server stores values of a type, with the verdict."""
        if kind.native and kind.system == self.name:
            return Stored(kind)
        if kind.native:
            stored = self.store(kind.logical)
            reason = stored.reason or f"`{kind.native}` of {kind.system} is kept as {stored.type}"
            return Stored(stored.type, _worse(stored.verdict, Verdict.WIDENED), reason)
        if kind.kind == "float":
            return Stored(DataType("double"), Verdict.WIDENED, "FLOAT prints six digits; double holds every value")
        if kind.kind == "numeric":
            return _numeric(kind)
        if kind.kind in ("time", "timestamp", "timestamptz") and (kind.precision or 0) > MICROSECOND_DIGITS:
            return Stored(DataType(kind.kind), Verdict.EXACT, NANOSECONDS_REFUSED)
        if kind.kind in NESTED_KINDS:
            return Stored(DataType("json"), Verdict.WIDENED, f"{kind.kind} is kept as JSON text")
        if kind.kind == "jsonb":
            return Stored(DataType("json"))
        if kind.kind == "interval":
            return Stored(TEXT, Verdict.WIDENED, "an interval is kept as ISO 8601 text")
        if kind.kind == "null":
            return Stored(TEXT, Verdict.WIDENED, "a column that is always NULL is kept as text")
        if kind.kind == "string" and not 1 <= (kind.length or 0) <= MAX_VARCHAR:
            return Stored(TEXT, Verdict.WIDENED if kind.length else Verdict.EXACT, "text without a limit")
        return Stored(kind)

    def key_type(self, kind: DataType, count: int) -> DataType:
        """Texts and bytes of a key get a limit: an index holds no more."""
        most = KEY_CHARACTERS // max(1, count)
        if kind.kind == "text" and not kind.native:
            return DataType("string", length=most)
        if kind.kind == "bytes" and not kind.native:
            return DataType("bytes", length=most * BYTES_A_CHARACTER)
        return kind

    def type_sql(self, kind: DataType) -> str:
        """The type's name in a definition."""
        if kind.native and kind.system == self.name:
            return kind.native
        if kind.kind == "bytes" and kind.length:
            return f"VARBINARY({kind.length})"
        if kind.kind == "uuid":
            return f"CHAR(36) CHARACTER SET ascii COLLATE {self.ascii}"
        if kind.kind == "json" and not self.mariadb:
            return "LONGTEXT"
        if kind.kind in ("time", "timestamp", "timestamptz"):
            return self._time_sql(kind)
        return super().type_sql(kind)

    @staticmethod
    def _time_sql(kind: DataType) -> str:
        if kind.kind == "date":
            return "DATE"
        digits = MICROSECOND_DIGITS if kind.precision is None else min(kind.precision, MICROSECOND_DIGITS)
        return f"{'TIME' if kind.kind == 'time' else 'DATETIME'}({digits})"

    # -- definitions ------------------------------------------------------------------------------------------

    def create_table(
        self,
        ref: TableRef,
        columns: Sequence[Column],
        primary_key: Sequence[str] = (),
        *,
        temporary: bool = False,
        index: Sequence[str] = (),
    ) -> str:
        """Define a table of InnoDB; a temporary one also keeps the order in which rows arrive."""
        keyed = [
            dataclasses.replace(column, type=self.key_type(column.type, len(primary_key)))
            if column.name in primary_key
            else column
            for column in columns
        ]
        lines = [self.column_definition(column) for column in keyed]
        if temporary:
            lines.append(f"{PLACE} BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY")
        elif primary_key:
            lines.append(f"PRIMARY KEY ({self.columns(primary_key)})")
        if temporary and (parts := self._index_parts([column for column in keyed if column.name in index])):
            lines.append(f"KEY ({parts})")
        head = "CREATE TEMPORARY TABLE" if temporary else "CREATE TABLE"
        tail = f"ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {self.collation}"
        return f"{head} {self.table(ref)} (\n  " + ",\n  ".join(lines) + f"\n) {tail}"

    def column_definition(self, column: Column) -> str:
        """Name, type and nullability, and the comment that tells a type which the declaration does not."""
        kind = column.type
        marked = kind.kind in MARKED or (kind.kind == "json" and not self.mariadb)
        comment = f" COMMENT '{kind.kind}'" if marked and not kind.native else ""
        return f"{self.quote(column.name)} {self.type_sql(kind)}{'' if column.nullable else ' NOT'} NULL{comment}"

    def add_column(self, ref: TableRef, column: Column) -> str:
        """Add a nullable column."""
        added = dataclasses.replace(column, nullable=True)
        return f"ALTER TABLE {self.table(ref)} ADD COLUMN {self.column_definition(added)}"

    def alter_type(self, ref: TableRef, column: Column) -> str:
        """Widen the type of a column.

        Raises:
            SchemaDriftError: The column has a default, which this would take away.
        """
        if (ref, column.name) in self.with_default:
            message = f"column `{column.name}` of `{ref}` would have to become {column.type}, and has a default"
            raise SchemaDriftError(message, "widen it by hand: MODIFY COLUMN states the default anew")
        return f"ALTER TABLE {self.table(ref)} MODIFY COLUMN {self.column_definition(column)}"

    def unique_index(self, ref: TableRef, name: str, columns: Sequence[str], where: str = "") -> str:
        """Make a unique index; empty when it would be partial: there are none of those."""
        return "" if where else super().unique_index(ref, name, columns)

    def _index_parts(self, columns: Sequence[Column]) -> str:
        """As many characters of each column as an index holds; no more than some columns, none of JSON."""
        some = [column for column in columns if column.type.kind not in ("json", "jsonb")][:INDEX_COLUMNS]
        most = INDEX_BYTES // BYTES_A_CHARACTER // max(1, len(some)) - 1
        parts = []
        for column in some:
            kind = column.type
            long = kind.kind in ("text", "bytes", "null") or (kind.kind == "string" and (kind.length or 0) > most)
            whole = kind.native.partition("(")[0] in WHOLE
            limit = min(most, kind.length or most)
            parts.append(self.quote(column.name) + (f"({limit})" if long and not whole else ""))
        return ", ".join(parts)

    def drop_temporary(self, ref: TableRef) -> str:
        """Remove a temporary table; without the word TEMPORARY it would commit what ran before it."""
        return f"DROP TEMPORARY TABLE IF EXISTS {self.table(ref)}"

    def temporary(self, definition: str) -> str:
        """A definition as one of a temporary table, which belongs to the session's own database."""
        if definition.startswith("CREATE DATABASE"):
            return ""
        return definition.replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1)

    def copy_table(self, ref: TableRef, copy: TableRef, names: Sequence[str]) -> tuple[str, ...]:
        """A temporary table with the columns, indexes and rows of another one."""
        listed = self.columns(names)
        return (
            f"CREATE TEMPORARY TABLE {self.table(copy)} LIKE {self.table(ref)}",
            f"INSERT INTO {self.table(copy)} ({listed}) SELECT {listed} FROM {self.table(ref)}",
        )

    def create_schema(self, schema: str) -> str:
        """A schema is a database of the server."""
        head = f"CREATE DATABASE IF NOT EXISTS {self.quote(schema)}"
        return f"{head} DEFAULT CHARACTER SET utf8mb4 COLLATE {self.collation}"

    def schema_exists(self, schema: str) -> str:
        """A query that gives a row when a database is there."""
        return f"SELECT 1 FROM information_schema.schemata WHERE schema_name = {self.literal(schema)}"

    # -- statements -------------------------------------------------------------------------------------------

    def delete_from(self, ref: TableRef, alias: str) -> str:
        """A DELETE of one table knows no alias; one of several tables does."""
        return f"DELETE {alias} FROM {self.table(ref)} AS {alias}"

    def delete_places(self, ref: TableRef, places: str) -> tuple[str, ...]:
        """Through a table of their own: a statement may name a temporary table once in MySQL."""
        chosen = self.table(TableRef(None, "ematix_places"))
        return (
            self.drop_temporary(TableRef(None, "ematix_places")),
            f"CREATE TEMPORARY TABLE {chosen} AS {places}",
            f"DELETE s FROM {self.table(ref)} AS s JOIN {chosen} AS p ON s.{PLACE} = p.{PLACE}",
        )

    def insert_missing(self, insert: str, keys: Sequence[str]) -> str:
        """INSERT IGNORE; the session makes an error of whatever else it ignores."""
        del keys
        return insert.replace("INSERT INTO", "INSERT IGNORE INTO", 1)

    def insert_or_update(self, insert: str, keys: Sequence[str], names: Sequence[str]) -> str:
        """ON DUPLICATE KEY UPDATE; VALUES() is the one form that both systems know."""
        del keys
        sets = ", ".join(f"{self.quote(name)} = VALUES({self.quote(name)})" for name in names)
        return f"{insert} ON DUPLICATE KEY UPDATE {sets}"

    def moment(self, expression: str, kind: DataType) -> str:
        """A date or time as a ``timestamptz`` is stored; without a zone it is UTC."""
        del kind
        return self.cast(expression, TIMESTAMPTZ)

    def moment_text(self, value: dt.datetime) -> str:
        """Without an offset: the session's zone is UTC, and MariaDB knows no offsets."""
        return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")

    # -- state ------------------------------------------------------------------------------------------------

    def setup_lock(self) -> str:
        """Two first runs wait for each other while they make the state tables."""
        return f"SELECT GET_LOCK({_SETUP_LOCK}, 60)"

    def setup_unlock(self) -> str:
        """Give the lock of the set-up back."""
        return f"SELECT RELEASE_LOCK({_SETUP_LOCK})"

    def try_liveness_lock(self, key: int) -> str:
        """A named lock of the session (1 got it, 0 somebody else has it)."""
        return f"SELECT COALESCE(GET_LOCK('ematix_{int(key)}', 0), 0)"

    def unfit_tables(self, refs: Sequence[TableRef]) -> str:
        """State tables whose engine has no transactions."""
        names = ", ".join(self.literal(ref.name) for ref in refs)
        return (
            "SELECT table_name, CONCAT('its engine is ', engine) FROM information_schema.tables"
            f" WHERE table_schema = DATABASE() AND table_name IN ({names}) AND engine <> 'InnoDB'"
        )

    def state_table(self, name: str) -> TableRef:
        """Beside the data, behind a prefix: another database would take rights, and be shared by all databases."""
        return TableRef(None, f"ematix_flow_{name}")


_SETUP_LOCK = "CONCAT('ematix_setup_', MD5(DATABASE()))"


def text_literal(text: str) -> str:
    """A text as a literal that means the same under every ``sql_mode``: in hexadecimal unless it is plain."""
    if SAFE.issuperset(text):
        return f"'{text}'"
    if "\\" not in text and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return f"_utf8mb4 X'{text.encode('utf-8', 'surrogatepass').hex()}'"


def folds(kind: DataType) -> bool:
    """Whether a text column of an existing table holds different texts for equal (case, accents, blanks)."""
    return kind.kind in TEXT_KINDS and kind.native != "" and kind.kind != "uuid"


def _numeric(kind: DataType) -> Stored:
    if kind.precision is None:
        return Stored(TEXT, Verdict.WIDENED, "DECIMAL needs a precision: kept as text")
    scale = kind.scale or 0
    precision = max(kind.precision - min(scale, 0), scale)
    if precision > MAX_DIGITS or scale > MAX_SCALE:
        reason = f"DECIMAL has at most {MAX_DIGITS} digits, {MAX_SCALE} of them behind the point: kept as text"
        return Stored(TEXT, Verdict.WIDENED, reason)
    stored = DataType("numeric", precision=precision, scale=max(scale, 0))
    return Stored(stored) if precision == kind.precision else Stored(stored, Verdict.WIDENED, f"kept as {stored}")


def _worse(one: Verdict, other: Verdict) -> Verdict:
    order = list(Verdict)
    return max(one, other, key=order.index)


DIALECT = MySQLDialect()
