"""The columns of a folder of files against what a pipeline wants: what joins, what grows, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ematix_nb.backends.files.widen import restored, wider
from ematix_nb.declare.data_types import to_arrow
from ematix_nb.load.drift import FREEZE, UNCHANGED, WARN, check_frozen, fits, missing, renamed, retyped
from ematix_nb.load.plan import SchemaChange
from ematix_nb.load.schema import META, SchemaPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.backends.base import TableInfo
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column, TableRef


def plan_files(ref: TableRef, wanted: Sequence[Column], found: TableInfo | None, *, on_drift: str) -> SchemaPlan:
    """Decide the columns of a folder of files: new columns join, a type may grow where files of both read as one.

    Raises:
        SchemaDriftError: When the policy forbids a difference.
    """
    meta = tuple(column.name for column in META)
    if found is None:
        return SchemaPlan(tuple(wanted), (SchemaChange(f"create folder {ref}", ""),), meta)
    have = {column.name: column for column in found.columns}
    data, changes, drift, left_out = [], [], [], []
    for column in wanted:
        existing = have.get(column.name)
        if existing is None:
            drift.append(missing(column))
            changes.append(f"column `{column.name}` ({column.type}) is new")
            left_out.append(column.name)
            data.append(column)
            continue
        kept = dataclasses.replace(existing, type=_grown(existing.type, column.type))
        if not fits(column.type, existing.type):
            drift.append(retyped(column, existing))
        if kept.type != existing.type:
            changes.append(f"widen column {column.name} from {existing.type} to {kept.type}")
        data.append(kept)
    if on_drift == FREEZE:
        check_frozen(found, wanted, drift)
    if on_drift in UNCHANGED:
        told = tuple(drift) if on_drift == WARN else ()
        return SchemaPlan(tuple(have[c.name] for c in data if c.name in have), (), meta, told, tuple(left_out))
    planned = tuple(SchemaChange(text, "") for text in changes)
    return SchemaPlan(tuple(data), planned, meta, renamed(wanted, found))


def _grown(existing: DataType, wanted: DataType) -> DataType:
    """The type of a column whose old files stay as they are: a larger one that reads both, else the one it has."""
    if fits(wanted, existing):
        return existing
    common = wider(to_arrow(existing), to_arrow(wanted))
    if common is None:
        return existing
    if common.equals(to_arrow(existing)):
        return wanted if fits(existing, wanted) else existing
    return restored(wanted, common)
