"""The verb ``run-due``: fire each due slot once, whoever calls how often and from how many machines.

A slot is done when a run that carries it has committed; the target's state says
so, in the data's own transaction. A local cache remembers done slots (never due
ones), so that a call with nothing due opens no connection.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ematix_nb.clock import SYSTEM_CLOCK
from ematix_nb.declare.graph import in_order, parents_of
from ematix_nb.errors import FlowError, LockedError, RunError
from ematix_nb.events import SILENT
from ematix_nb.schedule import due_slots, open_since, parse_schedule
from ematix_nb.verbs.results import DueResult, RunResult
from ematix_nb.verbs.slot_cache import SlotCache
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.declare.transforms import Transform
    from ematix_nb.events import Listener
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.schedule import Due
    from ematix_nb.state.model import SlotState
    from ematix_nb.verbs.alert_channels import Told
    from ematix_nb.verbs.alerts import Alerts

RETRY_AFTER = tuple(dt.timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180))
"""How long a slot waits after its first failed run, its second, ...; one more failure, and it is left alone.

An outage of an hour in the night costs no slot, and a pipeline that is broken for good does not fill the history.
"""

SEARCHED_RUNS = 1000
"""Runs that are searched for the first slot of a pipeline of which none was ever done."""
BEFORE = dt.timedelta(microseconds=1)


def run_due(  # noqa: PLR0913  the options of the verb
    *,
    now: dt.datetime | None = None,
    interval: dt.timedelta = dt.timedelta(seconds=60),
    catch_up: str | None = None,
    given_up: str | None = None,
    names: tuple[str, ...] = (),
    listener: Listener = SILENT,
    token: CancelToken | None = None,
    notes: tuple[str, ...] = (),
    alert: bool = False,
) -> DueResult:
    """Fire what is due among the declared pipelines.

    Args:
        now: The instant to judge by (aware); None is now.
        interval: For pipelines that never ran: how far back a slot still counts.
        catch_up: ``latest``, ``all`` or ``none``; None: as each pipeline says.
        given_up: What to do with slots that failed so often that they are left alone: ``retry`` runs them once more,
            ``skip`` records that they are let go; None leaves them, and with ``all`` later slots wait for them.
        names: Only these pipelines; empty means all scheduled ones.
        listener: Who gets the events.
        token: To stop it from elsewhere.
        notes: Words to pass on.
        alert: Tell the channels of the settings what failed, and what is late.
    """
    from ematix_nb.declare import registry

    known = registry.pipelines()
    found, cache = _Found(), SlotCache()
    call = _Call(now or SYSTEM_CLOCK.now(), interval, catch_up, given_up, listener, token)
    chosen = [spec.name for spec in known.values() if spec.schedule and (not names or spec.name in names)]
    for spec in in_order(chosen, known):
        if call.stopped:
            found.skipped.append(f"{spec.name}: the call was cancelled")
            continue
        ran, failed = len(found.ran), len(found.failed)
        with found.told(spec.name):
            _fire(spec, call, cache, found)
        if alert and not call.stopped:
            found.alert(spec, found.ran[ran:], found.failed[failed:], listener)
    transforms = [
        each for each in registry.transforms().values() if each.schedule and (not names or each.name in names)
    ]
    for transform in transforms:
        ran, failed = len(found.ran), len(found.failed)
        with found.told(transform.name):
            _fire_transform(transform, call, found)
        if alert and not call.stopped:
            found.alert(_Named(transform.name), found.ran[ran:], found.failed[failed:], listener)
    if alert and not call.stopped:
        _alert_late([known[name] for name in chosen], call, cache, found)
    cache.save()
    notes = (*notes, *(found.alerts.warnings if found.alerts is not None else ()))
    checked = len(chosen) + len(transforms)
    return DueResult(tuple(found.ran), tuple(found.failed), tuple(found.skipped), tuple(found.held), checked, notes)


@dataclass(frozen=True)
class _Named:
    """A transform, for the channels that hear of everything."""

    name: str
    alerts: tuple[str, ...] = ()


@dataclass
class _Found:
    """What became of the pipelines in one call."""

    ran: list[RunResult] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    held: list[dict[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    """How a pipeline ended: ``success``, or words for whoever depends on it; what did not begin has none."""

    slots: dict[str, dt.datetime] = field(default_factory=dict)
    """The slot that was tried last."""
    alerts: Alerts | None = None

    def alert(self, spec: Told, ran: list[RunResult], failed: list[dict[str, str]], listener: Listener) -> None:
        """Tell the channels of a pipeline, at once: those after it may take hours."""
        if not ran and not failed:
            return
        alerts, slot = self.alerting(listener), self.slots.get(spec.name)
        for result in ran:
            alerts.ended(spec, result, trigger="schedule", slot=slot)
        for entry in failed:
            alerts.could_not_start(spec, entry["error"], trigger="schedule", slot=slot)

    def alerting(self, listener: Listener) -> Alerts:
        """What tells the channels; imported when there is something to tell."""
        if self.alerts is None:
            from ematix_nb.verbs.alerts import Alerts

            self.alerts = Alerts(listener)
        return self.alerts

    @contextlib.contextmanager
    def told(self, name: str) -> Iterator[None]:
        """Note what stops a pipeline in here; the others go on."""
        try:
            yield
        except LockedError as exc:
            self.skipped.append(f"{name}: {exc.what}")
        except FlowError as exc:
            self.failed.append({"pipeline": name, "error": str(exc)})
            self.ended[name] = "could not start"


@dataclass(frozen=True)
class _Call:
    """What one call of ``run-due`` was asked."""

    now: dt.datetime
    interval: dt.timedelta
    catch_up: str | None
    given_up: str | None
    listener: Listener
    token: CancelToken | None

    @property
    def stopped(self) -> bool:
        """Whether somebody asked the call to stop."""
        return self.token is not None and self.token.cancelled

    def policy(self, spec: PipelineSpec) -> str:
        """The catch-up policy for a pipeline."""
        return self.catch_up or spec.catch_up

    def due(self, spec: PipelineSpec, done: dt.datetime | None, created: dt.datetime | None = None) -> Due:
        """The due slots of a pipeline, given the newest one that was done."""
        return self.due_at(spec.schedule or "", spec.timezone, spec.catch_up, done, created)

    def open_since(self, spec: PipelineSpec, done: dt.datetime) -> dt.datetime | None:
        """The oldest slot that is not done."""
        schedule = parse_schedule(spec.schedule or "", spec.timezone)
        return open_since(schedule, self.now, done, self.interval, self.policy(spec))  # type: ignore[arg-type]  # checked

    def due_at(
        self, text: str, timezone: str, catch_up: str, done: dt.datetime | None, created: dt.datetime | None = None
    ) -> Due:
        """The due slots of a schedule."""
        policy = self.catch_up or catch_up
        schedule = parse_schedule(text, timezone)
        return due_slots(schedule, self.now, done, self.interval, policy, created)  # type: ignore[arg-type]  # checked


def _fire(spec: PipelineSpec, call: _Call, cache: SlotCache, found: _Found) -> None:
    due = _open_slots(spec, call, cache)
    if due.slots and (reason := _waits_for(spec, due.slots[0], call, cache, found)):
        found.held.append({"pipeline": spec.name, "slot": f"{due.slots[0]:%Y-%m-%d %H:%M} UTC", "reason": reason})
        found.ended[spec.name] = "is held itself"
        return
    skipped = found.skipped
    if due.skipped:
        missed = counted(due.skipped, "missed slot")
        skipped.append(f"{spec.name}: {missed} before the newest one (catch_up={call.policy(spec)})")
    for index, slot in enumerate(due.slots):
        found.slots[spec.name] = slot
        tried = _tried(spec, slot)
        if call.given_up != "retry" and tried.attempts > len(RETRY_AFTER):
            skipped.append(f"{spec.name}: {_give_up(spec, call, cache, due.slots[index:])}")
            continue
        if call.given_up is None and (until := _waits_until(tried)) is not None:
            what = f"the slot {slot:%Y-%m-%d %H:%M} UTC failed {counted(tried.attempts, 'time')}"
            skipped.append(f"{spec.name}: {what} and is tried again from {until:%Y-%m-%d %H:%M:%S} UTC on")
            break
        from ematix_nb.verbs.run import run

        result = run(spec, trigger="schedule", slot=slot, listener=call.listener, token=call.token)
        if result.status == "already-done":
            cache.done(spec, slot)
            continue
        found.ran.append(result)
        found.ended[spec.name] = "success" if result.status == "success" else "did not succeed in this call"
        if result.status != "success":
            break
        cache.done(spec, slot)


def _open_slots(spec: PipelineSpec, call: _Call, cache: SlotCache) -> Due:
    """The slots of a pipeline that are due and not done; its target is asked only when the cache leaves a doubt."""
    known = cache.last_done(spec)
    if (known is not None or not _has_past(spec, call)) and not (due := call.due(spec, known)):
        return due
    return _due(spec, call, cache)


def _alert_late(specs: list[PipelineSpec], call: _Call, cache: SlotCache, found: _Found) -> None:
    """Tell of slots that are still open long after their time; a pipeline that never succeeded has no time yet."""
    for spec in specs:
        done = cache.last_done(spec)
        if done is None:
            continue
        with contextlib.suppress(FlowError):  # a wrong schedule was told when it was to fire
            since = call.open_since(spec, done)
            if since is not None:
                found.alerting(call.listener).late(spec, since, call.now)


def _has_past(spec: PipelineSpec, call: _Call) -> bool:
    """Whether slots count that were tried before any was done: a first one may have failed, or been held, long ago."""
    return call.policy(spec) == "all" or bool(spec.depends_on)


def _waits_for(spec: PipelineSpec, slot: dt.datetime, call: _Call, cache: SlotCache, found: _Found) -> str:
    """Why a pipeline that is due has to wait for one that it depends on; empty when it has not.

    It waits for a parent that did not succeed in this call, whose newest run did not succeed, or that has an open slot
    itself. Only the first two are recorded: a parent that is about to run, or runs, is no news.
    """
    from ematix_nb.declare import registry
    from ematix_nb.load.held import hold, obstacle

    known = registry.pipelines()
    for name in parents_of(spec, known):
        how = found.ended.get(name) or obstacle(known[name])
        if how not in ("", "success", "is running"):
            reason = f"`{name}`, on which it depends, {how}"
            hold(spec, reason, trigger="schedule", slot=slot)
            return reason
        parent_is_due = known[name].schedule and not found.ended.get(name) and _open_slots(known[name], call, cache)
        if how == "is running" or parent_is_due:
            return f"`{name}`, on which it depends, {how or 'is due and has not run yet'}"
    return ""


def _give_up(spec: PipelineSpec, call: _Call, cache: SlotCache, slots: tuple[dt.datetime, ...]) -> str:
    """What becomes of the first of these slots, which failed too often: let go when asked, otherwise left alone.

    Raises:
        RunError: With the policy ``all`` no slot is passed over silently, so later ones wait for it.
    """
    what = f"the slot {slots[0]:%Y-%m-%d %H:%M} UTC failed {counted(len(RETRY_AFTER) + 1, 'time')}"
    if call.given_up == "skip":
        from ematix_nb.load.skip import skip_slot

        skip_slot(spec, slots[0])
        cache.done(spec, slots[0])
        return f"{what} and is let go"
    if call.policy(spec) == "all":
        waiting = counted(len(slots) - 1, "later slot waits", "later slots wait")
        raise RunError(
            f"{what}; {waiting} for it (catch_up=all)",
            hint=f"`flow runs {spec.name}` tells why; `flow run-due {spec.name} --failed retry` tries it once more,"
            " `--failed skip` lets it go",
        )
    return f"{what} and is left alone"


def _due(spec: PipelineSpec, call: _Call, cache: SlotCache) -> Due:
    """What is due by the targets' state (the one that is furthest behind); the cache learns what was done elsewhere."""
    from ematix_nb.load.targets import open_state

    slots: list[dt.datetime | None] = []
    tried: list[dt.datetime] = []
    for target in spec.targets:
        with open_state(spec, target) as (state, name):
            slots.append(state.slot(name).last_done)
            if slots[-1] is None and _has_past(spec, call):
                tried += [run.slot for run in state.history(name, SEARCHED_RUNS) if run.slot is not None]
    behind = None if None in slots else min(slot for slot in slots if slot is not None)
    if behind is not None:
        cache.done(spec, behind)
    return call.due(spec, behind, min(tried) - BEFORE if tried else None)


def _tried(spec: PipelineSpec, slot: dt.datetime) -> SlotState:
    """What became of a slot at the target where it failed most often."""
    from ematix_nb.load.targets import open_state

    tried = []
    for target in spec.targets:
        with open_state(spec, target) as (state, name):
            tried.append(state.slot(name, slot))
    return max(tried, key=lambda found: found.attempts)


def _waits_until(tried: SlotState) -> dt.datetime | None:
    """When a slot that failed is tried again; None when it may be tried now (also after a clock that was set back)."""
    if not tried.attempts or tried.last_attempt is None:
        return None
    wait, now = RETRY_AFTER[tried.attempts - 1], SYSTEM_CLOCK.now()
    return tried.last_attempt + wait if dt.timedelta() <= now - tried.last_attempt < wait else None


def _fire_transform(transform: Transform, call: _Call, found: _Found) -> None:
    """A scheduled transform: the same rules as a pipeline; its state is in the target that it works on."""
    from ematix_nb.load.post import run_scheduled, transform_slot

    due = call.due_at(transform.schedule or "", "UTC", "latest", transform_slot(transform))
    for slot in due.slots:
        found.slots[transform.name] = slot
        outcome = run_scheduled(transform, slot)
        if outcome is None:
            found.skipped.append(f"{transform.name}: the slot {slot:%Y-%m-%d %H:%M} UTC was done elsewhere")
            continue
        found.ran.append(RunResult(f"transform:{transform.name}", "", (outcome,)))
