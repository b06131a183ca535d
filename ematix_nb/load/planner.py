"""From a declaration, an open source and an open SQL target to a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.declare.pipelines import declared_at
from ematix_nb.declare.spec import BATCH_ID, META_COLUMNS, SCD2_COLUMNS, Column
from ematix_nb.errors import (
    CancelledError,
    DataError,
    DeclarationError,
    FlowError,
)
from ematix_nb.load import window as windows
from ematix_nb.load.checks import held_against_rows, plan_checks
from ematix_nb.load.columns import (
    check_needed,
    choose_keys,
    column_plans,
    lossy_warnings,
    stored_columns,
    value_columns,
    with_hidden,
)
from ematix_nb.load.late import SNAPSHOT
from ematix_nb.load.plan import ARROW, INSERT_SELECT, ColumnPlan, LoadPlan, Quarantine
from ematix_nb.load.quarantine import beside, may_hold, plan_quarantine, table_beside
from ematix_nb.load.reading import Reading, plan_reading
from ematix_nb.load.routes import choose_route, partitions_of
from ematix_nb.load.schema import SchemaPlan, plan_schema
from ematix_nb.load.targets import TargetSide, file_thing, state_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.source import OpenSource
    from ematix_nb.load.spans import Span
    from ematix_nb.state.model import Watermark


def make_plan(
    spec: PipelineSpec,
    target: TargetSpec,
    source: OpenSource,
    side: TargetSide,
    stored: Watermark | None,
    *,
    full_refresh: bool = False,
    span: Span | None = None,
) -> LoadPlan:
    """Plan one load. Reads catalogues and describes the query; reads no rows and writes nothing.

    Raises:
        UsageError: When the declaration does not fit the query.
        SchemaDriftError: When the target does not fit the declaration.
        DataError: When a column would lose values.

        Each names the pipeline, and where it is declared.
    """
    try:
        return _plan(spec, target, source, side, None if full_refresh else stored, span)
    except CancelledError:
        raise
    except FlowError as error:
        place = f"{error.where}, {declared_at(spec)}" if error.where else declared_at(spec)
        error.args = (error.what, error.hint, place)
        raise


def _plan(
    spec: PipelineSpec,
    target: TargetSpec,
    source: OpenSource,
    side: TargetSide,
    stored: Watermark | None,
    span: Span | None,
) -> LoadPlan:
    _check_mode(target, side)
    reading = plan_reading(spec, target, source, stored if side.info is not None else None, span)
    if side.info is not None and stored is not None:
        _check_watermark(spec, target, reading, stored)
    _check_late(spec, target, reading)
    _check_span(spec, target, side, reading, stored)
    keys, keys_reason = choose_keys(target, reading, side.info)
    wanted, verdicts = stored_columns(reading, side)
    schema = _schema(spec, target, side, wanted, keys)
    if reading.window is not None and side.capabilities.has_sql:
        stored_kinds = {column.name: column.type for column in schema.data}
        for name in reading.window.columns:
            if (kind := stored_kinds.get(name)) is not None:
                windows.check_order(side.dialect, name, kind)
    data = with_hidden(schema.data, reading, side)
    columns = column_plans(spec, reading, data, verdicts)
    check_needed(side, reading, keys, schema)
    checks = plan_checks(spec, side, schema.data, schema.meta) if spec.all_checks else ()
    quarantine = _quarantine(spec, target, side, schema, columns, (*keys, *((reading.event,) if reading.event else ())))
    update, compare = value_columns(target, schema, keys, reading.event)
    route, reason, staged = choose_route(target, source, side, reading, columns)
    if quarantine is not None:
        route, reason, staged = ARROW, "each row is checked: some may go to quarantine", side.capabilities.has_sql
    staged = staged or (side.capabilities.has_sql and bool(held_against_rows(checks)))
    partitions, words = partitions_of(spec, source, reading)
    if partitions > 1 and route != INSERT_SELECT:
        route, reason = ARROW, words
    # without the run's id in its rows, a target cannot tell how far this run alone has read
    staged = staged or (side.capabilities.has_sql and reading.window is not None and BATCH_ID not in schema.meta)
    warnings = (*schema.warnings, *lossy_warnings(columns), *_window_warnings(target, side, reading, stored, schema))
    return LoadPlan(
        pipeline=spec.name,
        state_name=state_name(spec, side.ref),
        fingerprint=fingerprint(spec),
        mode=target.mode,
        source=source.name,
        target=f"{side.connection}:{side.ref}",
        ref=side.ref,
        source_sql=reading.sql,
        source_columns=reading.columns,
        columns=columns,
        data=data,
        keys=keys,
        keys_reason=keys_reason,
        update_columns=update,
        compare_columns=compare,
        route=route,
        route_reason=reason,
        staged=staged,
        schema_changes=schema.changes,
        window=reading.window,
        warnings=warnings,
        notes=(*reading.notes, *_untouched(side, data), *_promises(side, schema)),
        target_exists=side.info is not None,
        strip_nul=spec.policies.on_nul == "strip",
        meta=schema.meta,
        event_column=reading.event,
        order_column=reading.order,
        hidden=reading.hidden,
        partition_column=(spec.partition_column or "") if partitions > 1 and route == ARROW else "",
        partitions=partitions if route == ARROW else 1,
        quarantine=quarantine,
        checks=checks,
    )


def _check_mode(target: TargetSpec, side: TargetSide) -> None:
    if target.event_timestamp_column and not side.capabilities.event_times:
        message = f"`{side.connection}` cannot date versions by event_timestamp_column"
        raise DeclarationError(message, "leave it out: versions begin with the run that brings them")
    if target.mode not in side.capabilities.modes:
        can = ", ".join(sorted(side.capabilities.modes))
        message = f"mode {target.mode} does not work on `{side.connection}`: this kind of target can {can}"
        raise DeclarationError(message, "choose another mode or another target")


def _check_watermark(spec: PipelineSpec, target: TargetSpec, reading: Reading, stored: Watermark) -> None:
    """An append that starts anew would double the rows that are there."""
    window = reading.window
    if target.mode != "append" or window is None or not stored.column or windows.is_of(stored, window):
        return
    was, now = (", ".join(f"`{name}`" for name in names) for names in (stored.columns, window.sources))
    message = f"the watermark of `{spec.name}` is one of column {was}, the pipeline now names {now}"
    hint = f"`flow watermark set {spec.name} VALUE` says where to go on; --full-refresh appends every row again"
    raise DataError(message, hint)


def _check_late(spec: PipelineSpec, target: TargetSpec, reading: Reading) -> None:
    """Rows that differ in the watermark alone look alike in a target without it: a late one could pass for another."""
    window = reading.window
    if window is None or spec.late_rows != SNAPSHOT or target.mode != "append":
        return
    if hidden := [name for name in window.columns if name in reading.hidden]:
        message = f"late_rows='snapshot' with mode append needs the watermark column `{hidden[0]}` in the target"
        raise DeclarationError(message, "declare it there, or take mode merge or late_rows='overlap'")


def _check_span(
    spec: PipelineSpec, target: TargetSpec, side: TargetSide, reading: Reading, stored: Watermark | None
) -> None:
    """A backfill loads rows that are older than what is there, which not every declaration can put in its place."""
    window = reading.window
    if window is None or not window.upper:
        return
    if side.info is None and stored is not None:
        message = f"the target is not there any more, and `{spec.name}` has a watermark: a range alone would look whole"
        raise DataError(message, f"`flow run {spec.name}` loads everything anew")
    hidden = [name for name in window.columns if name in reading.hidden]
    if target.mode == "append" and hidden:
        message = f"the target does not have the watermark column `{hidden[0]}`: its rows of a range are not known"
        raise DeclarationError(message, "declare the column in the target, or take mode merge")
    if target.mode == "scd2" and reading.event is None:
        message = "mode scd2 without event_timestamp_column would take rows of an old range for the newest versions"
        raise DeclarationError(message, "name the column that dates the versions: event_timestamp_column")


def _window_warnings(
    target: TargetSpec, side: TargetSide, reading: Reading, stored: Watermark | None, schema: SchemaPlan
) -> tuple[str, ...]:
    """What a reader of the rows should know of an incremental load."""
    if reading.window is None or stored is None or (reading.window.upper and side.info is None):
        return ()
    if reading.window.warning:
        return (reading.window.warning,)
    if side.info is None:
        return (f"the target is not there any more: its watermark {stored.value} is ignored and all rows are read",)
    have = {column.name for column in side.info.columns}
    added = [column.name for column in schema.data if column.name not in have]
    if target.mode != "append" or not added or not reading.window.lower:
        return ()
    text = f"rows from {reading.window.lower} on are read again and differ in the new column {', '.join(added)}"
    return (f"{text}, so they are appended again; mode merge would update them",)


def _schema(
    spec: PipelineSpec, target: TargetSpec, side: TargetSide, wanted: Sequence[Column], keys: Sequence[str]
) -> SchemaPlan:
    for column in wanted:
        if target.mode == "scd2" and column.name in SCD2_COLUMNS:
            message = f"column `{column.name}` is reserved in mode scd2"
            raise DeclarationError(message, "rename it with column_map")
    if side.capabilities.executor == "files":
        from ematix_nb.load.file_schema import plan_files

        return plan_files(side.ref, wanted, side.info, on_drift=spec.policies.on_drift)
    if side.capabilities.executor == "delta":
        from ematix_nb.load.delta_schema import plan_delta

        return plan_delta(side.dialect, side.ref, wanted, side.info, mode=target.mode, on_drift=spec.policies.on_drift)
    table = target.table
    return plan_schema(
        side.dialect,
        side.ref,
        wanted,
        side.info,
        mode=target.mode,
        keys=keys,
        primary_key=table.primary_key if table else (),
        unique=table.unique_constraints if table else (),
        on_drift=spec.policies.on_drift,
        schema_exists=side.schema_exists,
    )


def _quarantine(
    spec: PipelineSpec,
    target: TargetSpec,
    side: TargetSide,
    schema: SchemaPlan,
    columns: Sequence[ColumnPlan],
    keys: Sequence[str],
) -> Quarantine | None:
    if not may_hold(spec):
        return None
    if not side.capabilities.has_sql:
        return plan_quarantine(beside(file_thing(target)), spec, schema.left_out, columns, keys)
    ref = table_beside(side.ref)
    found = plan_quarantine(str(ref), spec, schema.left_out, columns, keys)
    if found is not None:
        side.dialect.table(ref)  # refuses a name that is too long there
    return found


def _untouched(side: TargetSide, data: Sequence[Column]) -> tuple[str, ...]:
    """Tell of columns of the target that the source does not give: old values stay, new rows get none."""
    if side.info is None:
        return ()
    ours = {column.name for column in data} | {*META_COLUMNS, *SCD2_COLUMNS} | side.info.generated
    left = [column.name for column in side.info.columns if column.name not in ours]
    return (f"columns of the target that the source does not give: {', '.join(left)}",) if left else ()


def _promises(side: TargetSide, schema: SchemaPlan) -> tuple[str, ...]:
    if schema.changes and not side.capabilities.transactional_ddl:
        return (*_advances(side), "changes of the schema commit by themselves, before the rows do")
    return _advances(side)


def _advances(side: TargetSide) -> tuple[str, ...]:
    if side.capabilities.sequences_survive_rollback and side.info is not None and side.info.defaults:
        return ("a dry run leaves nothing behind, but sequences of the target's identity columns may advance",)
    return ()
