"""The read side of a session for sources that have no SQL: files and frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import BATCH_ROWS, Capabilities
from ematix_nb.backends.files.streams import quoted, register_stream
from ematix_nb.declare.data_types import from_arrow, to_arrow
from ematix_nb.declare.spec import Column
from ematix_nb.errors import CancelledError, DataError, FlowError, RunError, SqlError, UnknownNameError, known_names
from ematix_nb.sql.check import TableName, check_select

from .dialect import DataFusionDialect
from .errors import translated

if TYPE_CHECKING:
    import pyarrow as pa

    from .stream import Running

Resolver = Callable[["TableName"], "Callable[[Any, str], None] | None"]

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
        self._context = _context(threads)
        self._registered: set[tuple[str, ...]] = set()
        self._schemas: set[str] = set()
        self._running: Running | None = None
        self._interrupted = False

    def describe(self, query: str) -> tuple[Column, ...]:
        """Names and types of a SELECT without reading rows.

        Raises:
            SqlError: When the query is not one SELECT, or DataFusion refuses it.
            UnknownNameError: When a table is not there.
        """
        return _columns(self._plan(query).schema())

    def read(self, query: str, columns: Sequence[Column], *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Stream a SELECT in batches of at most ``batch_rows`` with the Arrow types of ``columns``.

        Raises:
            DataError: When a value does not fit, with the file and line where they are known.
            CancelledError: After ``interrupt``.
        """
        import pyarrow as pa

        from .stream import Running

        frame = self._plan(query)
        if len(frame.schema()) != len(columns):
            message = f"the query gives {len(frame.schema())} columns, {len(columns)} expected"
            raise SqlError(message, "describe the query again")
        schema = pa.schema([(column.name, to_arrow(column.type)) for column in columns])
        self._interrupted = False
        running = self._running = Running(frame)
        try:
            for batch in _sized(running, batch_rows):
                yield _fitted(batch, schema)
            self._check(False)
        except (CancelledError, GeneratorExit, KeyboardInterrupt):
            raise
        except FlowError:
            raise
        except Exception as exc:
            # DataFusion raises the bare class for what goes wrong in a run
            if self._interrupted:
                message = "the query was stopped"
                raise CancelledError(message) from exc
            self._check("arquet" in str(exc))
            raise translated(exc, query) from exc
        finally:
            self._running = None

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
        return str(self._plan(query).execution_plan().display_indent())

    def _plan(self, query: str) -> Any:
        from datafusion import SQLOptions

        checked = check_select(query, "datafusion")
        for source in checked.sources:
            self._register(source)
        options = SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
        try:
            return self._context.sql_with_options(checked.sql, options)
        except Exception as exc:
            # DataFusion raises ValueError or the bare class
            raise translated(exc, query) from exc

    def _register(self, source: TableName) -> None:
        folded = tuple(p if q else p.lower() for p, q in zip(source.parts, source.quoted, strict=True))
        if folded in self._registered:
            return
        register = self._resolve(source)
        if register is None and folded != source.parts:
            register = self._resolve(TableName(folded, source.quoted))
        if register is None:
            name = ".".join(source.parts)
            message = f"there is no table `{name}`"
            raise UnknownNameError(message, known_names(name, self._known(), "tables"))
        if len(folded) > MAX_PARTS:
            message = f"`{'.'.join(source.parts)}` has {len(folded)} parts"
            raise SqlError(message, 'put a path into one pair of quotes: "a/b/c"')
        if len(folded) == MAX_PARTS and folded[0] not in self._schemas:
            from datafusion.catalog import Schema

            self._context.catalog().register_schema(folded[0], Schema.memory_schema())
            self._schemas.add(folded[0])
        register(self._context, ".".join('"' + part.replace('"', '""') + '"' for part in folded))
        self._registered.add(folded)

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


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
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

    def resolve(source: TableName) -> Callable[[Any, str], None] | None:
        thing = session.find(source.parts)
        if thing is None:
            return None
        scan = session.scan(thing)
        scans.append(scan)
        register: Callable[[Any, str], None] = scan.register
        return register

    def check(failed: bool) -> None:  # noqa: FBT001 - called by the session with a literal
        for scan in scans:
            if hasattr(scan, "check"):
                scan.check(failed)

    found = FrameSession(resolve, session.tables, f"files:{session.identity}", check=check, threads=threads)
    found.scans = scans  # type: ignore[attr-defined]  # for those who tell what was skipped
    return found


def open_frames(frames: Mapping[str, Any], *, threads: int = 1) -> FrameSession:
    """A session that answers SQL over frames by name.

    Args:
        frames: Arrow tables, batches, record batch readers (read once, streamed), polars (also lazy) or pandas frames.
        threads: How many threads DataFusion may use; one keeps the order of the rows.

    Example:
        >>> import pyarrow as pa
        >>> open_frames({"t": pa.table({"a": [1, 2]})}).fetch("select sum(a) as total from t")
        [(3,)]
    """

    def resolve(source: TableName) -> Callable[[Any, str], None] | None:
        name = ".".join(source.parts)
        if name not in frames:
            return None
        frame = frames[name]
        return lambda context, table: _register_frame(context, table, name, frame)

    return FrameSession(resolve, lambda: sorted(frames), f"frames:{id(frames)}", threads=threads)


def _register_frame(context: Any, table: str, name: str, frame: Any) -> None:
    import pyarrow as pa

    reader = _reader(frame, name)
    schema = pa.schema([(field.name, _plain(field, name)) for field in reader.schema])
    if not isinstance(frame, pa.RecordBatchReader):
        batches = [_fitted(batch, schema) for batch in reader]
        empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
        context.register_record_batches(quoted(table), [batches or [empty]])
        return
    used: list[bool] = []

    def once(columns: list[str]) -> Iterator[pa.RecordBatch]:
        if used:
            message = f"the reader `{name}` was read before; a reader gives its rows once"
            raise DataError(message, "pass a table, or read it with `read_all()` first")
        used.append(True)
        for batch in reader:
            yield _fitted(batch, schema).select(columns)

    register_stream(context, table, schema, once)


def _plain(field: pa.Field, name: str) -> pa.DataType:
    try:
        return to_arrow(from_arrow(field.type))
    except (ValueError, KeyError) as exc:
        message = f"column `{field.name}` of frame `{name}` has the type {field.type}, which no table can hold"
        raise DataError(message, "cast the column before it is loaded") from exc


def _reader(frame: Any, name: str) -> pa.RecordBatchReader:
    import pyarrow as pa

    if isinstance(frame, pa.RecordBatchReader):
        return frame
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    module = type(frame).__module__.partition(".")[0]
    if module == "polars":
        frame = (frame.collect() if hasattr(frame, "collect") else frame).to_arrow()
    elif module == "pandas":
        frame = pa.Table.from_pandas(frame, preserve_index=False)
    elif not isinstance(frame, pa.Table) and hasattr(frame, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(frame)
    if not isinstance(frame, pa.Table):
        message = f"`{name}` is a {type(frame).__name__}; expected an Arrow, polars or pandas frame"
        raise DataError(message, "return SQL text or a frame")
    return frame.to_reader()
