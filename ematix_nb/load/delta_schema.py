"""The columns of a Delta table against what a pipeline wants: what is created or added, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.spec import BATCH_ID, LOADED_AT
from ematix_nb.errors import SchemaDriftError
from ematix_nb.load.drift import FREEZE, UNCHANGED, WARN, check_frozen, fits, missing, renamed, retyped
from ematix_nb.load.plan import SchemaChange
from ematix_nb.load.schema import VERSIONED, SchemaPlan, check_case, check_not_null, engine_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.backends.base import TableInfo
    from ematix_nb.declare.spec import Column, TableRef


def plan_delta(
    dialect: Any, ref: TableRef, wanted: Sequence[Column], found: TableInfo | None, *, mode: str, on_drift: str
) -> SchemaPlan:
    """Decide the columns of a Delta table: new columns join in the load's own commit, a column keeps its type.

    Raises:
        SchemaDriftError: When the policy forbids a difference, or the table was not made for the mode.
    """
    meta = (LOADED_AT, BATCH_ID)
    if found is None:
        return SchemaPlan(tuple(wanted), (SchemaChange(f"create table {ref}", ""),), meta)
    have = {column.name: column for column in found.columns}
    data, drift, changes, left_out = [], [], [], []
    for column in wanted:
        existing = have.get(column.name)
        if existing is None:
            check_case(column.name, have)
            drift.append(missing(column))
            changes.append(SchemaChange(f"add column {column.name} {column.type}", ""))
            left_out.append(column.name)
        elif on_drift != WARN and not fits(column.type, existing.type):
            drift.append(retyped(column, existing))
        data.append(existing or dataclasses.replace(column, nullable=True))
    for column in engine_columns(dialect, mode):
        if column.name in have:
            continue
        if column.name in {each.name for each in VERSIONED}:
            message = f"`{ref}` exists without `{column.name}`: it was not made for mode scd2"
            raise SchemaDriftError(message, "name a new table, or add the scd2 columns by hand")
        drift.append(f"column `{column.name}` is missing in the target")
        changes.append(SchemaChange(f"add column {column.name}", ""))
    check_not_null(wanted, found, mode)
    if on_drift == FREEZE:
        check_frozen(found, wanted, drift)
    if on_drift in UNCHANGED:
        told = tuple(drift) if on_drift == WARN else ()
        kept = tuple(column for column in data if column.name in have)
        return SchemaPlan(kept, (), tuple(name for name in meta if name in have), told, tuple(left_out))
    return SchemaPlan(tuple(data), tuple(changes), meta, renamed(wanted, found))
