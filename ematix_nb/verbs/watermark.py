"""The stored watermark of a pipeline: show it, set it, reset it."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import resolve
from ematix_nb.declare import registry
from ematix_nb.declare.data_types import INTEGER_KINDS, PLAIN_TEXTS
from ematix_nb.declare.fingerprint import connection_name
from ematix_nb.errors import FlowError, RunError, UsageError, did_you_mean
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.source import open_source
from ematix_nb.load.targets import open_state
from ematix_nb.load.window import check_column, check_order, checked_text
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
    values = given_values(value, spec.watermark_columns)
    call.agreed(f"The next run of {spec.name} reads from {value} on; rows before it are read only by a full refresh.")
    return _write(spec, values)


def reset(call: Call) -> TableResult:
    """Remove the watermark of every target of a pipeline."""
    spec = known_pipeline(call, call.options["name"])
    if not spec.incremental:
        raise UsageError(f"pipeline `{spec.name}` is not incremental, so it has no watermark")
    append = any(target.mode == "append" for target in spec.targets)
    more = ", and appends every row again" if append else ""
    call.agreed(f"The next run of {spec.name} reads everything{more}.")
    return _write(spec, None)


def _write(spec: PipelineSpec, values: tuple[str, ...] | None) -> TableResult:
    rows = []
    for target in spec.targets:
        with open_state(spec, target, read_only=False) as (state, key):
            stored = state.watermark(key)
            mark = _mark(spec, target, values, stored) if values is not None else None
            if mark is not None or stored is not None:
                state.reset_watermark(key, mark)
        if mark is not None:
            _verify(spec, target, mark)
        before = stored.value if stored is not None else "none"
        rows.append((spec.name, place_of(target), before, mark.value if mark is not None else "none"))
    return TableResult("", ("pipeline", "target", "before", "now"), tuple(rows))


def _mark(spec: PipelineSpec, target: TargetSpec, values: tuple[str, ...], stored: Watermark | None) -> Watermark:
    """The watermark with these values; of which kinds they are is asked where it is not known and matters."""
    from ematix_nb.state.model import Watermark, join_parts

    columns = spec.watermark_columns
    known = stored is not None and stored.columns == columns
    kinds = stored.kinds if stored is not None and known else ("",) * len(columns)
    if any(not kind and not is_number_or_time(value) for kind, value in zip(kinds, values, strict=True)):
        kinds = tuple(kind.kind for kind in source_kinds(spec, target, CancelToken()))
    composite = len(columns) > 1
    checked = []
    for column, value, kind in zip(columns, values, kinds, strict=True):
        try:
            checked.append(checked_value(value, kind))
        except UsageError as exc:
            raise UsageError(f"`{column}`: {exc.what}" if composite else exc.what, exc.hint) from exc
    texts = (join_parts(each, composite=composite) for each in (columns, checked, kinds))
    return Watermark(*texts)


def given_values(value: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """What the user wrote, as one text for each column: of several columns a JSON list.

    Raises:
        UsageError: It is no list, or not of as many values; a value is neither a text nor a number.

    Example:
        >>> given_values('["2026-01-01", 7]', ("day", "seq")), given_values("[7]", ("seq",))
        (('2026-01-01', '7'), ('[7]',))
    """
    if len(columns) == 1:
        return (value,)
    hint = """write a JSON list with a value for each column, such as '["2026-01-05", 7]'"""
    try:
        found = json.loads(value, parse_int=str, parse_float=str)
    except ValueError as exc:
        raise UsageError(f"`{value[:80]}` is not a watermark of {', '.join(columns)}", hint=hint) from exc
    if not isinstance(found, list) or len(found) != len(columns):
        has = f"{len(found)} of {len(columns)} values" if isinstance(found, list) else "no list"
        raise UsageError(f"`{value[:80]}` is not a watermark of {', '.join(columns)}: it is {has}", hint=hint)
    for column, part in zip(columns, found, strict=True):
        if not isinstance(part, str):
            raise UsageError(f"`{column}`: {json.dumps(part)[:80]} is neither a text nor a number", hint=hint)
    return tuple(found)


def _verify(spec: PipelineSpec, target: TargetSpec, mark: Watermark) -> None:
    """A database file that does not exist yet is stood in for by an empty one in memory, which keeps nothing."""
    with open_state(spec, target) as (state, key):
        stored = state.watermark(key)
    if stored is None or stored.value != mark.value:
        raise RunError(
            f"{place_of(target)} does not exist yet, so it cannot keep a watermark", hint="run the pipeline once"
        )


def source_kinds(spec: PipelineSpec, target: TargetSpec, token: CancelToken) -> tuple[DataType, ...]:
    """The types of the watermark columns in the source.

    Raises:
        UsageError: The query does not give one, or its values have no order.
    """
    renamed = dict(target.column_map)
    names = [renamed.get(column, column) for column in spec.watermark_columns]
    with contextlib.closing(open_source(spec, resolve(spec.source), resolve(target.connection), None)) as source:
        token.on_cancel(source.session.interrupt)
        try:
            check_select(source.sql, source.dialect.name)
            columns: dict[str, DataType] = {each.name: each.type for each in source.session.describe(source.sql)}
        finally:
            token.remove(source.session.interrupt)
        for name in names:
            if name not in columns:
                message = f"watermark_column `{name}` is not a column of the query"
                raise UsageError(message, did_you_mean(name, columns) or f"the query gives: {', '.join(columns)}")
            check_column(name, columns[name])
            check_order(source.dialect, name, columns[name])
    return tuple(columns[name] for name in names)


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
        return (spec.name, place_of(target), ", ".join(spec.watermark_columns), "none", "")
    return (spec.name, place_of(target), ", ".join(mark.columns), mark.value, ", ".join(mark.kinds))


def place_of(target: TargetSpec) -> str:
    """``connection:thing`` of a target."""
    thing = target.table.ref if target.table is not None else target.thing
    return f"{connection_name(target.connection)}:{thing}"
