"""The verb ``validate``: would it run? Plans each target against the real systems and parses the post-transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.connections import resolve
from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import connection_name
from ematix_nb.declare.graph import parents_of
from ematix_nb.declare.transforms import TransformRef
from ematix_nb.errors import EXIT_FAILED, EXIT_OK, FlowError
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.context import RunContext
from ematix_nb.load.planner import make_plan
from ematix_nb.load.run import opened
from ematix_nb.schedule import parse_schedule
from ematix_nb.verbs.results import TableResult
from ematix_nb.verbs.run import spec_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.spec import PipelineSpec


def validate(
    pipelines: Sequence[str | PipelineSpec] = (), *, token: CancelToken | None = None, **_: Any
) -> TableResult:
    """Check pipelines (all declared ones when none is named); reads catalogues, writes nothing.

    Returns:
        One row a target: pipeline, target, ok or the error, and its hint. Exit code 1 when any failed.
    """
    specs = [spec_of(each) for each in pipelines] or list(registry.pipelines().values())
    rows: list[tuple[str, str, str, str]] = []
    for spec in specs:
        rows += _pipeline(spec, token or CancelToken())
    failed = any(row[2] != "ok" for row in rows)
    return TableResult(
        "",
        ("pipeline", "target", "result", "hint"),
        tuple(rows),
        "no pipelines are declared",
        _shared_targets(specs),
        code=EXIT_FAILED if failed else EXIT_OK,
    )


def _shared_targets(specs: Sequence[PipelineSpec]) -> tuple[str, ...]:
    """Warn of tables that one pipeline empties and another one fills: rows of the other would be gone."""
    users: dict[str, list[tuple[str, str]]] = {}
    for spec in specs:
        for target in spec.targets:
            place = f"{connection_name(target.connection)}:{target.table.ref if target.table else target.thing}"
            users.setdefault(place, []).append((spec.name, target.mode))
    return tuple(
        f"{place} is emptied by one pipeline and filled by another: " + ", ".join(f"{n} ({m})" for n, m in found)
        for place, found in sorted(users.items())
        if len(found) > 1 and any(mode == "truncate" for _, mode in found)
    )


def _pipeline(spec: PipelineSpec, token: CancelToken) -> list[tuple[str, str, str, str]]:
    rows = []
    for target in spec.targets:
        name = str(target.table.ref if target.table is not None else target.thing)
        try:
            _check(spec, target, token)
        except FlowError as exc:
            rows.append((spec.name, name, f"{exc.code} {exc.what}", exc.hint))
        else:
            rows.append((spec.name, name, "ok", ""))
    return rows


def _check(spec: PipelineSpec, target: Any, token: CancelToken) -> None:
    parents_of(spec, registry.pipelines())
    if spec.schedule:
        parse_schedule(spec.schedule, spec.timezone)
    resolve(spec.source)
    with opened(spec, target, RunContext(token=token), read_only=True, create=False) as (side, source):
        make_plan(spec, target, source, side.side(), side.watermark())
    for step in spec.transforms_post:
        if isinstance(step, TransformRef):
            registry.get_transform(step.name)
