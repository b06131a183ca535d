"""Which tables `replicate` copies, and how: keys, watermark and mode of each, from the catalogue of the source."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.registry import backend_for, open_session
from ematix_nb.connections import resolve
from ematix_nb.declare.address import parse_address, parse_table_name, suggested_name
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.declare.spec import TableRef
from ematix_nb.errors import FlowError, UnknownNameError, UsageError, known_names
from ematix_nb.load.source import open_reader
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.backends.base import Capabilities, TableInfo
    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.verbs.results import RunResult

MODES = ("auto", "append", "truncate", "merge", "scd2")
MAX_PARALLEL = 32
OWN_SCHEMA = "ematix_flow"
WATERMARKS = (
    "updated_at", "modified_at", "changed_at", "last_updated", "last_modified", "last_updated_at", "last_modified_at",
    "update_time", "updated_on", "modified_on", "updated", "modified", "_updated_at", "row_updated_at",
)  # fmt: skip
"""Names of columns that are set whenever a row changes, as far as names can tell."""


@dataclass
class Copy:
    """One table on its way."""

    source: str
    """As the source calls it."""
    target: str
    mode: str
    keys: tuple[str, ...] = ()
    watermark: str = ""
    why: str = ""
    spec: PipelineSpec | None = None
    plan: LoadPlan | None = None
    result: RunResult | None = None
    error: FlowError | None = None
    state: str = "planned"
    """planned, success, failed, cancelled, partial, not run."""

    def changes(self) -> str:
        """What the run would do to the target's schema, in words."""
        if self.plan is None:
            return ""
        held = [self.plan.quarantine.words()] if self.plan.quarantine else []
        return "; ".join([*(change.text for change in self.plan.schema_changes), *held]) or "none"


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    source: str
    """``connection:pattern``."""
    to: str
    """``connection:template`` with ``{schema}`` and ``{table}``."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    mode: str = "auto"
    parallel: int = 2
    views: bool = False
    schema_only: bool = False
    on_drift: str = "evolve"
    options: dict[str, Any] = field(default_factory=dict)
    """Further options of every pipeline."""


def proposed(order: Order) -> tuple[list[Copy], tuple[str, ...]]:
    """The tables that fit, each with its pipeline, and words about those that were left out.

    Raises:
        UsageError: When nothing fits, an option is wrong, or two tables would land in one.
    """
    _check(order)
    address = parse_address(order.source)
    there = parse_address(order.to)
    found, left_out = _tables(order, address.connection, address.thing)
    can = backend_for(resolve(there.connection).kind).capabilities.modes
    copies = [_copy(order, address.connection, there.connection, there.thing, table, can) for table in found]
    _check_targets(copies)
    return copies, left_out


def _check(order: Order) -> None:
    if not order.to:
        raise UsageError("no target is named", hint="--to lake:raw/{table}, or --to warehouse:raw.{table}")
    if order.mode not in MODES:
        raise UsageError(f"mode `{order.mode}` is none of {', '.join(MODES)}", hint="auto chooses for each table")
    wrong = isinstance(order.parallel, bool) or not isinstance(order.parallel, int)
    if wrong or not 1 <= order.parallel <= MAX_PARALLEL:
        raise UsageError(f"parallel must be a whole number from 1 to {MAX_PARALLEL}, got {order.parallel!r}")


@dataclass(frozen=True)
class _Table:
    """One table of the source."""

    schema: str
    name: str
    thing: str
    """What `source_table` calls it."""
    info: TableInfo | None


def _tables(order: Order, connection: str, pattern: str) -> tuple[list[_Table], tuple[str, ...]]:
    resolved = resolve(connection)
    session = open_session(resolved, read_only=True)
    try:
        listed = _files(session) if not session.capabilities.has_sql else _named(session)
        fits = [table for table in listed if _fits(table.thing, table.name, pattern, order)]
        if not fits:
            known = [table.thing for table in listed]
            message = f"no table of `{connection}` fits `{pattern}`" if known else f"`{connection}` has no tables"
            raise UnknownNameError(message, known_names(pattern, known, "tables") if known else "")
        return _with_infos(session, fits, views=order.views)
    finally:
        session.close()


def _fits(thing: str, name: str, pattern: str, order: Order) -> bool:
    def matches(one: str) -> bool:
        return fnmatch.fnmatchcase(thing, one) or ("." not in one and "/" not in one and fnmatch.fnmatchcase(name, one))

    plain = thing.replace('"', "")
    wanted = matches(pattern) or fnmatch.fnmatchcase(plain, pattern)
    included = not order.include or any(map(matches, order.include))
    return wanted and included and not any(map(matches, order.exclude))


def _named(session: Any) -> list[_Table]:
    listed = [ref for ref in session.tables() if ref.schema != OWN_SCHEMA and not ref.name.startswith(f"{OWN_SCHEMA}_")]
    home = session.capabilities.default_schema or ""
    return [_Table(ref.schema or home, ref.name, _written(ref), None) for ref in listed]


def _written(ref: TableRef) -> str:
    """A table as a person writes it: parts in double quotes where they need them."""
    return ".".join(_part(part) for part in (ref.schema, ref.name) if part)


def _part(name: str) -> str:
    return name if name.replace("_", "a").isalnum() else '"' + name.replace('"', '""') + '"'


def _files(session: Any) -> list[_Table]:
    found = []
    for thing in session.tables():
        folder, _, name = thing.rpartition("/")
        stem = name.partition(".")[0] if "." in name else name
        found.append(_Table(folder.replace("/", "_"), stem or name, thing, None))
    return found


def _with_infos(session: Any, tables: list[_Table], *, views: bool) -> tuple[list[_Table], tuple[str, ...]]:
    """What the catalogue says of each; views are left out unless they are asked for."""
    if not session.capabilities.has_sql:
        return tables, ()
    kept, left_out = [], []
    for table in tables:
        info = session.table(parse_table_name(table.thing))
        if info is None or (info.kind == "view" and not views):
            left_out.append(table.thing)
        else:
            kept.append(_Table(table.schema, table.name, table.thing, info))
    if not kept:
        raise UsageError(
            f"only views fit: {', '.join(left_out[:5])}", hint="--views copies views too, as tables of their rows"
        )
    note = f"{counted(len(left_out), 'view')} left out ({', '.join(left_out[:3])}); --views copies them too"
    return kept, (note,) if left_out else ()


def _copy(order: Order, source: str, target: str, template: str, table: _Table, can: frozenset[str]) -> Copy:
    thing = _filled(template, backend_for(resolve(target).kind).capabilities, schema=table.schema, table=table.name)
    keys = _keys(table.info)
    mark, why_not = _watermark(table.info) if keys else ("", "")
    mode, why = _mode(order.mode, keys, mark, why_not, can)
    copy = Copy(table.thing, f"{target}:{thing}", mode, keys if mode in ("merge", "scd2") else (), why=why)
    copy.watermark = mark if mode == "merge" and not order.schema_only else ""
    try:
        copy.spec = _pipeline(order, source, table, copy)
    except FlowError as exc:
        copy.error, copy.state = exc, "failed"
    return copy


def _filled(template: str, capabilities: Capabilities, **names: str) -> str:
    """The template with its names filled in; where there are tables, as a name in the quotes that it needs."""
    try:
        if not capabilities.has_sql:
            return template.format(**names)
        ref = parse_table_name(template)
        schema = ref.schema.format(**names) if ref.schema else None
        return _written(TableRef(schema, ref.name.format(**names)))
    except (KeyError, IndexError, ValueError, AttributeError) as exc:
        message = f"the template `{template}` cannot be filled in ({exc})"
        raise UsageError(message, hint="it may hold {schema} and {table}, for example raw/{schema}/{table}") from exc


def _pipeline(order: Order, source: str, table: _Table, copy: Copy) -> PipelineSpec:
    options: dict[str, Any] = {
        "name": suggested_name(f"replicate_{source}_{table.thing.replace('.', '_')}"),
        "target": copy.target,
        "source_connection": source,
        "mode": copy.mode,
        "on_drift": order.on_drift,
        **order.options,
    }
    if copy.keys:
        options.setdefault("keys", copy.keys)
    if copy.watermark:
        options |= {"incremental": True, "watermark_column": copy.watermark}
    if order.schema_only:
        named = open_dialect(source).named(table.thing)
        mode = "append" if copy.mode == "truncate" else copy.mode
        return build_pipeline(sql=f"SELECT * FROM {named} WHERE 1 = 0", **{**options, "mode": mode})
    return build_pipeline(source_table=table.thing, **options)


def open_dialect(connection: str) -> Any:
    """The dialect of a source."""
    session = open_reader(resolve(connection))
    try:
        return session.dialect
    finally:
        session.close()


def _keys(info: TableInfo | None) -> tuple[str, ...]:
    """The primary key, or else the first unique one whose columns cannot be NULL."""
    if info is None:
        return ()
    if info.primary_key:
        return info.primary_key
    required = {column.name for column in info.columns if not column.nullable}
    return next((key for key in info.unique_keys if set(key) <= required), ())


def _watermark(info: TableInfo | None) -> tuple[str, str]:
    """A column that tells when a row was last changed; or why the one that looks like it is not used."""
    columns = {} if info is None else {column.name.lower(): column for column in info.columns}
    for name in WATERMARKS:
        column = columns.get(name)
        if column is None or column.type.kind not in ("timestamp", "timestamptz"):
            continue
        if column.nullable:
            return "", f"{column.name} may be NULL, so all rows are read"
        return column.name, ""
    return "", ""


def _mode(asked: str, keys: tuple[str, ...], mark: str, why_not: str, can: frozenset[str]) -> tuple[str, str]:
    if asked != "auto":
        return asked, "it was asked for"
    if not keys:
        return "truncate", "the table has no key: its rows are replaced as a whole"
    if "merge" not in can:
        return "truncate", "this kind of target cannot merge: the rows are replaced as a whole"
    if mark:
        return "merge", f"it has a key, and {mark} tells what changed; deleted rows stay"
    return "merge", "it has a key; deleted rows stay" + (f"; {why_not}" if why_not else "")


def _check_targets(copies: Sequence[Copy]) -> None:
    seen: dict[str, str] = {}
    for copy in copies:
        other = seen.setdefault(copy.target.lower(), copy.source)
        if other != copy.source:
            message = f"{other} and {copy.source} would both land in {copy.target}"
            raise UsageError(message, hint="put {schema} and {table} into the template")
