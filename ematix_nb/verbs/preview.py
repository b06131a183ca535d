"""The verb ``preview``: the plan, a sample of the source and the rows that would change. Writes nothing."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import resolve
from ematix_nb.declare.address import is_address, parse_address, parse_table_name
from ematix_nb.declare.parameters import read_parameters
from ematix_nb.errors import UsageError
from ematix_nb.events import SILENT
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.context import RunContext
from ematix_nb.load.diff import diff_rows
from ematix_nb.load.planner import make_plan
from ematix_nb.load.run import opened
from ematix_nb.load.source import open_reader
from ematix_nb.load.sql_load import shown_statements
from ematix_nb.query.paging import frame_model, query_model
from ematix_nb.query.paging.sql_rows import page_of
from ematix_nb.sql.check import check_select
from ematix_nb.sql.parameters import bind
from ematix_nb.verbs.profile import profile
from ematix_nb.verbs.results import PreviewResult, TargetPreview
from ematix_nb.verbs.run import spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column, PipelineSpec
    from ematix_nb.events import Listener

MAX_LIMIT = 100_000
DIFF_ROWS = 200
"""Sampled rows that are compared with the target."""


def preview(
    subject: str | PipelineSpec,
    *,
    limit: int = 50,
    listener: Listener = SILENT,
    token: CancelToken | None = None,
) -> PreviewResult:
    """Look at a pipeline, or at any table or file as ``connection:thing``.

    Args:
        subject: A pipeline's name or declaration, or an address.
        limit: Rows to sample, 1 to 100000.
        listener: Who gets the events.
        token: To stop it from elsewhere.

    Raises:
        UsageError: When the name is unknown, the limit out of range, or the query wrong.
        DataError: When a column would lose values on its way.
    """
    _check_limit(limit)
    token = token or CancelToken()
    if isinstance(subject, str) and is_address(subject):
        return _look(subject, limit, token)
    return _pipeline(spec_of(subject), limit, RunContext(listener=listener, token=token))


def _check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        message = f"limit must be a whole number from 1 to {MAX_LIMIT}, got {limit!r}"
        raise UsageError(message, "for example --limit 50")


def _pipeline(spec: PipelineSpec, limit: int, context: RunContext) -> PreviewResult:
    previews: list[TargetPreview] = []
    sample: tuple[str, pa.Table, bool] | None = None
    for target in spec.targets:
        with opened(spec, target, context, read_only=True, create=False) as (side, source):
            stored = side.watermark()
            plan = make_plan(spec, target, source, side.side(), stored)
            if sample is None:
                rows, complete = _sample(source.session, plan.source_sql, plan.source_columns, limit)
                sample = (plan.source_sql, rows, complete)
            whole = sample[2] and sample[1].num_rows <= DIFF_ROWS
            changes, expected, note = diff_rows(plan, side, sample[1].slice(0, DIFF_ROWS), complete=whole)
            if expected and not whole:
                expected = {**expected, "sampled": 1}
            statements = shown_statements(plan, target, side.session.dialect, context) if side.is_sql else ()
            previews.append(TargetPreview(_with_statements(plan, statements), expected, changes, note))
    if sample is None:
        message = f"pipeline `{spec.name}` has no target"
        raise UsageError(message)
    sql, rows, complete = sample
    source_connection = resolve(spec.source)
    is_frame = previews[0].plan.source == "frame"
    model = None if is_frame else query_model(spec.name, sql, lambda: open_reader(source_connection))
    return PreviewResult(spec.name, sql, rows, limit, complete, profile(rows), tuple(previews), model)


def _with_statements(plan: Any, statements: tuple[str, ...]) -> Any:
    return dataclasses.replace(plan, statements=statements)


def preview_query(
    connection: Any,
    sql: str,
    *,
    params: Mapping[str, Any] | None = None,
    limit: int = 50,
    name: str = "query",
    token: CancelToken | None = None,
) -> PreviewResult:
    """Look at a SELECT on a connection, which no pipeline has to declare.

    Args:
        connection: Its name, or the connection itself.
        sql: One SELECT, in the SQL of that system; over files that of DataFusion.
        params: Values of ``{{name}}`` in it.
        limit: Rows to sample, 1 to 100000.
        name: What to call it.
        token: To stop it from elsewhere.

    Raises:
        SqlError: When it is not one SELECT, or the system refuses it.
        UsageError: The connection is unknown, or the limit out of range.
    """
    _check_limit(limit)
    found = resolve(connection)
    values = dict(read_parameters(params)) if params else {}

    def select(session: Any) -> str:
        bound = bind(sql, values, session.dialect) if values else sql
        check_select(bound, session.dialect.name)
        return bound

    return _sampled_on(found, name, select, limit, token or CancelToken())


def preview_frame(name: str, frame: Any, *, limit: int = 50) -> PreviewResult:
    """Look at a frame in memory: Arrow, polars (also lazy) or pandas.

    Args:
        name: Of its variable.
        frame: The frame; it is not changed.
        limit: Rows to show in the static view, 1 to 100000.

    Raises:
        DataError: It is no frame, or one whose rows come once only.
    """
    _check_limit(limit)
    model = frame_model(name, frame)
    page = model.page(0, limit)
    return PreviewResult(name, model.sql, page.rows, limit, not page.more, profile(page.rows), model=model)


def _look(text: str, limit: int, token: CancelToken) -> PreviewResult:
    address = parse_address(text)
    connection = resolve(address.connection)
    return _sampled_on(connection, text, lambda session: _by_key(session, address.thing), limit, token)


def _sampled_on(
    connection: Any, name: str, select: Callable[[Any], str], limit: int, token: CancelToken
) -> PreviewResult:
    """A sample of what a SELECT gives, and the model of the rest; the SELECT is made by the open session."""
    session = open_reader(connection)
    token.on_cancel(session.interrupt)
    try:
        found = sampled(session, name, select(session), limit, lambda: open_reader(connection))
    finally:
        token.remove(session.interrupt)
        session.close()
    return found


def sampled(session: Any, name: str, sql: str, limit: int, opener: Callable[[], Any] | None = None) -> PreviewResult:
    """The first rows of a query, with their profile.

    Args:
        session: Where it is asked.
        name: Of what is looked at.
        sql: The SELECT.
        limit: Rows to sample, 1 to 100000.
        opener: Opens such a session, for what is asked later: other pages, an order, conditions.

    Raises:
        UsageError: The limit is out of range.
    """
    _check_limit(limit)
    model = query_model(name, sql, opener) if opener is not None else None
    if model is not None and hasattr(session, "picked"):  # files: the model may know where a row lies
        page = model.page(0, limit)
        rows, complete = page.rows, not page.more
    else:
        rows, complete = _sample(session, sql, session.describe(sql), limit)
    return PreviewResult(name, sql, rows, limit, complete, profile(rows), model=model)


def _by_key(session: Any, thing: str) -> str:
    """All rows, in the order of the key where there is one: pages neither overlap nor leave gaps."""
    sql = f"SELECT * FROM {session.dialect.named(thing)}"
    catalogue = getattr(session, "table", None)
    info = catalogue(parse_table_name(thing)) if catalogue else None
    if info is None:
        return sql
    key = info.primary_key or next(iter(info.unique_keys), ())
    return f"{sql} ORDER BY {session.dialect.columns(key)}" if key else sql


def _sample(session: Any, sql: str, columns: Sequence[Column], limit: int) -> tuple[pa.Table, bool]:
    """The first rows, and whether there are no more."""
    table = page_of(session, sql, columns, 0, limit + 1)
    return table.slice(0, limit), table.num_rows <= limit
