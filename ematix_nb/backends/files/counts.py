"""About how many rows files hold, told by footers and first bytes without reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import FileConfig
    from .paths import DataFile

ASKED = 16
"""Files that are looked at; of more, these stand for all."""
FIRST_BYTES = 256 << 10


def estimate_rows(files: Sequence[DataFile], config: FileConfig) -> int | None:
    """The rows of files of one format: exact where every footer was seen, else by size; None when nothing tells.

    A file that cannot be read is left to the reader, who says what is wrong with it.
    """
    asked = files[:: -(-len(files) // ASKED)] if files else []
    size = sum(file.entry.size for file in asked)
    try:
        found = [_rows(file, config) for file in asked]
    except Exception:  # noqa: BLE001 - whatever it is, the reader meets it again
        return None
    known = [count for count in found if count is not None]
    if len(known) < len(found) or not size:
        return None if found else 0
    return round(sum(known) * sum(file.entry.size for file in files) / size)


def _rows(file: DataFile, config: FileConfig) -> float | None:
    if file.format == "parquet":
        import pyarrow.parquet as pq

        with file.open() as handle:
            return float(pq.read_metadata(handle).num_rows)
    if file.format == "orc":
        from pyarrow import orc

        with file.open() as handle:
            return float(orc.ORCFile(handle).nrows)
    return _lines(file, config)


def _lines(file: DataFile, config: FileConfig) -> float | None:
    """Rows by the length of the first lines; packed files do not tell."""
    if file.is_packed:
        return None
    with file.stream() as stream:
        head = bytes(stream.read(FIRST_BYTES))
    lines = head.count(b"\n") + (not head.endswith(b"\n") and len(head) < FIRST_BYTES)
    header = int(file.format == "csv" and config.csv_header)
    return max(lines - header, 0) * max(file.entry.size / len(head), 1) if head else 0.0
