"""The commits of a load, one function each; every one of them carries the engine's tags.

A tag is a pair (application, version) that the table keeps. Two commits with the same application conflict when one
was built on a version before the other: that is what fences a run whose lease was taken over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .dialect import arrow_schema
from .writing import writer_properties

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column

    from .config import DeltaConfig
    from .places import PlacedFile
    from .writing import Staged

Tags = tuple[tuple[str, int], ...]
OP = "ematix_op"


def _properties(tags: Tags, *, alone: bool = False) -> Any:
    from deltalake import CommitProperties, Transaction

    found = [Transaction(application, version) for application, version in tags]
    return CommitProperties(app_transactions=found, max_commit_retries=0 if alone else None)


def takes_files(table: Any, columns: Sequence[Column]) -> bool:
    """Whether finished files can be added as they are: no new column, and no condition that the rows must meet."""
    have = {field.name: field for field in table.schema().fields}
    if new_columns(table, columns):
        return False
    if any(name.startswith("delta.constraints.") for name in table.metadata().configuration):
        return False
    special = ("delta.invariants", "delta.generationExpression", "delta.identity.start")
    return not any(
        not field.nullable or any(word in (field.metadata or {}) for word in special) for field in have.values()
    )


def create(config: DeltaConfig, name: str, staged: Staged, columns: Sequence[Column], tags: Tags) -> None:
    """Make a table from staged files."""
    from deltalake import Schema
    from deltalake.transaction import create_table_with_add_actions

    create_table_with_add_actions(
        config.uri(name),
        Schema.from_arrow(arrow_schema(columns)),
        list(staged.adds),
        mode="error",
        partition_by=list(config.partition_by),
        storage_options=dict(config.storage) or None,
        commit_properties=_properties(tags, alone=True),  # else two that race both get in, one after the other
    )


def add_files(table: Any, staged: Staged, mode: str, tags: Tags, *, alone: bool) -> None:
    """Add staged files to a table, or put them in the place of its rows."""
    _write(table, staged.adds, mode, table.schema(), _properties(tags, alone=alone))


def replace_files(
    table: Any, staged: Staged, gone: Sequence[PlacedFile], columns: Sequence[Column], tags: Tags
) -> None:
    """Put staged files in the place of some others. Columns that are new join where all files are replaced."""
    from deltalake import Schema
    from deltalake.transaction import RemoveAction

    fresh = new_columns(table, columns)
    if fresh:
        schema = Schema([*table.schema().fields, *Schema.from_arrow(arrow_schema(fresh)).fields])
        _write(table, staged.adds, "overwrite", schema, _properties(tags, alone=True))
        return
    now = time.time_ns() // 1_000_000
    removes = [RemoveAction(file.path, True, now, file.size, file.told_partition) for file in gone]
    _write(table, [*staged.adds, *removes], "append", table.schema(), _properties(tags, alone=True))


def _write(table: Any, actions: Sequence[Any], mode: str, schema: Any, properties: Any) -> None:
    partitions = list(table.metadata().partition_columns)
    table.create_write_transaction(list(actions), mode, schema, partition_by=partitions, commit_properties=properties)


def can_replace(table: Any, columns: Sequence[Column], files: int) -> bool:
    """Whether `replace_files` can write a load that touches so many of the table's files: new columns need all."""
    return not new_columns(table, columns) or files == len(table.file_uris())


def allow_plain_times(table: Any, columns: Sequence[Column]) -> None:
    """Raise the table's protocol where new columns hold times without a zone, by a commit without rows before theirs.

    Raises:
        CommitFailedError: When somebody else committed since the table's version.
    """
    from deltalake import CommitProperties, TableFeatures

    fresh = arrow_schema(new_columns(table, columns))
    features = table.protocol().writer_features or ()
    if "timestampNtz" in features or not any("timestamp[us]" in str(field.type) for field in fresh):
        return
    table.alter.add_feature(
        TableFeatures.TimestampWithoutTimezone,
        allow_protocol_versions_increase=True,
        commit_properties=CommitProperties(max_commit_retries=0),  # the next version, or none
    )


def new_columns(table: Any, columns: Sequence[Column]) -> list[Column]:
    """The columns that a table does not have."""
    have = {field.name for field in table.schema().fields}
    return [column for column in columns if column.name not in have]


def write_again(
    config: DeltaConfig, name: str, table: Any, staged: Staged, mode: str, tags: Tags, *, alone: bool
) -> None:
    """Have the library itself write the staged rows: it changes the schema and checks conditions in the same commit."""
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    again = DeltaTable(config.uri(f"{name}/{staged.folder}"), storage_options=dict(config.storage) or None)
    schema = _alike(table, pa.schema(again.schema().to_arrow()))
    rows = pa.RecordBatchReader.from_stream(again.scan(columns=schema.names))
    options: dict[str, Any] = {"mode": mode, "schema_mode": "merge"}
    write_deltalake(
        table,
        rows.cast(schema),
        writer_properties=writer_properties(config),
        commit_properties=_properties(tags, alone=alone),
        **options,
    )


def merge(config: DeltaConfig, table: Any, changes: pa.Table, identity: Sequence[str], tags: Tags) -> None:
    """Apply a change set: rows that go, rows as they shall be, new rows; columns that are new join the schema."""
    schema = _alike(table, changes.schema)
    fresh = {field.name for field in schema} - {field.name for field in table.schema().fields} - {OP}
    match = " AND ".join(f"t.{_quoted(name)} = s.{_quoted(name)}" for name in identity)
    values = {_quoted(name): f"s.{_quoted(name)}" for name in changes.column_names if name != OP}
    merger = table.merge(
        changes.cast(schema),
        match,
        source_alias="s",
        target_alias="t",
        merge_schema=bool(fresh),
        writer_properties=writer_properties(config),
        commit_properties=_properties(tags, alone=True),
    )
    merger = merger.when_matched_delete(predicate=f"s.{OP} = 1")
    merger = merger.when_matched_update(updates=values, predicate=f"s.{OP} = 0")
    merger.when_not_matched_insert(updates=values, predicate=f"s.{OP} = 0").execute()


def delete(table: Any, column: str, texts: Sequence[str]) -> None:
    """Delete the rows whose column has one of some texts."""
    listed = ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
    table.delete(f"{_quoted(column)} IN ({listed})")


def _alike(table: Any, schema: pa.Schema) -> pa.Schema:
    """The schema, with what the library must not merge left out of columns that the table has.

    With other field metadata in a source that brings a new column, its merge turns the rows that no source row meets
    into NULLs (seen in deltalake 1.6.6); another nullability makes it refuse them.
    """
    import pyarrow as pa

    have = {field.name: field for field in table.schema().fields}
    fields = []
    for field in schema:
        known = have.get(field.name)
        fields.append(field if known is None else pa.field(field.name, field.type, nullable=known.nullable))
    return pa.schema(fields)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
