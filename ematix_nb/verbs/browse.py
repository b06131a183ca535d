"""The verbs ``tables`` and ``schema``: what a connection holds, and how a source fits its target. Catalogues only."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.registry import open_session
from ematix_nb.connections import resolve
from ematix_nb.declare.address import is_address, parse_address, parse_table_name
from ematix_nb.declare.spec import META_COLUMNS, SCD2_COLUMNS, TableRef
from ematix_nb.errors import UnknownNameError, known_names
from ematix_nb.verbs.results import TableResult
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.backends.base import TableInfo
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.verbs.dispatch import Call

OWN_SCHEMA = "ematix_flow"
MAX_TABLES = 10_000
"""Of one list."""


def tables(call: Call) -> TableResult:
    """The tables of a connection, or its folders and files; of a pattern when there is one.

    Raises:
        FlowError: The connection is not known or cannot be reached.
    """
    name, pattern = call.options["connection"], call.options["pattern"]
    if pattern is None and ":" in name:
        name, _, pattern = name.partition(":")
    session = open_session(resolve(name), read_only=True, create=False)
    try:
        found = [one for one in session.tables() if getattr(one, "schema", None) != OWN_SCHEMA]
    finally:
        session.close()
    wanted = [one for one in found if not pattern or _fits(one, pattern)]
    rows = tuple((one.schema or "", one.name) if isinstance(one, TableRef) else (one,) for one in wanted)
    columns = ("schema", "table") if any(isinstance(one, TableRef) for one in found) else ("folder or file",)
    empty = f"nothing in `{name}` fits `{pattern}`" if found else f"`{name}` holds nothing"
    notes = [f"{counted(len(wanted), 'table')} of {len(found):,}"] if pattern and wanted else []
    notes += [f"only the first {MAX_TABLES:,} of {len(rows):,} are listed"] if len(rows) > MAX_TABLES else []
    return TableResult("", columns, rows[:MAX_TABLES], empty, tuple(notes))


def _fits(thing: Any, pattern: str) -> bool:
    """Whether a name fits, with its schema or without."""
    names = [str(thing)] if not isinstance(thing, TableRef) else [str(thing), thing.name]
    return any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for name in names)


def schema(call: Call) -> TableResult:
    """The columns of a table or file; of a pipeline, source and target side by side."""
    name = call.options["name"]
    if name and is_address(name):
        return _described(name)
    from ematix_nb.load.context import RunContext
    from ematix_nb.load.planner import make_plan
    from ematix_nb.load.run import opened
    from ematix_nb.verbs.commands import known_pipeline

    spec = known_pipeline(call, name)
    rows: list[tuple[Any, ...]] = []
    notes: list[str] = []
    for target in spec.targets:
        with opened(spec, target, RunContext(**call.run_options()), read_only=True, create=False) as (side, source):
            place = side.side()
            plan = make_plan(spec, target, source, place, side.watermark())
        front = (plan.target,) if len(spec.targets) > 1 else ()
        rows += [(*front, *row) for row in _compared(plan, place.info)]
        notes += [f"a run would {change.text}" for change in plan.schema_changes]
        notes += [f"warning: {text}" for text in plan.warnings]
        notes += [] if plan.schema_changes else [f"{plan.target} is as a run wants it"]
    columns = (*(("target",) if len(spec.targets) > 1 else ()), "column", "in the source", "in the target", "what")
    return TableResult(f"schema of {spec.name}", columns, tuple(rows), notes=tuple(notes))


def _compared(plan: LoadPlan, info: TableInfo | None) -> Iterator[tuple[str, str, str, str]]:
    have = {column.name: column for column in info.columns} if info is not None else {}
    for column in plan.columns:
        given = str(column.source_type) if column.source_type is not None else "made by the load"
        there = str(have[column.name].type) if column.name in have else ""
        what = "" if there else "new in the target"
        why = f"{column.verdict.value}: {column.reason}" if column.reason else column.verdict.value
        yield column.name, given, there, f"{what}, {why}" if what else why
    own = {column.name for column in plan.columns} | {*META_COLUMNS, *SCD2_COLUMNS}
    for name, found in have.items():
        if name not in own:
            yield name, "", str(found.type), "not in the source"


def _described(text: str) -> TableResult:
    address = parse_address(text)
    session = open_session(resolve(address.connection), read_only=True, create=False)
    try:
        if session.capabilities.has_sql:
            return _table(session, text, address.thing)
        thing = session.find((address.thing.strip('"'),)) if hasattr(session, "find") else address.thing
        found = session.scan(thing or address.thing)
    finally:
        session.close()
    rows = tuple((column.name, str(column.type)) for column in found.columns)
    return TableResult(text, ("column", "type"), rows, notes=(counted(len(found.files), "file"),))


def _table(session: Any, text: str, thing: str) -> TableResult:
    info = session.table(parse_table_name(thing))
    if info is None:
        known = [str(one) for one in session.tables()]
        raise UnknownNameError(
            f"there is no table `{thing}` in `{text.partition(':')[0]}`", known_names(thing, known, "tables")
        )
    rows = tuple(
        (
            column.name,
            str(column.type),
            "" if column.nullable else "not null",
            f"key {info.primary_key.index(column.name) + 1}" if column.name in info.primary_key else "",
        )
        for column in info.columns
    )
    unique = [f"unique: {', '.join(key)}" for key in info.unique_keys if key != info.primary_key]
    kind = [] if info.kind == "table" else [f"it is a {info.kind}"]
    return TableResult(text, ("column", "type", "null", "key"), rows, notes=(*kind, *unique))
