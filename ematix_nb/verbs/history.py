"""The run history of every target that the loaded modules use, or of one database."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import connection_name, short
from ematix_nb.errors import FlowError, UnknownNameError, UsageError, known_names
from ematix_nb.verbs.results import RunsResult, TableResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.state.model import RunRecord
    from ematix_nb.verbs.dispatch import Call

COLUMNS = (
    "started (UTC)",
    "pipeline",
    "status",
    "mode",
    "trigger",
    "read",
    "inserted",
    "updated",
    "closed",
    "deleted",
    "seconds",
    "run",
)
SEARCHED = 10_000
"""How many of the newest runs of each target `show_run` looks through."""
_SHORT = 8


@dataclass(frozen=True, repr=False)
class RunDetail(TableResult):
    """Everything that is kept of one run."""

    kind: ClassVar[str] = "run-detail"

    record: Any = None
    """`ematix_nb.state.model.RunRecord`."""

    def to_dict(self) -> dict[str, Any]:
        """The fields of the run."""
        return {"run": self.record.as_dict(), "notes": list(self.notes)}


def list_runs(call: Call) -> RunsResult:
    """The newest runs, newest first; targets that cannot be read are told in notes."""
    name, last = call.options["name"], call.options["last"]
    records, notes = gather(name, last, call.options["connection"])
    if name and not records and name not in {**registry.pipelines(), **registry.transforms()}:
        known = [*registry.pipelines(), *registry.transforms()]
        raise UnknownNameError(
            f"no run of `{name}` is recorded, and nothing declares it", known_names(name, known, "names")
        )
    shown = records[:last]
    return RunsResult(
        "",
        COLUMNS,
        tuple(_row(record) for record in shown),
        "no runs are recorded",
        tuple(notes),
        records=tuple(shown),
    )


def show_run(call: Call) -> RunDetail:
    """One run, by its id or the beginning of it.

    Raises:
        UnknownNameError: No run, or more than one, begins like that.
    """
    wanted = call.options["id"].lower()
    records, notes = gather(None, SEARCHED, call.options["connection"])
    found = [record for record in records if record.run_id.lower().startswith(wanted)]
    if not found:
        told = "; ".join(["see `flow runs` for the ids", *notes])
        where = call.options["connection"] or "the targets that the modules use"
        raise UnknownNameError(f"no run `{wanted[:80]}` is recorded in {where}", hint=told)
    if len(found) > 1 and found[0].run_id.lower() != wanted:
        ids = ", ".join(record.run_id for record in found[:5])
        raise UnknownNameError(f"{len(found)} runs begin with `{wanted[:80]}`", hint=f"give more of it: {ids}")
    return RunDetail("", ("field", "value"), tuple(_facts(found[0])), notes=tuple(notes), record=found[0])


def gather(name: str | None, last: int, connection: str | None = None) -> tuple[list[RunRecord], list[str]]:
    """Runs of every distinct target, newest first and each once, and words about targets that cannot be read.

    Args:
        name: Of one pipeline; None for all.
        last: At most so many of each place.
        connection: A database to ask in place of the targets that the modules use; what cannot be read is raised then.

    Raises:
        UsageError: The connection keeps no history of its own.
    """
    records: dict[str, RunRecord] = {}
    notes: list[str] = []
    if connection is not None:
        with _kept_by(connection)() as state:
            return state.history(name, last), notes
    for label, opened in _places(name):
        try:
            with opened() as state:
                for record in state.history(name, last):
                    records.setdefault(record.run_id, record)
        except FlowError as exc:
            notes.append(f"{label} could not be read: {exc.what}")
    first = dt.datetime.min.replace(tzinfo=dt.UTC)
    ordered = sorted(records.values(), key=lambda record: record.started_at or first, reverse=True)
    return ordered, notes


def _places(name: str | None) -> Iterator[tuple[str, Callable[[], AbstractContextManager[Any]]]]:
    """Each place that keeps a history, once: a database, or the folder of a file target."""
    seen: set[tuple[str, str]] = set()
    specs = registry.pipelines()
    for spec in [specs[name]] if name in specs else specs.values():
        for index, target in enumerate(spec.targets):
            connection = connection_name(target.connection)
            thing = str(target.table.ref) if target.table is not None else target.thing
            if (connection, thing) in seen:
                continue
            seen.add((connection, thing))
            yield f"{connection}:{thing}", _opener(spec, index)
    for transform in registry.transforms().values():
        connection = connection_name(transform.target_connection)
        if all(place[0] != connection for place in seen):
            seen.add((connection, ""))
            yield connection, _kept_by(transform.target_connection)


def _opener(spec: PipelineSpec, index: int) -> Callable[[], AbstractContextManager[Any]]:
    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        from ematix_nb.load.targets import open_state

        with open_state(spec, spec.targets[index]) as (state, _):
            yield state

    return opened


def _kept_by(connection: Any) -> Callable[[], AbstractContextManager[Any]]:
    """What opens the history that a database keeps."""

    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        from ematix_nb.backends.registry import backend_for
        from ematix_nb.connections import resolve
        from ematix_nb.state.sql_state import SqlState

        resolved = resolve(connection)
        session = backend_for(resolved.kind).open(resolved, read_only=True, create=False)
        try:
            if not session.capabilities.has_sql:
                what = (
                    f"`{resolved.name}` ({resolved.kind}) is no database: each of its tables keeps a history of its own"
                )
                raise UsageError(what, "name the module that declares the pipelines: --module FILE")
            yield SqlState(session)
        finally:
            session.close()

    return opened


def _row(record: RunRecord) -> tuple[Any, ...]:
    counts = record.counts
    step = f" > {record.step_name}" if record.step_name and record.step_name != record.pipeline else ""
    started = f"{record.started_at:%Y-%m-%d %H:%M:%S}" if record.started_at else ""
    return (
        started,
        f"{record.pipeline}{step}",
        record.status,
        record.mode,
        record.trigger,
        counts.get("rows_read"),
        counts.get("rows_inserted"),
        counts.get("rows_updated"),
        counts.get("rows_closed"),
        counts.get("rows_deleted"),
        seconds_of(record),
        record.run_id[:_SHORT],
    )


def seconds_of(record: RunRecord) -> float | None:
    """How long a run took, in seconds; None while it runs."""
    if record.started_at is None or record.finished_at is None:
        return None
    return round((record.finished_at - record.started_at).total_seconds(), 2)


def _facts(record: RunRecord) -> Iterator[tuple[str, Any]]:
    """The fields that say something, as they are told to people."""
    for name, value in record.as_dict().items():
        if name == "fingerprint" and value:
            yield name, f"{short(value)} ({value})"
        elif name == "counts":
            yield from value.items()
        elif name == "metrics":
            yield from ((f"metrics.{key}", item) for key, item in value.items())
        elif value not in ("", None):
            yield name, value
    if (seconds := seconds_of(record)) is not None:
        yield "seconds", seconds
