"""From a line's options to the verbs that work on pipelines."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.declare import registry
from ematix_nb.declare.graph import in_order
from ematix_nb.errors import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, CancelledError, FlowError, LockedError, UsageError
from ematix_nb.verbs.results import Changes, Result, count_words
from ematix_nb.verbs.usage import usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.verbs.dispatch import Call
    from ematix_nb.verbs.results import DueResult, PreviewResult, RunResult, TableResult

NO_MODULE_HINT = "name a module with --module, or list `modules` in .ematix-flow.toml"


@dataclass(frozen=True, repr=False)
class SeveralResult(Result):
    """The results of several pipelines that were asked for on one line, in their order."""

    kind: ClassVar[str] = "several"

    results: tuple[Result, ...]
    failed: tuple[tuple[str, FlowError], ...] = ()
    """What could not start: name and error."""
    not_run: tuple[str, ...] = ()
    """What was left out after the first failure."""

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # computed from the parts
        """0 when all went well, 3 when some did, otherwise that of the first failure (which holds its children)."""
        codes = [result.exit_code for result in self.results if not _is_held(result)]
        codes += [error.exit_code for _, error in self.failed]
        bad = [code for code in codes if code != EXIT_OK]
        if not bad:
            return EXIT_OK
        return EXIT_PARTIAL if EXIT_OK in codes else bad[0]

    @property
    def status(self) -> str:
        """success, partial or failed."""
        code = self.exit_code
        return "success" if code == EXIT_OK else "partial" if code == EXIT_PARTIAL else "failed"

    def to_dict(self) -> dict[str, Any]:
        """``{"results", "failed", "not_run"}``."""
        return {
            "results": [result.to_dict() for result in self.results],
            "failed": [{"name": name, "error": str(error), "code": error.code} for name, error in self.failed],
            "not_run": list(self.not_run),
        }

    def to_text(self) -> str:
        """The results, one below the other."""
        lines = [result.to_text() for result in self.results]
        lines += [f"{name}: {error}" for name, error in self.failed]
        lines += [f"{name}: not run, because one before it failed (--continue runs the rest)" for name in self.not_run]
        return "\n".join(lines)


def _is_held(result: Result) -> bool:
    return getattr(result, "status", "") == "held"


@dataclass(frozen=True, repr=False)
class PlanResult(Changes, Result):
    """What a run would do to each target; no row was read, unless somebody asked for the counts."""

    kind: ClassVar[str] = "plan"

    pipeline: str
    plans: tuple[Any, ...]
    """`ematix_nb.load.plan.LoadPlan`, one a target."""
    spec: PipelineSpec | None = field(default=None, compare=False)
    """The declaration that was planned."""
    full_refresh: bool = False
    counted: dict[str, int] | None = None
    """Exact row counts; None when they were not asked for with the plan."""

    @functools.cached_property
    def counts(self) -> dict[str, int]:  # worked out once, when it is asked for
        """Exact row counts, those of a dry run: the load is executed and rolled back when they are first asked for.

        Raises:
            FlowError: What would stop the load.
        """
        if self.counted is not None or self.spec is None:
            return dict(self.counted or {})
        from ematix_nb.verbs.run import run as run_pipeline

        return run_pipeline(self.spec, dry=True, full_refresh=self.full_refresh).raise_for_status().counts

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of all plans."""
        return tuple(warning for plan in self.plans for warning in plan.warnings)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        found: dict[str, Any] = {"pipeline": self.pipeline, "plans": [plan.as_dict() for plan in self.plans]}
        return found if self.counted is None else {**found, "counts": self.counted}

    def to_text(self) -> str:
        """The plans as the preview shows them."""
        from ematix_nb.verbs.plan_text import plan_text

        told = [] if self.counted is None else [f"counts: {count_words(self.counted)} (executed and rolled back)"]
        return "\n\n".join([*(plan_text(plan) for plan in self.plans), *told])


def known_pipeline(call: Call, name: str | None) -> PipelineSpec:
    """The pipeline of that name.

    Raises:
        UsageError: No name is given, or it is not known; lists what is.
    """
    known = registry.pipelines()
    if not name:
        hint = f"pipelines: {', '.join(sorted(known))}" if known else NO_MODULE_HINT
        raise UsageError(f"no pipeline is named; usage: {usage(call.parsed.verb)}", hint=hint)
    if name not in known and not known and not call.modules:
        from ematix_nb.errors import UnknownNameError

        raise UnknownNameError(f"there is no pipeline `{name}`, and no module is loaded", hint=NO_MODULE_HINT)
    return registry.get_pipeline(name)


def run(call: Call) -> Result:
    """Run the named pipelines in order; with ``--with-parents`` what they depend on first."""
    options = call.options
    specs = _specs(call)
    if options["sandbox"]:
        return _each(specs, lambda spec: _sandboxed(call, spec), go_on=options["continue"])
    if options["with_parents"]:
        specs = in_order([spec.name for spec in specs], registry.pipelines(), with_parents=True)
    if options["full_refresh"]:
        _ask_before_refresh(call, specs)

    def one(spec: PipelineSpec) -> Result:
        from ematix_nb.verbs.run import run as run_pipeline

        with _alerting(call, spec) as alert:
            return alert(
                run_pipeline(
                    spec,
                    full_refresh=options["full_refresh"],
                    no_checks=options["no_checks"],
                    wait=options["wait"],
                    trigger=call.trigger,
                    **call.run_options(),
                )
            )

    def held(spec: PipelineSpec, parents: tuple[str, ...]) -> Result:
        from ematix_nb.verbs.run import held as hold

        return hold(spec, parents, trigger=call.trigger)

    return _each(specs, one, go_on=options["continue"], held=held)


def _sandboxed(call: Call, spec: PipelineSpec) -> Result:
    """Run one pipeline into its sandbox.

    Raises:
        UsageError: With an option that means nothing there.
    """
    for option in ("with_parents", "full_refresh", "wait"):
        if call.options[option]:
            flag = f"--{option.replace('_', '-')}"
            raise UsageError(f"`{flag}` means nothing with `--sandbox`: the copy is new", hint=f"take `{flag}` away")
    from ematix_nb.verbs.sandbox import run_in_sandbox

    return run_in_sandbox(spec, no_checks=call.options["no_checks"], trigger=call.trigger, **call.run_options())


@contextlib.contextmanager
def _alerting(call: Call, spec: PipelineSpec) -> Iterator[Callable[[RunResult], RunResult]]:
    """Tell the channels of a pipeline how its run ended; in a notebook somebody sees it anyway."""
    if call.trigger == "notebook":
        yield lambda result: result
        return
    from ematix_nb.verbs.alerts import Alerts

    alerts = Alerts(**({"listener": call.listener} if call.listener is not None else {}))

    def ended(result: RunResult) -> RunResult:
        alerts.ended(spec, result, trigger=call.trigger)
        return result

    try:
        yield ended
    except (LockedError, CancelledError):
        raise
    except FlowError as exc:
        alerts.could_not_start(spec, str(exc), trigger=call.trigger)
        raise


def _ask_before_refresh(call: Call, specs: list[PipelineSpec]) -> None:
    """Mode append has no key by which a row read again could be known: then, and only then, somebody must agree."""
    doubling = [spec.name for spec in specs if spec.incremental and any(t.mode == "append" for t in spec.targets)]
    if doubling:
        call.agreed(f"A full refresh appends every row again to the target of {', '.join(doubling)}.")


def dry_run(call: Call) -> Result:
    """Execute the named pipelines and roll back."""

    def one(spec: PipelineSpec) -> Result:
        from ematix_nb.verbs.run import run as run_pipeline

        return run_pipeline(
            spec, dry=True, full_refresh=call.options["full_refresh"], trigger=call.trigger, **call.run_options()
        )

    return _each(_specs(call), one, go_on=call.options["continue"])


def check(call: Call) -> TableResult:
    """Make the checks of the named pipelines on what a run would load; nothing is written."""
    from ematix_nb.verbs.checks import check as make

    return make(_specs(call), full_refresh=call.options["full_refresh"], **call.run_options())


def run_due(call: Call) -> DueResult:
    """Fire what is due."""
    import datetime as dt

    from ematix_nb.verbs.due import run_due as fire

    options = call.options
    notes = list(call.notes)
    now = None
    if options["now"] is not None:
        from ematix_nb.schedule.due import parse_now

        given = parse_now(options["now"])
        now = given.at
        notes += [given.note] if given.note else []
    names = tuple(known_pipeline(call, name).name for name in options["names"])
    return fire(
        now=now,
        interval=dt.timedelta(seconds=options["interval"]),
        catch_up=options["catch_up"],
        given_up=options["failed"],
        names=names,
        notes=tuple(notes),
        alert=call.trigger != "notebook",
        **call.run_options(),
    )


def preview(call: Call) -> PreviewResult:
    """Look at a pipeline, or at any table or file."""
    from ematix_nb.declare.address import is_address

    name = call.options["name"]
    subject = name if name and is_address(name) else known_pipeline(call, name)
    if call.options["as_of"] is not None:
        from ematix_nb.verbs.as_of import as_of

        return as_of(subject, call.options["as_of"]).preview(call.options["limit"], call.token)
    from ematix_nb.verbs.preview import preview as look

    return look(subject, limit=call.options["limit"], **call.run_options())


def plan(call: Call) -> PlanResult:
    """Plan each target of a pipeline; catalogues are read, rows are not; with ``--counts`` a dry run counts them."""
    spec = known_pipeline(call, call.options["name"])
    from ematix_nb.load.context import RunContext
    from ematix_nb.load.planner import make_plan
    from ematix_nb.load.run import opened

    refresh = call.options["full_refresh"]
    plans = []
    for target in spec.targets:
        context = RunContext(full_refresh=refresh, **call.run_options())
        with opened(spec, target, context, read_only=True, create=False) as (side, source):
            stored = side.watermark()
            plans.append(make_plan(spec, target, source, side.side(), stored, full_refresh=refresh))
    counted = None
    if call.options["counts"]:
        from ematix_nb.verbs.run import run as run_pipeline

        done = run_pipeline(spec, dry=True, full_refresh=refresh, trigger=call.trigger, **call.run_options())
        counted = done.raise_for_status().counts
    return PlanResult(spec.name, tuple(plans), spec, refresh, counted)


def validate(call: Call) -> TableResult:
    """Check pipelines against their systems."""
    specs = [known_pipeline(call, name) for name in call.options["names"]]
    from ematix_nb.verbs.validate import validate as check

    options = {"token": call.token} if call.token is not None else {}
    return check(specs, **options)


def transform_run(call: Call) -> Result:
    """Run named transforms."""
    from ematix_nb.verbs.transforms import run_transform

    names = call.options["names"]
    if not names:
        known = sorted(registry.transforms())
        hint = f"transforms: {', '.join(known)}" if known else NO_MODULE_HINT
        raise UsageError(f"no transform is named; usage: {usage(call.parsed.verb)}", hint=hint)
    return run_transform([registry.get_transform(name) for name in names])


def export(call: Call) -> Result:
    """Write the module of a notebook."""
    from ematix_nb.verbs.export import export as write

    options = call.options
    given = {name: options[name] for name in ("out", "check", "force", "docs", "tests")}
    return write(options["notebook"], **given)


def _specs(call: Call) -> list[PipelineSpec]:
    """All named pipelines; a wrong name, or one that stands twice, is told before any of them runs."""
    names = call.options["names"]
    specs = [known_pipeline(call, name) for name in names] or [known_pipeline(call, None)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        message = f"`{twice}` is named twice; one line runs a pipeline once"
        raise UsageError(message, hint="name it once; what has to run again afterwards takes a line of its own")
    return specs


def _each(
    specs: list[PipelineSpec],
    one: Callable[[PipelineSpec], Result],
    *,
    go_on: bool,
    held: Callable[[PipelineSpec, tuple[str, ...]], Result] | None = None,
) -> Result:
    """One result for one pipeline; for several, all of them with what failed.

    Args:
        specs: In the order in which they run.
        one: Runs one of them.
        go_on: After a failure run those too that do not depend on it.
        held: What becomes of one whose parents (named) failed on this line; without it nothing waits for a parent.
    """
    if len(specs) == 1:
        return one(specs[0])
    results: list[Result] = []
    failed: list[tuple[str, FlowError]] = []
    not_run: list[str] = []
    bad: set[str] = set()
    cancelled = False
    for spec in specs:
        parents = tuple(name for name in spec.depends_on if name in bad)
        if held is not None and parents and not cancelled:
            results.append(held(spec, parents))
            bad.add(spec.name)
            continue
        if cancelled or (bad and not go_on):
            not_run.append(spec.name)
            continue
        try:
            result = one(spec)
        except FlowError as exc:
            failed.append((spec.name, exc))
            bad.add(spec.name)
        else:
            results.append(result)
            bad |= {spec.name} if result.exit_code != EXIT_OK else set()
        cancelled = spec.name in bad and _is_cancelled(spec.name, failed, results)
    return SeveralResult(tuple(results), tuple(failed), tuple(not_run))


def _is_cancelled(name: str, failed: list[tuple[str, FlowError]], results: list[Result]) -> bool:
    """Whether the pipeline that ended last was cancelled."""
    if failed and failed[-1][0] == name:
        return isinstance(failed[-1][1], CancelledError)
    return bool(results) and getattr(results[-1], "status", "") == "cancelled"


__all__ = ["EXIT_FAILED", "PlanResult", "SeveralResult", "known_pipeline"]
