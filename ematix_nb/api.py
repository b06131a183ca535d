"""``ematix``: declarations joined to verbs, and the handles that a user calls."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ematix_nb.connections import connection as _connection
from ematix_nb.declare import pipelines as _pipelines
from ematix_nb.declare import registry
from ematix_nb.declare import tables as _tables
from ematix_nb.declare import transforms as _transforms
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.errors import DeclarationError
from ematix_nb.interop.frames import Frames, as_frame, check_ready

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    import pyarrow as pa

    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.verbs.as_of import AsOf
    from ematix_nb.verbs.backfill import BackfillResult
    from ematix_nb.verbs.replicate import ReplicateResult
    from ematix_nb.verbs.results import PreviewResult, RunResult, TableResult


FunctionT = TypeVar("FunctionT", bound="Callable[..., Any]")


class Pipeline(Frames):
    """A declared pipeline, ready to be looked at and run.

    What ``@ematix.pipeline`` leaves in place of the function; the function itself is ``.function``.
    """

    def __init__(self, spec: PipelineSpec, function: Callable[..., Any] | None, changed: list[str]) -> None:
        self._name = spec.name
        self._spec = spec
        self.function = function
        self.changed = tuple(changed)
        """What the declaration changed in an earlier one of the same name."""
        if function is not None:
            functools.update_wrapper(self, function)

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._name

    @property
    def spec(self) -> PipelineSpec:
        """The declaration, with the checks that were added to it."""
        return registry.with_checks(self._spec)

    @property
    def fingerprint(self) -> str:
        """Hash of the declaration: the same in cell, module and Python."""
        return fingerprint(self.spec)

    @overload
    def sync(self, *, into: None = None, **overrides: Any) -> RunResult: ...
    @overload
    def sync(self, *, into: str, **overrides: Any) -> Any: ...
    def sync(self, *, into: str | None = None, **overrides: Any) -> Any:
        """Run it now; raises when the load fails.

        Args:
            into: ``polars``, ``pandas``, ``arrow`` or ``pyspark``: give the rows as a frame, in place of a run. Target,
                watermark and history are left alone. It goes with ``limit=``, ``arrow_types=`` (pandas) and ``spark=``.
            overrides: Options replaced for this run: ``keys=``, ``mode=``, ``target_connection=``, ...; and ``wait=``
                (seconds), ``full_refresh=``, ``no_checks=``, ``listener=``, ``token=``.

        Raises:
            FlowError: What stopped the load; the target is as it was.
        """
        if into is not None:
            return self._frame(into, **overrides)
        result = self.run(**overrides)
        return result if result.status == "partial" else result.raise_for_status()

    def _frame(self, library: str, *, limit: int | None = None, **options: Any) -> Any:
        check_ready(library, **options)
        return as_frame(self.to_arrow(limit=limit), library, **options)

    def run(self, **overrides: Any) -> RunResult:
        """Run it now; a failed load is in the result."""
        from ematix_nb.verbs.run import run

        return run(self.spec, trigger="python", **_split(overrides))

    def dry_run(self, **overrides: Any) -> RunResult:
        """Execute and roll back: exact counts, nothing written."""
        from ematix_nb.verbs.run import run

        return run(self.spec, dry=True, **_split(overrides)).raise_for_status()

    def backfill(self, start: Any, end: Any, chunk: Any = None, **options: Any) -> BackfillResult:
        """Load the rows from one value of the watermark column up to another, in chunks; the watermark stays.

        Args:
            start: The first value: a date, a datetime (naive: UTC), a number, or its text.
            end: The first value after the range.
            chunk: A timedelta, a number, or a text such as ``1d``; None for all at once.
            options: ``dry=True`` to see the chunks only, ``wait=`` (seconds), ``listener=``, ``token=``.

        Raises:
            FlowError: What stopped it; the chunks before are loaded, and the same call goes on behind them.
        """
        from ematix_nb.verbs.backfill import backfill

        size = f"{int(chunk.total_seconds())}s" if hasattr(chunk, "total_seconds") else chunk
        given = {"trigger": "python", **options, "chunk": None if size is None else str(size)}
        return backfill(self._spec, str(start), str(end), **given).raise_for_status()

    def to_arrow(self, *, limit: int | None = None) -> pa.Table:
        """The rows that the query gives, under the target's names and cleaned as a run would; nothing is written.

        ``to_polars()``, ``to_pandas()`` and ``to_pyspark()`` give the same as frames.
        """
        from ematix_nb.verbs.read import read

        return read(self._spec, limit=limit)

    def as_of(self, moment: dt.date | str) -> AsOf:
        """The versions that the target (of mode scd2) held at an instant: ``.to_arrow()``, ``.to_polars()``, ...

        Args:
            moment: A datetime, a date (its first moment) or a text in ISO 8601; what has no time zone is UTC.

        Raises:
            UsageError: No target is of mode scd2, or the text is no date or time.
        """
        from ematix_nb.verbs.as_of import as_of

        return as_of(self.spec, moment)

    def preview(self, limit: int = 50) -> PreviewResult:
        """The plan, a sample and the rows that would change."""
        from ematix_nb.verbs.preview import preview

        return preview(self.spec, limit=limit)

    def validate(self) -> TableResult:
        """Would it run?"""
        from ematix_nb.verbs.validate import validate

        return validate([self.spec])

    def __call__(self) -> RunResult:
        """The same as :meth:`sync`."""
        return self.sync()

    def __repr__(self) -> str:
        targets = ", ".join(str(target.table.ref if target.table else target.thing) for target in self._spec.targets)
        return f"<pipeline {self._name} -> {targets}>"


RUN_OPTIONS = ("wait", "full_refresh", "listener", "token", "no_checks")


def _split(options: dict[str, Any]) -> dict[str, Any]:
    """Options of the run itself, and those that replace declared ones."""
    own = {name: value for name, value in options.items() if name in RUN_OPTIONS}
    rest = {name: value for name, value in options.items() if name not in RUN_OPTIONS}
    return {**own, "overrides": rest} if rest else own


class Ematix:
    """The decorators and functions of the package, in one name.

    Example:
        >>> from ematix_nb import ematix
        >>> @ematix.pipeline(target="lake:numbers", source_connection="lake", mode="append")
        ... def numbers(conn):
        ...     return "SELECT 1 AS n"
        >>> numbers
        <pipeline numbers -> numbers>
    """

    Target = _pipelines.Target

    def __init__(self) -> None:
        # set on the object, so that type checkers see the functions with all their overloads
        self.target = _pipelines.target
        self.table = _tables.table
        self.connection = _connection
        self.transform_ref = _transforms.transform_ref

    @staticmethod
    def pipeline(target: Any = None, **options: Any) -> Callable[[Callable[..., Any]], Pipeline]:
        """Declare a pipeline; see ``docs/`` for every option.

        Raises:
            DeclarationError: When an option is unknown or the whole does not fit together.
        """
        if target is not None:
            options["target"] = target

        def declare(function: Callable[..., Any]) -> Pipeline:
            spec = _pipelines.build_pipeline(function, **options)
            _check_schedule(spec, function)
            return declared(spec, function)

        return declare

    @staticmethod
    def check(pipeline: str | Pipeline, *checks: Any) -> tuple[str, ...]:
        """Add checks to a declared pipeline, in place of those that were added before.

        Args:
            pipeline: Its name or handle.
            checks: What has to hold before a load commits: ``checks.not_null("id")``, or its text.

        Returns:
            What changed, one line each.

        Raises:
            DeclarationError: One is no check.
            UnknownNameError: There is no such pipeline.
        """
        from ematix_nb.declare.checks import read_checks

        name = pipeline if isinstance(pipeline, str) else pipeline.name
        return tuple(registry.add_checks(name, read_checks(checks)))

    @staticmethod
    def replicate(source: str, *, to: str, **options: Any) -> ReplicateResult:
        """Copy many tables at once, now; see `ematix_nb.verbs.replicate.replicate` for the options.

        Raises:
            UsageError: When nothing fits the pattern, or the template gives two tables one name.
        """
        from ematix_nb.verbs.replicate import replicate

        return replicate(source, to=to, **options)

    @overload
    @staticmethod
    def transform(name: FunctionT) -> FunctionT: ...
    @overload
    @staticmethod
    def transform(
        name: str | None = None, *, target_connection: Any = "default", schedule: str | None = None
    ) -> Callable[[FunctionT], FunctionT]: ...
    @staticmethod
    def transform(name: Any = None, *, target_connection: Any = "default", schedule: str | None = None) -> Any:
        """Declare a named transform; used with or without brackets."""
        if callable(name) and not isinstance(name, str):
            found = _transforms.build_transform(name)
            registry.register_transform(found)
            return name

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            found = _transforms.build_transform(
                function, name=name, target_connection=target_connection, schedule=schedule
            )
            registry.register_transform(found)
            return function

        return declare


def _check_schedule(spec: PipelineSpec, function: Callable[..., Any]) -> None:
    """Refuse a wrong schedule where it is written, not at night when nothing fires."""
    if spec.schedule is None:
        return
    from ematix_nb.schedule import parse_schedule

    try:
        parse_schedule(spec.schedule, spec.timezone)
    except DeclarationError as error:
        raise DeclarationError(error.what, error.hint, _pipelines.place_of(function)) from None


def declared(spec: PipelineSpec, function: Callable[..., Any] | None = None) -> Pipeline:
    """Register a declaration and give its handle."""
    for target in spec.targets:
        if target.mode in ("merge", "scd2"):
            _, _, surprise = _pipelines.resolve_keys(target)
            if surprise:
                warnings.warn(surprise, UserWarning, stacklevel=3)
    changed = registry.register_pipeline(spec)
    return Pipeline(registry.get_pipeline(spec.name), function, changed)


def handle(name: str) -> Pipeline:
    """The handle of a declared pipeline."""
    spec = registry.get_pipeline(name)
    return Pipeline(spec, spec.query.function, [])


ematix = Ematix()
