"""Frames as tables: Arrow, polars and pandas frames, and record batch readers that are read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.files.streams import quoted, register_stream
from ematix_nb.declare.data_types import from_arrow, to_arrow
from ematix_nb.declare.spec import Column
from ematix_nb.errors import DataError

from .session import FrameSession, fitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from ematix_nb.sql.check import TableName


@dataclass(frozen=True)
class FrameRelation:
    """One frame as a table of a query; see `ematix_nb.query.session.Relation`."""

    columns: tuple[Column, ...]
    register: Callable[[Any, str], None]
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]
    count: Callable[[], int | None] = lambda: None


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

    def resolve(source: TableName) -> FrameRelation | None:
        name = ".".join(source.parts)
        return _relation(name, frames[name]) if name in frames else None

    return FrameSession(resolve, lambda: sorted(frames), f"frames:{id(frames)}", threads=threads)


def _relation(name: str, frame: Any) -> FrameRelation:
    import pyarrow as pa

    source = as_arrow(frame, name)
    schema = pa.schema([(field.name, _plain(field, name)) for field in source.schema])
    columns = tuple(Column(field.name, from_arrow(field.type), nullable=True) for field in schema)
    if isinstance(source, pa.Table):
        return _table_relation(source, schema, columns)
    used: list[bool] = []

    def once(names: list[str]) -> Iterator[pa.RecordBatch]:
        if used:
            message = f"the reader `{name}` was read before; a reader gives its rows once"
            raise DataError(message, "pass a table, or read it with `read_all()` first")
        used.append(True)
        for batch in source:
            yield fitted(batch, schema).select(names)

    return FrameRelation(columns, lambda context, table: register_stream(context, table, schema, once), once)


def _table_relation(source: pa.Table, schema: pa.Schema, columns: tuple[Column, ...]) -> FrameRelation:
    import pyarrow as pa

    def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
        for batch in source.to_batches():
            yield fitted(batch, schema).select(names)

    def register(context: Any, table: str) -> None:
        found = [fitted(batch, schema) for batch in source.to_batches()]
        empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
        context.register_record_batches(quoted(table), [found or [empty]])

    return FrameRelation(columns, register, batches, lambda: int(source.num_rows))


def _plain(field: pa.Field, name: str) -> pa.DataType:
    try:
        return to_arrow(from_arrow(field.type))
    except (ValueError, KeyError) as exc:
        message = f"column `{field.name}` of frame `{name}` has the type {field.type}, which no table can hold"
        raise DataError(message, "cast the column before it is loaded") from exc


def as_arrow(frame: Any, name: str) -> pa.Table | pa.RecordBatchReader:
    """The frame as an Arrow table; a record batch reader stays one and is streamed."""
    import pyarrow as pa

    if isinstance(frame, (pa.RecordBatchReader, pa.Table)):
        return frame
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    module = type(frame).__module__.partition(".")[0]
    if module == "polars":
        return (frame.collect() if hasattr(frame, "collect") else frame).to_arrow()
    if module == "pandas":
        return pa.Table.from_pandas(frame, preserve_index=False)
    if hasattr(frame, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(frame).read_all()
    message = f"`{name}` is a {type(frame).__name__}; expected an Arrow, polars or pandas frame"
    raise DataError(message, "return SQL text or a frame")
