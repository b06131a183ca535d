"""A load plan: everything that a run is going to do to one target now, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import Verdict
from ematix_nb.state.model import split_parts

if TYPE_CHECKING:
    from ematix_nb.declare.checks import Check
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column, TableRef

INSERT_SELECT = "insert-select"
COPY_THROUGH = "copy-through"
ARROW = "arrow"


@dataclass(frozen=True)
class ColumnPlan:
    """What happens to one column."""

    name: str
    """In the target."""
    source: str
    """In the source query; empty for the engine's own columns."""
    source_type: DataType | None
    target_type: DataType
    verdict: Verdict = Verdict.EXACT
    reason: str = ""


@dataclass(frozen=True)
class SchemaChange:
    """A change of the target's schema, applied in the run's own transaction where the system can do that."""

    text: str
    """For people: ``create table analytics.orders``."""
    sql: str
    """Empty for targets without SQL."""


@dataclass(frozen=True)
class Window:
    """What an incremental run reads.

    With several columns (a composite watermark) ``stored``, ``lower`` and ``upper`` are JSON lists of texts, one for
    each column; a bound by the first column alone is a list of one.
    """

    column: str
    """Its name in the plan's query and in the target; the first one of several."""
    stored: str
    """The watermark in the target; empty on the first run."""
    lower: str
    """Rows below it are not read; empty on the first run. Includes the overlap."""
    overlap: str
    """How far before the watermark, for people: ``10 minutes``."""
    source: str = ""
    """Its name in the user's query, which the state remembers."""
    upper: str = ""
    """Rows from it on are not read either: a part of a backfill, which leaves the watermark alone."""
    late: str = ""
    """``late_rows="snapshot"``: what was found of rows that committed late, for people; empty with ``overlap``."""
    horizon: str = ""
    """``late_rows="snapshot"``: which transactions had ended before this run reads, for the next one."""
    warning: str = ""
    """What a reader of the rows should know of the window."""
    ahead: bool = False
    """Rows beyond the watermark were loaded, because their time had not come: none beyond it is certainly new."""
    more: tuple[tuple[str, str], ...] = ()
    """The further columns of a composite watermark: the name in the plan, and in the user's query."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns under their names in the plan, in the order in which they are compared."""
        return (self.column, *(name for name, _ in self.more))

    @property
    def sources(self) -> tuple[str, ...]:
        """All columns under their names in the user's query."""
        return (self.source, *(name for _, name in self.more))

    def texts(self, bound: str) -> tuple[str, ...]:
        """A bound as one text for each column that it bounds; none for no bound."""
        return () if not bound else split_parts(bound) if self.more else (bound,)

    def words(self, bound: str) -> str:
        """For people: the columns and the values of a lower bound.

        Example:
            >>> Window("day", "", "", "", more=(("seq", "seq"),)).words('["2026-01-01", "7"]')
            '(day, seq) >= (2026-01-01, 7)'
        """
        texts = self.texts(bound)
        if len(texts) <= 1:
            return f"{self.column} >= {''.join(texts)}"
        return f"({', '.join(self.columns)}) >= ({', '.join(texts)})"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: with several columns lists in the place of texts."""
        values = {name: getattr(self, name) for name in ("stored", "lower", "upper")}
        shown = {name: list(self.texts(value)) or None for name, value in values.items()} if self.more else values
        return {
            "column": list(self.columns) if self.more else self.column,
            **shown,
            "upper": shown["upper"] or None,
            "overlap": self.overlap,
            "late_rows": self.late or None,
        }


@dataclass(frozen=True)
class Quarantine:
    """Where rows go that the target cannot take as it is."""

    name: str
    """The table or folder beside the target; it is made by the first run that needs it."""
    columns: tuple[tuple[str, str], ...]
    """Columns that decide, with the reason: ``("more", "is not in the target")``."""
    null_keys: tuple[str, ...] = ()
    """Key columns: a row that has none goes there."""
    checks: tuple[Check, ...] = ()
    """Checks of single rows that put those aside that break them."""
    limit: int | None = None
    """More rows than that fail the run; None: there is no limit."""

    def words(self) -> str:
        """For people: where to, and when."""
        reasons = [f"`{column}` {why}" for column, why in self.columns]
        reasons += [f"key `{key}` is NULL" for key in self.null_keys]
        reasons += [f"{check} does not hold" for check in self.checks]
        most = f" (at most {self.limit:,}; one more fails the run)" if self.limit is not None else ""
        return f"rows go to {self.name} when {' or '.join(reasons)}{most}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.name,
            "columns": dict(self.columns),
            "null_keys": list(self.null_keys),
            "checks": [str(check) for check in self.checks],
            "max_bad_rows": self.limit,
        }


@dataclass(frozen=True)
class LoadPlan:
    """Everything that a run is going to do to one target."""

    pipeline: str
    state_name: str
    """The name under which the target keeps the state: the pipeline's, or ``pipeline::schema.table``."""
    fingerprint: str
    mode: str
    source: str
    """Connection name of the source."""
    target: str
    """``connection:table``."""
    ref: TableRef
    source_sql: str
    """The SELECT that is read: the user's, with normalizers, renames, transforms and watermark window around it."""
    source_columns: tuple[Column, ...]
    columns: tuple[ColumnPlan, ...]
    data: tuple[Column, ...]
    """The data columns with the types in which they are written."""
    keys: tuple[str, ...]
    keys_reason: str
    update_columns: tuple[str, ...]
    compare_columns: tuple[str, ...]
    route: str
    route_reason: str
    staged: bool
    """Rows go to a temporary table first; otherwise straight into the target."""
    schema_changes: tuple[SchemaChange, ...] = ()
    statements: tuple[str, ...] = ()
    """The statements after staging, in order, with the run's own time and id as shown in a preview."""
    window: Window | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    target_exists: bool = True
    strip_nul: bool = False
    """Remove NUL characters from texts (``on_nul="strip"``) and count the texts that had one."""
    meta: tuple[str, ...] = field(default=())
    """Which of the engine's columns the target gets."""
    event_column: str | None = None
    """Mode scd2: the column that dates the versions, under its name in the plan."""
    order_column: str | None = None
    """Of two rows with one key the larger one by this column wins; None: the later one."""
    hidden: frozenset[str] = frozenset()
    """Columns that are read and staged but that the target does not have."""
    partition_column: str = ""
    """The source is read in ranges of this column; empty when it is not."""
    partitions: int = 1
    """By how many sessions at once, in one snapshot."""
    quarantine: Quarantine | None = None
    """Some rows may not fit, and are held beside the target; None: there are none, or they fail the run."""
    checks: tuple[Check, ...] = ()
    """What has to hold before the commit."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON for ``--format json``."""
        return {
            "pipeline": self.pipeline,
            "fingerprint": self.fingerprint,
            "mode": self.mode,
            "source": self.source,
            "target": self.target,
            "source_sql": self.source_sql,
            "columns": [
                {
                    "name": column.name,
                    "source": column.source,
                    "source_type": str(column.source_type) if column.source_type else None,
                    "target_type": str(column.target_type),
                    "verdict": column.verdict.value,
                    "reason": column.reason,
                }
                for column in self.columns
            ],
            "keys": list(self.keys),
            "keys_reason": self.keys_reason,
            "compare_columns": list(self.compare_columns),
            "update_columns": list(self.update_columns),
            "route": self.route,
            "route_reason": self.route_reason,
            "partitions": self.partitions,
            "partition_column": self.partition_column or None,
            "quarantine": self.quarantine.as_dict() if self.quarantine else None,
            "checks": [str(check) for check in self.checks],
            "schema_changes": [change.text for change in self.schema_changes],
            "schema_sql": [change.sql for change in self.schema_changes if change.sql],
            "statements": list(self.statements),
            "watermark": self.window.as_dict() if self.window else None,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }
