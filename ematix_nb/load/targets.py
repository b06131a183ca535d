"""The target of a pipeline: what plans know of it, its table or folder, and its state."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.registry import backend_for
from ematix_nb.clock import SYSTEM_CLOCK, Clock
from ematix_nb.connections import resolve
from ematix_nb.connections.attach import is_attached
from ematix_nb.declare.address import parse_table_name
from ematix_nb.declare.spec import TableRef
from ematix_nb.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.backends.base import TableInfo
    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.state.model import StateStore


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


def target_ref(target: TargetSpec) -> TableRef:
    """The name of a target's table (of a file target: its folder, which need not be the name of a table).

    Raises:
        DeclarationError: The target has tables, and this is not the name of one.
    """
    if target.table is not None:
        return _own(target, target.table.ref)
    try:
        return _own(target, parse_table_name(target.thing))
    except DeclarationError:
        if backend_for(resolve(target.connection).kind).capabilities.has_sql:
            raise
        return TableRef(None, target.thing)


def _own(target: TargetSpec, ref: TableRef) -> TableRef:
    """The name, when it is not one in a database that is only attached."""
    if is_attached(resolve(target.connection), ref.schema):
        message = f"`{target.connection}:{ref}` is in a database that is attached to be read"
        raise DeclarationError(message, "give that database a connection of its own")
    return ref


def file_thing(target: TargetSpec) -> str:
    """The folder of a file target."""
    if target.table is not None:
        prefix = dict(target.write_options).get("prefix")
        return str(prefix or str(target.table.ref).replace(".", "/"))
    return target.thing


def state_name(spec: PipelineSpec, ref: TableRef) -> str:
    """The name under which a target keeps the state of a pipeline."""
    return spec.name if len(spec.targets) == 1 else f"{spec.name}::{ref}"


def own_names(pipeline: str, ref: TableRef) -> tuple[str, str]:
    """Both names under which a target may know a pipeline: as its only target, and as one of several."""
    return pipeline, f"{pipeline}::{ref}"


def state_store(session: Any, target: TargetSpec, clock: Clock = SYSTEM_CLOCK) -> StateStore:
    """The state of an open target; ``clock`` is for the leases of targets that have none of their own."""
    if session.capabilities.has_sql:
        from ematix_nb.state.sql_state import SqlState

        return SqlState(session)
    state: StateStore = thing_state(session, file_thing(target), clock)
    return state


def thing_state(session: Any, thing: str, clock: Clock = SYSTEM_CLOCK) -> Any:
    """The state beside a target without SQL: of a folder of files, or of a Delta table."""
    if session.capabilities.executor == "delta":
        from ematix_nb.state.delta_state import DeltaState

        return DeltaState(session, thing, clock)
    from ematix_nb.state.file_state import FileState

    return FileState(session, thing, clock)


@contextlib.contextmanager
def open_state(spec: PipelineSpec, target: TargetSpec, *, read_only: bool = True) -> Iterator[tuple[StateStore, str]]:
    """The state of one target and the name under which it knows the pipeline; nothing is created."""
    connection = resolve(target.connection)
    session = backend_for(connection.kind).open(connection, read_only=read_only, create=False)
    try:
        yield state_store(session, target), state_name(spec, target_ref(target))
    finally:
        session.close()
