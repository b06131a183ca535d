"""What Delta tables can do, as data."""

from __future__ import annotations

from ematix_nb.backends.base import Capabilities
from ematix_nb.declare.spec import MODES

CAPABILITIES = Capabilities(
    modes=frozenset(MODES),
    has_sql=False,
    executor="delta",
    has_schemas=False,
    default_schema=None,
    max_identifier_bytes=None,
    many_writers=True,
)

COMPRESSIONS = {"zstd": "ZSTD", "snappy": "SNAPPY", "gzip": "GZIP", "uncompressed": "UNCOMPRESSED"}
"""Word of the option -> what the library calls it."""
WRITE_OPTIONS = ("partition_by", "parquet_compression")
WRITABLE = frozenset(
    {"appendOnly", "invariants", "checkConstraints", "generatedColumns", "changeDataFeed", "timestampNtz"}
)
"""Features of a table under which all commits of a load are right."""
APPENDABLE = WRITABLE | {"deletionVectors", "v2Checkpoint"}
"""The same for commits that only add rows."""
UNUSABLE = "[]\\|^%"
"""Characters that the library garbles in the name of a folder or an object."""
LOG = "_delta_log"
META = "_ematix_flow"
ROW_GROUP_ROWS = 131072
"""The library holds a row group in memory until it is whole."""
FILES_KEPT = 20
"""State files of one pipeline that stay behind the newest."""
EXACT_DIGITS = 15
"""Decimals with more digits get no lower and upper bound in a commit: the library writes bounds as doubles."""
