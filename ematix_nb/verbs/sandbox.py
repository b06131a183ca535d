"""``run --sandbox``: the same load into a local DuckDB copy of the target's schema; the target is only looked at."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.backends.duckdb.dialect import DIALECT
from ematix_nb.backends.registry import open_session
from ematix_nb.clock import SYSTEM_CLOCK
from ematix_nb.connections import DuckDBConnection, register_connection, resolve
from ematix_nb.declare.pipelines import NO_ALERTS
from ematix_nb.errors import UnknownNameError, UsageError
from ematix_nb.load.run import OpenTarget
from ematix_nb.load.targets import target_ref
from ematix_nb.verbs.results import RunResult
from ematix_nb.verbs.run import run as run_pipeline
from ematix_nb.verbs.slot_cache import cache_path

if TYPE_CHECKING:
    from pathlib import Path

    from ematix_nb.backends.base import TableInfo
    from ematix_nb.declare.spec import Column, PipelineSpec, TableRef, TargetSpec

NAME = "sandbox"
"""Of the connection that leads to the copy."""


@dataclass(frozen=True, repr=False)
class SandboxResult(RunResult):
    """How a run ended whose rows went into a copy."""

    kind: ClassVar[str] = "run"

    path: str = ""
    """The DuckDB file."""
    addresses: tuple[str, ...] = ()
    """Its tables, as `preview` takes them in the same process."""
    left_out: int = 0
    """Post-transforms that did not run: they are written for the target's system."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the file."""
        return {**super().to_dict(), "sandbox": self.path}

    def _lines(self) -> list[str]:
        lines = super()._lines()
        lines.append(f"  the target was not touched; the rows are in {self.path} ({', '.join(self.addresses)})")
        if self.left_out:
            lines.append(f"  {self.left_out} post-transforms were left out: they belong to the target's system")
        return lines


def run_in_sandbox(spec: PipelineSpec, **options: Any) -> SandboxResult:
    """Run a pipeline into a new copy of its targets' schemas.

    The copy holds no rows and no watermark: everything is read. Each such run of a pipeline begins a new one.

    Args:
        spec: The pipeline.
        options: Of `ematix_nb.verbs.run.run`.

    Raises:
        FlowError: As a run does; or the target's schema cannot be read, or the file cannot be made.
    """
    path = cache_path(NAME) / f"{spec.name}.duckdb"
    _clear(path)
    connection = DuckDBConnection(name=NAME, path=str(path))
    copy = moved(spec, connection)
    copy_schemas(spec, copy, connection)
    addresses = tuple(f"{NAME}:{target_ref(target)}" for target in copy.targets)
    _name(connection)
    found = run_pipeline(copy, **options)
    given = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return SandboxResult(**given, path=str(path), addresses=addresses, left_out=len(spec.transforms_post))


_named: list[DuckDBConnection] = []
"""The sandbox that has the name, in this process."""


def _name(connection: DuckDBConnection) -> None:
    """Let the name lead to this sandbox, unless the user has a connection of that name."""
    try:
        if resolve(NAME) not in _named:
            return
    except UnknownNameError:
        pass
    register_connection(connection)
    _named[:] = [connection]


def _clear(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in (path, path.with_name(f"{path.name}.wal")):
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
    except OSError as error:
        what = f"the sandbox `{path}` cannot be made: {error.strerror or error}"
        raise UsageError(what, hint="XDG_CACHE_HOME names another folder for it") from None


def moved(spec: PipelineSpec, connection: DuckDBConnection) -> PipelineSpec:
    """The pipeline with its targets in another database; nobody hears of it, and nothing runs after it."""
    targets = tuple(_moved_target(target, connection) for target in spec.targets)
    return dataclasses.replace(
        spec, targets=targets, source_connection=spec.source, alerts=(NO_ALERTS,), transforms_post=(), retries=0
    )


def _moved_target(target: TargetSpec, connection: DuckDBConnection) -> TargetSpec:
    from ematix_nb.declare.cells import quoted_table
    from ematix_nb.declare.spec import TableSpec

    thing = quoted_table(TableSpec(target_ref(target), ())) if target.table is None else ""
    return dataclasses.replace(target, connection=connection, thing=thing, write_options=())


def copy_schemas(spec: PipelineSpec, copy: PipelineSpec, connection: DuckDBConnection) -> None:
    """Make the tables that the targets have now, without their rows; a target that is not there yet is left out."""
    session = open_session(connection)
    try:
        for target, place in zip(spec.targets, copy.targets, strict=True):
            side = OpenTarget(spec, target, SYSTEM_CLOCK, read_only=True, create=False)
            try:
                info = side.side().info
            finally:
                side.close()
            if info is not None:
                make_table(session, target_ref(place), info)
    finally:
        session.close()


def make_table(session: Any, ref: TableRef, info: TableInfo) -> None:
    """A table of the same columns and key; what the other system fills by itself may be NULL here."""
    if ref.schema and (sql := DIALECT.create_schema(ref.schema)):
        session.execute(sql)
    given = info.generated | info.defaults
    columns = [_stored(column, optional=column.name in given) for column in info.columns]
    session.execute(DIALECT.create_table(ref, columns, [name for name in info.primary_key if name not in given]))


def _stored(column: Column, *, optional: bool) -> Column:
    kind = DIALECT.store(column.type).type
    return dataclasses.replace(column, type=kind, nullable=column.nullable or optional)
