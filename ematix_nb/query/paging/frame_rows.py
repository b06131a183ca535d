"""Rows of a frame in memory: a plain page is a slice; DataFusion answers the rest, like every query of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.errors import DataError
from ematix_nb.query.frames import open_frames

from .sql_rows import SqlRows
from .stats import SAMPLE_ABOVE, SAMPLE_ROWS

if TYPE_CHECKING:
    from collections.abc import Generator

    import pyarrow as pa

    from .model import Stop
    from .wanted import Wanted

_MAX_NAME = 60


class FrameRows(SqlRows):
    """Rows of an Arrow table."""

    counts_quickly = True

    def __init__(self, name: str, table: pa.Table) -> None:
        table_name = name if name.isidentifier() and len(name) <= _MAX_NAME else "frame"
        super().__init__(f'SELECT * FROM "{table_name}"', lambda: open_frames({table_name: table}))
        self._table = table

    def read(self, wanted: Wanted, offset: int, limit: int, stop: Stop) -> pa.Table:
        """A slice where nothing else is wanted."""
        if wanted.conditions or wanted.orders:
            return super().read(wanted, offset, limit, stop)
        part = self._table.slice(offset, limit)
        return SqlRows(self.sql, lambda: open_frames({self._name: part})).read(wanted, 0, limit, stop)

    @property
    def _name(self) -> str:
        return self.sql.split('"')[1]

    def count(self, wanted: Wanted, stop: Stop) -> int:
        """Known, without conditions."""
        return super().count(wanted, stop) if wanted.conditions else int(self._table.num_rows)

    def values(self, wanted: Wanted, column: str, total: int, stop: Stop) -> Generator[pa.Array, None, None]:
        """Of very many rows every so many, the same each time."""
        if wanted.conditions or total <= SAMPLE_ABOVE:
            yield from super().values(wanted, column, total, stop)
            return
        import pyarrow as pa

        step = -(-total // SAMPLE_ROWS)
        picked = self._table.select([column]).take(pa.array(range(0, total, step), pa.int64()))
        yield from SqlRows(self.sql, lambda: open_frames({self._name: picked})).values(wanted, column, 0, stop)


def frame_rows(name: str, frame: Any) -> FrameRows:
    """The rows of an Arrow, polars or pandas frame.

    Raises:
        DataError: When it is no frame, or its rows come once only.
    """
    import pyarrow as pa

    from ematix_nb.query.frames import as_arrow

    found = as_arrow(frame, name)
    if not isinstance(found, pa.Table):
        message = f"`{name}` is a reader, whose rows come once only"
        raise DataError(message, f"keep its rows first: {name if name.isidentifier() else 'table'} = reader.read_all()")
    return FrameRows(name, found)
