"""Opening the source of a pipeline: a query in a system, SQL over files, or a frame that a function returned."""

from __future__ import annotations

import functools
import inspect
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.registry import open_session
from ematix_nb.connections.secret import censor, redact
from ematix_nb.declare.functions import arity
from ematix_nb.errors import DeclarationError, FlowError, RunError
from ematix_nb.query.spark import from_pyspark, is_spark_frame
from ematix_nb.sql.parameters import bind

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from ematix_nb.backends.base import Late
    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.sql.dialect import Dialect

FRAME = "source"
"""The table name under which a returned frame is read."""


@dataclass
class OpenSource:
    """A source that is ready to be described and read."""

    session: Any
    """Has ``describe``, ``read``, ``interrupt``, ``close``."""
    dialect: Dialect
    sql: str
    """The user's SELECT."""
    name: str
    """The connection's name, for people."""
    identity: str = ""
    """Equal to the target's identity when both are one database; empty for files and frames."""
    place: str = ""
    """Equal for two sessions of one database under any login."""
    once: bool = False
    """The rows can be read one time only."""
    same_database: bool = False
    """Source and target are one database, so the target's session can read it too."""
    late: dict[tuple[str, str], tuple[str, Late | None]] = field(default_factory=dict)
    """What was asked of rows that committed late: a run plans twice, and the first answer loses no row."""

    def close(self) -> None:
        """Close the session."""
        self.session.close()


class ConnectionHandle:
    """What a pipeline function receives: looks things up before it returns its SELECT.

    It opens the connection at the first question and only reads.
    """

    def __init__(self, connection: Any, opener: Callable[[], Any]) -> None:
        self.name: str = connection.name
        self.kind: str = connection.kind
        self._opener = opener
        self._session: Any = None

    def fetch(self, sql: str, params: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of a small query as tuples."""
        return list(self._open().fetch(sql, params))

    def read(self, sql: str) -> pa.Table:
        """The rows of a query as an Arrow table."""
        import pyarrow as pa

        from ematix_nb.declare.data_types import to_arrow

        session = self._open()
        columns = session.describe(sql)
        schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
        return pa.Table.from_batches(session.read(sql, columns), schema=schema)

    def close(self) -> None:
        """Close what was opened."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self) -> Any:
        if self._session is None:
            self._session = self._opener()
        return self._session

    def __repr__(self) -> str:
        return f"<connection {self.name} ({self.kind})>"


def source_query(spec: PipelineSpec, source: Any, target: Any) -> Any:
    """The SELECT text of a pipeline, or the frame that its function returned.

    ``source`` and ``target`` are resolved connections.

    Raises:
        DeclarationError: When the function returns something that is neither.
    """
    if spec.query.sql is not None:
        return spec.query.sql
    if spec.query.source_table is not None:
        return None
    function = spec.query.function
    if function is None:
        message = f"pipeline `{spec.name}` has no query"
        raise DeclarationError(message, "return a SELECT, or give source_table=")
    handles = [ConnectionHandle(each, functools.partial(open_reader, each)) for each in (source, target)]
    wanted = arity(function)
    try:
        result = function(*handles[:wanted])
        if inspect.iscoroutine(result):
            import asyncio

            result = asyncio.run(result)
    except FlowError:
        raise
    except Exception as exc:  # the user's function may raise anything
        raise _function_error(spec, exc) from exc
    finally:
        for handle in handles:
            handle.close()
    if is_spark_frame(result):
        return from_pyspark(result)
    if isinstance(result, str) or is_frame(result):
        return result
    message = f"pipeline `{spec.name}` must return SQL text or a frame; its function returned {type(result).__name__}"
    raise DeclarationError(message, "return a SELECT, a polars, pandas or Arrow table, or a RecordBatchReader")


def _function_error(spec: PipelineSpec, exc: Exception) -> RunError:
    frames = traceback.extract_tb(exc.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    message = f"the function of pipeline `{spec.name}` raised {redact(f'{type(exc).__name__}: {exc}')}"
    censor(exc)
    return RunError(message, "correct the function; --debug shows the traceback", where)


def is_frame(value: object) -> bool:
    """Whether a value is a table that Arrow can read: Arrow, polars, pandas, or anything with a C stream."""
    return hasattr(value, "__arrow_c_stream__") or type(value).__module__.split(".")[0] in ("pandas", "polars")


def is_reader(frame: object) -> bool:
    """Whether a frame gives its rows only once."""
    import pyarrow as pa

    return isinstance(frame, pa.RecordBatchReader)


def open_reader(connection: Any, *, create: bool = True) -> Any:
    """A session that answers SELECT for any kind of connection; read only.

    Without ``create`` an empty database stands in for a file that is not there.
    """
    session = open_session(connection, read_only=True, create=create)
    if session.capabilities.has_sql:
        return session
    from ematix_nb.query import open_file_query

    return open_file_query(session)


def open_source(spec: PipelineSpec, source: Any, target: Any, target_session: Any) -> OpenSource:
    """Open the source of a pipeline, read only."""
    query = source_query(spec, source, target)
    if query is not None and not isinstance(query, str):
        from ematix_nb.query import open_frames

        frames = open_frames({FRAME: query})
        return OpenSource(frames, frames.dialect, f"SELECT * FROM {FRAME}", "frame", once=is_reader(query))
    session = open_reader(source, create=source != target)  # a target may be made by its first run
    identity = getattr(session, "identity", "") if session.capabilities.has_sql else ""
    same = bool(identity) and identity == getattr(target_session, "identity", None)
    sql = (
        _bound(spec, query, session)
        if isinstance(query, str)
        else f"SELECT * FROM {session.dialect.named(spec.query.source_table or '')}"
    )
    place = getattr(session, "place", "")
    return OpenSource(session, session.dialect, sql, source.name, identity, place, same_database=same)


def _bound(spec: PipelineSpec, sql: str, session: Any) -> str:
    """The SELECT with its values; the session is closed when one is missing."""
    try:
        return bind(sql, dict(spec.params), session.dialect) if spec.params or spec.query.sql is not None else sql
    except FlowError:
        session.close()
        raise
