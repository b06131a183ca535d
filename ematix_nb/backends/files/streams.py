"""Any stream of record batches as a table of DataFusion, without holding it in memory.

DataFusion reads a pyarrow dataset through three calls (`schema`, `scanner`, `get_fragments`). A dataset whose one
fragment is a Python iterator is therefore a streaming table. Filters are kept from it by a view with a limit that no
table reaches: DataFusion and pyarrow differ in how they compare NaN, and a text file has nothing to skip anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

NO_LIMIT = 2**63 - 1


def quoted(name: str) -> str:
    """A name as DataFusion takes it where it would split at points and fold the case.

    Example:
        >>> print(quoted("orders/*.parquet"))
        "orders/*.parquet"
    """
    return name if name.startswith('"') and name.endswith('"') else '"' + name.replace('"', '""') + '"'


def inner_name(name: str) -> str:
    """What the stream behind a table is called.

    Example:
        >>> inner_name('"raw"."orders"')
        "__stream_raw'.'orders"
    """
    return f"__stream_{name.strip(chr(34))}".replace('"', "'")


def register_stream(
    context: Any, name: str, schema: pa.Schema, open_batches: Callable[[list[str]], Iterator[pa.RecordBatch]]
) -> None:
    """Make a stream a table.

    Args:
        context: DataFusion session context.
        name: The table's name, quoted when it is qualified.
        schema: The columns.
        open_batches: Called for every scan with the names of the columns wanted, in order; gives batches of them.
    """
    import pyarrow.dataset as arrow_dataset

    class Fragment:
        """One scan."""

        def __init__(self) -> None:
            self.columns: list[str] = list(schema.names)

        def scanner(self, *_: Any, columns: list[str] | None = None, **__: Any) -> Fragment:
            self.columns = list(schema.names) if columns is None else columns
            return self

        @property
        def projected_schema(self) -> pa.Schema:
            import pyarrow as pa

            return pa.schema([schema.field(column) for column in self.columns])

        def to_batches(self, *_: Any, **__: Any) -> Iterator[pa.RecordBatch]:
            return open_batches(self.columns)

    class Stream(arrow_dataset.Dataset):  # type: ignore[misc]  # the class is compiled
        """The dataset face of the stream; the compiled base is never initialised, so every method used is here."""

        def __init__(self) -> None:
            pass

        @property
        def schema(self) -> pa.Schema:
            return schema

        def scanner(self, *_: Any, **options: Any) -> Fragment:
            return Fragment().scanner(**options)

        def get_fragments(self, *_: Any, **__: Any) -> list[Fragment]:
            return [Fragment()]

    inner = inner_name(name)
    context.register_dataset(quoted(inner), Stream())
    context.register_view(quoted(name), context.sql(f"SELECT * FROM {quoted(inner)} LIMIT {NO_LIMIT}"))
