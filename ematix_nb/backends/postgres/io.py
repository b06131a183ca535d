"""One open connection to PostgreSQL."""

from __future__ import annotations

import contextlib
import inspect
import os
import socket
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import BATCH_ROWS
from ematix_nb.backends.pump import pushed
from ematix_nb.connections.secret import SecretDict
from ematix_nb.declare.spec import Column
from ematix_nb.errors import CANCELLED, CancelledError, RunError, UsageError

from . import late
from .capabilities import CAPABILITIES
from .catalogue import Catalogue
from .config import APPLICATION_NAME, CONNECT_TIMEOUT_S, KEEPALIVES, SESSION_SETTINGS, secured
from .copy_out import CopyOut
from .dialect import PostgresDialect
from .errors import FORBIDDEN, connect_error, missing_driver, translate
from .passthrough import CHUNK_BYTES, read_ahead, without_trailer
from .reader import BLOCK_BYTES, check_columns, parse_blocks, plan_read
from .types import data_type
from .writer import write_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    import psycopg
    import pyarrow as pa

    from ematix_nb.backends.base import Capabilities, Late, TableInfo
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import TableRef
    from ematix_nb.errors import FlowError
    from ematix_nb.sql.dialect import Dialect

    from .config import Settings

DDL_LOCK_TIMEOUT_S = 10
READ_LOCK_TIMEOUT_S = 60
"""How long a source that somebody has locked is waited for; ``options=-c lock_timeout=...`` says otherwise."""
CANCEL_TIMEOUT_S = 2.0
CHUNKS_BEHIND = 2
_DDL = ("CREATE", "ALTER", "DROP", "TRUNCATE", "COMMENT", "GRANT", "REVOKE", "REINDEX")
_READ_SAVEPOINT = "ematix_read"
_SCHEMA_SAVEPOINT = "ematix_schema"
_CREATE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS "

_IDENTITY_SQL = """
SELECT current_database()::text, current_user::text, d.oid::bigint,
       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
       coalesce(host(inet_server_addr()), 'local') || ':' || coalesce(inet_server_port()::text, ''),
       current_setting('search_path'), has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()"""

_HOLDERS_SQL = """
SELECT DISTINCT a.pid, coalesce(a.usename::text, '?'), coalesce(nullif(a.application_name, ''), 'a program'),
       coalesce(a.state, '?'), c.relname::text
FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
WHERE l.granted AND l.locktype = 'relation' AND a.pid <> $1::integer AND position(c.relname::text IN $2::text) > 0
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
LIMIT 3"""


def open_session(settings: Settings) -> PostgresSession:
    """Connect and pin what decides how values are printed.

    Raises:
        ConnectError: The server cannot be reached or refuses the login.
        MissingDriverError: psycopg is not installed.
    """
    return PostgresSession(_connect(settings), settings)


def _connect(settings: Settings) -> psycopg.Connection[Any]:
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as exc:
        raise missing_driver(exc) from exc
    try:
        options = SecretDict(conninfo_to_dict(settings.conninfo, **settings.options))
        options.setdefault("connect_timeout", CONNECT_TIMEOUT_S)
        for name, value in {"application_name": APPLICATION_NAME, **KEEPALIVES}.items():
            options.setdefault(name, value)
        options["client_encoding"] = "UTF8"
        options = SecretDict(secured(options))
    except psycopg.Error as exc:
        raise connect_error(exc, host="?", port="?", user="?", database="?") from exc
    try:
        connection = psycopg.connect(
            "", autocommit=True, cursor_factory=psycopg.RawCursor, prepare_threshold=None, **options
        )
        pinned = dict(SESSION_SETTINGS) | {"default_transaction_read_only": "on" if settings.read_only else "off"}
        if settings.read_only and "lock_timeout" not in str(options.get("options", "")):
            pinned["lock_timeout"] = f"{READ_LOCK_TIMEOUT_S}s"
        calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in pinned.items())
        connection.execute(f"SELECT {calls}".encode())
    except psycopg.Error as exc:
        raise connect_error(
            exc,
            host=str(options.get("host", "localhost")),
            port=str(options.get("port", 5432)),
            user=str(options.get("user", "")),
            database=str(options.get("dbname", "")),
            seconds=options["connect_timeout"],
        ) from exc
    return connection


class PostgresSession:
    """One open connection, used by one thread; only `interrupt` may be called from another."""

    capabilities: Capabilities = CAPABILITIES

    def __init__(self, connection: psycopg.Connection[Any], settings: Settings) -> None:
        self.dialect: Dialect = PostgresDialect(connection.info.parameter_status("server_encoding") or "UTF8")
        self._connection = connection
        self._settings = settings
        self._server = f"{connection.info.host}:{connection.info.port}"
        self._catalogue = Catalogue(self._ask)
        self._interrupted = False
        self._interrupted_at = float("-inf")
        self._stream: weakref.ref[Generator[Any, None, None]] | None = None
        self.identity = self._find_identity()
        """Equal for two sessions of one running server, database, user and search path."""

    def _find_identity(self) -> str:
        """A copy of a server has its system identifier too, hence the moment at which the server started."""
        with self._translated(""):
            database, user, oid, started, place, path, may = self._ask(_IDENTITY_SQL, [])[0]
            self.place = f"{started}/{oid}"
            """Equal for two sessions of one database, whoever is logged in: one may wait for locks of the other."""
            system = self._ask("SELECT system_identifier::text FROM pg_control_system()", [])[0][0] if may else place
            return f"postgres {database} as {user} ({system}/{started}/{oid}, {path})"

    def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Run one statement; the rows it touched (-1 when unknown). Definitions wait 10 s for a lock.

        Raises:
            FlowError: Translated from the driver's; `TransientError` names who holds the lock.
        """
        ddl = sql.lstrip().split(None, 1)[0].upper() in _DDL if sql.strip() else False
        with self._translated(sql):
            if ddl:
                self._connection.execute(f"SET lock_timeout = '{DDL_LOCK_TIMEOUT_S}s'".encode())
            try:
                touched = self._make_schema(sql) if sql.startswith(_CREATE_SCHEMA) else self._run(sql, params)
            finally:
                if ddl and not self._is_failed():
                    self._connection.execute(b"RESET lock_timeout")
        return touched

    def _run(self, sql: str, params: Sequence[object] = ()) -> int:
        return self._connection.execute(sql.encode(), list(params) or None).rowcount

    def _make_schema(self, sql: str) -> int:
        """Make a schema; IF NOT EXISTS alone fails when another session makes it at the same moment."""
        from psycopg import errors

        inside = self._in_transaction()
        if inside:
            self._run(f"SAVEPOINT {_SCHEMA_SAVEPOINT}")
        try:
            touched = self._run(sql)
        except (errors.UniqueViolation, errors.DuplicateSchema):
            touched = 0
            if inside:
                self._run(f"ROLLBACK TO SAVEPOINT {_SCHEMA_SAVEPOINT}")
        if inside:
            self._run(f"RELEASE SAVEPOINT {_SCHEMA_SAVEPOINT}")
        return touched

    def fetch(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one query and return its (few) rows."""
        with self._translated(sql):
            return self._ask(sql, params)

    def _ask(self, sql: str, params: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.encode(), list(params) or None).fetchall()

    def begin(self, *, read_only: bool = False) -> None:
        """Open a transaction; a reading one sees one snapshot of the database (REPEATABLE READ)."""
        if self._in_transaction():
            message = "a transaction is open already"
            raise UsageError(message, "commit or roll back first")
        self._interrupted = False
        with self._translated("BEGIN"):
            mode = b"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY" if read_only else b"BEGIN"
            self._connection.execute(mode)

    def commit(self) -> None:
        """Commit the open transaction.

        Raises:
            FlowError: The transaction had failed, or was interrupted; it is rolled back then.
        """
        if self._is_failed():
            kind = CancelledError if self._interrupted else RunError
            self.rollback()
            message = "the transaction had failed and was rolled back"
            raise kind(message, "nothing of it was kept")
        with self._translated("COMMIT"):
            self._connection.execute(b"COMMIT")

    def rollback(self) -> None:
        """Undo the open transaction; harmless when none is open or the connection is lost."""
        import psycopg

        self._end_stream()
        self._interrupted = False
        self._catalogue.forget()
        if self._connection.closed or not self._in_transaction():
            return
        with contextlib.suppress(psycopg.OperationalError):  # a lost connection has rolled back by itself
            self._connection.execute(b"ROLLBACK")

    def describe(self, query: str) -> tuple[Column, ...]:
        """Names and types of a SELECT without reading rows.

        Raises:
            SqlError: With line and column; also for no column, or two of one name.
        """
        head = "SELECT * FROM (\n"
        with self._translated(query, len(head)):
            cursor = self._connection.execute(f'{head}{query}\n) AS "ematix_source" LIMIT 0'.encode())
            result = cursor.pgresult
            found = []
            for index in range(result.nfields if result else 0):
                assert result is not None  # noqa: S101 - for mypy: the range is empty otherwise
                name = (result.fname(index) or b"").decode()
                found.append((name, result.ftype(index), result.fmod(index)))
            columns = tuple(
                Column(name, data_type(oid, modifier, self._catalogue.lookup)) for name, oid, modifier in found
            )
        check_columns(columns)
        return columns

    def read(self, query: str, columns: Sequence[Column], *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Stream a SELECT in batches of about 1 MiB; leaving it early keeps the transaction usable.

        Raises:
            DataError: A value does not fit its column's type; names column and row.
            SqlError: The query is wrong, gives no columns or two of one name.
        """
        plan = plan_read(query, columns, self.dialect)

        def batches() -> Generator[pa.RecordBatch, None, None]:
            with self._translated(query, plan.offset), self._copying_out(plan.statement) as copy:
                yield from parse_blocks(plan, copy.blocks(BLOCK_BYTES, batch_rows, self._check_interrupt))

        return self._streaming(batches())

    def estimate(self, query: str) -> int | None:
        """The rows that the planner expects."""
        with self._translated(query, len("EXPLAIN (FORMAT JSON)\n")):
            plan = self._ask(f"EXPLAIN (FORMAT JSON)\n{query}", [])[0][0]
        return int(plan[0]["Plan"]["Plan Rows"])

    @contextlib.contextmanager
    def shared_snapshot(self, count: int) -> Iterator[tuple[PostgresSession, list[PostgresSession]]]:
        """A session of its own to measure with, and ``count`` that read what it sees; all are closed at the end."""
        with contextlib.ExitStack() as stack:
            first = open_session(self._settings)
            stack.callback(first.close)
            first.begin(read_only=True)
            snapshot = first.fetch("SELECT pg_export_snapshot()")[0][0]
            others = []
            for _ in range(count):
                other = open_session(self._settings)
                stack.callback(other.close)
                other.begin(read_only=True)
                other.execute(f"SET TRANSACTION SNAPSHOT {self.dialect.literal(snapshot)}")
                others.append(other)
            yield first, others

    def check_late(self, query: str) -> None:
        """Refuse a query whose rows are not those of one table.

        Raises:
            DeclarationError: Naming what is in the way.
        """
        late.check(self.fetch, query)

    def horizon(self) -> str:
        """The oldest transaction that has not ended, and where it was counted."""
        return str(late.take(self.fetch))

    def late_rows(self, query: str, column: str, kind: DataType, since: str, below: str) -> Late:
        """The rows that a read with the horizon ``since`` could not see yet, among those where ``below`` holds."""
        return late.find(self.fetch, self.dialect, query, column, kind, since, below)

    def copy_out(self, query: str) -> Iterator[tuple[bytes, int]]:
        """The rows of a SELECT as COPY BINARY, in chunks of about 256 KiB, read ahead by a thread."""
        statement = f"COPY (\n{query}\n) TO STDOUT (FORMAT binary)"

        def chunks() -> Generator[tuple[bytes, int], None, None]:
            with self._translated(query, len("COPY (\n")), self._copying_out(statement) as copy:
                chunks = copy.blocks(CHUNK_BYTES, sys.maxsize, self._check_interrupt)
                yield from read_ahead(without_trailer(chunks), self._cancel)

        return self._streaming(chunks())

    def copy_into(self, ref: TableRef, columns: Sequence[Column], chunks: Iterable[bytes]) -> int:
        """Append what `copy_out` gave; column types must be the same. The rows written."""
        names = self.dialect.columns([column.name for column in columns])
        statement = f"COPY {self.dialect.table(ref)} ({names}) FROM STDIN (FORMAT binary)"

        def feed(write: Callable[[bytes], None]) -> None:
            for chunk in self._until_interrupted(chunks):
                write(chunk)

        return self._copy_in(statement, feed)

    def tables(self, schema: str | None = None) -> list[TableRef]:
        """Tables and views outside the system's own schemas."""
        with self._translated(""):
            return self._catalogue.tables(schema)

    def table(self, ref: TableRef) -> TableInfo | None:
        """What the catalogue says of a table; None when it does not exist."""
        with self._translated(""):
            return self._catalogue.table(self.dialect.table(ref), ref)

    def write(self, ref: TableRef, columns: Sequence[Column], batches: Iterable[pa.RecordBatch]) -> int:
        """Append batches by COPY, after checking every value against the table's own types; the rows written.

        Raises:
            DataError: A value does not fit; names column, row (from 1 over all batches) and value.
        """
        return write_batches(self, ref, columns, batches)

    def target_types(self, ref: TableRef, columns: Sequence[Column]) -> tuple[tuple[Column, int, int], ...]:
        """Type, oid and modifier of the columns of a table that are to be written."""
        names = self.dialect.columns([column.name for column in columns])
        with self._translated(""):
            result = self._connection.execute(
                f"SELECT {names} FROM {self.dialect.table(ref)} LIMIT 0".encode()
            ).pgresult
            assert result is not None  # noqa: S101 - a SELECT always has a result
            return tuple(
                (
                    Column(c.name, data_type(result.ftype(i), result.fmod(i), self._catalogue.lookup)),
                    result.ftype(i),
                    result.fmod(i),
                )
                for i, c in enumerate(columns)
            )

    def copy_in(self, statement: str, chunks: Iterable[bytes]) -> int:
        """Run COPY FROM STDIN with the given chunks, each sent while the next is made; the rows written."""

        def feed(write: Callable[[bytes], None]) -> None:
            pushed(self._until_interrupted(chunks), write, [self._cancel, self._hang_up], CHUNKS_BEHIND)

        return self._copy_in(statement, feed)

    def _copy_in(self, statement: str, feed: Callable[[Callable[[bytes], None]], None]) -> int:
        from .copy_in import CopyWriter  # the driver is imported at the first connection

        with self._translated(""), self._connection.cursor() as cursor:
            with cursor.copy(statement.encode(), writer=CopyWriter(cursor)) as copy:
                feed(copy.write)
            return cursor.rowcount

    def _until_interrupted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._check_interrupt()
            yield chunk

    def interrupt(self) -> None:
        """Stop the running statement, from another thread; an open transaction can only be rolled back then."""
        import psycopg

        if self._connection.closed:
            return
        self._interrupted_at = time.monotonic()  # the driver calls itself idle for a moment after it has sent a query
        if self._connection.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self._interrupted = True
        self._cancel()

    def _cancel(self) -> None:
        import psycopg

        try:
            self._connection.cancel_safe(timeout=CANCEL_TIMEOUT_S)
        except psycopg.Error:  # the server is gone, or does not answer
            self._hang_up()

    def _hang_up(self) -> None:
        """End the line to a server that takes no request to stop: whoever waits for it gets an error."""
        import psycopg

        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close; what is open is rolled back."""
        self._end_stream()
        self._connection.close()

    def _streaming(self, stream: Generator[Any, None, None]) -> Iterator[Any]:
        """Watch a read: a forgotten one ends by itself, one in use forbids other statements."""
        self._refuse_while_reading()
        self._stream = weakref.ref(stream)
        return stream

    def _refuse_while_reading(self) -> None:
        stream = self._stream() if self._stream else None
        if stream is not None and inspect.getgeneratorstate(stream) == inspect.GEN_SUSPENDED:
            message = "a read of this session is still open, and a connection does one thing at a time"
            raise UsageError(message, "read it to its end, close() it, or open a second session")

    def _end_stream(self) -> None:
        """Leave a read whose consumer has not finished it."""
        stream, self._stream = self._stream() if self._stream else None, None
        if stream is not None and inspect.getgeneratorstate(stream) == inspect.GEN_SUSPENDED:
            stream.close()

    @contextlib.contextmanager
    def _copying_out(self, statement: str) -> Iterator[CopyOut]:
        """Run COPY TO STDOUT; in a transaction behind a savepoint, so that leaving early does not fail it."""
        inside = self._in_transaction()
        if inside:
            self._connection.execute(f"SAVEPOINT {_READ_SAVEPOINT}".encode())
        try:
            copy = CopyOut(self._connection, statement)
            try:
                yield copy
            finally:
                copy.finish(self._cancel)
        except BaseException:
            if inside and not self._interrupted and self._is_failed():
                self._connection.execute(f"ROLLBACK TO SAVEPOINT {_READ_SAVEPOINT}".encode())
            raise
        if inside:
            self._connection.execute(f"RELEASE SAVEPOINT {_READ_SAVEPOINT}".encode())

    def _check_interrupt(self) -> None:
        if self._interrupted:
            raise CancelledError(CANCELLED)

    @contextlib.contextmanager
    def _translated(self, query: str, offset: int = 0) -> Iterator[None]:
        """Turn the driver's errors into ours, once."""
        import psycopg

        self._refuse_while_reading()
        self._check_interrupt()
        try:
            yield
        except psycopg.Error as exc:
            raise self._translation(exc, query, offset) from exc
        finally:
            if not self._in_transaction():
                self._interrupted = False

    def _translation(self, exc: psycopg.Error, query: str, offset: int) -> FlowError:
        waited_for = self._lock_holders(query) if exc.sqlstate == "55P03" else ""
        return translate(
            exc,
            query=query,
            grant=self._missing_grant(exc, query) if exc.sqlstate == FORBIDDEN else "",
            offset=offset,
            cancelled=self._interrupted or time.monotonic() - self._interrupted_at < CANCEL_TIMEOUT_S,
            waited_for=waited_for,
            lost=self._server if self._connection.closed else "",
        )

    def _missing_grant(self, exc: psycopg.Error, sql: str) -> str:
        """Which right was not there; asked on a second connection."""
        import psycopg

        from ematix_nb.errors import ConnectError

        from .rights import missing_grant

        try:
            with _connect(self._settings) as other:
                return missing_grant(
                    exc.diag.message_primary or "",
                    sql,
                    self.dialect,
                    lambda query, values: other.execute(query.encode(), list(values) or None).fetchall(),
                )
        except (psycopg.Error, ConnectError):  # only to enrich a message: the first error counts
            return ""

    def _lock_holders(self, sql: str) -> str:
        """Who holds locks on the tables that a statement names; asked on a second connection."""
        import psycopg

        from ematix_nb.errors import ConnectError

        pid = self._connection.info.backend_pid
        try:
            with _connect(self._settings) as other:
                rows = other.execute(_HOLDERS_SQL.encode(), [pid, sql]).fetchall()
        except (psycopg.Error, ConnectError):  # only to enrich a message: the first error counts
            return ""
        people = [f"process {p} of `{user}` ({program}, {state}) on `{name}`" for p, user, program, state, name in rows]
        return f" held by {' and '.join(people)}" if people else ""

    def _in_transaction(self) -> bool:
        import psycopg

        status = psycopg.pq.TransactionStatus
        return self._connection.pgconn.transaction_status not in (status.IDLE, status.UNKNOWN)

    def _is_failed(self) -> bool:
        import psycopg

        return self._connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.INERROR
