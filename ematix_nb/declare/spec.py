"""What a user declared, as plain frozen data: columns, tables, queries, targets, pipelines.

Nothing here opens a connection or imports a driver. Decorators, cell magics and
TOML all end in these classes, so the same declaration has the same fingerprint
whoever wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from ematix_nb.declare.checks import Check
    from ematix_nb.declare.data_types import DataType

MODES = ("append", "truncate", "merge", "scd2")
LOADED_AT = "_loaded_at"
BATCH_ID = "_batch_id"
VALID_FROM = "valid_from"
VALID_TO = "valid_to"
IS_CURRENT = "is_current"
ROW_HASH = "row_hash"
META_COLUMNS = (LOADED_AT, BATCH_ID)
SCD2_COLUMNS = (VALID_FROM, VALID_TO, IS_CURRENT, ROW_HASH)


@dataclass(frozen=True, slots=True)
class Normalizer:
    """One cleaning step of a column, by name and arguments; compiled to the source's SQL."""

    name: str
    """``trim``, ``lower``, ``parse_timestamp``, ...: the names of the source document."""
    arguments: tuple[Any, ...] = ()
    """Plain values in the order of the normalizer's signature."""


@dataclass(frozen=True, slots=True)
class PreTransform:
    """One step between the source query and the load, by name: ``deduplicate_by``, ``filter_where``, ``limit``, ..."""

    name: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a query result or a table."""

    name: str
    type: DataType
    nullable: bool = True
    primary_key: bool = False
    natural_key: str | None = None
    """The group of the natural key it belongs to; ``""`` is the default group."""
    normalizers: tuple[Normalizer, ...] = ()


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table's name inside one system.

    Example:
        >>> str(TableRef("analytics", "orders"))
        'analytics.orders'
    """

    schema: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A declared target table."""

    ref: TableRef
    columns: tuple[Column, ...]
    merge_keys: tuple[str, ...] = ()
    """``__merge_keys__`` of the class."""
    unique_constraints: tuple[tuple[str, ...], ...] = ()

    @property
    def primary_key(self) -> tuple[str, ...]:
        """Names of the columns marked ``pk()``."""
        return tuple(column.name for column in self.columns if column.primary_key)

    def natural_key(self) -> tuple[str, ...]:
        """The first natural key group, the default group first."""
        groups: dict[str, list[str]] = {}
        for column in self.columns:
            if column.natural_key is not None:
                groups.setdefault(column.natural_key, []).append(column.name)
        chosen = "" if "" in groups else next(iter(groups), None)
        return tuple(groups[chosen]) if chosen is not None else ()


@dataclass(frozen=True)
class Query:
    """Where the rows of a pipeline come from: exactly one of the three is given."""

    sql: str | None = None
    """A dedented SELECT, known without calling anything (cell body, constant return value)."""
    function: Callable[..., Any] | None = None
    """Called with the source connection (0 or 1 argument) or source and target (2); returns SQL or a frame."""
    source_table: str | None = None
    """``schema.table``: the SELECT is written for the user."""
    function_digest: str = ""
    """Hash of the function's normalised syntax tree; stands for ``function`` in the fingerprint."""


@dataclass(frozen=True)
class TargetSpec:
    """One target of a pipeline and how to load it."""

    connection: Any = "default"
    """A connection's name or a typed Connection."""
    table: TableSpec | None = None
    """Declared columns; None when the target is given as text."""
    thing: str = ""
    """The part after the colon when the target is text: ``analytics.orders`` or a path."""
    mode: str = "append"
    keys: tuple[str, ...] = ()
    update_columns: tuple[str, ...] = ()
    compare_columns: tuple[str, ...] = ()
    event_timestamp_column: str | None = None
    handle_deletes: str | None = None
    """``hard`` (merge) or ``soft`` (scd2)."""
    ttl: dt.timedelta | None = None
    column_map: tuple[tuple[str, str], ...] = ()
    """Pairs (target column, source column)."""
    write_options: tuple[tuple[str, Any], ...] = ()
    """Of file targets: ``parquet_compression``, ``csv_delimiter``, ``csv_header``, ``partition_by``, ..."""


@dataclass(frozen=True)
class Policies:
    """What a run does when data or schema are not as hoped. Each default loses nothing."""

    on_drift: str = "evolve"
    """``evolve`` (add columns, widen types), ``freeze``, ``quarantine``, or ``warn`` (leave new columns out)."""
    on_duplicate_key: str = "last"
    """``last`` (by watermark, event time or arrival) or ``error``."""
    dedup_by: str | None = None
    """Column that orders rows of one key; the largest wins."""
    on_null_key: str = "error"
    """Rows without a key, in modes that have keys: ``error`` or ``quarantine``."""
    max_bad_rows: int | None = None
    """How many rows that cannot be loaded go to quarantine before the run fails; None: none but those that another
    policy sends there, and of those all."""
    empty_source: str = "keep"
    """truncate and deletes with no source rows: ``keep`` the target and warn, or ``apply``."""
    allow_lossy: tuple[str, ...] = ()
    """Columns that may lose precision."""
    on_nul: str = "error"
    """NUL characters in text for targets that cannot hold them: ``error`` or ``strip`` (counted)."""


@dataclass(frozen=True)
class PipelineSpec:
    """A declared pipeline: a source query, its targets, how and when to load."""

    name: str
    query: Query
    targets: tuple[TargetSpec, ...]
    source_connection: Any = None
    """Name or Connection; None means the first target's."""
    incremental: bool = False
    watermark_column: str | tuple[str, ...] | None = None
    """One column; or several (a composite watermark), which are compared in their order."""
    overlap: dt.timedelta | int | None = None
    """How far before the watermark to read again; None: 10 minutes for times, 0 for numbers and dates."""
    late_rows: str = "overlap"
    """Rows that commit late: found within the ``overlap`` alone, or by their transaction (``snapshot``, PostgreSQL)."""
    schedule: str | None = None
    timezone: str = "UTC"
    catch_up: str = "latest"
    """Missed slots: ``latest`` (newest once), ``all`` or ``none``."""
    depends_on: tuple[str, ...] = ()
    """Names of the pipelines that have to succeed before this one runs."""
    transforms_pre: tuple[PreTransform, ...] = ()
    transforms_post: tuple[Any, ...] = ()
    """SQL text, callables or references to named transforms."""
    continue_on_failure_post: bool = False
    continue_on_target_failure: bool = False
    retries: int = 0
    """How often a load is tried again, at once, after an error that may pass."""
    retry_backoff: dt.timedelta | None = None
    """The pause before the first retry, doubled before each further one; None: 10 seconds."""
    alerts: tuple[str, ...] = ()
    """Channels of the settings that hear of failures and lateness; empty: the unnamed one; ``none``: nobody."""
    partition_column: str | None = None
    """The source is read in ranges of this column, by ``partitions`` sessions at once."""
    partitions: int = 1
    policies: Policies = field(default_factory=Policies)
    checks: tuple[Check, ...] = ()
    """What has to hold before a load commits."""
    added_checks: tuple[Check, ...] = ()
    """Those that were added beside the declaration, by a cell of checks or by ``ematix.check``."""
    params: tuple[tuple[str, Any], ...] = ()
    """Values of ``{{name}}`` in the SELECT, by name."""
    origin: str = ""
    """The file or notebook that declared it."""
    line: int = field(default=0, compare=False)
    """Line of its function in that file; 0 when it has none, or stands in a cell."""
    description: str = ""

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """Every check, each once."""
        return tuple(dict.fromkeys((*self.checks, *self.added_checks)))

    @property
    def watermark_columns(self) -> tuple[str, ...]:
        """The watermark columns in the order in which they are compared; empty when there is none."""
        found = self.watermark_column or ()
        return (found,) if isinstance(found, str) else found

    @property
    def source(self) -> Any:
        """Name or object of the source connection."""
        return self.source_connection if self.source_connection is not None else self.targets[0].connection
