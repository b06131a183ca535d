"""What folders of files can do, as data."""

from __future__ import annotations

from ematix_nb.backends.base import Capabilities

CAPABILITIES = Capabilities(
    modes=frozenset({"append", "truncate"}),
    has_sql=False,
    executor="files",
    has_schemas=False,
    default_schema=None,
    max_identifier_bytes=None,
    keeps_nan=True,
    keeps_nul_in_text=True,
    sequences_survive_rollback=False,
    many_writers=True,
    pass_through=False,
)

ENDINGS: dict[str, tuple[str, ...]] = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".csv.gz", ".csv.zst"),
    "jsonl": (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".jsonl.zst", ".json"),
    "orc": (".orc",),
}
"""Format -> endings of its files; the first is the one that is written."""

COMPRESSIONS: dict[str, tuple[str, ...]] = {
    "parquet_compression": ("zstd", "snappy", "gzip", "uncompressed"),
    "orc_compression": ("zstd", "snappy", "zlib", "lz4", "uncompressed"),
}
WRITE_OPTIONS: dict[str, tuple[str, ...]] = {
    "parquet_compression": ("parquet",),
    "orc_compression": ("orc",),
    "csv_delimiter": ("csv",),
    "csv_header": ("csv",),
    "csv_quote": ("csv",),
    "csv_null_value": ("csv",),
    "csv_safe": ("csv",),
    "partition_by": ("parquet", "csv", "jsonl", "orc"),
    "target_file_rows": ("parquet", "csv", "jsonl", "orc"),
    "target_file_bytes": ("parquet", "csv", "jsonl", "orc"),
}
"""Write option -> the formats it has a meaning for."""

MANIFESTS_KEPT = 20
TARGET_FILE_BYTES = 512 * 1024 * 1024
MAX_FILE_BYTES = 4 * 1024**3
SAMPLE_ROWS = 1000
"""Rows at the head of each file that column types are inferred from, where a file does not tell them."""


def format_of(name: str) -> str | None:
    """The format that a file name stands for.

    Example:
        >>> format_of("a/orders.csv.gz"), format_of("notes.txt")
        ('csv', None)
    """
    lowered = name.lower()
    return next((kind for kind, endings in ENDINGS.items() if lowered.endswith(endings)), None)
