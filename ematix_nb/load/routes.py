"""How the rows travel: inside one database, in the system's own binary form, or as Arrow; staged or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ematix_nb.backends.base import Verdict
from ematix_nb.declare.data_types import INTEGER_KINDS
from ematix_nb.errors import DeclarationError
from ematix_nb.load.columns import KEYED
from ematix_nb.load.partitions import check_partition_column
from ematix_nb.load.plan import ARROW, COPY_THROUGH, INSERT_SELECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.plan import ColumnPlan
    from ematix_nb.load.reading import Reading
    from ematix_nb.load.source import OpenSource
    from ematix_nb.load.targets import TargetSide


def partitions_of(spec: PipelineSpec, source: OpenSource, reading: Reading) -> tuple[int, str]:
    """How many sessions read the source, and words for the plan.

    Raises:
        DeclarationError: The source cannot share a snapshot, or the column cannot be cut into ranges.
    """
    if spec.partition_column is None or spec.partitions == 1:
        return 1, ""
    if not source.session.capabilities.shares_snapshots:
        message = f"`{source.name}` cannot be read in partitions: its sessions do not share one snapshot"
        raise DeclarationError(message, "take partition_column away: one session reads one snapshot")
    check_partition_column(spec.partition_column, reading.columns)
    return spec.partitions, f"{spec.partitions} sessions read ranges of {spec.partition_column} in one snapshot"


def choose_route(
    target: TargetSpec, source: OpenSource, side: TargetSide, reading: Reading, columns: Sequence[ColumnPlan]
) -> tuple[str, str, bool]:
    """How the rows travel, why, and whether they are staged."""
    again = reading.window is not None and (reading.window.lower != "" or side.info is not None)
    staged = target.mode in KEYED or again or bool(reading.hidden)
    # the query may read the very table that is emptied before it is filled
    staged = staged or (target.mode == "truncate" and source.same_database)
    # a direct load would hold its locks while the source's session waits for them (one session reads and writes where
    # both are one database under one login)
    staged = staged or bool(side.place and side.place == source.place and not source.same_database)
    if not side.capabilities.has_sql:
        return ARROW, f"the target is {side.target_word}", False
    if source.same_database:
        if all(_by_itself(column, side) for column in columns):
            return INSERT_SELECT, "source and target are one database", staged
        return ARROW, "one database, but values are checked on the way", True
    source_capabilities = getattr(source.session, "capabilities", None)
    passes = side.capabilities.pass_through and source_capabilities is not None and source_capabilities.pass_through
    if passes and source.dialect.name == side.backend and all(_same_type(column, side) for column in columns):
        return COPY_THROUGH, "both speak the same binary form and the column types are equal", staged
    if source.dialect.name != side.backend:
        return ARROW, "two systems", staged
    return ARROW, "column types differ" if side.capabilities.pass_through else "two databases", staged


def _by_itself(column: ColumnPlan, side: TargetSide) -> bool:
    """Whether the database's own assignment is exact for every value, and stores the very form that a cast would."""
    if column.verdict not in (Verdict.EXACT, Verdict.WIDENED) or column.reason.startswith("each"):
        return False
    if column.source_type is None or _same_type(column, side):
        return True
    kinds = {column.source_type.kind, column.target_type.kind}
    if any(kinds <= set(family) for family in (INTEGER_KINDS, ("float", "double"), ("text", "string"))):
        return True
    return kinds <= {*INTEGER_KINDS, "numeric"} and bool(side.dialect.orderable(column.target_type))


def _same_type(column: ColumnPlan, side: TargetSide) -> bool:
    if column.source_type is None:
        return False
    return bool(side.dialect.type_sql(column.source_type) == side.dialect.type_sql(column.target_type))
