"""The target's schema against what a pipeline wants: what is created, added or widened, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ematix_nb.backends.base import Verdict
from ematix_nb.declare.data_types import BOOLEAN, BYTES, TIMESTAMPTZ, UUID
from ematix_nb.declare.spec import (
    BATCH_ID,
    IS_CURRENT,
    LOADED_AT,
    ROW_HASH,
    VALID_FROM,
    VALID_TO,
    Column,
    TableRef,
)
from ematix_nb.errors import SchemaDriftError
from ematix_nb.load.conversions import conversion
from ematix_nb.load.drift import EVOLVE, FREEZE, UNCHANGED, WARN, check_frozen, fits, missing, renamed, retyped
from ematix_nb.load.plan import SchemaChange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ematix_nb.backends.base import TableInfo
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.sql.dialect import Dialect

META = (
    Column(LOADED_AT, TIMESTAMPTZ, nullable=False),
    Column(BATCH_ID, UUID, nullable=False),
)
VERSIONED = (
    Column(VALID_FROM, TIMESTAMPTZ, nullable=False),
    Column(VALID_TO, TIMESTAMPTZ),
    Column(IS_CURRENT, BOOLEAN, nullable=False),
    Column(ROW_HASH, BYTES, nullable=False),
)


@dataclasses.dataclass(frozen=True)
class SchemaPlan:
    """The target's columns after the changes, and the changes."""

    data: tuple[Column, ...]
    """Data columns with the types in which they are written."""
    changes: tuple[SchemaChange, ...]
    meta: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Columns of the source that the target does not have and does not get."""


def plan_schema(  # noqa: PLR0913  each is one fact of the target or of the declaration
    dialect: Dialect,
    ref: TableRef,
    wanted: Sequence[Column],
    found: TableInfo | None,
    *,
    mode: str,
    keys: Sequence[str],
    primary_key: Sequence[str],
    unique: Sequence[Sequence[str]],
    on_drift: str,
    schema_exists: bool = False,
) -> SchemaPlan:
    """Decide the schema of the target.

    ``wanted`` holds the data columns with the types in which this system stores them; ``schema_exists`` counts for a
    table that is not there.

    Raises:
        SchemaDriftError: When the existing table cannot take the columns under the policy; names each difference.
    """
    if found is None:
        table = _new_table(dialect, ref, wanted, mode=mode, keys=keys, primary_key=primary_key, unique=unique)
        return table if schema_exists or not ref.schema else _with_schema(table, dialect, ref.schema)
    if found.kind not in ("table", "partitioned"):
        message = f"`{ref}` is a {found.kind}; only tables can be loaded"
        raise SchemaDriftError(message, "name a table as the target")
    if found.unfit is not None:
        raise SchemaDriftError(*found.unfit)
    sizes = _key_sizes(mode, keys, primary_key, unique)
    return _existing(dialect, wanted, found, sizes, mode=mode, keys=keys, on_drift=on_drift)


def engine_columns(dialect: Dialect, mode: str) -> tuple[Column, ...]:
    """The columns that the engine adds in a mode, with stored types."""
    columns = (*VERSIONED, *META) if mode == "scd2" else META
    return tuple(dataclasses.replace(column, type=dialect.store(column.type).type) for column in columns)


def _new_table(
    dialect: Dialect,
    ref: TableRef,
    wanted: Sequence[Column],
    *,
    mode: str,
    keys: Sequence[str],
    primary_key: Sequence[str],
    unique: Sequence[Sequence[str]],
) -> SchemaPlan:
    changes = []
    key = _primary_key(mode, keys, primary_key)
    sizes = _key_sizes(mode, keys, primary_key, unique)
    data = tuple(
        dataclasses.replace(
            column,
            nullable=column.nullable and column.name not in key,
            type=_made_type(dialect, column, sizes),
        )
        for column in wanted
    )
    columns = (*data, *engine_columns(dialect, mode))
    changes.append(SchemaChange(f"create table {ref}", dialect.create_table(ref, columns, key)))
    if mode == "merge" and keys and tuple(keys) != key:
        changes.append(_unique(dialect, ref, keys))
    if mode == "scd2":
        where = f"{dialect.quote(IS_CURRENT)} = {dialect.literal(True, BOOLEAN)}"
        name = _index_name(ref, "current")
        changes.append(SchemaChange("one current version per key", dialect.unique_index(ref, name, keys, where)))
    else:
        changes.extend(_unique(dialect, ref, group) for group in unique)
    return SchemaPlan(data, tuple(change for change in changes if change.sql), tuple(column.name for column in META))


def _primary_key(mode: str, keys: Sequence[str], primary_key: Sequence[str]) -> tuple[str, ...]:
    """The primary key of a table that is made for a mode."""
    if mode == "scd2":
        return (*(tuple(keys) or tuple(primary_key)), VALID_FROM)
    return tuple(primary_key) or tuple(keys)


def _key_sizes(
    mode: str, keys: Sequence[str], primary_key: Sequence[str], unique: Sequence[Sequence[str]]
) -> dict[str, int]:
    """Columns of keys and unique indexes, with the number of columns that they share an index with."""
    groups = (*unique, tuple(keys), _primary_key(mode, keys, primary_key))
    return {name: len(group) for group in groups for name in group}


def _made_type(dialect: Dialect, column: Column, sizes: Mapping[str, int]) -> DataType:
    """The type that a column gets in a table that is made."""
    return dialect.key_type(column.type, sizes[column.name]) if column.name in sizes else column.type


def _with_schema(table: SchemaPlan, dialect: Dialect, schema: str) -> SchemaPlan:
    """The plan of a new table whose schema is not there either; nothing more where a system has no schemas."""
    if not (sql := dialect.create_schema(schema)):
        return table
    return dataclasses.replace(table, changes=(SchemaChange(f"create schema {schema}", sql), *table.changes))


def _unique(dialect: Dialect, ref: TableRef, names: Sequence[str]) -> SchemaChange:
    name = _index_name(ref, "_".join(names))
    return SchemaChange(f"unique index on {ref} ({', '.join(names)})", dialect.unique_index(ref, name, names))


def _index_name(ref: TableRef, suffix: str) -> str:
    import hashlib

    readable = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in f"{ref.name}_{suffix}")
    digest = hashlib.sha256(f"{ref}|{suffix}".encode()).hexdigest()[:8]
    return f"ux_{readable[:40]}_{digest}"


def _existing(
    dialect: Dialect,
    wanted: Sequence[Column],
    found: TableInfo,
    sizes: Mapping[str, int],
    *,
    mode: str,
    keys: Sequence[str],
    on_drift: str,
) -> SchemaPlan:
    have = {column.name: column for column in found.columns}
    data, changes, drift, warnings, left_out = [], [], [], [], []
    for column in wanted:
        if column.name in found.generated:
            warnings.append(f"column `{column.name}` is computed by the target and is not written")
            continue
        existing = have.get(column.name)
        if existing is None:
            check_case(column.name, have)
            drift.append(missing(column))
            left_out.append(column.name)
            data.append(dataclasses.replace(column, nullable=True))
            text = f"add column {column.name} {column.type}"
            changes.append(SchemaChange(text, dialect.add_column(found.ref, data[-1])))
            continue
        kept, change = _type_change(dialect, found.ref, column, existing, alter=on_drift == EVOLVE)
        data.append(kept)
        changes += [change] if change else []
        if change or not (on_drift == WARN or fits(_made_type(dialect, column, sizes), existing.type)):
            drift.append(retyped(column, existing))
    meta = tuple(column.name for column in engine_columns(dialect, mode))
    for column in engine_columns(dialect, mode):
        if column.name in have:
            continue
        if column.name in {each.name for each in VERSIONED}:
            message = f"`{found.ref}` exists without `{column.name}`: it was not made for mode scd2"
            raise SchemaDriftError(message, "name a new table, or add the scd2 columns by hand")
        drift.append(f"column `{column.name}` is missing in the target")
        added = dataclasses.replace(column, nullable=True)
        changes.append(SchemaChange(f"add column {column.name}", dialect.add_column(found.ref, added)))
    if mode == "merge" and keys and not _is_unique(keys, found):
        drift.append(f"there is no unique index on the keys ({', '.join(keys)})")
        changes.append(_unique(dialect, found.ref, keys))
    check_not_null(wanted, found, mode)
    meta = tuple(name for name in meta if name in (LOADED_AT, BATCH_ID))
    if on_drift == FREEZE:
        check_frozen(found, wanted, drift)
    if on_drift in UNCHANGED:
        if mode == "merge" and keys and not _is_unique(keys, found):
            message = f"`{found.ref}`: there is no unique index on the keys ({', '.join(keys)})"
            raise SchemaDriftError(message, "make one, or allow on_drift='evolve'")
        told = drift if on_drift == WARN else []
        kept_data = tuple(have[column.name] for column in data if column.name in have)
        meta = tuple(name for name in meta if name in have)
        return SchemaPlan(kept_data, (), meta, (*warnings, *told), tuple(left_out))
    return SchemaPlan(tuple(data), tuple(changes), meta, (*warnings, *renamed(wanted, found)))


def _type_change(
    dialect: Dialect, ref: TableRef, column: Column, existing: Column, *, alter: bool
) -> tuple[Column, SchemaChange | None]:
    """The column as it will be written, and the widening of the target when its type is too small for all values."""
    forward = conversion(column.type, existing.type)
    if forward.verdict in (Verdict.EXACT, Verdict.WIDENED) and not forward.reason.startswith("each"):
        return existing, None
    backward = conversion(existing.type, column.type)
    widens = backward.verdict in (Verdict.EXACT, Verdict.WIDENED) and not backward.reason
    widens = widens or backward.verdict is Verdict.WIDENED
    if widens and column.type.kind not in ("text", "json", "jsonb") and not existing.primary_key:
        wider = dataclasses.replace(existing, type=column.type)
        text = f"widen column {column.name} from {existing.type} to {column.type}"
        return wider, SchemaChange(text, dialect.alter_type(ref, wider) if alter else "")
    return existing, None


def check_case(name: str, have: Mapping[str, Column]) -> None:
    """Refuse a new column whose name differs from an existing one only by case."""
    near = [other for other in have if other.casefold() == name.casefold()]
    if near:
        message = f"column `{name}` of the source is `{near[0]}` in the target"
        raise SchemaDriftError(message, f'name it AS "{near[0]}" in the SELECT')


def _is_unique(keys: Sequence[str], found: TableInfo) -> bool:
    wanted = set(keys)
    return any(set(unique) == wanted for unique in (found.primary_key, *found.unique_keys) if unique)


def check_not_null(wanted: Sequence[Column], found: TableInfo, mode: str) -> None:
    """Refuse a table with a column that has to be given and that the source does not give."""
    given = {column.name for column in wanted} | {LOADED_AT, BATCH_ID}
    if mode == "scd2":
        given |= {VALID_FROM, VALID_TO, IS_CURRENT, ROW_HASH}
    missing = [
        column.name
        for column in found.columns
        if not column.nullable and column.name not in given | found.defaults | found.generated
    ]
    if missing:
        message = f"column `{missing[0]}` of `{found.ref}` is NOT NULL and the source does not give it"
        raise SchemaDriftError(message, f"select `{missing[0]}`, or give it a default")
