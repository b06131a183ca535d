"""The read side of a session for sources that have no SQL: files and frames.

DataFusion answers what they are asked. A SELECT that only picks columns of one table is streamed straight from the
table: no engine has to be loaded for it, which saves its start and its memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ematix_nb.backends.base import BATCH_ROWS, Capabilities
from ematix_nb.backends.files.streams import inner_name
from ematix_nb.declare.data_types import from_arrow, to_arrow
from ematix_nb.declare.spec import Column
from ematix_nb.errors import (
    CANCELLED,
    CancelledError,
    DataError,
    FlowError,
    RunError,
    SqlError,
    UnknownNameError,
    known_names,
)
from ematix_nb.sql.check import Checked, TableName, check_select
from ematix_nb.words import counted

from .dialect import DataFusionDialect
from .errors import translated
from .pushed import conditions

if TYPE_CHECKING:
    import pyarrow as pa

    from .stream import Running


class Relation(Protocol):
    """A table that a query may name: files, or a frame."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Names and types."""
        ...

    @property
    def register(self) -> Callable[[Any, str], None]:
        """Makes it a table of a DataFusion context, under a quoted name."""
        ...

    @property
    def batches(self) -> Callable[[list[str]], Iterator[pa.RecordBatch]]:
        """Streams the named columns."""
        ...

    @property
    def count(self) -> Callable[[], int | None]:
        """Tells about how many rows there are, or None."""
        ...


Resolver = Callable[[TableName], Relation | None]
Plain = tuple[Relation, tuple[tuple[str, str], ...]]
"""A table, and the columns that are picked from it: pairs (name there, name in the result)."""

SETTINGS = {
    "datafusion.execution.parquet.schema_force_view_types": "false",
    "datafusion.sql_parser.map_string_types_to_utf8view": "false",
    "datafusion.execution.parquet.pushdown_filters": "false",
    "datafusion.execution.time_zone": "UTC",
}
MAX_PARTS = 2
"""Schema and name."""
CAPABILITIES = Capabilities(modes=frozenset(), has_sql=True, has_schemas=False)


def _context(threads: int) -> Any:
    from datafusion import SessionConfig, SessionContext

    config = SessionConfig().with_target_partitions(threads)
    for name, value in SETTINGS.items():
        config = config.set(name, value)
    return SessionContext(config)


class FrameSession:
    """Answers SELECTs over files or frames with DataFusion; the reading half of `SqlSession`.

    Unquoted names are folded to lower case; ``"Order"`` needs its quotes. With one thread (the default) the rows of a
    plain scan come in the order of the files and of the rows in them, the same each time.
    """

    dialect = DataFusionDialect()
    capabilities = CAPABILITIES

    def __init__(
        self,
        resolve: Resolver,
        known: Callable[[], Sequence[str]],
        identity: str,
        *,
        check: Callable[[bool], None] = lambda _: None,
        close: Callable[[], None] = lambda: None,
        threads: int = 1,
    ) -> None:
        self.identity = identity
        self._resolve = resolve
        self._known = known
        self._check = check
        self._close = close
        self._threads = threads
        self._engine: Any = None
        self._relations: dict[tuple[str, ...], Relation] = {}
        self._registered: dict[tuple[str, ...], str] = {}
        self._schemas: set[str] = set()
        self._running: Running | None = None
        self._interrupted = False

    def describe(self, query: str) -> tuple[Column, ...]:
        """Names and types of a SELECT without reading rows.

        Raises:
            SqlError: When the query is not one SELECT, or DataFusion refuses it.
            UnknownNameError: When a table is not there.
        """
        checked = check_select(query, "datafusion")
        plain = self._plain(checked)
        if plain is None:
            return _columns(self._plan(checked).schema())
        kinds = {column.name: from_arrow(to_arrow(column.type)) for column in plain[0].columns}
        return tuple(Column(name, kinds[source]) for source, name in plain[1])

    def read(self, query: str, columns: Sequence[Column], *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Stream a SELECT in batches of at most ``batch_rows`` with the Arrow types of ``columns``.

        Raises:
            DataError: When a value does not fit, with the file and line where they are known.
            CancelledError: After ``interrupt``.
        """
        import pyarrow as pa

        checked = check_select(query, "datafusion")
        plain = self._plain(checked)
        frame: Any = None if plain else self._plan(checked)
        given = len(plain[1]) if plain else len(frame.schema())
        if given != len(columns):
            message = f"the query gives {counted(given, 'column')}, {len(columns)} expected"
            raise SqlError(message, "describe the query again")
        schema = pa.schema([(column.name, to_arrow(column.type)) for column in columns])
        self._interrupted = False
        self._narrow(frame)
        with self._reading(query):
            for batch in _sized(_pick(*plain) if plain else self._run(frame), batch_rows):
                yield fitted(batch, schema)
                if self._interrupted:
                    raise CancelledError(CANCELLED)
            self._check(False)

    def estimate(self, query: str) -> int | None:
        """About how many rows a SELECT gives, where that is known before they are read."""
        checked = check_select(query, "datafusion")
        plain = self._plain(checked)
        return plain[0].count() if plain else None

    def picked(self, query: str) -> Plain | None:
        """The table and columns of a query that only picks; None when it does more."""
        return self._plain(check_select(query, "datafusion"))

    def _run(self, frame: Any) -> Iterator[pa.RecordBatch]:
        """What DataFusion gives, stopped by ``interrupt``."""
        from .stream import Running

        self._running = Running(frame)
        try:
            yield from self._running
        finally:
            self._running = None

    @contextlib.contextmanager
    def _reading(self, query: str) -> Iterator[None]:
        """Turns what the engine raises while it reads into errors of ours."""
        try:
            yield
        except FlowError:
            raise
        except Exception as exc:
            # DataFusion raises the bare class for what goes wrong in a run
            if self._interrupted:
                raise CancelledError(CANCELLED) from exc
            self._check("arquet" in str(exc))
            raise translated(exc, query) from exc

    def fetch(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one query and return its (few) rows; takes no parameters."""
        if params:
            message = "queries over files and frames take no parameters"
            raise RunError(message, "write the value with `dialect.literal`")
        columns = self.describe(sql)
        rows: list[tuple[Any, ...]] = []
        for batch in self.read(sql, columns):
            rows.extend(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        return rows

    def explain(self, query: str) -> str:
        """The physical plan as text."""
        return str(self._plan(check_select(query, "datafusion")).execution_plan().display_indent())

    @property
    def _context(self) -> Any:
        """DataFusion, made when a query needs it."""
        if self._engine is None:
            self._engine = _context(self._threads)
        return self._engine

    def _plain(self, checked: Checked) -> Plain | None:
        """The table and columns of a query that only picks; None when it takes an engine."""
        if checked.picked is None:
            return None
        relation = self._relation(checked.sources[0])[1]
        pairs = checked.picked.of(tuple(column.name for column in relation.columns))
        return None if pairs is None else (relation, pairs)

    def _plan(self, checked: Checked) -> Any:
        from datafusion import SQLOptions

        for source in checked.sources:
            self._register(source)
        options = SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
        try:
            return self._context.sql_with_options(checked.sql, options)
        except Exception as exc:
            # DataFusion raises ValueError or the bare class
            raise translated(exc, checked.sql) from exc

    def _relation(self, source: TableName) -> tuple[tuple[str, ...], Relation]:
        """A table of a query by its folded name."""
        folded = tuple(p if q else p.lower() for p, q in zip(source.parts, source.quoted, strict=True))
        if folded in self._relations:
            return folded, self._relations[folded]
        relation = self._resolve(source)
        if relation is None and folded != source.parts:
            relation = self._resolve(TableName(folded, source.quoted))
        if relation is None:
            name = ".".join(source.parts)
            message = f"there is no table `{name}`"
            raise UnknownNameError(message, known_names(name, self._known(), "tables"))
        if len(folded) > MAX_PARTS:
            message = f"`{'.'.join(source.parts)}` has {len(folded)} parts"
            raise SqlError(message, 'put a path into one pair of quotes: "a/b/c"')
        self._relations[folded] = relation
        return folded, relation

    def _register(self, source: TableName) -> None:
        folded, relation = self._relation(source)
        if folded in self._registered:
            return
        if len(folded) == MAX_PARTS and folded[0] not in self._schemas:
            from datafusion.catalog import Schema

            self._context.catalog().register_schema(folded[0], Schema.memory_schema())
            self._schemas.add(folded[0])
        name = ".".join('"' + part.replace('"', '""') + '"' for part in folded)
        relation.register(self._context, name)
        self._registered[folded] = inner_name(name)

    def _narrow(self, frame: Any) -> None:
        """Tell tables that are streamed what a query asks of them; without one they give all rows."""
        found = conditions(frame) if frame is not None else {}
        for folded, relation in self._relations.items():
            if hasattr(relation, "narrow"):
                relation.narrow(found.get(self._registered.get(folded, "")))

    def interrupt(self) -> None:
        """Stop the query that is running, from another thread; at once."""
        self._interrupted = True
        running = self._running
        if running is not None:
            running.stop()

    def close(self) -> None:
        """Close; may be called twice."""
        self.interrupt()
        self._close()
        self._close = lambda: None


def _pick(relation: Relation, pairs: Sequence[tuple[str, str]]) -> Iterator[pa.RecordBatch]:
    """The picked columns, straight from the table."""
    names = [source for source, _ in pairs]
    for batch in relation.batches(list(dict.fromkeys(names))):
        yield batch.select(names)


def _columns(schema: pa.Schema) -> tuple[Column, ...]:
    columns = []
    for field in schema:
        try:
            columns.append(Column(field.name, from_arrow(field.type), field.nullable))
        except (ValueError, KeyError) as exc:
            message = f"column `{field.name}` of the query has the type {field.type}, which no table can hold"
            raise DataError(message, "cast it, for example CAST(x AS VARCHAR)") from exc
    names = [column.name for column in columns]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        message = f"two columns of the result are called `{double}`"
        raise SqlError(message, f"name one of them: `{double} AS {double}_2`")
    return tuple(columns)


def _sized(batches: Iterator[pa.RecordBatch] | Running, rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of about ``rows``: small ones joined, large ones cut."""
    import pyarrow as pa

    pending: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        if batch.num_rows:
            pending.append(batch)
            count += batch.num_rows
        if count >= rows:
            joined = pa.concat_batches(pending) if len(pending) > 1 else pending[0]
            whole = count - count % rows
            yield from (joined.slice(at, rows) for at in range(0, whole, rows))
            pending, count = ([joined.slice(whole)], count - whole) if count > whole else ([], 0)
    if pending:
        yield pa.concat_batches(pending)


def fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly the declared Arrow types; views and the like become plain, values are never changed."""
    import pyarrow as pa

    arrays = []
    for array, field in zip(batch.columns, schema, strict=True):
        if array.type.equals(field.type):
            arrays.append(array)
            continue
        try:
            cast = array.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
            message = f"column `{field.name}`: {str(exc)[:160]}"
            raise DataError(message, "cast it in the query") from exc
        if pa.types.is_floating(array.type) and not pa.types.is_floating(field.type):
            message = f"column `{field.name}` is {array.type} and was described as {field.type}"
            raise DataError(message, "cast it in the query")
        arrays.append(cast)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def open_file_query(session: Any, *, threads: int = 1) -> FrameSession:
    """A session that answers SQL over the files of a `FileSession`.

    Table names are quoted paths and patterns (``"orders/*.parquet"``) or plain names (``orders``, ``raw.orders``: a
    folder or file of that name). The file session stays the caller's; closing this one does not close it.

    Raises:
        UnknownNameError: At the query, when no file or folder has the name; lists what there is.
    """
    scans: list[Any] = []

    def resolve(source: TableName) -> Relation | None:
        thing = session.find(source.parts)
        if thing is None:
            return None
        scan = session.scan(thing)
        scans.append(scan)
        found: Relation = scan
        return found

    def check(failed: bool) -> None:  # noqa: FBT001 - called by the session with a literal
        for scan in scans:
            if hasattr(scan, "check"):
                scan.check(failed)

    found = FrameSession(resolve, session.tables, f"files:{session.identity}", check=check, threads=threads)
    found.scans = scans  # type: ignore[attr-defined]  # for those who tell what was skipped
    return found
