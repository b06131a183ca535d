"""The stored watermark of a pipeline: show it, set it, reset it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import resolve
from ematix_nb.declare import registry
from ematix_nb.declare.data_types import INTEGER_KINDS, PLAIN_TEXTS
from ematix_nb.declare.fingerprint import connection_name
from ematix_nb.errors import FlowError, RunError, UsageError, did_you_mean
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.source import open_source
from ematix_nb.load.targets import open_state
from ematix_nb.load.window import AHEAD, check_column, check_order, checked_text
from ematix_nb.sql.check import check_select
from ematix_nb.verbs.commands import known_pipeline
from ematix_nb.verbs.results import TableResult

if TYPE_CHECKING:
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.state.model import Watermark
    from ematix_nb.verbs.dispatch import Call

_COLUMNS = ("pipeline", "target", "column", "watermark", "type")
_NUMERIC = (*INTEGER_KINDS, "float", "double", "numeric")


def show(call: Call) -> TableResult:
    """The watermark of each target."""
    name = call.options["name"]
    specs = [known_pipeline(call, name)] if name else [one for one in registry.pipelines().values() if one.incremental]
    rows: list[tuple[Any, ...]] = []
    notes: list[str] = []
    for spec in specs:
        for target in spec.targets:
            try:
                with open_state(spec, target) as (state, key):
                    mark = state.watermark(key)
                rows.append(_row(spec, target, mark))
                if mark is not None and mark.horizon:
                    number = mark.horizon.rpartition(":")[2]
                    notes.append(f"{spec.name}: rows of transactions from {number} on are looked for again")
            except FlowError as exc:
                if name:
                    raise
                notes.append(f"{place_of(target)} could not be read: {exc.what}")
    return TableResult("", _COLUMNS, tuple(rows), "no incremental pipelines are declared", tuple(notes))


def change(call: Call) -> TableResult:
    """Set the watermark of every target of a pipeline."""
    spec = known_pipeline(call, call.options["name"])
    value = call.options["value"]
    if not spec.incremental or not spec.watermark_column:
        raise UsageError(f"pipeline `{spec.name}` is not incremental, so it has no watermark")
    column = str(spec.watermark_column)
    call.agreed(f"The next run of {spec.name} reads from {value} on; rows before it are read only by a full refresh.")
    return _write(spec, column, value)


def reset(call: Call) -> TableResult:
    """Remove the watermark of every target of a pipeline."""
    spec = known_pipeline(call, call.options["name"])
    if not spec.incremental:
        raise UsageError(f"pipeline `{spec.name}` is not incremental, so it has no watermark")
    append = any(target.mode == "append" for target in spec.targets)
    more = ", and appends every row again" if append else ""
    call.agreed(f"The next run of {spec.name} reads everything{more}.")
    return _write(spec, "", None)


def _write(spec: PipelineSpec, column: str, value: str | None) -> TableResult:
    from ematix_nb.state.model import Watermark

    rows = []
    for target in spec.targets:
        with open_state(spec, target, read_only=False) as (state, key):
            stored = state.watermark(key)
            mark = None
            if value is not None:
                kind = stored.type.removesuffix(AHEAD) if stored is not None and stored.column == column else ""
                if not kind and not is_number_or_time(value):
                    kind = source_kind(spec, target, CancelToken()).kind
                mark = Watermark(column, checked_value(value, kind), kind)
            if mark is not None or stored is not None:
                state.reset_watermark(key, mark)
        if mark is not None:
            _verify(spec, target, mark)
        before = stored.value if stored is not None else "none"
        rows.append((spec.name, place_of(target), before, mark.value if mark is not None else "none"))
    return TableResult("", ("pipeline", "target", "before", "now"), tuple(rows))


def _verify(spec: PipelineSpec, target: TargetSpec, mark: Watermark) -> None:
    """A database file that does not exist yet is stood in for by an empty one in memory, which keeps nothing."""
    with open_state(spec, target) as (state, key):
        stored = state.watermark(key)
    if stored is None or stored.value != mark.value:
        raise RunError(
            f"{place_of(target)} does not exist yet, so it cannot keep a watermark", hint="run the pipeline once"
        )


def source_kind(spec: PipelineSpec, target: TargetSpec, token: CancelToken) -> DataType:
    """The type of the watermark column in the source.

    Raises:
        UsageError: The query does not give it, or its values have no order.
    """
    column = str(spec.watermark_column)
    name = dict(target.column_map).get(column, column)
    with contextlib.closing(open_source(spec, resolve(spec.source), resolve(target.connection), None)) as source:
        token.on_cancel(source.session.interrupt)
        try:
            check_select(source.sql, source.dialect.name)
            columns: dict[str, DataType] = {each.name: each.type for each in source.session.describe(source.sql)}
        finally:
            token.remove(source.session.interrupt)
        if name not in columns:
            message = f"watermark_column `{name}` is not a column of the query"
            raise UsageError(message, did_you_mean(name, columns) or f"the query gives: {', '.join(columns)}")
        check_column(name, columns[name])
        check_order(source.dialect, name, columns[name])
    return columns[name]


def is_number_or_time(value: str) -> bool:
    """Whether a watermark is one, whatever the kind of its column: a number or a time, with nothing around it.

    Example:
        >>> is_number_or_time("15"), is_number_or_time("2026-01-05"), is_number_or_time("A-15")
        (True, True, False)
    """
    return value == value.strip() and (_is_number(value) or _is_time(value))


def checked_value(value: str, kind: str) -> str:
    """A watermark as the state stores it: ISO 8601, digits, or a text as it is.

    Args:
        value: What the user wrote.
        kind: The kind of the column; empty when unknown, and then a number or a time will do.

    Raises:
        UsageError: It is not what the column's kind wants.

    Example:
        >>> checked_value("2026-01-05 12:00:00+00:00", ""), checked_value("15", "bigint")
        ('2026-01-05 12:00:00+00:00', '15')
    """
    if kind in PLAIN_TEXTS:
        return checked_text("the watermark", value)
    value = value.strip()
    fits = _is_number(value) if kind in _NUMERIC else _is_time(value) or (not kind and _is_number(value))
    if fits:
        return value
    what = f"`{value[:80]}` is not a watermark" + (f" for a column of type {kind}" if kind else "")
    raise UsageError(what, hint="write ISO 8601 for times, such as 2026-01-05T12:00:00Z, and digits for numbers")


def _is_number(value: str) -> bool:
    from decimal import Decimal, InvalidOperation

    try:
        return Decimal(value).is_finite()
    except InvalidOperation:
        return False


def _is_time(value: str) -> bool:
    import datetime as dt

    try:
        dt.datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _row(spec: PipelineSpec, target: TargetSpec, mark: Watermark | None) -> tuple[Any, ...]:
    if mark is None:
        return (spec.name, place_of(target), spec.watermark_column or "", "none", "")
    return (spec.name, place_of(target), mark.column, mark.value, mark.type.removesuffix(AHEAD))


def place_of(target: TargetSpec) -> str:
    """``connection:thing`` of a target."""
    thing = target.table.ref if target.table is not None else target.thing
    return f"{connection_name(target.connection)}:{thing}"
