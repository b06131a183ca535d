"""What a plan reads: the wrapped query, its columns, and which of them only serve the load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ematix_nb.declare.spec import META_COLUMNS, Column
from ematix_nb.errors import DeclarationError, SqlError, did_you_mean
from ematix_nb.load import window as windows
from ematix_nb.load.late import SNAPSHOT, look_back
from ematix_nb.sql.check import check_select
from ematix_nb.sql.source_query import build_source_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.plan import Window
    from ematix_nb.load.source import OpenSource
    from ematix_nb.load.spans import Span
    from ematix_nb.state.model import Watermark

MAKES_A_VALUE = ("derive", "default", "not_null_or")
EVENT_KINDS = ("timestamp", "timestamptz", "date")


@dataclass(frozen=True)
class Reading:
    """What is read: the wrapped query, its columns, and which of them only serve the load."""

    sql: str
    columns: tuple[Column, ...]
    """As the source describes them; names are those of the target."""
    declared: dict[str, Column]
    hidden: frozenset[str]
    window: Window | None
    notes: tuple[str, ...]
    event: str | None = None
    order: str | None = None


def plan_reading(
    spec: PipelineSpec, target: TargetSpec, source: OpenSource, stored: Watermark | None, span: Span | None = None
) -> Reading:
    """The query that a load into a target would read; the target itself is not looked at.

    Args:
        spec: The pipeline.
        target: One of its targets.
        source: Open.
        stored: How far earlier runs have read; None to read everything.
        span: The part of a backfill that is read.

    Raises:
        UsageError: When the declaration does not fit the query.
    """
    check_select(source.sql, source.dialect.name)
    available = source.session.describe(source.sql)
    names = tuple(column.name for column in available)
    _check_names(names)
    types = {column.name: column.type for column in available}
    declared = _declared(target, names)
    helpers = _helper_columns(spec, target, names, declared)
    notes = _ignored(names, declared, helpers, target)
    renames = _Renames(target, declared, helpers)
    marks = _marks(spec, renames)
    window = None
    sql = source.sql
    if marks:
        kinds = [types[mark] for mark in marks]
        planned = [str(renames.in_plan(mark)) for mark in marks]
        for mark, kind in zip(marks, kinds, strict=True):
            windows.check_order(source.dialect, mark, kind)
        if span is not None:
            limit = stored if target.mode == "append" else None
            window = windows.span_window(span, marks, kinds, limit, renamed=planned)
        else:
            window = windows.make_window(marks, kinds, stored, spec.overlap, renamed=planned)
            window = look_back(source, window, kinds, stored) if spec.late_rows == SNAPSHOT else window
        sql = windows.filtered(source.dialect, sql, window, kinds)
    chosen = (*declared.values(), *(Column(name, types[name]) for name in helpers)) if declared else None
    wrapped = build_source_query(
        source.dialect,
        sql,
        columns=chosen,
        column_map=target.column_map,
        transforms_pre=spec.transforms_pre,
        available=types,
    )
    columns = available if wrapped == source.sql else source.session.describe(wrapped)
    event = renames.in_plan(target.event_timestamp_column)
    order = renames.in_plan(spec.policies.dedup_by)
    _check_event(event, columns)
    hidden = frozenset(helpers)
    if not declared and (engine := [column.name for column in columns if column.name in META_COLUMNS]):
        needed = {event, order, *(window.columns if window else ())}
        hidden = frozenset(name for name in engine if name in needed)
        columns = tuple(column for column in columns if column.name not in engine or column.name in hidden)
        kept = source.dialect.columns([column.name for column in columns])
        wrapped = f"SELECT {kept} FROM {source.dialect.wrap(wrapped, 'loaded')}"
        notes = (*notes, f"{' and '.join(engine)} of the source are not loaded: the target has its own")
    return Reading(wrapped, tuple(columns), declared, hidden, window, notes, event, order)


def _marks(spec: PipelineSpec, renames: _Renames) -> tuple[str, ...]:
    """The watermark columns as the user's query has them.

    Raises:
        DeclarationError: Two of them are one column of the query.
    """
    found = tuple(str(renames.in_query(name)) for name in spec.watermark_columns) if spec.incremental else ()
    for place, name in enumerate(found):
        if name in found[:place]:
            same = " and ".join(
                f"`{one}`" for one in (spec.watermark_columns[found.index(name)], spec.watermark_columns[place])
            )
            raise DeclarationError(f"watermark_column names {same}, which are one column of the query", "name it once")
    return found


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
    wanted = [
        *(("watermark_column", name) for name in (spec.watermark_columns if spec.incremental else ())),
        ("event_timestamp_column", target.event_timestamp_column),
        ("dedup_by", spec.policies.dedup_by),
    ]
    renamed_from = {source: name for name, source in target.column_map}
    helpers = []
    for option, name in wanted:
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
