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
from ematix_nb.load.plan import SchemaChange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ematix_nb.backends.base import TableInfo
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
    return _existing(dialect, wanted, found, mode=mode, keys=keys, on_drift=on_drift)


def plan_files(ref: TableRef, wanted: Sequence[Column], found: TableInfo | None, *, on_drift: str) -> SchemaPlan:
    """Decide the columns of a folder of files: new columns join, a type may only grow.

    Raises:
        SchemaDriftError: When the policy forbids a difference, or a type cannot grow without loss.
    """
    meta = tuple(column.name for column in META)
    if found is None:
        return SchemaPlan(tuple(wanted), (SchemaChange(f"create folder {ref}", ""),), meta)
    have = {column.name: column for column in found.columns}
    drift = []
    for column in wanted:
        existing = have.get(column.name)
        if existing is None:
            drift.append(f"column `{column.name}` ({column.type}) is new")
        elif conversion(column.type, existing.type).verdict is Verdict.REFUSED:
            message = f"column `{column.name}` is {existing.type} in the files and {column.type} in the source"
            raise SchemaDriftError(message, "cast it in the SELECT, or write to another folder")
    if drift and on_drift == "error":
        message = f"the target `{ref}` does not fit: " + "; ".join(drift)
        raise SchemaDriftError(message, "allow on_drift='evolve', or write to another folder")
    changes = tuple(SchemaChange(text, "") for text in drift)
    return SchemaPlan(tuple(wanted), changes, meta)


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
    key = tuple(primary_key) or tuple(keys)
    if mode == "scd2":
        key = (*(keys or key), VALID_FROM)
    not_null = set(key)
    sizes = {name: len(group) for group in (*unique, tuple(keys), key) for name in group}
    data = tuple(
        dataclasses.replace(
            column,
            nullable=column.nullable and column.name not in not_null,
            type=dialect.key_type(column.type, sizes[column.name]) if column.name in sizes else column.type,
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
    *,
    mode: str,
    keys: Sequence[str],
    on_drift: str,
) -> SchemaPlan:
    have = {column.name: column for column in found.columns}
    data, changes, drift, warnings = [], [], [], []
    for column in wanted:
        if column.name in found.generated:
            warnings.append(f"column `{column.name}` is computed by the target and is not written")
            continue
        existing = have.get(column.name)
        if existing is None:
            check_case(column.name, have)
            drift.append(f"column `{column.name}` ({column.type}) is missing in the target")
            added = dataclasses.replace(column, nullable=True)
            text = f"add column {column.name} {column.type}"
            changes.append(SchemaChange(text, dialect.add_column(found.ref, added)))
            data.append(added)
            continue
        kept, change = _type_change(dialect, found.ref, column, existing, alter=on_drift != "warn")
        data.append(kept)
        if change:
            drift.append(f"column `{column.name}` is {existing.type} in the target and {column.type} in the source")
            changes.append(change)
    meta = []
    for column in engine_columns(dialect, mode):
        if column.name in have:
            meta.append(column.name)
            continue
        drift.append(f"column `{column.name}` is missing in the target")
        if mode == "scd2" and column.name in (VALID_FROM, VALID_TO, IS_CURRENT, ROW_HASH):
            message = f"`{found.ref}` exists without `{column.name}`: it was not made for mode scd2"
            raise SchemaDriftError(message, "name a new table, or add the scd2 columns by hand")
        added = dataclasses.replace(column, nullable=True)
        changes.append(SchemaChange(f"add column {column.name}", dialect.add_column(found.ref, added)))
        meta.append(column.name)
    if mode == "merge" and keys and not _is_unique(keys, found):
        drift.append(f"there is no unique index on the keys ({', '.join(keys)})")
        changes.append(_unique(dialect, found.ref, keys))
    check_not_null(wanted, found, mode)
    meta_names = tuple(name for name in meta if name in (LOADED_AT, BATCH_ID))
    if on_drift == "error" and drift:
        message = f"the target `{found.ref}` does not fit: " + "; ".join(drift)
        raise SchemaDriftError(message, "change the table, or allow on_drift='evolve'")
    if on_drift == "warn" and drift:
        if mode == "merge" and keys and not _is_unique(keys, found):
            message = f"`{found.ref}`: there is no unique index on the keys ({', '.join(keys)})"
            raise SchemaDriftError(message, "make one, or allow on_drift='evolve'")
        kept_data = tuple(have[column.name] for column in data if column.name in have)
        return SchemaPlan(kept_data, (), tuple(name for name in meta_names if name in have), (*warnings, *drift))
    return SchemaPlan(tuple(data), tuple(changes), meta_names, tuple(warnings))


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
