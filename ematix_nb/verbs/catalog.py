"""What is declared: pipelines, transforms, and the entry that makes another scheduler call us."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import connection_name, fingerprint, short
from ematix_nb.errors import EXIT_OK, EXIT_WARNINGS, FlowError
from ematix_nb.verbs.results import Result, TableResult

if TYPE_CHECKING:
    import datetime as dt

    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.verbs.dispatch import Call

LIST_COLUMNS = ("pipeline", "mode", "source", "target", "schedule", "next", "fingerprint")


@dataclass(frozen=True, repr=False)
class TextResult(Result):
    """A ready text, and what it stands for in JSON."""

    kind: ClassVar[str] = "text"

    text: str
    data: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The data, or the text when there is none."""
        return self.data or {"text": self.text}

    def to_text(self) -> str:
        """The text without its last line end."""
        return self.text.rstrip("\n")


def list_pipelines(call: Call) -> TableResult:
    """The declared pipelines, by name."""
    from ematix_nb.clock import SYSTEM_CLOCK

    now = SYSTEM_CLOCK.now()
    notes = []
    if call.options.get("now"):
        from ematix_nb.schedule.due import parse_now

        given = parse_now(call.options["now"])
        now = given.at
        notes += [given.note] if given.note else []
    specs = sorted(registry.pipelines().values(), key=lambda spec: spec.name)
    empty = "no pipelines are declared"
    if not call.modules and not specs:
        empty += "; name a module with --module, or list `modules` in .ematix-flow.toml"
    strict = bool(call.options.get("strict") and call.notes)
    return TableResult(
        "",
        LIST_COLUMNS,
        tuple(_row(spec, now) for spec in specs),
        empty,
        tuple(notes),
        code=EXIT_WARNINGS if strict else EXIT_OK,
    )


def _row(spec: PipelineSpec, now: dt.datetime) -> tuple[str, ...]:
    targets = ", ".join(
        f"{connection_name(target.connection)}:{target.table.ref if target.table is not None else target.thing}"
        for target in spec.targets
    )
    modes = ", ".join(dict.fromkeys(target.mode for target in spec.targets))
    schedule = spec.schedule or ""
    if schedule and spec.timezone != "UTC":
        schedule += f" {spec.timezone}"
    source = connection_name(spec.source)
    return (spec.name, modes, source, targets, schedule, next_time(spec, now), short(fingerprint(spec)))


def next_time(spec: PipelineSpec, now: dt.datetime) -> str:
    """When a pipeline fires next, in UTC; empty without a schedule."""
    if not spec.schedule:
        return ""
    from ematix_nb.schedule.cron import next_fire, parse_schedule

    try:
        moment = next_fire(parse_schedule(spec.schedule, spec.timezone), now)
    except FlowError as exc:
        return exc.what
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment is not None else "never"


def list_transforms(call: Call) -> TableResult:
    """The named transforms, by name."""
    found = sorted(registry.transforms().values(), key=lambda transform: str(transform.name))
    rows = tuple(
        (one.name, connection_name(one.target_connection), one.schedule or "", one.description.partition("\n")[0])
        for one in found
    )
    columns = ("transform", "target", "schedule", "description")
    return TableResult("", columns, rows, "no transforms are declared", tuple(call.notes))


def schedule_entry(call: Call) -> TextResult:
    """The entry for another scheduler: it calls ``flow run-due`` often enough for every schedule."""
    from ematix_nb.schedule.cron import parse_schedule
    from ematix_nb.schedule.emit import emit

    schedules = [
        parse_schedule(spec.schedule, spec.timezone) for spec in registry.pipelines().values() if spec.schedule
    ]
    options, parsed = call.options, call.parsed
    command = ["flow", "run-due"]
    for module in parsed.module:
        command += ["--module", module]
    if parsed.profile:
        command += ["--profile", parsed.profile]
    folder = Path.cwd()
    workdir = options["workdir"] or str(folder)
    name = options["name"] or folder.name or "flow"
    text = emit(options["emit"], command=command, schedules=schedules, workdir=workdir, name=name)
    return TextResult(text, {"scheduler": options["emit"], "entry": text})
