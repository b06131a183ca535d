"""From a declaration, an open source and an open SQL target to a plan."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import Verdict
from ematix_nb.declare.data_types import INTEGER_KINDS
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.declare.pipelines import declared_at, resolve_keys
from ematix_nb.declare.spec import BATCH_ID, META_COLUMNS, SCD2_COLUMNS, Column, TableRef
from ematix_nb.errors import CancelledError, DataError, DeclarationError, FlowError, SqlError, did_you_mean
from ematix_nb.load import window as windows
from ematix_nb.load.conversions import Conversion, conversion
from ematix_nb.load.delta_schema import plan_delta
from ematix_nb.load.partitions import check_partition_column
from ematix_nb.load.plan import ARROW, COPY_THROUGH, INSERT_SELECT, ColumnPlan, LoadPlan
from ematix_nb.load.schema import SchemaPlan, plan_files, plan_schema
from ematix_nb.load.targets import state_name
from ematix_nb.sql.check import check_select
from ematix_nb.sql.source_query import build_source_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.backends.base import Stored, TableInfo
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.plan import Window
    from ematix_nb.load.source import OpenSource
    from ematix_nb.state.model import Watermark

MAKES_A_VALUE = ("derive", "default", "not_null_or")
KEYED = ("merge", "scd2")
EVENT_KINDS = ("timestamp", "timestamptz", "date")


@dataclass(frozen=True)
class TargetSide:
    """What the planner has to know of a target."""

    connection: str
    ref: TableRef
    info: TableInfo | None
    capabilities: Any
    dialect: Any
    """Has ``store``; of SQL targets everything else too."""
    identity: str
    backend: str
    place: str = ""
    """Equal to the source's when both may wait for each other's locks."""
    target_word: str = "files"
    """What a target without SQL is, for people."""
    schema_exists: bool = True
    """The schema that is to hold the table; True where there is none to make."""


@dataclass(frozen=True)
class _Reading:
    """What is read: the wrapped query, its columns, and which of them only serve the load."""

    sql: str
    columns: tuple[Column, ...]
    """As the source describes them; names are those of the target."""
    declared: dict[str, Column]
    hidden: frozenset[str]
    window: Window | None
    window_type: DataType | None
    notes: tuple[str, ...]
    event: str | None = None
    order: str | None = None


def make_plan(
    spec: PipelineSpec,
    target: TargetSpec,
    source: OpenSource,
    side: TargetSide,
    stored: Watermark | None,
    *,
    full_refresh: bool = False,
) -> LoadPlan:
    """Plan one load. Reads catalogues and describes the query; reads no rows and writes nothing.

    Raises:
        UsageError: When the declaration does not fit the query.
        SchemaDriftError: When the target does not fit the declaration.
        DataError: When a column would lose values.

        Each names the pipeline, and where it is declared.
    """
    try:
        return _plan(spec, target, source, side, None if full_refresh else stored)
    except CancelledError:
        raise
    except FlowError as error:
        place = f"{error.where}, {declared_at(spec)}" if error.where else declared_at(spec)
        error.args = (error.what, error.hint, place)
        raise


def _plan(
    spec: PipelineSpec, target: TargetSpec, source: OpenSource, side: TargetSide, stored: Watermark | None
) -> LoadPlan:
    _check_mode(target, side)
    reading = _reading(spec, target, source, stored if side.info is not None else None)
    if side.info is not None and stored is not None:
        _check_watermark(spec, target, reading, stored)
    keys, keys_reason = _keys(target, reading, side.info)
    wanted, verdicts = _stored_columns(reading, side)
    schema = _schema(spec, target, side, wanted, keys)
    if reading.window is not None and side.capabilities.has_sql:
        stored_kinds = {column.name: column.type for column in schema.data}
        if (kind := stored_kinds.get(reading.window.column)) is not None:
            windows.check_order(side.dialect, reading.window.column, kind)
    data = _with_hidden(schema.data, reading, side)
    columns = _column_plans(spec, reading, data, verdicts)
    update, compare = _value_columns(target, schema, keys, reading.event)
    route, reason, staged = _route(target, source, side, reading, columns)
    partitions, words = _partitioned(spec, source, reading)
    if partitions > 1 and route != INSERT_SELECT:
        route, reason = ARROW, words
    # without the run's id in its rows, a target cannot tell how far this run alone has read
    staged = staged or (side.capabilities.has_sql and reading.window is not None and BATCH_ID not in schema.meta)
    warnings = (*schema.warnings, *_lossy_warnings(columns), *_window_warnings(target, side, reading, stored, schema))
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
        notes=(*reading.notes, *_untouched(side, data), *_promises(side)),
        target_exists=side.info is not None,
        strip_nul=spec.policies.on_nul == "strip",
        meta=schema.meta,
        event_column=reading.event,
        order_column=reading.order,
        hidden=reading.hidden,
        partition_column=(spec.partition_column or "") if partitions > 1 and route == ARROW else "",
        partitions=partitions if route == ARROW else 1,
    )


def _partitioned(spec: PipelineSpec, source: OpenSource, reading: _Reading) -> tuple[int, str]:
    """How many sessions read the source, and words for the plan.

    Raises:
        DeclarationError: The source cannot share a snapshot, or the column cannot be cut into ranges.
    """
    if spec.partition_column is None or spec.partitions == 1:
        return 1, ""
    if not source.session.capabilities.shares_snapshots:
        message = f"`{source.name}` cannot be read in partitions: its sessions do not share one snapshot"
        raise DeclarationError(message, "take partition_column away")
    check_partition_column(spec.partition_column, reading.columns)
    return spec.partitions, f"{spec.partitions} sessions read ranges of {spec.partition_column} in one snapshot"


def plan_reading(spec: PipelineSpec, target: TargetSpec, source: OpenSource) -> tuple[str, tuple[Column, ...]]:
    """The query that a full load into a target would read, and its columns; the target is not looked at.

    Raises:
        UsageError: When the declaration does not fit the query.
    """
    reading = _reading(spec, target, source, None)
    return reading.sql, reading.columns


def _check_mode(target: TargetSpec, side: TargetSide) -> None:
    if target.event_timestamp_column and not side.capabilities.event_times:
        message = f"`{side.connection}` cannot date versions by event_timestamp_column"
        raise DeclarationError(message, "leave it out: versions begin with the run that brings them")
    if target.mode not in side.capabilities.modes:
        can = ", ".join(sorted(side.capabilities.modes))
        message = f"mode {target.mode} does not work on `{side.connection}`: this kind of target can {can}"
        raise DeclarationError(message, "choose another mode or another target")


def _check_watermark(spec: PipelineSpec, target: TargetSpec, reading: _Reading, stored: Watermark) -> None:
    """An append that starts anew would double the rows that are there."""
    window = reading.window
    if target.mode != "append" or window is None or stored.column in (window.source, window.column, ""):
        return
    now = f"the pipeline now names `{window.source}`"
    message = f"the watermark of `{spec.name}` is one of column `{stored.column}`, {now}"
    hint = f"`flow watermark set {spec.name} VALUE` says where to go on; --full-refresh appends every row again"
    raise DataError(message, hint)


def _window_warnings(
    target: TargetSpec, side: TargetSide, reading: _Reading, stored: Watermark | None, schema: SchemaPlan
) -> tuple[str, ...]:
    """What a reader of the rows should know of an incremental load."""
    if reading.window is None or stored is None:
        return ()
    if side.info is None:
        return (f"the target is not there any more: its watermark {stored.value} is ignored and all rows are read",)
    have = {column.name for column in side.info.columns}
    added = [column.name for column in schema.data if column.name not in have]
    if target.mode != "append" or not added or not reading.window.lower:
        return ()
    text = f"rows from {reading.window.lower} on are read again and differ in the new column {', '.join(added)}"
    return (f"{text}, so they are appended again; mode merge would update them",)


# -- the source ---------------------------------------------------------------------------------------------------


def _reading(spec: PipelineSpec, target: TargetSpec, source: OpenSource, stored: Watermark | None) -> _Reading:
    check_select(source.sql, source.dialect.name)
    available = source.session.describe(source.sql)
    names = tuple(column.name for column in available)
    _check_names(names)
    types = {column.name: column.type for column in available}
    declared = _declared(target, names)
    helpers = _helper_columns(spec, target, names, declared)
    notes = _ignored(names, declared, helpers, target)
    renames = _Renames(target, declared, helpers)
    mark = renames.in_query(spec.watermark_column) if spec.incremental else None
    kind = types.get(mark) if mark else None
    window = None
    sql = source.sql
    if kind is not None and mark:
        windows.check_order(source.dialect, mark, kind)
        window = windows.make_window(mark, kind, stored, spec.overlap, renamed=renames.in_plan(mark))
        sql = windows.filtered(source.dialect, sql, window, kind)
    chosen = (*declared.values(), *(Column(name, types[name]) for name in helpers)) if declared else None
    wrapped = build_source_query(
        source.dialect.name,
        source.dialect,
        sql,
        columns=chosen,
        column_map=target.column_map,
        transforms_pre=spec.transforms_pre,
        available=names,
    )
    columns = available if wrapped == source.sql else source.session.describe(wrapped)
    event = renames.in_plan(target.event_timestamp_column)
    order = renames.in_plan(spec.policies.dedup_by)
    _check_event(event, columns)
    hidden = frozenset(helpers)
    if not declared and (engine := [column.name for column in columns if column.name in META_COLUMNS]):
        needed = {event, order, window.column if window else None}
        hidden = frozenset(name for name in engine if name in needed)
        columns = tuple(column for column in columns if column.name not in engine or column.name in hidden)
        kept = source.dialect.columns([column.name for column in columns])
        wrapped = f"SELECT {kept} FROM {source.dialect.wrap(wrapped, 'loaded')}"
        notes = (*notes, f"{' and '.join(engine)} of the source are not loaded: the target has its own")
    return _Reading(wrapped, tuple(columns), declared, hidden, window, kind, notes, event, order)


@dataclass(frozen=True)
class _Renames:
    """Column names of the user's query and of the plan, which has the target's."""

    target: TargetSpec
    declared: dict[str, Column]
    helpers: tuple[str, ...]

    def in_query(self, name: str | None) -> str | None:
        """What the user's query calls a column that an option names either way."""
        return dict(self.target.column_map).get(name, name) if name else None

    def in_plan(self, name: str | None) -> str | None:
        """What the plan calls a column that an option names either way."""
        renamed = {source: given for given, source in self.target.column_map}
        if name is None or name in self.helpers or name in self.declared or name not in renamed:
            return name
        return renamed[name]


def _check_event(name: str | None, columns: Sequence[Column]) -> None:
    kind = next((column.type for column in columns if column.name == name), None)
    if kind is not None and kind.kind not in EVENT_KINDS:
        message = f"event_timestamp_column `{name}` is {kind}; versions begin at a timestamp or a date"
        raise DeclarationError(message, "cast it in the SELECT")


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1] if hasattr(names, "count") else []
    if twice:
        message = f"the query has two columns named `{twice[0]}`"
        raise SqlError(message, "give one of them another name with AS")
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            message = f"columns `{other}` and `{name}` differ only by case"
            raise SqlError(message, "give one of them another name with AS")
        if name in ("", "?column?"):
            message = "a column of the query has no name"
            raise SqlError(message, "name it with AS")


def _declared(target: TargetSpec, names: Sequence[str]) -> dict[str, Column]:
    """The declared columns that the source gives; empty when the target's columns are inferred."""
    if target.table is None:
        return {}
    renamed = dict(target.column_map)
    found = {}
    for column in target.table.columns:
        made = any(step.name in MAKES_A_VALUE for step in column.normalizers)
        if renamed.get(column.name, column.name) in names or made:
            found[column.name] = column
        elif not column.nullable:
            message = f"column `{column.name}` of `{target.table.ref}` is NOT NULL and the query does not select it"
            hint = did_you_mean(column.name, names) or f"select `{column.name}`, or declare it nullable"
            raise SqlError(message, hint)
    if not found:
        message = f"the query selects none of the columns of `{target.table.ref}`"
        raise SqlError(message, f"the query gives: {', '.join(names)}")
    return found


def _helper_columns(
    spec: PipelineSpec, target: TargetSpec, names: Sequence[str], declared: dict[str, Column]
) -> tuple[str, ...]:
    """Columns that the load needs and that the target does not have."""
    wanted = {
        "watermark_column": spec.watermark_column if spec.incremental else None,
        "event_timestamp_column": target.event_timestamp_column,
        "dedup_by": spec.policies.dedup_by,
    }
    renamed_from = {source: name for name, source in target.column_map}
    helpers = []
    for option, name in wanted.items():
        if name is None:
            continue
        if name not in names and name not in dict(target.column_map):
            message = f"{option} `{name}` is not a column of the query"
            raise DeclarationError(message, did_you_mean(name, names) or f"the query gives: {', '.join(names)}")
        if declared and name not in declared and renamed_from.get(name) not in declared and name not in helpers:
            helpers.append(name)
    return tuple(helpers)


def _ignored(
    names: Sequence[str], declared: dict[str, Column], helpers: Sequence[str], target: TargetSpec
) -> tuple[str, ...]:
    if not declared:
        return ()
    used = set(declared) | {source for _, source in target.column_map} | set(helpers)
    extra = [name for name in names if name not in used]
    missing = [column.name for column in (target.table.columns if target.table else ()) if column.name not in declared]
    notes = [f"not loaded, because the table does not declare them: {', '.join(extra)}"] if extra else []
    if missing:
        notes.append(f"not selected, so left as they are: {', '.join(missing)}")
    return tuple(notes)


# -- the target ---------------------------------------------------------------------------------------------------


def _keys(target: TargetSpec, reading: _Reading, info: TableInfo | None) -> tuple[tuple[str, ...], str]:
    if target.mode not in KEYED:
        return (), ""
    keys, reason, _ = resolve_keys(target)
    if not keys and info is not None and info.primary_key:
        keys = tuple(name for name in info.primary_key if name not in SCD2_COLUMNS)
        reason = "primary key of the existing table"
    names = [column.name for column in reading.columns]
    for key in keys:
        if key not in names:
            message = f"key `{key}` is not among the columns of the query: {', '.join(names)}"
            raise DeclarationError(message, did_you_mean(key, names))
    if not keys:
        message = f"mode {target.mode} needs keys"
        raise DeclarationError(message, f"add keys=(...) (--keys {names[0]})")
    return keys, reason


def _stored_columns(reading: _Reading, side: TargetSide) -> tuple[tuple[Column, ...], dict[str, Stored]]:
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


def _schema(
    spec: PipelineSpec, target: TargetSpec, side: TargetSide, wanted: Sequence[Column], keys: Sequence[str]
) -> SchemaPlan:
    for column in wanted:
        if target.mode == "scd2" and column.name in SCD2_COLUMNS:
            message = f"column `{column.name}` is reserved in mode scd2"
            raise DeclarationError(message, "rename it with column_map")
    if side.capabilities.executor == "files":
        return plan_files(side.ref, wanted, side.info, on_drift=spec.policies.on_drift)
    if side.capabilities.executor == "delta":
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


def _with_hidden(data: Sequence[Column], reading: _Reading, side: TargetSide) -> tuple[Column, ...]:
    hidden = (
        Column(column.name, side.dialect.store(column.type).type)
        for column in reading.columns
        if column.name in reading.hidden
    )
    return (*data, *hidden)


def _column_plans(
    spec: PipelineSpec, reading: _Reading, data: Sequence[Column], verdicts: dict[str, Stored]
) -> tuple[ColumnPlan, ...]:
    types = {column.name: column.type for column in reading.columns}
    plans = []
    for column in data:
        change = conversion(types[column.name], column.type)
        stored = verdicts.get(column.name)
        if stored is not None and stored.verdict is not Verdict.EXACT and change.verdict is Verdict.EXACT:
            change = Conversion(stored.verdict, stored.reason)
        allowed = column.name in spec.policies.allow_lossy
        if change.verdict is Verdict.REFUSED or (change.verdict is Verdict.LOSSY and not allowed):
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


def _lossy_warnings(columns: Sequence[ColumnPlan]) -> tuple[str, ...]:
    lossy = [column for column in columns if column.verdict is Verdict.LOSSY]
    return tuple(f"column `{column.name}` loses {column.reason} (allowed)" for column in lossy)


def _value_columns(
    target: TargetSpec, schema: SchemaPlan, keys: Sequence[str], event: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which columns an update writes, and which decide whether a row changed."""
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


def _route(
    target: TargetSpec, source: OpenSource, side: TargetSide, reading: _Reading, columns: Sequence[ColumnPlan]
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


def _untouched(side: TargetSide, data: Sequence[Column]) -> tuple[str, ...]:
    """Tell of columns of the target that the source does not give: old values stay, new rows get none."""
    if side.info is None:
        return ()
    ours = {column.name for column in data} | {*META_COLUMNS, *SCD2_COLUMNS} | side.info.generated
    left = [column.name for column in side.info.columns if column.name not in ours]
    return (f"columns of the target that the source does not give: {', '.join(left)}",) if left else ()


def _promises(side: TargetSide) -> tuple[str, ...]:
    if side.capabilities.sequences_survive_rollback and side.info is not None and side.info.defaults:
        return ("a dry run leaves nothing behind, but sequences of the target's identity columns may advance",)
    return ()


__all__ = ["TargetSide", "make_plan"]
