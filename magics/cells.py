"""`%%flow connection|table|pipeline|check`: a cell declares, and shows a card of what it declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.connections import connection_from_settings, register_connection, registered_connections, resolve
from ematix_nb.connections.registry import registered
from ematix_nb.declare import cells, registry
from ematix_nb.declare.cells import parse_cell
from ematix_nb.declare.fingerprint import connection_name, fingerprint, short
from ematix_nb.declare.spec import MODES, PipelineSpec, TableSpec
from ematix_nb.errors import DeclarationError, FlowError
from ematix_nb.interop.frames import LIBRARIES
from ematix_nb.verbs.cells import show
from ematix_nb.verbs.preview_html import escape, framed
from ematix_nb.verbs.results import Result
from ematix_nb.verbs.text import neutral

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Definition", "complete_cell", "declare", "parse_cell", "pipeline_facts"]

ORIGIN = registry.file_origin("<ipython-input-")
"""Where declarations of this notebook come from, the same for cells and decorators."""
_COLUMNS = 200


@dataclass(frozen=True, repr=False)
class Definition(Result):
    """What a cell declared; nothing was connected, read or written."""

    kind: ClassVar[str] = "definition"

    what: str
    """``connection``, ``table``, ``pipeline`` or ``check``."""
    name: str
    facts: tuple[tuple[str, str], ...]
    replaced: tuple[str, ...] | None = None
    """None: it is new; otherwise what changed, nothing when it is the same."""
    warnings: tuple[str, ...] = ()

    def state(self) -> str:
        """declared, unchanged, or replaced."""
        if self.replaced is None:
            return "declared"
        return "replaced" if self.replaced else "unchanged"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "declared": self.what,
            "name": self.name,
            "facts": dict(self.facts),
            "replaced": None if self.replaced is None else list(self.replaced),
            "warnings": list(self.warnings),
        }

    def to_text(self) -> str:
        """A line a fact."""
        width = max((len(name) for name, _ in self.facts), default=0)
        lines = [f"{self.what} {self.name}: {self.state()}"]
        lines += [f"  {name:<{width}}  {text}" for name, text in self.facts]
        lines += [f"  changed: {line}" for line in self.replaced or ()]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(neutral(line, newlines=False) for line in lines)

    def to_html(self) -> str:
        """A small card."""
        head = f"<p><b>{escape(self.what)} {escape(self.name)}</b> <small>{self.state()}</small></p>"
        rows = [f"<tr><td><small>{escape(n)}</small></td><td>{escape(text)}</td></tr>" for n, text in self.facts]
        changes = [f"<p>changed: {escape(line)}</p>" for line in (self.replaced or ())[:_COLUMNS]]
        warnings = [f'<p class="ef-warn">warning: {escape(warning)}</p>' for warning in self.warnings]
        table = f"<table>{''.join(rows[:_COLUMNS])}</table>" if rows else ""
        return framed("".join([head, table, *changes, *warnings]))


def declare(cell: cells.Cell, variables: Mapping[str, Any]) -> Definition:
    """Register what a cell declares; the same cell again changes nothing.

    Args:
        cell: What stands in it.
        variables: The notebook's, for ``{{name}}``.

    Raises:
        FlowError: Its parts do not fit together, or another file declares the name.
    """
    if cell.kind == "connection":
        return _connection(cell)
    if cell.kind == "check":
        return _checks(cell)
    return _table(cell) if cell.kind == "table" else _pipeline(cell, variables)


def _connection(cell: cells.Cell) -> Definition:
    known = registered(cell.name) is not None
    connection = register_connection(connection_from_settings(cell.name, dict(cell.settings)))
    now = registered(cell.name)
    changed = tuple(f"{name} is another" for name in now.changed) if now is not None else ()
    facts = [("kind", connection.kind), ("settings", connection.summary())]
    facts += _used_by(cell.name in _connections(spec) and spec.name for spec in registry.pipelines().values())
    warnings = tuple(
        f"`{setting}` holds a secret in plain text, and it stays in the notebook; write ${{NAME}} and set the variable"
        for setting in connection.literal_secrets()
    )
    return Definition("connection", cell.name, tuple(facts), changed if known else None, warnings)


def _connections(spec: PipelineSpec) -> set[str]:
    return {connection_name(spec.source), *(connection_name(target.connection) for target in spec.targets)}


def _used_by(names: Any) -> list[tuple[str, str]]:
    found = [name for name in names if name]
    return [("used by", ", ".join(found))] if found else []


def _table(cell: cells.Cell) -> Definition:
    spec = cells.table_spec(cell)
    known = str(spec.ref) in registry.tables()
    changed = tuple(registry.register_table(spec, origin=ORIGIN))
    facts = [(column.name, _column(column)) for column in spec.columns]
    uses = (any(target.table == spec for target in pipeline.targets) and pipeline.name for pipeline in _pipelines())
    return Definition("table", str(spec.ref), (*facts, *_used_by(uses)), changed if known else None)


def _pipelines() -> list[PipelineSpec]:
    return list(registry.pipelines().values())


def _column(column: Any) -> str:
    marks = ["pk"] if column.primary_key else []
    marks += ["natural key"] if column.natural_key is not None else []
    marks += [] if column.nullable or column.primary_key else ["not null"]
    marks += [normalizer.name for normalizer in column.normalizers]
    return " ".join([str(column.type), *marks])


def _pipeline(cell: cells.Cell, variables: Mapping[str, Any]) -> Definition:
    spec = cells.build_cell_pipeline(cell, origin=ORIGIN, params=cells.cell_values(cell, variables))
    _check_pipeline(cell, spec)
    known = spec.name in registry.pipelines()
    changed = tuple(registry.register_pipeline(spec))
    return Definition("pipeline", spec.name, tuple(pipeline_facts(spec)), changed if known else None)


def _checks(cell: cells.Cell) -> Definition:
    """Add the checks of a cell to its pipeline, in place of those of an earlier cell."""
    known = bool(registry.get_pipeline(cell.name).added_checks)
    changed = tuple(registry.add_checks(cell.name, cell.checks))
    facts = [("check", str(check)) for check in cell.checks]
    facts.append(("fingerprint", short(fingerprint(registry.get_pipeline(cell.name)))))
    return Definition("check", cell.name, tuple(facts), changed if known else None)


def _check_pipeline(cell: cells.Cell, spec: PipelineSpec) -> None:
    """Refuse wrong SQL and a wrong schedule now, counting the lines of the cell; without its source only at a run.

    Raises:
        FlowError: The body is not one SELECT, or the schedule never fires.
    """
    if spec.schedule is not None:
        from ematix_nb.schedule import parse_schedule

        try:
            parse_schedule(spec.schedule, spec.timezone)
        except DeclarationError as error:
            raise DeclarationError(error.what, error.hint, "cell line 1") from None
    if spec.query.sql is None:
        return
    try:
        kind = resolve(spec.source).kind
    except FlowError:
        return
    check_body(cell, kind, dict(spec.params))


def check_body(cell: cells.Cell, kind: str, values: Mapping[str, Any]) -> None:
    """Refuse a body that is not one SELECT, counting the lines of the cell.

    Args:
        cell: With a body of SQL.
        kind: Of the connection that reads it.
        values: Of its parameters.

    Raises:
        SqlError: Says what is wrong, and where.
    """
    from ematix_nb.sql.check import check_select, dialect_of
    from ematix_nb.sql.parameters import stand_in

    dialect = dialect_of(kind)
    check_select("\n" * (cell.body_line - 1) + stand_in(cell.body, values, dialect), dialect)


def pipeline_facts(spec: PipelineSpec) -> list[tuple[str, str]]:
    """Source, targets, mode, keys, watermark, schedule and fingerprint of a declaration."""
    facts = [("source", connection_name(spec.source))]
    for target in spec.targets:
        keys = f" on {', '.join(target.keys)}" if target.keys else ""
        facts.append(("target", f"{connection_name(target.connection)}:{_thing(target.table, target.thing)}"))
        facts.append(("mode", f"{target.mode}{keys}"))
    if spec.incremental and spec.watermark_column:
        late = ", late rows by their transaction" if spec.late_rows == "snapshot" else ""
        facts.append(("watermark", f"{', '.join(spec.watermark_columns)}{late}"))
    facts += [("parameter", f"{name} = {show(value)}") for name, value in spec.params]
    facts += [("check", str(check)) for check in spec.all_checks]
    if spec.schedule:
        facts.append(("schedule", f"{spec.schedule} ({spec.timezone})"))
    if spec.depends_on:
        facts.append(("depends on", ", ".join(spec.depends_on)))
    return [*facts, ("fingerprint", short(fingerprint(spec)))]


def _thing(table: TableSpec | None, thing: str) -> str:
    return str(table.ref) if table is not None else thing


def complete_cell(words: list[str]) -> list[str]:
    """What the last word of the first line of a `%%flow` cell may become.

    Example:
        >>> complete_cell(["pi"]), complete_cell(["pipeline", "orders", "--mode", "m"])
        (['pipeline'], ['merge'])
    """
    *before, last = words
    options = {"pipeline": cells.OPTIONS, "query": cells.QUERY_OPTIONS, "test": cells.TEST_OPTIONS}.get(
        before[0] if before else "", {}
    )
    if not before:
        choices = list(cells.KINDS)
    elif not options and before[0] != "check":
        choices = list(registry.tables()) if before[0] == "table" else list(registered_connections())
    elif before[-1] in options and options[before[-1]].form != "flag":
        choices = _values(before[-1])
    elif last.startswith("-"):
        choices = [option for option in options if option not in before]
    else:
        choices = list(registry.pipelines()) if before in (["pipeline"], ["check"], ["test"]) else []
    return sorted(choice for choice in choices if choice.startswith(last))


_CHOICES = {
    "--mode": MODES,
    "--catch-up": ("latest", "all", "none"),
    "--deletes": ("hard", "soft"),
    "--on-drift": ("evolve", "freeze", "quarantine"),
    "--on-duplicate-key": ("last", "error"),
    "--on-null-key": ("error", "quarantine"),
    "--on-nul": ("error", "strip"),
    "--empty-source": ("keep", "apply"),
    "--late-rows": ("overlap", "snapshot"),
    "--into": (*LIBRARIES, "preview"),
}


def _values(option: str) -> list[str]:
    if option in ("--from", "--to"):
        from ematix_nb.verbs.grammar import names_of

        names = list(names_of(None, "connection"))
        return names if option == "--from" else [f"{name}:" for name in names]
    if option == "--depends-on":
        return list(registry.pipelines())
    return list(registry.tables()) if option == "--table" else list(_CHOICES.get(option, ()))
