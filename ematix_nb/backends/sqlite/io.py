"""Sessions on SQLite databases."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ematix_nb.backends.base import BATCH_ROWS, TableInfo
from ematix_nb.errors import CANCELLED, CancelledError, ConnectError, DataError, FlowError
from ematix_nb.words import counted

from . import functions
from .arrays import check_affinity, decode, encode
from .capabilities import CAPABILITIES
from .catalogue import find, names, query_columns, table_info
from .config import MEMORY, Settings
from .dialect import SQLiteDialect
from .errors import translate
from .types import affinity
from .values import encode as encode_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.backends.base import Capabilities
    from ematix_nb.declare.spec import Column, TableRef

_VIEW = "ematix_flow_view"
_FIRST_ROWS = 1024
_BATCH_BYTES = 32 << 20
_FAILURES = (sqlite3.Error, sqlite3.Warning, OverflowError)


def _connect(settings: Settings) -> sqlite3.Connection:
    memory = settings.path == MEMORY
    if not memory and not Path(settings.path).parent.is_dir():
        message = f"connection `{settings.name}`: the folder of `{settings.path}` does not exist"
        raise ConnectError(message, hint="make the folder, or correct `path`")
    if settings.read_only and not memory and not Path(settings.path).is_file():
        message = f"connection `{settings.name}`: `{settings.path}` does not exist"
        raise ConnectError(message, hint="correct `path`; a file is made by the first run that writes to it")
    uri = "file::memory:" if memory else f"file:{quote(settings.path)}?mode={'ro' if settings.read_only else 'rwc'}"
    where = f"connection `{settings.name}` ({settings.path})"
    try:
        connection = sqlite3.connect(
            uri,
            timeout=settings.busy_timeout_ms / 1000,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
    except sqlite3.Error as exc:
        raise translate(exc, where) from exc
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA schema_version").fetchall()
        for name, path in settings.attached:
            where = f"connection `{settings.name}` ({path})"
            connection.execute(f'ATTACH ? AS "{name}"', (f"file:{quote(path)}?mode=ro",))
            connection.execute(f'PRAGMA "{name}".schema_version').fetchall()
    except sqlite3.Error as exc:
        connection.close()
        raise translate(exc, where) from exc
    functions.register(connection)
    return connection


class SQLiteSession:
    """One open connection to a SQLite database."""

    capabilities: Capabilities = CAPABILITIES

    def __init__(self, settings: Settings) -> None:
        self._where = f"connection `{settings.name}`"
        self._connection = _connect(settings)
        key = settings.path if settings.path != MEMORY else f"{MEMORY}{uuid.uuid4().hex}"
        self.identity = f"sqlite:{key}"
        named = ["main", "temp", *(name for name, _ in settings.attached)]
        self.dialect: SQLiteDialect = SQLiteDialect(named, encoding=self._encoding)
        self._interrupted = False
        self._closed = False

    def _encoding(self) -> str:
        return str(self.fetch("PRAGMA encoding")[0][0])

    def _run(self, sql: str, params: Sequence[object] = ()) -> sqlite3.Cursor:
        self._interrupted = False
        try:
            return self._connection.execute(sql, [encode_value(value) for value in params])
        except _FAILURES as exc:
            raise translate(exc, self._where, sql) from exc

    def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Run one statement; the number of rows it touched (-1 when unknown)."""
        count = self._run(sql, params).rowcount
        if sql.lstrip()[:6].upper() in ("ATTACH", "DETACH"):
            rows = self.fetch("PRAGMA database_list")
            self.dialect = SQLiteDialect(["temp", *(row[1] for row in rows)], encoding=self._encoding)
        return count

    def fetch(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one query and return its (few) rows as SQLite stores them: times and decimals are text."""
        cursor = self._run(sql, params)
        try:
            return cursor.fetchall()
        except _FAILURES as exc:
            raise translate(exc, self._where, sql) from exc

    def begin(self, *, read_only: bool = False) -> None:
        """Open a transaction; one that may write holds the write lock from here on."""
        self._run("BEGIN" if read_only else "BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit the open transaction."""
        self._run("COMMIT")

    def rollback(self) -> None:
        """Undo the open transaction; harmless when none is open."""
        if self._connection.in_transaction:
            self._run("ROLLBACK")

    def describe(self, query: str) -> tuple[Column, ...]:
        """Names and types of a SELECT.

        Columns of tables have the type that their table declares. Expressions have none: those are looked at, all
        rows of them, and whole numbers are bigint, numbers double, texts text, bytes bytes, NULLs null.

        Raises:
            SqlError: It is no readable SELECT, or an expression mixes kinds of values.
        """
        view = f"temp.{self.dialect.quote(_VIEW)}"
        self._create_view(query, "")
        try:
            shown = [(row[1], row[2]) for row in self._asked(f"PRAGMA temp.table_info({_VIEW})", query)]
        finally:
            self._run(f"DROP VIEW {view}")
        self._create_view(query, f" ({', '.join(f'c{number}' for number in range(len(shown)))})")
        try:
            return query_columns(view, shown, self.fetch)
        finally:
            self._run(f"DROP VIEW {view}")

    def _create_view(self, query: str, columns: str) -> None:
        """Views keep the declared types of plain columns, and temporary ones are allowed everywhere."""
        self._asked(f"CREATE TEMP VIEW {self.dialect.quote(_VIEW)}{columns} AS\n{query}", query)

    def _asked(self, sql: str, query: str) -> list[Any]:
        self._interrupted = False
        try:
            return self._connection.execute(sql).fetchall()
        except _FAILURES as exc:
            raise translate(exc, self._where, query) from exc

    def read(self, query: str, columns: Sequence[Column], *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Stream a SELECT in the types of ``columns``; batches shrink when rows are long.

        Raises:
            DataError: A value does not fit its column's type; names column, row and value.
        """
        import pyarrow as pa

        from ematix_nb.declare.data_types import to_arrow

        schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
        cursor = self._run(query)
        try:
            if len(cursor.description or ()) != len(columns):
                given = counted(len(cursor.description or ()), "column")
                message = f"the query returns {given}, expected {len(columns)}"
                raise DataError(message, where=self._where)
            done, wanted = 0, min(_FIRST_ROWS, batch_rows)
            while rows := self._next(cursor, wanted, query):
                values = zip(*rows, strict=True)
                arrays = [decode(one, column, done) for one, column in zip(values, columns, strict=True)]
                batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
                done += len(rows)
                row_bytes = batch.nbytes // len(rows) + 1
                yield batch
                wanted = max(1, min(batch_rows, _BATCH_BYTES // row_bytes, wanted * 8))
        finally:
            with contextlib.suppress(sqlite3.ProgrammingError):  # a reader that stopped early outlives the session
                cursor.close()

    def _next(self, cursor: sqlite3.Cursor, wanted: int, query: str) -> list[Any]:
        if self._interrupted:
            raise CancelledError(CANCELLED, where=self._where)
        try:
            return cursor.fetchmany(wanted)
        except _FAILURES as exc:
            raise translate(exc, self._where, query) from exc

    def tables(self, schema: str | None = None) -> list[TableRef]:
        """Tables and views, by name."""
        return names(schema, self.dialect, self.fetch)

    def table(self, ref: TableRef) -> TableInfo | None:
        """What the catalogue says of a table; None when it does not exist."""
        place = find(ref, self.dialect, self.fetch)
        return None if place is None else table_info(place, ref, self.dialect, self.fetch)

    def write(self, ref: TableRef, columns: Sequence[Column], batches: Iterable[pa.RecordBatch]) -> int:
        """Append batches to a table, all or none; the rows written.

        Raises:
            DataError: A value cannot be stored; names column, row and value.
            SchemaDriftError: A column's declared type would change the values.
        """
        if self._connection.in_transaction:
            return self._insert(ref, columns, batches)
        self.begin()
        try:
            done = self._insert(ref, columns, batches)
            self.commit()
        except BaseException:
            self.rollback()
            raise
        return done

    def _insert(self, ref: TableRef, columns: Sequence[Column], batches: Iterable[pa.RecordBatch]) -> int:
        self._interrupted = False
        declared = self._declared(ref)
        marks = ", ".join("?" for _ in columns)
        listed = self.dialect.columns([column.name for column in columns])
        statement = f"INSERT INTO {self.dialect.table(ref)} ({listed}) VALUES ({marks})"
        done = 0
        for batch in batches:
            values = []
            for array, column in zip(batch.columns, columns, strict=True):
                there = declared.get(column.name.lower())
                if there is not None:
                    check_affinity(array, column, there, affinity(there), done)
                values.append(encode(array, column, done))
            self._insert_rows(statement, values, done)
            done += batch.num_rows
        return done

    def _insert_rows(self, statement: str, values: list[list[Any]], done: int) -> None:
        before = self._connection.total_changes
        try:
            if self._interrupted:
                raise CancelledError(CANCELLED, where=self._where)
            self._connection.executemany(statement, zip(*values, strict=True))
        except _FAILURES as exc:
            found = translate(exc, self._where)
            if isinstance(found, DataError):
                row = done + self._connection.total_changes - before + 1
                found = DataError(f"row {row}: {found.what}", found.hint, found.where)
            raise found from exc

    def _declared(self, ref: TableRef) -> dict[str, str]:
        """The declared types of a table's columns, by lower-case name."""
        place = find(ref, self.dialect, self.fetch)
        if place is None:
            return {}
        pragma = f"PRAGMA {self.dialect.quote(place[0])}.table_xinfo({self.dialect.quote(place[1])})"
        return {row[1].lower(): row[2] for row in self.fetch(pragma)}

    def interrupt(self) -> None:
        """Stop what is running, from another thread."""
        self._interrupted = True
        if not self._closed:
            self._connection.interrupt()

    def close(self) -> None:
        """Close; rolls back what is open."""
        if self._closed:
            return
        self._closed = True
        try:
            self.rollback()
        except FlowError:
            pass  # closing rolls back as well
        finally:
            self._connection.close()
