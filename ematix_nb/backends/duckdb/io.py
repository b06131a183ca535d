"""Sessions on DuckDB databases."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import BATCH_ROWS, TableInfo
from ematix_nb.connections.secret import redact
from ematix_nb.declare.data_types import TEXT
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import ConnectError, FlowError, LockedError, MissingDriverError, SqlError, TransientError

from .capabilities import CAPABILITIES
from .catalogue import LIST, find, kind_of, table_info
from .config import MEMORY, Settings
from .dialect import DIALECT
from .errors import translate
from .reader import stream, subquery
from .writer import blocks, insert

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.backends.base import Capabilities
    from ematix_nb.sql.dialect import Dialect

_POLL_SECONDS = 0.05
_HOLDER = re.compile(r"held in (?P<program>\S*)[^()]*\(PID (?P<pid>\d+)\)")
_MAKES_TEMPORARY = re.compile(r"\s*create\s+(?:or\s+replace\s+)?temp", re.IGNORECASE)


@dataclass
class _Database:
    """One open file of this process, shared by its sessions: DuckDB opens a file once per process."""

    connection: Any
    settings: Settings
    sessions: int = 0


_databases: dict[str, _Database] = {}
_guard = threading.Lock()


_LIMITED = re.compile(r'"name": *"(?:[A-Z]+_)*(?:LIMIT|TOP_N)(?:_[A-Z]+)* *"')
"""A step of a plan that ends early."""


def _acquire(settings: Settings) -> tuple[str, Any]:
    """The key of the database in this process, and a connection of its own; waits for other processes."""
    deadline = time.monotonic() + settings.busy_timeout_ms / 1000
    while True:
        with _guard:
            try:
                return _attach(settings)
            except (LockedError, TransientError):
                if time.monotonic() >= deadline:
                    raise
        time.sleep(_POLL_SECONDS)


def _attach(settings: Settings) -> tuple[str, Any]:
    key = settings.path if settings.path != MEMORY else f"{MEMORY}{uuid.uuid4().hex}"
    shared = _databases.get(key)
    if shared is not None and not _serves(shared.settings, settings):
        message = f"connection `{settings.name}`: this process has `{settings.path}` open with other settings"
        raise TransientError(message, hint="close the session that reads it, then try again")
    if shared is None:
        shared = _databases[key] = _Database(_connect(settings), settings)
    shared.sessions += 1
    return key, shared.connection.cursor()


def _serves(there: Settings, wanted: Settings) -> bool:
    return (
        there.allow_external == wanted.allow_external
        and there.attached == wanted.attached
        and (wanted.read_only or not there.read_only)
    )


def _release(key: str) -> None:
    """Give a database back; the last one closes the file, so that other processes can have it."""
    with _guard:
        shared = _databases[key]
        shared.sessions -= 1
        if not shared.sessions:
            del _databases[key]
            shared.connection.close()


WRONG_OPTIMIZER = "top_n_window_elimination"
"""Turns `row_number() ... = 1` into an aggregate that takes a NULL which comes first for the first value of
`ORDER BY x NULLS LAST` (seen in DuckDB 2.0.0): the wrong one of two rows would be kept."""


def _connect(settings: Settings) -> Any:
    try:
        import duckdb
    except ImportError as exc:
        message = f"connection `{settings.name}` needs the package `duckdb`"
        raise MissingDriverError(message, hint="pip install duckdb") from exc
    memory = settings.path == MEMORY
    if not memory and not Path(settings.path).parent.is_dir():
        message = f"connection `{settings.name}`: the folder of `{settings.path}` does not exist"
        raise ConnectError(message, hint="make the folder, or correct `path`")
    config: dict[str, Any] = {
        "python_enable_replacements": False,
        "enable_external_access": settings.allow_external or bool(settings.attached),
    }
    if settings.spill_folder:
        config["temp_directory"] = settings.spill_folder
    try:
        connection = duckdb.connect(settings.path, read_only=settings.read_only and not memory, config=config)
    except duckdb.Error as exc:
        raise _refused(exc, settings) from exc
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    _switch_off(connection, WRONG_OPTIMIZER)
    if settings.attached:
        _attach_others(connection, settings)
    return connection


def _attach_others(connection: Any, settings: Settings) -> None:
    """Attach what is read beside the database, and close the door again through which it came."""
    import duckdb

    for name, path in settings.attached:
        try:
            place, shown = DIALECT.literal(path, TEXT), DIALECT.quote(name)
            connection.execute(f"ATTACH {place} AS {shown} (TYPE duckdb, READ_ONLY)")
        except duckdb.Error as exc:
            connection.close()
            raise _refused(exc, replace(settings, path=path)) from exc
    if not settings.allow_external:
        connection.execute("SET GLOBAL enable_external_access = false")


def _switch_off(connection: Any, optimizer: str) -> None:
    """Add an optimizer to those that are switched off; a version that does not have it needs nothing."""
    import duckdb

    off = connection.execute("SELECT current_setting('disabled_optimizers')").fetchall()[0][0]
    with contextlib.suppress(duckdb.ParserException):
        connection.execute(f"SET GLOBAL disabled_optimizers = '{','.join(filter(None, (off, optimizer)))}'")


def _refused(error: Exception, settings: Settings) -> ConnectError | LockedError:
    """Why a file could not be opened."""
    text = redact(error)
    name, path = settings.name, settings.path
    if "Could not set lock" in text:
        holder = _HOLDER.search(text)
        who = f"process {holder['pid']} ({holder['program']})" if holder else "another process"
        message = f"connection `{name}`: `{path}` is held by {who}; waited {settings.busy_timeout_ms} ms"
        return LockedError(
            message, hint="wait for that process with --wait SECONDS, or stop it: one process writes, or many read"
        )
    if "does not exist" in text:
        message = f"connection `{name}`: `{path}` does not exist"
        return ConnectError(message, hint="correct `path`; a file is made by the first run that writes to it")
    if "not a valid DuckDB" in text:
        return ConnectError(f"connection `{name}`: `{path}` is not a DuckDB database", hint="correct `path`")
    return ConnectError(f"connection `{name}`: `{path}` cannot be opened: {text}")


class DuckDBSession:
    """One open connection to a DuckDB database; sessions of one process share the open file."""

    dialect: Dialect = DIALECT
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, settings: Settings) -> None:
        self._where = f"connection `{settings.name}`"
        self._read_only = settings.read_only and settings.path != MEMORY
        self._key, self._cursor = _acquire(settings)
        self.identity = f"duckdb:{self._key}"
        self._cursors: set[Any] = set()
        self._streams: set[Any] = set()
        self._in_transaction = False
        self._has_temporary = False
        self._closed = False

    def _run(self, sql: str, params: Sequence[object]) -> Any:
        import duckdb

        try:
            return self._cursor.execute(sql, list(params)) if params else self._cursor.execute(sql)
        except duckdb.Error as exc:
            raise translate(exc, self._where) from exc

    def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Run one statement; the number of rows it touched (-1 when unknown)."""
        import duckdb

        if _MAKES_TEMPORARY.match(sql):
            self._has_temporary = True
        done = self._run(sql, params)
        if not done.description or done.description[0][0] != "Count":
            return -1
        try:
            rows = done.fetchall()
        except duckdb.Error as exc:
            raise translate(exc, self._where) from exc
        return int(rows[0][0]) if rows else -1

    def execute_over(self, sql: str, name: str, rows: pa.Table) -> int:
        """Run one statement in which ``name`` stands for rows in memory; the number of rows it touched."""
        self._cursor.register(name, rows)
        try:
            return self.execute(sql)
        finally:
            self._cursor.unregister(name)

    def fetch(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one query and return its (few) rows; times with a zone are in UTC."""
        import duckdb

        relation = None
        try:
            relation = self._cursor.sql(sql, params=list(params)) if params else self._cursor.sql(sql)
            if relation is None:
                return []
            types = [str(native) for native in relation.types]
            if any("TIME ZONE" in native or "TIMESTAMPTZ" in native for native in types):
                return _rows(relation.to_arrow_table(), types)  # fetchall needs a package for zones
            return [tuple(row) for row in relation.fetchall()]
        except duckdb.Error as exc:
            raise translate(exc, self._where) from exc
        finally:
            del relation  # see _stream: it would live on in the traceback

    def begin(self, *, read_only: bool = False) -> None:
        """Open a transaction."""
        self._run("BEGIN TRANSACTION READ ONLY" if read_only or self._read_only else "BEGIN TRANSACTION", ())
        self._in_transaction = True

    def commit(self) -> None:
        """Commit the open transaction.

        Raises:
            RunError: When a statement in it failed: it cannot be committed.
        """
        if self._in_transaction:
            self._run("SELECT 1", ())  # a COMMIT of an aborted transaction raises nothing and writes nothing
        self._run("COMMIT", ())
        self._in_transaction = False

    def rollback(self) -> None:
        """Undo the open transaction; harmless when none is open."""
        if self._in_transaction:
            self._close_readers()
            self._in_transaction = False
            self._run("ROLLBACK", ())

    def _relation(self, query: str) -> Any:
        import duckdb

        try:
            return self._cursor.sql(subquery(query))
        except duckdb.InvalidInputException as exc:
            if "Values were not provided" in str(exc):
                raise SqlError("the query has a parameter, which nothing fills in", where=self._where) from exc
            raise translate(exc, self._where, 1, query) from exc
        except duckdb.Error as exc:
            raise translate(exc, self._where, 1, query) from exc

    def describe(self, query: str) -> tuple[Column, ...]:
        """Names and types of a SELECT without reading rows.

        Raises:
            SqlError: It is no readable SELECT; with line and column.
        """
        relation = self._relation(query)
        names, types = relation.columns, relation.types
        del relation  # see _stream: it would live on in the traceback
        plain = self._cursor.sql(query).columns  # a SELECT, as it could stand in brackets: nothing runs yet
        if plain != names:
            first = next(one for one, other in zip(names, plain, strict=True) if one != other)
            name = plain[names.index(first)]
            raise SqlError(f"the query returns two columns named `{name}`", hint="give one of them an alias")
        return tuple(Column(name, kind_of(native)) for name, native in zip(names, types, strict=True))

    def read(self, query: str, columns: Sequence[Column], *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Stream a SELECT in the types of ``columns``.

        Inside a transaction, or when the session has temporary tables, no other statement can run on the session
        until the rows are read or the iterator is closed; otherwise the reader has a connection of its own.

        Raises:
            DataError: A value does not fit its column's type.
        """
        if self._in_transaction or self._has_temporary:
            yield from self._stream(self._cursor, query, columns, batch_rows)
            return
        cursor = self._cursor.cursor()
        self._cursors.add(cursor)
        try:
            yield from self._stream(cursor, query, columns, batch_rows)
        finally:
            self._cursors.discard(cursor)
            cursor.close()

    def _stream(self, cursor: Any, query: str, columns: Sequence[Column], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Rows that the session can take back: an open reader keeps the whole database alive.

        DuckDB waits for that, with Python's lock in its hand, when the same process opens the file again: for ever,
        should the reader hang in the traceback of a failed run.
        """
        rows = stream(cursor, query, columns, batch_rows, self._where)
        self._streams.add(rows)
        try:
            yield from rows
        finally:
            rows.close()
            self._streams.discard(rows)

    def estimate(self, query: str) -> int | None:
        """The rows that the planner expects; None where a LIMIT is in the plan, which tells the rows before it."""
        text = self.fetch(f"EXPLAIN (FORMAT json) {query}")[0][1]
        if _LIMITED.search(text):
            return None
        plan = json.loads(text)[0]
        found = str(plan.get("extra_info", {}).get("Estimated Cardinality", ""))
        return int(found) if found.isdigit() else None

    def tables(self, schema: str | None = None) -> list[TableRef]:
        """Tables and views, by schema and name."""
        return [TableRef(row[0], row[1]) for row in self.fetch(LIST, [schema, schema])]

    def table(self, ref: TableRef) -> TableInfo | None:
        """What the catalogue says of a table; None when it does not exist."""
        place = find(ref, self.fetch)
        if place is None:
            return None
        name = ".".join(DIALECT.quote(part) for part in place[:3])
        types = self._relation(f"SELECT * FROM {name}").types
        return table_info(place, ref, types, self.fetch)

    def write(self, ref: TableRef, columns: Sequence[Column], batches: Iterable[pa.RecordBatch]) -> int:
        """Append batches to a table, all or none; the rows written.

        Raises:
            DataError: A value cannot be stored; names column, row and value.
        """
        if self._in_transaction:
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
        done = 0
        for group in blocks(batches):
            done += insert(self._cursor, ref, columns, group, done)
        return done

    def interrupt(self) -> None:
        """Stop what is running, from another thread; nothing runs in a session that is closed."""
        import duckdb

        for cursor in (self._cursor, *self._cursors):
            with contextlib.suppress(duckdb.ConnectionException):
                cursor.interrupt()

    def _close_readers(self) -> None:
        for reader in (*self._streams, *self._cursors):
            reader.close()
        self._streams.clear()
        self._cursors.clear()

    def close(self) -> None:
        """Close; rolls back what is open."""
        if self._closed:
            return
        self._closed = True
        try:
            self._close_readers()
            self.rollback()
        except FlowError:
            pass  # closing rolls back as well
        finally:
            self._cursor.close()
            _release(self._key)


def _rows(table: pa.Table, types: Sequence[str]) -> list[tuple[Any, ...]]:
    """The rows of a small result; whole numbers of 128 bits as int."""
    import pyarrow as pa

    columns = []
    for column, native in zip(table.columns, types, strict=True):
        if pa.types.is_timestamp(column.type) and column.type.tz:
            column = column.cast(pa.timestamp(column.type.unit, tz="UTC"))  # noqa: PLW2901 - the zone's other name
        values = column.to_pylist()
        whole = native.endswith("HUGEINT")
        columns.append([int(value) if whole and value is not None else value for value in values])
    return list(zip(*columns, strict=True))
