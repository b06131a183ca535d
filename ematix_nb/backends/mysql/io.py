"""One open connection to MariaDB or MySQL."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import time
import weakref
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import BATCH_ROWS
from ematix_nb.errors import CANCELLED, CancelledError, ConnectError, RunError, UsageError

from .capabilities import CAPABILITIES
from .catalogue import Catalogue
from .config import DDL_LOCK_TIMEOUT_S, SESSION_SETTINGS, tls_options
from .describe import describe
from .dialect import MySQLDialect
from .errors import code_of, connect_error, driver_errors, lost_error, missing_driver, translate
from .estimate import expected_rows
from .reader import PacketReader, batches
from .writer import FORBIDDEN, refuse_warnings, write_batches

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.backends.base import Capabilities, TableInfo
    from ematix_nb.declare.spec import Column, TableRef
    from ematix_nb.errors import FlowError

    from .config import Settings

OLDEST_MARIADB, OLDEST_MYSQL = (10, 6), (8, 0, 31)
CANCEL_TIMEOUT_S = 2
SEND_BYTES = 1 << 19
CONFLICT = 1062
NO_LOOK_INSIDE = (1142, 1345)
"""EXPLAIN of a view takes the right to see its definition."""
HARMLESS = (1287, 1592, 1681, 3719, 3720, 3778)
"""Warnings that speak of the statement, not of its rows: a spelling that will go, a log that cannot repeat it."""
IN_TRANSACTION = 0x0001
DUPLICATE_IGNORED = ("INSERT IGNORE",)
_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD")
_COMMITS = ("ALTER", "CREATE", "DROP", "RENAME", "TRUNCATE", "ANALYZE", "OPTIMIZE", "REPAIR", "GRANT", "REVOKE", "LOCK",
            "SET PASSWORD", "FLUSH")  # fmt: skip
_TEMPORARY = re.compile(r"(?:CREATE|DROP)\s+TEMPORARY\s+TABLE\b", re.IGNORECASE)
_TOKEN = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|`(?:[^`]|``)*`|--\s[^\n]*|#[^\n]*|/\*.*?\*/|\?(?P<number>\d*)",
    re.DOTALL,
)


def open_session(settings: Settings) -> MySQLSession:
    """Connect and pin what decides how values are kept and printed.

    Raises:
        ConnectError: The server cannot be reached, refuses the login, or is too old to be written to.
        MissingDriverError: PyMySQL is not installed.
    """
    connection = connect(settings)
    try:
        return MySQLSession(connection, settings)
    except BaseException:
        connection.close()
        raise


def connect(settings: Settings, *, seconds: int | None = None) -> Any:
    """A connection of the driver, with the session's settings."""
    try:
        import pymysql
        from pymysql.constants import CLIENT
    except ImportError as exc:
        raise missing_driver(exc) from exc
    try:
        return pymysql.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=settings.password.encode(),
            database=settings.database or None,
            unix_socket=settings.socket or None,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=seconds or settings.connect_timeout,
            # the server may ask for LOAD DATA LOCAL, and the driver never opens a file for it: the session answers
            client_flag=CLIENT.LOCAL_FILES | CLIENT.FOUND_ROWS,
            local_infile=False,
            init_command=_init_command(),
            **tls_options(settings),
        )
    except (pymysql.err.Error, OSError, RuntimeError) as exc:
        raise connect_error(exc, settings) from exc


def _init_command() -> str:
    return "SET " + ", ".join(f"SESSION {name} = {value!r}" for name, value in SESSION_SETTINGS.items())


class MySQLSession:
    """One open connection, used by one thread; only `interrupt` may be called from another."""

    def __init__(self, connection: Any, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._interrupted = False
        self._interrupted_at = float("-inf")
        self._busy = 0
        """How many calls into the driver are under way, one inside the other."""
        self._sending = False
        self._warned = 0
        """Warnings of the last statement."""
        self._stream: weakref.ref[Generator[Any, None, None]] | None = None
        with self._translated():
            self._start()

    def _start(self) -> None:
        head = (
            "SELECT VERSION(), COALESCE(DATABASE(), ''), CURRENT_USER(), @@hostname, @@port, @@datadir, @@server_id,"
            " @@local_infile, @@log_bin, @@binlog_format, @@max_allowed_packet"
        )
        row = self._ask(head)[0]
        version, self.database, user, host, port, folder, server, local, log, binlog, packet = row
        mariadb = "mariadb" in str(version).lower()
        numbers = tuple(int(part) for part in re.findall(r"\d+", str(version).removeprefix("5.5.5-"))[:3])
        self._check_version(mariadb=mariadb, numbers=numbers, version=str(version))
        self.dialect = MySQLDialect(mariadb=mariadb, version=numbers)
        self.capabilities: Capabilities = dataclasses.replace(
            CAPABILITIES, default_schema=self.database or None, event_times=mariadb
        )
        self.loads_local = bool(local)
        """Whether the server takes LOAD DATA LOCAL."""
        self.max_packet = int(packet)
        self.place = f"mysql {host}:{port}/{server} {folder}"
        """Equal for two sessions of one server, whoever is logged in: one may wait for locks of the other."""
        self.identity = f"{self.place} {self.database} as {user}"
        self._catalogue = Catalogue(self._ask, self.dialect, self.database)
        # a log of statements cannot repeat what READ COMMITTED lets other writers do in between
        plain_log = bool(log) and str(binlog).upper() == "STATEMENT"
        self._isolation = "REPEATABLE READ" if plain_log else "READ COMMITTED"
        self._run(f"SET SESSION TRANSACTION ISOLATION LEVEL {self._isolation}")
        if self._settings.read_only:
            self._run("SET SESSION TRANSACTION READ ONLY")

    def _check_version(self, *, mariadb: bool, numbers: tuple[int, ...], version: str) -> None:
        oldest = OLDEST_MARIADB if mariadb else OLDEST_MYSQL
        if numbers < oldest and not self._settings.read_only:
            wanted = ".".join(str(part) for part in oldest)
            message = f"{self._settings.place} is version {version}; a target has to be {wanted} or newer"
            raise ConnectError(message, "an older server can be read: use it as a source")

    # -- statements -------------------------------------------------------------------------------------------

    def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Run one statement; the rows it touched (those that an UPDATE found, changed or not).

        What the server only warns of is an error here. Definitions wait 10 s for a lock.

        Raises:
            UsageError: The statement would commit the open transaction by itself.
            FlowError: Translated from the driver's.
        """
        first = sql.lstrip().split(None, 1)[0].upper() if sql.strip() else ""
        commits = first in _COMMITS and not _TEMPORARY.match(sql.lstrip())
        with self._translated(sql):
            if commits and self._in_transaction():
                message = f"{first} commits in MySQL whatever ran before it, and a transaction is open"
                raise UsageError(message, "run it before the load, or use DELETE and temporary tables")
            if commits:
                self._run(f"SET SESSION lock_wait_timeout = {DDL_LOCK_TIMEOUT_S}")
            try:
                touched = self._run(self._filled(sql, params))
            finally:
                if commits and self._connection.open:
                    self._run("SET SESSION lock_wait_timeout = DEFAULT")
            if first in _WRITES:
                self._refuse_warnings(ignored=sql.lstrip()[:13].upper() in DUPLICATE_IGNORED)
        return touched if first not in _COMMITS else -1

    def fetch(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one query and return its (few) rows."""
        with self._translated(sql):
            return self._ask(self._filled(sql, params))

    def insert_values(self, statement: str) -> int:
        """Run one INSERT of many rows; the rows inserted."""
        with self._translated():
            touched = self._run(statement)
            self._refuse_warnings()
            return touched

    def _filled(self, sql: str, params: Sequence[object]) -> str:
        """The statement with its parameters ``?1``, ``?2`` (or ``?`` in order) as literals."""
        if not params:
            return sql
        places = iter(range(len(params)))

        def value(found: re.Match[str]) -> str:
            if found["number"] is None:
                return found[0]
            index = int(found["number"]) - 1 if found["number"] else next(places, -1)
            if not 0 <= index < len(params):
                message = f"the statement names parameter {found[0]}, and {len(params)} were given"
                raise UsageError(message, "give one value for each parameter")
            return self.dialect.literal(params[index])

        return _TOKEN.sub(value, sql)

    def _run(self, sql: str) -> int:
        self._warned = 0
        touched = int(self._connection.query(sql))
        self._warned = int(self._connection._result.warning_count or 0)  # noqa: SLF001  the driver's cursor is slower
        return touched

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def _refuse_warnings(self, *, ignored: bool = False) -> None:
        """Strict mode leaves some changes of values at a warning or a note; none of them is let through."""
        if not self._warned:
            return
        warned, rows = self._warned, self._ask("SHOW WARNINGS")
        fine = (*HARMLESS, CONFLICT) if ignored else HARMLESS
        bad = [row for row in rows if int(row[1]) not in fine]
        if bad or warned > len(rows):
            refuse_warnings(bad)

    # -- transactions -----------------------------------------------------------------------------------------

    def begin(self, *, read_only: bool = False) -> None:
        """Open a transaction; a reading one sees one snapshot."""
        if self._in_transaction():
            message = "a transaction is open already"
            raise UsageError(message, "commit or roll back first")
        self._interrupted = False
        with self._translated():
            if read_only:
                self._run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                self._run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            else:
                self._run("START TRANSACTION READ WRITE")

    def commit(self) -> None:
        """Commit the open transaction.

        Raises:
            FlowError: The session was interrupted, or the transaction is gone; nothing of it was kept then.
        """
        if self._interrupted:
            self.rollback()
            raise CancelledError(CANCELLED)
        with self._translated():
            if not self._in_transaction():
                message = "the transaction is not open any more: a statement committed it, or the server ended it"
                raise RunError(message, "look at the target before the next run")
            self._run("COMMIT")

    def rollback(self) -> None:
        """Undo the open transaction; harmless when none is open or the connection is lost."""
        self._end_stream()
        self._interrupted = False
        if not self._connection.open or not self._in_transaction():
            return
        with contextlib.suppress(*driver_errors()):  # a lost connection has rolled back by itself
            self._run("ROLLBACK")

    def _in_transaction(self) -> bool:
        return bool(self._connection.open and self._connection.server_status & IN_TRANSACTION)

    # -- reading ----------------------------------------------------------------------------------------------

    def describe(self, query: str) -> tuple[Column, ...]:
        """Names and types of a SELECT, from its preparation: nothing is run.

        Raises:
            SqlError: With the line of the error; also for no column, two of one name, or a geometry.
        """
        with self._translated(query):
            return describe(self._connection, query, self._catalogue.declared)

    def read(self, query: str, columns: Sequence[Column], *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Stream a SELECT; leaving it early stops the server and keeps the session usable.

        Raises:
            DataError: A value does not fit its column's type; names column, row and value.
        """
        statement, added = self._exact(query, columns)
        most = min(batch_rows, BATCH_ROWS)

        def stream() -> Generator[pa.RecordBatch, None, None]:
            with self._translated(query, added), self._reading(statement) as reader:
                blocks = reader.blocks(most, self._check_interrupt)
                yield from batches(columns, blocks, zero_dates_are_null=self._settings.zero_dates_are_null)
                if reader.failure is not None:
                    self._raise_failure(reader.failure)

        return self._streaming(stream())

    def _exact(self, query: str, columns: Sequence[Column]) -> tuple[str, int]:
        """The query, around it a cast of FLOAT columns, which print six digits; and the lines put in front."""
        if not any(column.type.kind == "float" for column in columns):
            return query, 0
        quote = self.dialect.quote
        listed = ", ".join(
            f"CAST({quote(column.name)} AS DOUBLE) AS {quote(column.name)}"
            if column.type.kind == "float"
            else quote(column.name)
            for column in columns
        )
        return f"SELECT {listed} FROM {self.dialect.wrap(query, 'ematix_source')}", 1

    def estimate(self, query: str) -> int | None:
        """The rows that the planner expects; it takes each row that goes into a GROUP BY for a group.

        None also where the user may read a view and not look into it.
        """
        import pymysql

        explain = "EXPLAIN EXTENDED" if self.dialect.mariadb else "EXPLAIN"
        with self._translated(query), self._connection.cursor() as cursor:
            try:
                cursor.execute(f"{explain} SELECT * FROM {self.dialect.wrap(query, 'ematix_source')}")
            except pymysql.err.Error as exc:
                if code_of(exc) in NO_LOOK_INSIDE:
                    return None
                raise
            names = [each[0] for each in cursor.description]
            return expected_rows([dict(zip(names, row, strict=True)) for row in cursor.fetchall()])

    @contextlib.contextmanager
    def _reading(self, statement: str) -> Iterator[PacketReader]:
        """Run a query without fetching its rows; what was not read is stopped and drained at the end."""
        connection = self._connection
        connection.query(statement, unbuffered=True)
        result = connection._result  # noqa: SLF001
        result.unbuffered_active = False  # the rows are read here
        reader = PacketReader(connection)
        if not result.field_count:
            reader.ended = True
        try:
            yield reader
        finally:
            if connection.open and not reader.ended:
                self._stop_reading(reader)

    def _stop_reading(self, reader: PacketReader) -> None:
        self._kill_query()
        try:
            reader.drain()
        except driver_errors():
            self._connection._force_close()  # noqa: SLF001  it is gone; nothing else may be sent on it

    def _raise_failure(self, packet: bytes) -> None:
        from pymysql.err import raise_mysql_exception

        raise_mysql_exception(packet)

    def tables(self, schema: str | None = None) -> list[TableRef]:
        """Tables and views of a database; of the connection's own when none is named."""
        with self._translated():
            return self._catalogue.tables(schema)

    def table(self, ref: TableRef) -> TableInfo | None:
        """What the server says of a table; None when it does not exist."""
        with self._translated():
            return self._catalogue.table(ref)

    # -- writing ----------------------------------------------------------------------------------------------

    def write(self, ref: TableRef, columns: Sequence[Column], batches: Iterable[pa.RecordBatch]) -> int:
        """Append batches by LOAD DATA LOCAL, or by INSERT where the server forbids that, all or none; the rows written.

        Raises:
            DataError: A value does not fit; names column, row (from 1 over all batches) and value.
        """
        if self._in_transaction():
            return write_batches(self, ref, columns, batches)
        self.begin()
        try:
            written = write_batches(self, ref, columns, batches)
            self.commit()
        except BaseException:
            self.rollback()
            raise
        return written

    def load_local(self, statement: str, chunks: Iterable[bytes]) -> int:
        """Run LOAD DATA LOCAL with the given chunks; the rows loaded.

        Raises:
            DataError: The server changed or left out a value.
        """
        import pymysql
        from pymysql.constants import COMMAND

        connection = self._connection
        with self._translated():
            connection._execute_command(COMMAND.COM_QUERY, statement)  # noqa: SLF001
            first = connection._read_packet()  # noqa: SLF001
            if not first.is_load_local_packet():
                connection._force_close()  # noqa: SLF001
                message = "the server did not ask for the rows of LOAD DATA LOCAL"
                raise pymysql.err.OperationalError(FORBIDDEN[0], message)
            try:
                self._send(chunks)
            except BaseException:
                self._leave_load()
                raise
            answer = self._end_load()
            self._warned = answer.warning_count
            if self._warned:
                self._refuse_warnings()
            return int(answer.affected_rows)

    def _send(self, chunks: Iterable[bytes]) -> None:
        connection = self._connection
        for chunk in chunks:
            self._check_interrupt()
            view = memoryview(chunk)
            for start in range(0, len(view), SEND_BYTES):
                self._sending = True
                connection.write_packet(bytes(view[start : start + SEND_BYTES]))
                self._sending = False

    def _end_load(self) -> Any:
        """Say that all rows were sent, and read the answer."""
        from pymysql.protocol import OKPacketWrapper

        connection = self._connection
        connection.write_packet(b"")
        answer = OKPacketWrapper(connection._read_packet())  # noqa: SLF001
        connection.server_status = answer.server_status
        return answer

    def _leave_load(self) -> None:
        """After a failure of ours: what was sent is for the caller to roll back."""
        if not self._connection.open:
            return
        if self._sending:  # a packet was cut short: nothing can follow it
            self._connection._force_close()  # noqa: SLF001
            return
        with contextlib.suppress(*driver_errors()):
            self._end_load()

    def drop_if_empty(self, ref: TableRef) -> None:
        """Remove a table that a failed run made, unless somebody has filled it; nobody can do so in between."""
        name = self.dialect.table(ref)
        with self._translated():
            self._run(f"SET SESSION lock_wait_timeout = {DDL_LOCK_TIMEOUT_S}")
            self._run(f"LOCK TABLES {name} WRITE")
            try:
                if not self._ask(f"SELECT 1 FROM {name} LIMIT 1"):
                    self._run(f"DROP TABLE {name}")
            finally:
                self._run("UNLOCK TABLES")

    # -- stopping ---------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Stop the running statement, from another thread; an open transaction can only be rolled back then."""
        if not self._connection.open or not (self._busy or self._in_transaction()):
            return
        self._interrupted = True
        self._interrupted_at = time.monotonic()
        if self._busy:
            self._kill_query()

    def _kill_query(self) -> None:
        """Ask for the end of this connection's statement, on a second connection."""
        with contextlib.suppress(ConnectError, *driver_errors()):  # the server is gone: then nothing runs either
            other = connect(self._settings, seconds=CANCEL_TIMEOUT_S)
            try:
                other.query(f"KILL QUERY {self._connection.thread_id()}")
            finally:
                other.close()

    def close(self) -> None:
        """Close; what is open is rolled back. May be called twice."""
        self._end_stream()
        if self._connection.open:
            with contextlib.suppress(*driver_errors()):
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

    def _check_interrupt(self) -> None:
        if self._interrupted:
            raise CancelledError(CANCELLED)

    @contextlib.contextmanager
    def _translated(self, query: str = "", offset_lines: int = 0) -> Iterator[None]:
        """Turn the driver's errors into ours, once."""
        self._refuse_while_reading()
        self._check_interrupt()
        self._busy += 1
        try:
            yield
        except driver_errors() as exc:
            raise self._translation(exc, query, offset_lines) from exc
        finally:
            self._busy -= 1
            if not self._in_transaction():
                self._interrupted = False

    def _translation(self, exc: Exception, query: str, offset_lines: int) -> FlowError:
        recently = time.monotonic() - self._interrupted_at < CANCEL_TIMEOUT_S
        if isinstance(exc, OSError | EOFError) or code_of(exc) == 0:
            if self._interrupted or recently:
                return CancelledError(CANCELLED)
            return lost_error(self._settings.place)
        cancelled = self._interrupted or recently
        place = self._settings.place
        return translate(exc, query=query, offset_lines=offset_lines, cancelled=cancelled, place=place)
