"""The row diff of a preview: sampled rows against the target's rows with the same keys. Reads only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import Verdict
from ematix_nb.declare.data_types import BOOLEAN, to_arrow
from ematix_nb.declare.spec import IS_CURRENT, VALID_FROM
from ematix_nb.load.conversions import caster, nulls
from ematix_nb.load.quarantine import Splitter, without
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.load.run import OpenTarget

LITERAL_KINDS = (
    "tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint", "numeric", "boolean",
    "text", "string", "uuid", "date", "timestamp", "timestamptz",
)  # fmt: skip

KEYS_AT_A_TIME = 200
"""Keys that one query asks for: systems bound how many SELECTs a UNION has, and some take long over many."""

Change = dict[str, Any]


def diff_rows(
    plan: LoadPlan, side: OpenTarget, sample: pa.Table, *, complete: bool
) -> tuple[tuple[Change, ...], dict[str, int], str]:
    """What the sampled rows would change: the changes, their counts, and what they cover."""
    covers = "all rows of the source" if complete else f"the first {counted(sample.num_rows, 'row')} of the source"
    sample, aside = _split(plan, sample)
    changes, counts, note = _compared(plan, side, sample, covers)
    return changes, {**counts, "quarantine": aside} if aside else counts, note


def _split(plan: LoadPlan, sample: pa.Table) -> tuple[pa.Table, int]:
    """The rows that fit the target, and how many do not."""
    if plan.quarantine is None:
        return sample, 0
    import pyarrow as pa

    splitter = Splitter(plan)
    kept, rows = [], 0
    for batch in sample.combine_chunks().to_batches():
        unfit = splitter.reasons(batch, rows)
        rows += batch.num_rows
        kept.append(without(batch, sorted(unfit)))
    found = pa.Table.from_batches(kept, schema=sample.schema)
    return found, rows - found.num_rows


def _compared(
    plan: LoadPlan, side: OpenTarget, sample: pa.Table, covers: str
) -> tuple[tuple[Change, ...], dict[str, int], str]:
    rows = _cast(plan, sample)
    if plan.mode in ("append", "truncate"):
        changes = tuple({"change": "insert", "key": {}, "before": None, "after": row} for row in rows)
        note = covers if plan.mode == "append" else f"{covers}; the rows that are there now are replaced"
        return changes, {"insert": len(changes)}, note
    keys = [column for column in plan.data if column.name in plan.keys]
    if any(column.type.kind not in LITERAL_KINDS or column.type.native for column in keys):
        return (), {}, "rows are not compared: the keys cannot be written as literals"
    held = _held(plan, side, keys, rows) if plan.target_exists else {}
    changes = tuple(_change(plan, row, held) for row in _last_of_key(plan, rows))
    counts: dict[str, int] = {}
    for change in changes:
        kind = str(change["change"])
        counts[kind] = counts.get(kind, 0) + 1
    return changes, counts, covers


def _cast(plan: LoadPlan, sample: pa.Table) -> list[dict[str, Any]]:
    kinds = {column.name: column.type for column in plan.source_columns}
    refused = {column.name for column in plan.columns if column.verdict is Verdict.REFUSED}
    names, arrays = [], []
    for column in plan.data:
        cast = nulls(column.type) if column.name in refused else caster(column.name, kinds[column.name], column.type)
        arrays.append(cast(sample.column(column.name).combine_chunks(), 0).to_pylist())
        names.append(column.name)
    return [dict(zip(names, values, strict=True)) for values in zip(*arrays, strict=True)]


def _last_of_key(plan: LoadPlan, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a key, as the load keeps it; with event times each version counts."""
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in plan.keys)
        if plan.event_column:
            key = (*key, row.get(plan.event_column))
        last[key] = row
    return list(last.values())


def _held(
    plan: LoadPlan, side: OpenTarget, keys: Sequence[Column], rows: list[dict[str, Any]]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The target's (current) rows with the sampled keys."""
    import pyarrow as pa

    session, name = side.reader()
    dialect = session.dialect
    wanted = {tuple(row[column.name] for column in keys) for row in rows}
    wanted = {key for key in wanted if all(part is not None for part in key)}
    info = side.side().info
    have = {column.name: column for column in info.columns} if info else {}
    columns = [have[column.name] for column in plan.data if column.name in have]
    match = " AND ".join(f"s.k{i} = t.{dialect.quote(column.name)}" for i, column in enumerate(keys))
    current = f" AND t.{dialect.quote(IS_CURRENT)} = {dialect.literal(True, BOOLEAN)}" if plan.mode == "scd2" else ""
    schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
    ordered = sorted(wanted, key=repr)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for start in range(0, len(ordered), KEYS_AT_A_TIME):
        part = ordered[start : start + KEYS_AT_A_TIME]
        listed = "\nUNION ALL ".join(_literal_row(dialect, key, keys) for key in part)
        query = (
            f"SELECT {dialect.columns([column.name for column in columns], 't')} FROM {name} AS t"
            f" WHERE EXISTS (SELECT 1 FROM (\n{listed}\n) AS s WHERE {match}){current}"
        )
        rows = pa.Table.from_batches(list(session.read(query, columns)), schema=schema).to_pylist()
        found.update({tuple(row[column.name] for column in keys): row for row in rows})
    return found


def _literal_row(dialect: Any, key: tuple[Any, ...], keys: Sequence[Column]) -> str:
    parts = [dialect.literal(part, column.type) for part, column in zip(key, keys, strict=True)]
    return "SELECT " + ", ".join(f"{part} AS k{index}" for index, part in enumerate(parts))


def _change(plan: LoadPlan, row: dict[str, Any], held: dict[tuple[Any, ...], dict[str, Any]]) -> Change:
    key = {name: row[name] for name in plan.keys}
    before = held.get(tuple(key.values()))
    decides = plan.compare_columns or plan.update_columns
    if before is None:
        kind = "insert"
    elif any(not _same(before.get(name), row[name]) for name in decides):
        kind = "new version" if plan.mode == "scd2" else "update"
    else:
        kind = "same"
    after = {name: value for name, value in row.items() if name not in plan.hidden and name != VALID_FROM}
    return {"change": kind, "key": key, "before": before, "after": after}


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return bool(left == right)
