"""Rows of a quarantine, loaded after all: through the pipeline's own mode, and out of the quarantine with that."""

from __future__ import annotations

import collections
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import NESTED_KINDS, TEXT, to_arrow
from ematix_nb.declare.spec import Query, TableSpec
from ematix_nb.errors import DataError
from ematix_nb.load.context import Replay
from ematix_nb.load.conversions import caster
from ematix_nb.load.planner import make_plan
from ematix_nb.load.quarantine_rows import opened_quarantine
from ematix_nb.load.run import opened, run_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column, PipelineSpec, TargetSpec
    from ematix_nb.load.context import RunContext
    from ematix_nb.load.quarantine_rows import Key, QuarantinedRow
    from ematix_nb.load.run import TargetOutcome

TRIGGER = "replay"


def replay(
    spec: PipelineSpec, target: TargetSpec, context: RunContext, run: str | None = None, *, overwrite: bool = False
) -> TargetOutcome | None:
    """Load the rows in the quarantine of a target; those that still do not fit stay there.

    Keys, mode and policies are those of the declaration now; the watermark, deletes and the source's rows have no part
    in it, and cleaning steps are not done again. Mode truncate appends. In databases the rows are loaded and leave the
    quarantine in one transaction; beside folders and Delta tables they leave it right after the commit, which records
    them: when the process ends between the two, the next replay takes them out and does not load them again.

    Args:
        spec: The pipeline.
        target: One of its targets.
        context: Of the run that loads them.
        run: Only the rows of this run; None: all.
        overwrite: Load rows by their keys over newer ones too; without, those are an error.

    Returns:
        None when there are no rows.

    Raises:
        FlowError: As a run does; the rows stay where they are.
    """
    rows = _rows(spec, target, run)
    if not rows:
        return None
    columns = _source_columns(spec, target, context)
    found = _once(rows, again=spec.incremental)
    frame = as_frame([row for row, _ in found], columns)
    since = None if overwrite else rows[0].quarantined_at
    context.replay = Replay([keys for _, keys in found], since=since)
    context.trigger = TRIGGER
    outcome = run_target(_as_read(spec, frame), _as_loaded(target), context)
    if outcome.status == "success" and not context.dry:
        _take_out(spec, target, context.replay)
    return outcome


def _rows(spec: PipelineSpec, target: TargetSpec, run: str | None) -> list[QuarantinedRow]:
    """The rows to load, without those that an earlier replay loaded and could not take out any more."""
    with opened_quarantine(spec, target) as held:
        rows, done = held.rows(run), held.replayed()
    left = [row.key for row in rows if row.key in done]
    if left:
        with opened_quarantine(spec, target, read_only=False) as held:
            held.remove(left)
    return [row for row in rows if row.key not in done]


def _take_out(spec: PipelineSpec, target: TargetSpec, done: Replay) -> None:
    """Beside a target without SQL; a database has done it in the transaction."""
    from ematix_nb.backends.registry import backend_for
    from ematix_nb.connections import resolve

    if backend_for(resolve(target.connection).kind).capabilities.has_sql:
        return
    with opened_quarantine(spec, target, read_only=False) as held:
        held.remove(done.loaded())


def _source_columns(spec: PipelineSpec, target: TargetSpec, context: RunContext) -> tuple[Column, ...]:
    """What the pipeline's query gives now."""
    with opened(spec, target, dataclasses.replace(context, dry=True), read_only=True, create=False) as (side, source):
        return make_plan(spec, target, source, side.side(), None).source_columns


def _once(rows: Sequence[QuarantinedRow], *, again: bool) -> list[tuple[QuarantinedRow, list[Key]]]:
    """The rows to load, each with the keys of itself and its copies.

    An incremental pipeline reads rows of its overlap again, and each time they went to quarantine: a row counts as
    often as the run that had it most often.
    """
    if not again:
        return [(row, [row.key]) for row in rows]
    found: dict[tuple[str, int], tuple[QuarantinedRow, list[Key]]] = {}
    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    for row in rows:
        seen[row.run_id, row.source_row] += 1
        copy = seen[row.run_id, row.source_row]
        found.setdefault((row.source_row, copy), (row, []))[1].append(row.key)
    return list(found.values())


def _as_read(spec: PipelineSpec, frame: pa.Table) -> PipelineSpec:
    """The declaration with the rows in place of its query; limits and checks of the load are its own."""
    return dataclasses.replace(
        spec,
        query=Query(function=lambda: frame, function_digest=TRIGGER),
        incremental=False,
        watermark_column=None,
        overlap=None,
        transforms_pre=(),
        partition_column=None,
        partitions=1,
    )


def _as_loaded(target: TargetSpec) -> TargetSpec:
    """The target without what is for the whole source, and without steps that the rows have been through."""
    table = target.table
    if table is not None:
        plain = tuple(dataclasses.replace(column, normalizers=()) for column in table.columns)
        table = TableSpec(table.ref, plain, table.merge_keys, table.unique_constraints)
    mode = "append" if target.mode == "truncate" else target.mode
    return dataclasses.replace(target, table=table, mode=mode, handle_deletes=None, ttl=None, column_map=())


def as_frame(rows: Sequence[QuarantinedRow], columns: Sequence[Column]) -> pa.Table:
    """The rows as a table: with the types that the query gives now, as far as their values fit them.

    Raises:
        DataError: A row is not what a load writes.
    """
    import pyarrow as pa

    given = [_read(row) for row in rows]
    kinds = {column.name: column.type for column in columns}
    names = list(dict.fromkeys((*kinds, *(name for row in given for name in row))))
    present = [name for name in names if any(name in row for row in given)]
    arrays = [_array([row.get(name) for row in given], kinds.get(name, TEXT), name) for name in present]
    return pa.table(arrays, names=present)


def _read(row: QuarantinedRow) -> dict[str, Any]:
    try:
        found = json.loads(row.source_row, parse_float=str)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        message = f"row {row.row_number} of run {row.run_id} in quarantine is not a JSON object"
        raise DataError(message, "correct it, or take it out with `flow quarantine purge`")
    return found


def _array(values: list[Any], kind: DataType, name: str) -> pa.Array:
    """The values of one column; as texts when one does not fit the type."""
    import pyarrow as pa

    if kind.kind in NESTED_KINDS:
        return pa.array(values, to_arrow(kind))
    if kind.kind == "bytes":
        return pa.array([None if value is None else bytes.fromhex(value.removeprefix("\\x")) for value in values])
    texts = pa.array([_text(value) for value in values], pa.string())
    try:
        return caster(name, TEXT, kind)(texts, 0)
    except DataError:
        return texts


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)
