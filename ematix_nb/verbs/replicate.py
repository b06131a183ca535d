"""The verb ``replicate``: many tables at once, each a pipeline of its own with its own state.

Keys and watermarks come from the catalogue of the source; what was chosen, and why, stands in the preview.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.backends.registry import backend_for
from ematix_nb.backends.schemas import has_schema
from ematix_nb.connections import resolve
from ematix_nb.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_PARTIAL,
    CancelledError,
    FlowError,
)
from ematix_nb.events import SILENT
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.context import RunContext
from ematix_nb.load.planner import make_plan
from ematix_nb.load.run import opened
from ematix_nb.load.targets import target_ref
from ematix_nb.verbs.replicate_tables import Copy, Order, proposed
from ematix_nb.verbs.results import TableResult, count_words
from ematix_nb.verbs.run import run
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.events import Event, Listener
    from ematix_nb.verbs.dispatch import Call


@dataclass(frozen=True, repr=False)
class ReplicateResult(TableResult):
    """What was, or would be, done to each table."""

    kind: ClassVar[str] = "replicate"

    copies: tuple[Copy, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "title": self.title,
            "tables": [
                {
                    "source": copy.source,
                    "target": copy.target,
                    "mode": copy.mode,
                    "keys": list(copy.keys),
                    "watermark": copy.watermark or None,
                    "why": copy.why,
                    "status": copy.state,
                    "error": str(copy.error) if copy.error else None,
                    "plan": copy.plan.as_dict() if copy.plan and not copy.result else None,
                    "run": copy.result.to_dict() if copy.result else None,
                }
                for copy in self.copies
            ],
            "notes": list(self.notes),
        }


def command(call: Call) -> ReplicateResult:
    """What a line says."""
    options = call.options
    order = Order(
        source=options["source"],
        to=options["to"] or "",
        include=tuple(options["include"]),
        exclude=tuple(options["exclude"]),
        mode=options["mode"],
        parallel=options["parallel"],
        views=options["views"],
        schema_only=options["schema_only"],
        on_drift=options["on_drift"],
    )
    listener, token = call.listener or SILENT, call.token or CancelToken()
    if options["preview"]:
        return preview(order, token=token)
    return carry_out(order, listener=listener, token=token, trigger=call.trigger, agreed=call.agreed)


def replicate(source: str, *, to: str, preview_only: bool = False, **options: Any) -> ReplicateResult:
    """Copy many tables at once.

    Args:
        source: ``connection:pattern``; the pattern is matched with ``schema.table`` (``raw.*``) or a path.
        to: ``connection:template``; ``{schema}`` and ``{table}`` are filled in.
        preview_only: Show what would be done; nothing is written.
        options: ``include``, ``exclude`` (patterns), ``mode`` (``auto``: merge where there is a key, else truncate),
            ``parallel`` (1 to 32), ``views``, ``schema_only``, ``on_drift``, ``listener``, ``token``; and any option of
            a pipeline, for all of them.

    Raises:
        UsageError: When nothing fits the pattern, or the template gives two tables one name.
    """
    own = {name: options.pop(name) for name in ("listener", "token") if name in options}
    known = {name: options.pop(name) for name in Order.__dataclass_fields__ if name in options}
    for name in ("include", "exclude"):
        given = known.get(name, ())
        known[name] = (given,) if isinstance(given, str) else tuple(given)
    order = Order(source=source, to=to, **known, options=options)
    if preview_only:
        return preview(order, token=own.get("token") or CancelToken())
    return carry_out(order, **own)


def preview(order: Order, *, token: CancelToken) -> ReplicateResult:
    """One plan for each table; catalogues are read, rows are not."""
    copies, notes = proposed(order)
    for copy in copies:
        token.check()
        _plan(copy, RunContext(token=token))
    rows = tuple(
        (copy.source, copy.target, copy.mode, ", ".join(copy.keys), copy.watermark, _planned(copy)) for copy in copies
    )
    bad = sum(copy.error is not None for copy in copies)
    warnings = tuple(f"{c.source}: {text}" for c in copies if c.plan for text in c.plan.warnings)
    title = f"{counted(len(copies), 'table')} would be copied; nothing was written"
    return ReplicateResult(
        title,
        ("source", "target", "mode", "keys", "watermark", "what happens"),
        rows,
        notes=(*notes, *(f"{c.source}: {c.mode}, because {c.why}" for c in copies if c.why), *warnings),
        code=_code(bad, len(copies)),
        copies=tuple(copies),
        warnings=warnings,
    )


def _planned(copy: Copy) -> str:
    return f"refused: {copy.error}" if copy.error is not None else copy.changes()


def carry_out(
    order: Order,
    *,
    listener: Listener = SILENT,
    token: CancelToken | None = None,
    trigger: str = "manual",
    agreed: Callable[[str], None] = lambda _: None,
) -> ReplicateResult:
    """Run every table; one that fails does not stop the others.

    Args:
        order: What is asked for.
        listener: Who gets the events, one at a time.
        token: To stop all of it.
        trigger: What started it, for the history.
        agreed: Asked before rows are replaced that somebody else may have written.

    Raises:
        UsageError: As `replicate` does.
        CancelledError: When it was stopped before any table was loaded.
    """
    token = token or CancelToken()
    copies, notes = proposed(order)
    _ask(copies, agreed, token)
    _make_schemas(copies)
    limit = _limit(order, copies[0].spec)
    one_by_one = _OneAtATime(listener)

    def load(copy: Copy) -> None:
        if token.cancelled or copy.spec is None:
            copy.state = "not run"
            return
        try:
            copy.result = run(copy.spec, listener=one_by_one, token=token, trigger=trigger)
        except FlowError as exc:
            copy.error = exc
            copy.state = "cancelled" if isinstance(exc, CancelledError) else "failed"
        else:
            copy.state = copy.result.status
            copy.error = next((target.error for target in copy.result.targets if target.error is not None), None)

    with ThreadPoolExecutor(limit, thread_name_prefix="ematix-replicate") as pool:
        list(pool.map(load, copies))
    return _result(copies, notes)


def _result(copies: Sequence[Copy], notes: Iterable[str]) -> ReplicateResult:
    rows = tuple((copy.source, copy.target, copy.mode, copy.state, _happened(copy)) for copy in copies)
    good = sum(copy.state == "success" for copy in copies)
    warnings = tuple(
        f"{copy.source}: {text}" for copy in copies if copy.result for t in copy.result.targets for text in t.warnings
    )
    return ReplicateResult(
        f"{good} of {counted(len(copies), 'table')} copied",
        ("source", "target", "mode", "status", "rows"),
        rows,
        notes=(*notes, *warnings),
        code=_code(len(copies) - good, len(copies)),
        copies=tuple(copies),
        warnings=warnings,
    )


def _happened(copy: Copy) -> str:
    if copy.error is not None:
        return str(copy.error)
    return count_words(copy.result.counts) if copy.result is not None else ""


def _code(bad: int, all_: int) -> int:
    if not bad:
        return EXIT_OK
    return EXIT_FAILED if bad == all_ else EXIT_PARTIAL


def _plan(copy: Copy, context: RunContext) -> None:
    """Plan one table; what refuses it is kept in it."""
    if copy.spec is None:
        return
    try:
        target = copy.spec.targets[0]
        with opened(copy.spec, target, context, read_only=True, create=False) as (side, source):
            copy.plan = make_plan(copy.spec, target, source, side.side(), side.watermark())
    except CancelledError:
        raise
    except FlowError as exc:
        copy.error = exc


def _ask(copies: Sequence[Copy], agreed: Callable[[str], None], token: CancelToken) -> None:
    """Mode truncate replaces what is there: that takes consent where the rows are not those of an earlier run."""
    foreign = []
    for copy in copies:
        if copy.mode != "truncate" or copy.spec is None:
            continue
        token.check()
        try:
            context, target = RunContext(token=token), copy.spec.targets[0]
            with opened(copy.spec, target, context, read_only=True, create=False) as (side, _):
                if side.side().info is not None and not side.state.history(copy.spec.name, 1):
                    foreign.append(copy.target)
        except CancelledError:
            raise
        except FlowError:
            continue  # told by the run itself
    if foreign:
        shown = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")  # noqa: PLR2004
        agreed(f"All rows of {shown} are replaced.")


def _make_schemas(copies: Sequence[Copy]) -> None:
    """Make the schemas of the targets before any table: runs side by side would wait for the one that makes theirs."""
    specs = [copy.spec for copy in copies if copy.spec is not None]
    if not specs:
        return
    connection = resolve(specs[0].targets[0].connection)
    backend = backend_for(connection.kind)
    schemas = {target_ref(spec.targets[0]).schema for spec in specs}
    if not backend.capabilities.has_sql or schemas == {None}:
        return
    session = backend.open(connection)
    try:
        for schema in sorted(schema for schema in schemas if schema):
            if not has_schema(session, schema):
                session.execute(session.dialect.create_schema(schema))
    finally:
        session.close()


def _limit(order: Order, spec: PipelineSpec | None) -> int:
    if spec is None:
        return 1
    many = backend_for(resolve(spec.targets[0].connection).kind).capabilities.many_writers
    return order.parallel if many else 1


class _OneAtATime:
    """Hands the events of several threads on, one after the other."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = threading.Lock()

    def on_event(self, event: Event) -> None:
        """Hand one on."""
        with self._lock:
            self._listener.on_event(event)
