"""What becomes of each column: the keys, the type that the target stores, the verdict, what an update writes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ematix_nb.backends.base import Verdict
from ematix_nb.declare.pipelines import resolve_keys
from ematix_nb.declare.spec import SCD2_COLUMNS, Column
from ematix_nb.errors import DataError, DeclarationError, SchemaDriftError, did_you_mean
from ematix_nb.load.conversions import Conversion, conversion
from ematix_nb.load.drift import QUARANTINE
from ematix_nb.load.plan import ColumnPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.backends.base import Stored, TableInfo
    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.reading import Reading
    from ematix_nb.load.schema import SchemaPlan
    from ematix_nb.load.targets import TargetSide

KEYED = ("merge", "scd2")
FLOATS = ("float", "double")


def choose_keys(target: TargetSpec, reading: Reading, info: TableInfo | None) -> tuple[tuple[str, ...], str]:
    """The keys of a load and where they come from; none in a mode that has no use for them.

    Raises:
        DeclarationError: None are known, or one is not a column of the query.
    """
    if target.mode not in KEYED:
        return (), ""
    keys, reason, _ = resolve_keys(target)
    if not keys and info is not None and info.primary_key:
        keys = tuple(name for name in info.primary_key if name not in SCD2_COLUMNS)
        reason = "primary key of the existing table"
    kinds = {column.name: column.type for column in reading.columns}
    names = list(kinds)
    for key in keys:
        if key not in kinds:
            message = f"key `{key}` is not among the columns of the query: {', '.join(names)}"
            raise DeclarationError(message, did_you_mean(key, names))
        if kinds[key].kind in FLOATS:
            message = f"key `{key}` is {kinds[key]}, and systems differ in whether NaN equals NaN, and -0.0 equals 0.0"
            raise DeclarationError(message, "cast it to a whole number, a decimal or text in the SELECT")
    if not keys:
        message = f"mode {target.mode} needs keys"
        raise DeclarationError(message, f"add keys=(...) (--keys {names[0]})")
    return keys, reason


def stored_columns(reading: Reading, side: TargetSide) -> tuple[tuple[Column, ...], dict[str, Stored]]:
    """The columns as the target would store them, and what storing does to the values of each.

    Raises:
        DataError: The target has no place for a type.
    """
    wanted, verdicts = [], {}
    for column in reading.columns:
        if column.name in reading.hidden:
            continue
        declared = reading.declared.get(column.name)
        base = declared or dataclasses.replace(column, nullable=True)
        stored = side.dialect.store(base.type)
        if stored.verdict is Verdict.REFUSED:
            message = f"column `{column.name}` ({base.type}) cannot be stored in `{side.connection}`: {stored.reason}"
            raise DataError(message, "cast it in the SELECT, or leave it out")
        verdicts[column.name] = stored
        wanted.append(dataclasses.replace(base, type=stored.type, normalizers=()))
    return tuple(wanted), verdicts


def with_hidden(data: Sequence[Column], reading: Reading, side: TargetSide) -> tuple[Column, ...]:
    """The columns of the target, and those that only the load needs."""
    hidden = (
        Column(column.name, side.dialect.store(column.type).type)
        for column in reading.columns
        if column.name in reading.hidden
    )
    return (*data, *hidden)


def column_plans(
    spec: PipelineSpec, reading: Reading, data: Sequence[Column], verdicts: dict[str, Stored]
) -> tuple[ColumnPlan, ...]:
    """The verdict on each column: from its type in the query to its type in the target.

    Raises:
        DataError: Values would be lost that the declaration does not allow to lose.
    """
    types = {column.name: column.type for column in reading.columns}
    plans = []
    for column in data:
        change = conversion(types[column.name], column.type)
        stored = verdicts.get(column.name)
        if stored is not None and stored.verdict is not Verdict.EXACT and change.verdict is Verdict.EXACT:
            change = Conversion(stored.verdict, stored.reason)
        allowed = column.name in spec.policies.allow_lossy
        unfit = change.verdict is Verdict.REFUSED or (change.verdict is Verdict.LOSSY and not allowed)
        if unfit and spec.policies.on_drift == QUARANTINE:
            change = Conversion(Verdict.REFUSED, f"{change.reason}; rows with a value go to quarantine")
        elif change.verdict is Verdict.REFUSED or (change.verdict is Verdict.LOSSY and not allowed):
            there = f"({types[column.name]}) does not go into {column.type} unchanged"
            message = f"column `{column.name}` {there}: {change.reason}"
            hint = "cast it in the SELECT" + (
                f", or accept it with allow_lossy=['{column.name}']" if change.verdict is Verdict.LOSSY else ""
            )
            raise DataError(message, hint)
        plans.append(
            ColumnPlan(column.name, column.name, types[column.name], column.type, change.verdict, change.reason)
        )
    return tuple(plans)


def check_needed(side: TargetSide, reading: Reading, keys: Sequence[str], schema: SchemaPlan) -> None:
    """Refuse to leave out a column that the load itself needs."""
    computed = side.info.generated if side.info is not None else ()
    needed: list[tuple[str, str | None]] = [("key", key) for key in keys]
    needed += [("watermark", name) for name in (reading.window.columns if reading.window else ())]
    needed += [("event_timestamp_column", reading.event), ("dedup_by", reading.order)]
    for what, name in needed:
        if name in schema.left_out:
            message = f"{what} `{name}` is not a column of the target `{side.ref}`"
            raise SchemaDriftError(message, "add the column, or allow on_drift='evolve'")
        if name in computed:
            message = f"{what} `{name}` is computed by the target `{side.ref}`, so the source's values cannot go there"
            raise SchemaDriftError(message, f"name another column, or make `{name}` one that can be written")


def lossy_warnings(columns: Sequence[ColumnPlan]) -> tuple[str, ...]:
    """What the declaration allows to be lost."""
    lossy = [column for column in columns if column.verdict is Verdict.LOSSY]
    return tuple(f"column `{column.name}` loses {column.reason} (allowed)" for column in lossy)


def value_columns(
    target: TargetSpec, schema: SchemaPlan, keys: Sequence[str], event: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which columns an update writes, and which decide whether a row changed.

    Raises:
        DeclarationError: A named column is not loaded, or none is left to compare.
    """
    others = tuple(column.name for column in schema.data if column.name not in keys)
    for name in (*target.compare_columns, *target.update_columns):
        if name not in others:
            message = f"compare or update column `{name}` is not a loaded column besides the keys"
            raise DeclarationError(message, did_you_mean(name, others) or f"choose among: {', '.join(others)}")
    if target.mode == "merge":
        update = target.update_columns or (target.compare_columns and others) or others
        return tuple(update), target.compare_columns
    if target.mode == "scd2":
        compare = target.compare_columns or tuple(name for name in others if name != event)
        if not compare:
            message = "mode scd2 needs a column besides the keys to compare"
            raise DeclarationError(message, "add compare_columns=[...]")
        return (), tuple(compare)
    return (), ()
