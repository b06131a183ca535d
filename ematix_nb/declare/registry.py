"""What has been declared in this process: pipelines, tables and transforms, by name.

Declaring is an upsert. The same name from the same file or notebook replaces
and tells what changed; from another one it is an error that names both.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.address import parse_table_name
from ematix_nb.declare.fingerprint import difference, table_difference
from ematix_nb.declare.graph import check_circle
from ematix_nb.errors import DeclarationError, UnknownNameError, known_names

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator

    from ematix_nb.declare.checks import Check
    from ematix_nb.declare.spec import PipelineSpec, TableSpec

_PACKAGE = __name__.partition(".")[0]
NOTEBOOK = "the notebook"
_CELL_FILE = re.compile(r"<ipython-input-|[/\\]ipykernel_\d+[/\\]|^<stdin>$|^<string>$")


@dataclass
class _State:
    pipelines: dict[str, PipelineSpec] = field(default_factory=dict)
    tables: dict[str, tuple[TableSpec, str]] = field(default_factory=dict)
    transforms: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, tuple[Check, ...]] = field(default_factory=dict)

    def copy(self) -> _State:
        return _State(dict(self.pipelines), dict(self.tables), dict(self.transforms), dict(self.checks))


_state = _State()
_origin: contextvars.ContextVar[str] = contextvars.ContextVar("ematix_nb_origin", default="")


@contextlib.contextmanager
def registering_from(origin: str) -> Iterator[None]:
    """Say where the declarations in this block come from: the path of a file or notebook."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


def caller_origin() -> str:
    """The file or notebook of the nearest caller outside this package.

    What `registering_from` says comes first; code typed into a kernel or a shell is "the notebook".
    """
    if given := _origin.get():
        return given
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to the caller's file
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return file_origin(frame.f_code.co_filename)


def code_origin(code: types.CodeType) -> str:
    """The file or notebook in which a function was written; what `registering_from` says comes first."""
    return _origin.get() or file_origin(code.co_filename)


def file_origin(filename: str) -> str:
    """A code object's file name as an origin: an absolute path, or "the notebook" for code that is in no file."""
    if _CELL_FILE.search(filename):
        return NOTEBOOK
    return filename if filename.startswith("<") else str(Path(filename).resolve())


def _refuse_other_origin(kind: str, name: str, old: str, new: str) -> None:
    if old and new and old != new:
        what = f"{kind} `{name}` is declared in {old} and again in {new}"
        raise DeclarationError(what, hint="rename one of them, or declare it in one place and import it")


def register_pipeline(spec: PipelineSpec) -> list[str]:
    """Add or replace a pipeline; the lines of what changed (empty when new or equal).

    Raises:
        DeclarationError: When another file or notebook declares the name, or pipelines would wait for each other.
    """
    old = _state.pipelines.get(spec.name)
    if old is not None:
        _refuse_other_origin("pipeline", spec.name, old.origin, spec.origin)
    check_circle(spec, _state.pipelines)
    _state.pipelines[spec.name] = spec
    return difference(old, spec) if old is not None else []


def register_table(spec: TableSpec, *, origin: str = "") -> list[str]:
    """Add or replace a declared table; the lines of what changed.

    Pipelines that name the table as text take over its columns.

    Raises:
        DeclarationError: When another file or notebook declares it differently.
    """
    name = str(spec.ref)
    old = _state.tables.get(name)
    if old is not None and old[0] != spec:
        _refuse_other_origin("table", name, old[1], origin)
    _state.tables[name] = (spec, old[1] if old is not None and old[0] == spec else origin)
    for pipeline in list(_state.pipelines.values()):
        _rebind(pipeline, spec)
    return table_difference(old[0], spec) if old is not None else []


def _rebind(pipeline: PipelineSpec, table: TableSpec) -> None:
    """Give the targets of a pipeline that name a table as text its declared columns."""
    targets = tuple(
        dataclasses.replace(target, table=table) if target.thing and _names_table(target.thing, table) else target
        for target in pipeline.targets
    )
    if targets != pipeline.targets:
        _state.pipelines[pipeline.name] = dataclasses.replace(pipeline, targets=targets)


def _names_table(thing: str, table: TableSpec) -> bool:
    try:
        return parse_table_name(thing) == table.ref
    except DeclarationError:
        return False


def find_table(thing: str) -> TableSpec | None:
    """The declared table that a text such as ``analytics.orders`` names, if there is one."""
    return next((spec for spec, _ in _state.tables.values() if _names_table(thing, spec)), None)


def register_transform(transform: Any) -> list[str]:
    """Add or replace a named transform (`ematix_nb.declare.transforms.Transform`).

    Raises:
        DeclarationError: When another file or notebook declares the name.
    """
    old = _state.transforms.get(transform.name)
    if old is not None:
        _refuse_other_origin("transform", transform.name, old.origin, transform.origin)
    _state.transforms[transform.name] = transform
    changed = old is not None and old.digest != transform.digest
    return [f"transform `{transform.name}` changed"] if changed else []


def add_checks(pipeline: str, checks: tuple[Check, ...]) -> list[str]:
    """Add checks to a declared pipeline, in place of those that were added before; the lines of what changed.

    They stay when the pipeline is declared again.

    Raises:
        UnknownNameError: There is no such pipeline.
    """
    before = get_pipeline(pipeline)
    _state.checks[pipeline] = checks
    return difference(before, get_pipeline(pipeline))


def with_checks(spec: PipelineSpec) -> PipelineSpec:
    """A pipeline with the checks that were added to it."""
    added = _state.checks.get(spec.name, ())
    return spec if spec.added_checks == added else dataclasses.replace(spec, added_checks=added)


def pipelines() -> dict[str, PipelineSpec]:
    """The declared pipelines by name, in the order of declaration."""
    return {name: with_checks(spec) for name, spec in _state.pipelines.items()}


def tables() -> dict[str, TableSpec]:
    """The declared tables by ``schema.name``."""
    return {name: spec for name, (spec, _) in _state.tables.items()}


def transforms() -> dict[str, Any]:
    """The named transforms."""
    return dict(_state.transforms)


def get_pipeline(name: str) -> PipelineSpec:
    """A declared pipeline.

    Raises:
        UnknownNameError: With the nearest name, or all of them.
    """
    if name not in _state.pipelines:
        raise UnknownNameError(f"there is no pipeline `{name}`", known_names(name, _state.pipelines, "pipelines"))
    return with_checks(_state.pipelines[name])


def get_table(name: str) -> TableSpec:
    """A declared table, by ``schema.name``.

    Raises:
        UnknownNameError: With the nearest name, or all of them.
    """
    if name not in _state.tables:
        raise UnknownNameError(f"there is no declared table `{name}`", known_names(name, _state.tables, "tables"))
    return _state.tables[name][0]


def get_transform(name: str) -> Any:
    """A named transform.

    Raises:
        UnknownNameError: With the nearest name, or all of them.
    """
    if name not in _state.transforms:
        raise UnknownNameError(f"there is no transform `{name}`", known_names(name, _state.transforms, "transforms"))
    return _state.transforms[name]


def remove_pipeline(name: str) -> None:
    """Forget a pipeline; harmless when there is none of that name."""
    _state.pipelines.pop(name, None)
    _state.checks.pop(name, None)


def clear() -> None:
    """Forget everything."""
    restore(_State())


def snapshot() -> _State:
    """The present content, for `restore`."""
    return _state.copy()


def restore(saved: _State) -> None:
    """Put back what `snapshot` gave."""
    kept = saved.copy()
    _state.pipelines, _state.tables = kept.pipelines, kept.tables
    _state.transforms, _state.checks = kept.transforms, kept.checks


@contextlib.contextmanager
def scratch() -> Iterator[None]:
    """An empty registry for a block; afterwards everything is as it was."""
    saved = snapshot()
    clear()
    try:
        yield
    finally:
        restore(saved)
