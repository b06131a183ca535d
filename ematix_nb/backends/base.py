"""The contracts of a backend: what the engine may ask of any system.

A backend is a folder with ``config.py`` (typed connection -> settings),
``capabilities.py`` (data), ``dialect.py`` (types, quoting, statements) and
``io.py`` (sessions), and an object :class:`Backend` in its ``__init__``.

A *session* is one open connection, used by one thread; only ``interrupt`` may
be called from another. SQL systems give a :class:`SqlSession`, file stores a
:class:`FileSession`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ematix_nb.declare.data_types import DataType, Stored, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from ematix_nb.declare.spec import Column, TableRef
    from ematix_nb.sql.dialect import Dialect

BATCH_ROWS = 65_536

__all__ = [
    "BATCH_ROWS",
    "Backend",
    "Capabilities",
    "Estimating",
    "FileScan",
    "FileSession",
    "Late",
    "LateRows",
    "Manifest",
    "PassThrough",
    "SnapshotSharing",
    "SqlSession",
    "Stored",
    "TableInfo",
    "Verdict",
]


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a system can do, as data. The engine asks this, never the name."""

    modes: frozenset[str]
    has_sql: bool = True
    """Answers SELECT by itself; otherwise DataFusion does."""
    executor: str = "sql"
    """How a plan is carried out: ``sql`` (statements), ``files`` (a manifest) or ``delta`` (one commit of a table)."""
    has_schemas: bool = True
    default_schema: str | None = None
    """Where unqualified tables go; None when the system has no schemas."""
    max_identifier_bytes: int | None = None
    keeps_nan: bool = True
    keeps_nul_in_text: bool = True
    sequences_survive_rollback: bool = False
    """A rolled back insert still advances identity columns."""
    many_writers: bool = True
    """Several processes may have it open for writing at once."""
    takes_dictionaries: bool = False
    """``write`` takes dictionary-encoded columns, and converts each value of a dictionary once."""
    event_times: bool = True
    """Mode scd2 can date versions by a column of the source."""
    transactional_ddl: bool = True
    """Tables and columns are made in the data's own transaction; else such a statement commits what ran before it."""
    shares_snapshots: bool = False
    """Several sessions can read what the database held at one moment (`SnapshotSharing`)."""
    pass_through: bool = False
    """Two databases of this system can exchange rows in its own binary form."""
    tells_transactions: bool = False
    """Rows tell which transaction wrote them, so that those which committed late can be found (`LateRows`)."""


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What the catalogue says of an existing table."""

    ref: TableRef
    columns: tuple[Column, ...]
    """In order; types carry the native spelling where the kind does not say it all."""
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    """Column tuples with a valid, non-partial unique index (the primary key among them)."""
    generated: frozenset[str] = frozenset()
    """Columns that the system computes and that must not be written."""
    defaults: frozenset[str] = frozenset()
    """Columns with a default or identity: they need not be supplied."""
    kind: str = "table"
    """``table``, ``view``, ``partitioned``, ``foreign``."""
    hooks: bool = False
    """Triggers or rules of the user may change or drop rows on their way in."""
    unfit: tuple[str, str] | None = None
    """Why the table cannot be a target although it is one, and what to do about it."""


class SqlSession(Protocol):
    """One open connection to an SQL system. Statements outside ``begin``/``commit`` commit by themselves."""

    dialect: Dialect
    capabilities: Capabilities
    identity: str
    """Equal for two sessions on the same database with the same rights; holds no secret."""

    def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Run one statement; the number of rows it touched (-1 when unknown)."""
        ...

    def fetch(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one query and return its (few) rows."""
        ...

    def begin(self, *, read_only: bool = False) -> None:
        """Open a transaction that may write at once (no later upgrade)."""
        ...

    def commit(self) -> None:
        """Commit the open transaction."""
        ...

    def rollback(self) -> None:
        """Undo the open transaction; harmless when none is open."""
        ...

    def describe(self, query: str) -> tuple[Column, ...]:
        """Names and types of a SELECT without reading rows.

        Raises:
            SqlError: With the line and column of the error where the system tells them.
        """
        ...

    def read(self, query: str, columns: Sequence[Column], *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Stream a SELECT; each batch has exactly the Arrow types of ``to_arrow(column.type)``. Memory stays bounded.

        Raises:
            DataError: When a value does not fit its column's type; nothing is changed silently.
        """
        ...

    def tables(self, schema: str | None = None) -> list[TableRef]:
        """The tables and views a user would see."""
        ...

    def table(self, ref: TableRef) -> TableInfo | None:
        """What the catalogue says of a table; None when it does not exist. Sees the open transaction."""
        ...

    def write(self, ref: TableRef, columns: Sequence[Column], batches: Iterable[pa.RecordBatch]) -> int:
        """Append batches to an existing (or temporary) table by the fastest exact way; the rows written.

        ``columns`` names the columns of the batches, with the types as ``Dialect.store`` gave them.
        """
        ...

    def interrupt(self) -> None:
        """Stop the statement that is running, from another thread; at once, at most 2 s."""
        ...

    def close(self) -> None:
        """Close; rolls back what is open. May be called twice."""
        ...


class OwnDdl(Protocol):
    """Sessions whose schema changes commit by themselves (not ``Capabilities.transactional_ddl``)."""

    def drop_if_empty(self, ref: TableRef) -> None:
        """Remove a table that a failed run made, unless it holds rows by now."""
        ...


class Estimating(Protocol):
    """Sessions that can tell about how many rows a query has, without running it. Optional; asked for progress only."""

    def estimate(self, query: str) -> int | None:
        """Rows, about; None when nothing is known."""
        ...


class SnapshotSharing(Protocol):
    """Sessions whose system lets others see the same moment (``Capabilities.shares_snapshots``)."""

    def shared_snapshot(self, count: int) -> AbstractContextManager[tuple[SqlSession, list[SqlSession]]]:
        """A session to measure with and ``count`` further ones, all reading one snapshot; closed at the end."""
        ...


class Late(NamedTuple):
    """Rows that an earlier run could not see."""

    rows: int
    oldest: str | None
    """The smallest watermark among them, as text."""
    unusable: str = ""
    """Why the horizon tells nothing any more; then every row may be one of them."""


class LateRows(Protocol):
    """Sessions whose rows tell which transaction wrote them (``Capabilities.tells_transactions``)."""

    def check_late(self, query: str) -> None:
        """Refuse a query whose rows are not those of one table.

        Raises:
            DeclarationError: Naming what is in the way.
        """
        ...

    def horizon(self) -> str:
        """The oldest transaction that has not ended, as opaque text: later reads see all that is older."""
        ...

    def late_rows(self, query: str, column: str, kind: DataType, since: str, below: str) -> Late:
        """The rows of a query that a read right after ``since`` could not see yet, among those where ``below`` holds.

        Rows that were seen may be among them, none is missing. ``column`` is the watermark column of the query.
        """
        ...


class PassThrough(Protocol):
    """Sessions whose system can hand rows to its own kind without Arrow (``Capabilities.pass_through``)."""

    def copy_out(self, query: str) -> Iterator[tuple[bytes, int]]:
        """The rows of a SELECT in the system's own binary form: chunks with their number of rows."""
        ...

    def copy_into(self, ref: TableRef, columns: Sequence[Column], chunks: Iterable[bytes]) -> int:
        """Append what ``copy_out`` gave; the rows written."""
        ...


class FileSession(Protocol):
    """A place that holds files: reads them as one table, publishes new ones whole or not at all."""

    capabilities: Capabilities
    identity: str

    def configure(self, options: Mapping[str, Any]) -> None:
        """Set the write options of the target for ``stage``."""
        ...

    def store(self, kind: DataType) -> Stored:
        """How files of this place store a type."""
        ...

    def tables(self) -> list[str]:
        """Things that can be read here: folders and files with a known ending."""
        ...

    def scan(self, thing: str) -> FileScan:
        """The files behind a path, folder or pattern, through the manifest when there is one."""
        ...

    def manifest(self, thing: str) -> Manifest | None:
        """The newest manifest of a target; None when nothing is there yet.

        Number 0 stands for files that lay there before any run: the first publication adopts them.
        """
        ...

    def stage(self, thing: str, columns: Sequence[Column], batches: Iterable[pa.RecordBatch], run_id: str) -> list[str]:
        """Write hidden, fsynced files that no reader sees; their final names, in order."""
        ...

    def publish(self, thing: str, manifest: Manifest) -> None:
        """Make the manifest (``seq`` = newest + 1) the newest by conditional create, then reveal its files.

        Raises:
            LockedError: When somebody else published that number first.
        """
        ...

    def discard(self, thing: str, run_id: str) -> None:
        """Remove what ``stage`` wrote for a run; harmless when there is nothing."""
        ...

    def close(self) -> None:
        """Close; may be called twice."""
        ...


@dataclass(frozen=True)
class FileScan:
    """Files that form one table."""

    columns: tuple[Column, ...]
    files: tuple[str, ...]
    register: Callable[[Any, str], None]
    """``register(datafusion_session_context, table_name)`` makes the files a table there, with push-down."""
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]
    """``batches(names)`` streams the named columns, file by file, with no engine between."""
    skipped: tuple[str, ...] = ()
    """Files left out (hidden, empty, ``_SUCCESS``), to be told."""
    count: Callable[[], int | None] = lambda: None
    """About how many rows there are, without reading them; None when nothing tells."""


@dataclass(frozen=True)
class Manifest:
    """The published state of one file target: its files, and the engine's state beside them."""

    seq: int
    files: tuple[str, ...] = ()
    """Live files, relative to the target's folder."""
    state: dict[str, Any] = field(default_factory=dict)
    """Watermarks, lease, slots and run history of the pipelines that write here (plain JSON)."""


class Backend(Protocol):
    """One kind of system."""

    kinds: tuple[str, ...]
    """The connection kinds it serves."""
    capabilities: Capabilities

    def open(self, connection: Any, *, read_only: bool = False, create: bool = True) -> Any:
        """Open a session for a typed connection.

        With ``create=False`` nothing appears on disk: a database file that does not exist is stood in for by an
        empty one in memory (a dry run can write into it), a folder that does not exist reads as empty.

        Raises:
            ConnectError: When the system cannot be reached or refuses the login.
            MissingDriverError: When its package is not installed.
        """
        ...
