"""Reading the state of a pipeline's targets without planning a load."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.registry import backend_for
from ematix_nb.connections import resolve
from ematix_nb.declare.address import parse_table_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.declare.spec import PipelineSpec, TargetSpec


@contextlib.contextmanager
def open_state(
    spec: PipelineSpec, target: TargetSpec, *, read_only: bool = True
) -> Iterator[tuple[Any, str]]:
    """The state store of one target and the name under which it knows the pipeline; nothing is created."""
    from ematix_nb.state.file_state import FileState
    from ematix_nb.state.sql_state import SqlState

    connection = resolve(target.connection)
    session = backend_for(connection.kind).open(connection, read_only=read_only, create=False)
    try:
        if session.capabilities.has_sql:
            ref = target.table.ref if target.table is not None else parse_table_name(target.thing)
            name = spec.name if len(spec.targets) == 1 else f"{spec.name}::{ref}"
            yield SqlState(session), name
            return
        yield FileState(session, file_thing(target)), _file_name(spec, target)
    finally:
        session.close()


def file_thing(target: TargetSpec) -> str:
    """The folder of a file target."""
    if target.table is not None:
        prefix = dict(target.write_options).get("prefix")
        return str(prefix or str(target.table.ref).replace(".", "/"))
    return target.thing


def _file_name(spec: PipelineSpec, target: TargetSpec) -> str:
    ref = target.table.ref if target.table is not None else target.thing
    return spec.name if len(spec.targets) == 1 else f"{spec.name}::{ref}"
