"""The verb ``status``: of each pipeline what is due, running, late, failed, held or stale, and when it fires next."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ematix_nb.clock import SYSTEM_CLOCK
from ematix_nb.connections import redact, resolve
from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.declare.spec import MODES
from ematix_nb.errors import EXIT_FAILED, EXIT_OK, FlowError, LockedError
from ematix_nb.load.targets import open_state
from ematix_nb.schedule import next_fire, open_since, parse_schedule, slots_between
from ematix_nb.verbs.results import TableResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.schedule import CatchUp, Schedule
    from ematix_nb.state.model import RunRecord, StateStore
    from ematix_nb.verbs.dispatch import Call

STATES = (
    "unknown", "failed", "held", "late", "stale", "running", "due", "cancelled", "changed", "outdated",
    "never ran",
)  # fmt: skip
"""What a pipeline can be, several at once, the worst first; ``ok`` when it is none of these."""
BAD = frozenset({"unknown", "failed", "held", "late", "stale"})
"""The states for which ``flow status`` exits with 1."""
GRACE = dt.timedelta(minutes=5)
"""How long after a slot a pipeline is late, unless the settings or the line say otherwise."""
STALE_AFTER = 3
"""How many slots may pass after the last success before a pipeline is stale."""
SEARCHED_RUNS = 200
RECENT_RUNS = 20
"""How many of the newest runs are counted for ``failures`` and drawn as bars."""
COLUMNS = ("pipeline", "state", "due since (UTC)", "last run", "last success (UTC)", "next (UTC)", "what")
MORE_COLUMNS = ("rows", "watermark", "failures")
"""Between ``next`` and ``what``, where at least one pipeline has something to tell."""
_MOMENT = "%Y-%m-%d %H:%M"
_BEFORE = dt.timedelta(microseconds=1)
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)
_SHORT = 8


@dataclass(frozen=True, kw_only=True)
class PipelineStatus:
    """How one pipeline stands."""

    pipeline: str
    states: tuple[str, ...]
    """Of :data:`STATES`, in that order; ``("ok",)`` when there is nothing to say."""
    schedule: str = ""
    timezone: str = ""
    due_since: dt.datetime | None = None
    """The oldest slot that passed and is not done (UTC)."""
    next: dt.datetime | None = None
    """When it fires next (UTC); None without a schedule."""
    last_run: RunRecord | None = None
    """The newest load that began, of the target that is worst off."""
    last_success: dt.datetime | None = None
    """When the newest load that committed ended, of the target for which that is longest ago (UTC)."""
    what: str = ""
    """The error, or who runs it, or what changed; redacted."""
    late_seconds: float | None = None
    """How long ago the slot was that is due; None when none is."""
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    """Row counts of the newest success, of the same target."""
    watermark: str = ""
    """How far the newest success had read."""
    recent: tuple[tuple[float, str], ...] = ()
    """Seconds and status of the newest runs that ended, the oldest first."""

    @property
    def failures(self) -> int:
        """Failed runs among the recent ones."""
        return sum(state in ("failed", "abandoned") for _, state in self.recent)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: every state as a truth value, times as ISO 8601 text."""
        return {
            "pipeline": self.pipeline,
            "states": list(self.states),
            **{name.replace(" ", "_"): name in self.states for name in STATES},
            "schedule": self.schedule or None,
            "timezone": self.timezone or None,
            **{name: _iso(getattr(self, name)) for name in ("due_since", "next", "last_success")},
            "last_run": self.last_run.as_dict() if self.last_run is not None else None,
            "what": self.what,
            "late_seconds": self.late_seconds,
            "counts": self.counts,
            "watermark": self.watermark or None,
            "failures": self.failures,
            "recent": [{"seconds": seconds, "status": state} for seconds, state in self.recent],
        }


@dataclass(frozen=True, repr=False)
class StatusResult(TableResult):
    """How the pipelines stand."""

    kind: ClassVar[str] = "status"

    pipelines: tuple[PipelineStatus, ...] = ()
    at: dt.datetime | None = None
    """The instant that it was judged by."""

    def to_html(self) -> str:
        """A dashboard: a line a pipeline, with lateness, rows, watermark and the durations of its last runs."""
        from ematix_nb.verbs.status_html import status_html

        return status_html(self)

    def to_dict(self) -> dict[str, Any]:
        """``{"at", "pipelines", "notes"}``."""
        return {
            "at": _iso(self.at),
            "pipelines": [one.as_dict() for one in self.pipelines],
            "notes": list(self.notes),
        }


@dataclass
class _Target:
    """What the state of one target says."""

    newest: RunRecord | None = None
    """The newest row of a load, also of one that was held or let go."""
    began: RunRecord | None = None
    """The newest load that began."""
    success: RunRecord | None = None
    last_done: dt.datetime | None = None
    first_tried: dt.datetime | None = None
    """The oldest slot in the history."""
    running: str = ""
    problem: str = ""
    """Why the state cannot be read."""
    rows: tuple[RunRecord, ...] = ()
    """The newest loads, newest first."""
    busy: bool = False
    """It cannot be read because another process has the file: most likely a run."""


def command(call: Call) -> StatusResult:
    """Status of the named pipelines, or of all."""
    from ematix_nb.verbs.commands import known_pipeline

    options = call.options
    notes = list(call.notes)
    now = SYSTEM_CLOCK.now()
    if options["now"] is not None:
        from ematix_nb.schedule.due import parse_now

        given = parse_now(options["now"])
        now = given.at
        notes += [given.note] if given.note else []
    specs = [known_pipeline(call, name) for name in options["names"]] or list(registry.pipelines().values())
    grace = None if options["grace"] is None else dt.timedelta(seconds=options["grace"])
    found = status(specs, now=now, grace=grace, stale_after=options["stale_after"], notes=notes, token=call.token)
    return _alerted(found, call) if options["alert"] else found


def _alerted(found: StatusResult, call: Call) -> StatusResult:
    """The same, after its channels were told; what could not be told is a note."""
    from ematix_nb.verbs.alerts import Alerts

    alerts = Alerts(**({"listener": call.listener} if call.listener is not None else {}))
    now = found.at or SYSTEM_CLOCK.now()
    for one in found.pipelines:
        spec = registry.get_pipeline(one.pipeline)
        if "failed" in one.states and one.last_run is not None:
            alerts.found_failed(spec, one.last_run.run_id, one.last_run.error, one.last_run.slot)
        if one.due_since is not None:
            alerts.late(spec, one.due_since, now)
    return dataclasses.replace(found, notes=(*found.notes, *alerts.warnings))


def status(
    specs: Sequence[PipelineSpec],
    *,
    now: dt.datetime | None = None,
    grace: dt.timedelta | None = None,
    stale_after: int = STALE_AFTER,
    notes: Iterable[str] = (),
    token: CancelToken | None = None,
) -> StatusResult:
    """How pipelines stand; nothing is written.

    Args:
        specs: The pipelines.
        now: The instant to judge by (aware); None is now.
        grace: How long after a slot that is not done a pipeline is late; None is :data:`GRACE`.
        stale_after: How many slots may pass after the last success before a pipeline is stale.
        notes: Words to pass on.
        token: To stop it from elsewhere.

    Returns:
        Exit code 1 when at least one is in one of the states of :data:`BAD`, else 0.
    """
    moment = now or SYSTEM_CLOCK.now()
    found = []
    seen: dict[str, list[_Target]] = {}
    for spec in sorted(specs, key=lambda one: one.name):
        if token is not None:
            token.check()
        found.append(_pipeline(spec, moment, GRACE if grace is None else grace, stale_after, seen))
    bad = any(BAD & set(one.states) for one in found)
    return StatusResult(
        "",
        *_table(found),
        "no pipelines are declared",
        tuple(notes),
        code=EXIT_FAILED if bad else EXIT_OK,
        pipelines=tuple(found),
        at=moment,
    )


def _targets(spec: PipelineSpec, seen: dict[str, list[_Target]]) -> list[_Target]:
    """The state of each target of a pipeline, read once."""
    if spec.name not in seen:
        seen[spec.name] = [_look(spec, target) for target in spec.targets]
    return seen[spec.name]


def _pipeline(
    spec: PipelineSpec, now: dt.datetime, grace: dt.timedelta, stale_after: int, seen: dict[str, list[_Target]]
) -> PipelineStatus:
    targets = _targets(spec, seen)
    try:
        schedule = parse_schedule(spec.schedule, spec.timezone) if spec.schedule else None
    except FlowError as exc:
        return PipelineStatus(pipeline=spec.name, states=("unknown",), schedule=spec.schedule or "", what=exc.what)
    waiting = _due_since(spec, schedule, targets, now)
    successes = [each.success.finished_at if each.success is not None else None for each in targets]
    last_success = None if None in successes else min(one for one in successes if one is not None)
    states = {state for target in targets for state in _states(spec, target)}
    states |= {"due"} if waiting is not None else set()
    states |= {"late"} if waiting is not None and now - waiting > grace else set()
    states |= {"stale"} if _is_stale(schedule, last_success, now, stale_after) else set()
    changed = _changed_parents(spec, targets, seen)
    states |= {"outdated"} if changed else set()
    worst = min(targets, key=lambda target: min(map(STATES.index, _states(spec, target)), default=len(STATES)))
    return PipelineStatus(
        pipeline=spec.name,
        states=tuple(state for state in STATES if state in states) or ("ok",),
        schedule=spec.schedule or "",
        timezone=spec.timezone if spec.schedule else "",
        due_since=waiting,
        next=next_fire(schedule, now) if schedule is not None else None,
        last_run=worst.began,
        last_success=last_success,
        what=_words(worst) or changed,
        late_seconds=(now - waiting).total_seconds() if waiting is not None else None,
        counts=dict(worst.success.counts) if worst.success is not None else {},
        watermark=worst.success.watermark_after.replace(".000000", "") if worst.success is not None else "",
        recent=tuple(_recent(worst.rows)),
    )


def _recent(rows: Sequence[RunRecord]) -> Iterator[tuple[float, str]]:
    """Seconds and status of the newest runs that ended, the oldest first."""
    for row in reversed([row for row in rows if row.started_at and row.finished_at][:RECENT_RUNS]):
        yield round(((row.finished_at or _NEVER) - (row.started_at or _NEVER)).total_seconds(), 2), row.status


def _changed_parents(spec: PipelineSpec, targets: Sequence[_Target], seen: dict[str, list[_Target]]) -> str:
    """Words when a pipeline that this one depends on is declared differently since this one's newest success.

    What counts is the declaration of the parent's newest success before that; a parent that had none says nothing.
    """
    begun = [each.success.started_at for each in targets if each.success is not None and each.success.started_at]
    known = registry.pipelines()
    names = []
    for name in spec.depends_on if begun else ():
        if name not in known:
            continue
        rows = [row for each in _targets(known[name], seen) for row in each.rows if row.status == "success"]
        before = [row for row in rows if row.finished_at is not None and row.finished_at <= min(begun)]
        last = max(before, key=lambda row: row.finished_at or _NEVER, default=None)
        if last is not None and last.fingerprint not in ("", fingerprint(known[name])):
            names.append(f"`{name}`")
    return f"{' and '.join(names)} changed since its last run" if names else ""


def _look(spec: PipelineSpec, target: TargetSpec) -> _Target:
    """Read the state of one target; a file that is not there yet has none."""
    try:
        if _is_missing(target):
            return _Target()
        with open_state(spec, target) as (state, name):
            found = _read(state, name)
            if found.newest is not None and found.newest.status == "running" and not found.running:
                found = _read(state, name)  # it may have ended between the two looks
            return found
    except FlowError as exc:
        return _Target(problem=redact(exc.what), busy=isinstance(exc, LockedError))


def _read(state: StateStore, name: str) -> _Target:
    rows = [row for row in state.history(name, SEARCHED_RUNS) if row.pipeline == name and row.mode in MODES]
    return _Target(
        rows=tuple(rows),
        newest=rows[0] if rows else None,
        began=next((row for row in rows if row.status not in ("held", "skipped")), None),
        success=next((row for row in rows if row.status == "success"), None),
        last_done=state.slot(name).last_done,
        first_tried=min((row.slot for row in rows if row.slot is not None), default=None),
        running=state.running(name),
    )


def _is_missing(target: TargetSpec) -> bool:
    """Whether a target is a file or folder that the first run is going to make."""
    settings = resolve(target.connection).resolved().settings()
    path = settings.get("path")
    return bool(path) and path != ":memory:" and not Path(str(path)).expanduser().exists()


def _states(spec: PipelineSpec, target: _Target) -> set[str]:
    if target.problem:
        return {"running" if target.busy else "unknown"}
    if target.newest is None:
        return {"never ran"}
    states = {"running"} if target.running else set()
    if target.newest.status == "held":
        states.add("held")
    elif target.newest.status in ("failed", "abandoned") or _is_dead(target):
        states.add("failed")
    elif target.newest.status == "cancelled":
        states.add("cancelled")
    if target.success is not None and target.success.fingerprint not in ("", fingerprint(spec)):
        states.add("changed")
    return states


def _is_dead(target: _Target) -> bool:
    """Whether the newest run says that it runs, and holds no lease."""
    return target.newest is not None and target.newest.status == "running" and not target.running


def _due_since(
    spec: PipelineSpec, schedule: Schedule | None, targets: list[_Target], now: dt.datetime
) -> dt.datetime | None:
    """By the target that is furthest behind; targets that cannot be read say nothing."""
    known = [target for target in targets if not target.problem]
    if schedule is None or not known:
        return None
    behind = min(known, key=lambda target: target.last_done or _NEVER)
    created = behind.first_tried - _BEFORE if behind.last_done is None and behind.first_tried is not None else None
    return open_since(schedule, now, behind.last_done, catch_up=cast("CatchUp", spec.catch_up), created=created)


def _is_stale(schedule: Schedule | None, last_success: dt.datetime | None, now: dt.datetime, stale_after: int) -> bool:
    if schedule is None or last_success is None or last_success >= now:
        return False
    passed = sum(1 for _ in islice(slots_between(schedule, last_success, now), stale_after + 1))
    return passed > stale_after


def _words(target: _Target) -> str:
    row = target.newest
    if target.problem or row is None:
        return target.problem
    if target.running:
        return f"run {target.running[:_SHORT]} on {row.host.partition('[')[0]}"
    if row.status == "running":
        return "it holds no lease: its process ended, or hangs"
    return "" if row.status == "success" else redact(row.error).partition("\n")[0]


def _table(found: Sequence[PipelineStatus]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Names of columns and rows; further columns only where they say something."""
    from ematix_nb.verbs.results import count_words

    more = [(count_words(o.counts) if o.counts else "", o.watermark, str(o.failures or "")) for o in found]
    used = [place for place in range(len(MORE_COLUMNS)) if any(row[place] for row in more)]
    names = (*COLUMNS[:-1], *(MORE_COLUMNS[place] for place in used), COLUMNS[-1])
    return names, tuple(
        (*_row(one)[:-1], *(row[place] for place in used), _row(one)[-1]) for one, row in zip(found, more, strict=True)
    )


def _row(one: PipelineStatus) -> tuple[str, ...]:
    run = one.last_run
    began = f"{run.started_at:{_MOMENT}}" if run is not None and run.started_at is not None else ""
    return (
        one.pipeline,
        ", ".join(one.states),
        _shown(one.due_since),
        f"{run.status} {began} {run.run_id[:_SHORT]}" if run is not None else "",
        _shown(one.last_success),
        _shown(one.next),
        one.what,
    )


def _shown(moment: dt.datetime | None) -> str:
    return f"{moment:{_MOMENT}}" if moment is not None else ""


def _iso(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
