"""Running a ``%%flow`` cell: what it declares becomes known to this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ematix_nb.connections import connection_from_settings, register_connection, registered_connections
from ematix_nb.declare import registry
from ematix_nb.declare.cells import Cell, build_cell_pipeline, table_spec
from ematix_nb.errors import ConfigError, DeclarationError, FlowError
from ematix_nb.verbs.results import Result

NOTEBOOK = "the notebook"


@dataclass(frozen=True, repr=False)
class Defined(Result):
    """What a cell declared."""

    kind: ClassVar[str] = "defined"

    what: str
    """``connection``, ``table`` or ``pipeline``."""
    name: str
    value: Any
    """The `Connection`, `TableSpec` or `PipelineSpec`."""
    replaced: bool = False
    """There was one of that name before."""
    changed: tuple[str, ...] = ()
    """What differs from it, one line each."""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; never a setting's value."""
        return {
            "kind": self.what,
            "name": self.name,
            "replaced": self.replaced,
            "changed": list(self.changed),
            "warnings": list(self.warnings),
        }

    def to_text(self) -> str:
        """One line, what changed and the warnings below."""
        if self.changed:
            lines = [f"{self.what} `{self.name}` redefined:", *(f"  {line}" for line in self.changed)]
        else:
            state = "is unchanged" if self.replaced else "is defined"
            lines = [f"{self.what} `{self.name}` {state}"]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])


def build_cell(cell: Cell, origin: str = NOTEBOOK) -> Defined:
    """Register what a cell declares; one of the same name is replaced.

    Args:
        cell: What `parse_cell` read.
        origin: The file or notebook it stands in.

    Raises:
        FlowError: It does not fit together, or another file declares the name. Nothing changed then.
    """
    if cell.kind == "connection":
        return _connection(cell)
    if cell.kind == "table":
        return _table(cell, origin)
    return _pipeline(cell, origin)


def _connection(cell: Cell) -> Defined:
    try:
        built = connection_from_settings(cell.name, cell.settings)
    except (DeclarationError, ConfigError) as error:
        raise type(error)(error.what, error.hint, error.where or "cell") from None
    before = registered_connections().get(cell.name)
    register_connection(built)
    after = registered_connections()[cell.name]
    changed = tuple(f"`{setting}` changed" for setting in after.changed) if before is not None else ()
    return Defined("connection", cell.name, built, before is not None, changed, secret_warnings(cell, built))


def secret_warnings(cell: Cell, connection: Any) -> tuple[str, ...]:
    """One sentence for each secret that stands in the cell in plain."""
    return tuple(
        f"`{setting}` of connection `{cell.name}` holds a secret in plain text, and notebooks are shared; "
        f'write {setting} = "${{{variable_name(cell.name, setting)}}}" and set the variable'
        for setting in connection.literal_secrets()
    )


def variable_name(connection: str, setting: str) -> str:
    """A name for the environment variable of a setting.

    Example:
        >>> variable_name("my-wh", "password")
        'MY_WH_PASSWORD'
    """
    return "".join(letter if letter.isalnum() else "_" for letter in f"{connection}_{setting}").upper()


def _table(cell: Cell, origin: str) -> Defined:
    spec = table_spec(cell)
    name = str(spec.ref)
    known = name in registry.tables()
    changed = registry.register_table(spec, origin=origin)
    return Defined("table", name, spec, known, tuple(changed))


def _pipeline(cell: Cell, origin: str) -> Defined:
    from ematix_nb.declare.targets import resolve_keys

    spec = build_cell_pipeline(cell, origin=origin)
    known = cell.name in registry.pipelines()
    try:
        changed = registry.register_pipeline(spec)
    except FlowError as error:
        raise type(error)(error.what, error.hint, error.where or "cell") from None
    surprises = tuple(
        text for item in spec.targets if item.mode in ("merge", "scd2") and (text := resolve_keys(item)[2])
    )
    return Defined("pipeline", cell.name, spec, known, tuple(changed), surprises)
