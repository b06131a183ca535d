"""Which pipeline waits for which: the order of parents and children, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ematix_nb.errors import DeclarationError, known_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ematix_nb.declare.spec import PipelineSpec


def parents_of(spec: PipelineSpec, known: Mapping[str, PipelineSpec]) -> tuple[str, ...]:
    """The pipelines that a pipeline waits for.

    Raises:
        DeclarationError: One of them is declared nowhere.
    """
    for name in spec.depends_on:
        if name not in known:
            what = f"pipeline `{spec.name}` depends on `{name}`, and there is no pipeline of that name"
            raise DeclarationError(what, known_names(name, [one for one in known if one != spec.name], "pipelines"))
    return spec.depends_on


def in_order(
    names: Iterable[str], known: Mapping[str, PipelineSpec], *, with_parents: bool = False
) -> list[PipelineSpec]:
    """Pipelines with every parent before its children; otherwise in the order in which they are named.

    Args:
        names: Of pipelines that are declared.
        known: What is declared, by name.
        with_parents: Take the parents, and theirs, along; without it a name that is declared nowhere is passed over.

    Raises:
        DeclarationError: A parent is declared nowhere (with ``with_parents``), or pipelines wait for each other.

    Example:
        >>> from ematix_nb.declare.pipelines import build_pipeline
        >>> options = {"sql": "SELECT 1 AS n", "target": "wh:t"}
        >>> a, b = (build_pipeline(name=name, **options) for name in "ab")
        >>> c = build_pipeline(name="c", depends_on=("b", "a"), **options)
        >>> [one.name for one in in_order(["c"], {"a": a, "b": b, "c": c}, with_parents=True)]
        ['b', 'a', 'c']
    """
    wanted = list(names)
    placed: dict[str, PipelineSpec] = {}
    for name in wanted:
        _place(name, known, placed, with_parents=with_parents)
    return [spec for name, spec in placed.items() if with_parents or name in wanted]


def _place(
    first: str, known: Mapping[str, PipelineSpec], placed: dict[str, PipelineSpec], *, with_parents: bool
) -> None:
    """Put a pipeline after its parents; a chain may be longer than Python's stack."""
    path = {first: iter(_followed(first, known, strict=with_parents))}
    while path:
        name = next(reversed(path))
        parent = next((one for one in path[name] if one not in placed), None)
        if parent is None:
            placed[name] = known[name]
            del path[name]
        elif parent in path:
            raise _circle([*list(path)[list(path).index(parent) :], parent])
        else:
            path[parent] = iter(_followed(parent, known, strict=with_parents))


def _followed(name: str, known: Mapping[str, PipelineSpec], *, strict: bool) -> Iterable[str]:
    spec = known[name]
    return parents_of(spec, known) if strict else [one for one in spec.depends_on if one in known]


def _circle(names: list[str]) -> DeclarationError:
    shown = " -> ".join(names)
    what = f"pipelines depend on each other in a circle: {shown}"
    return DeclarationError(what, "take one name out of a `depends_on`; each arrow reads `depends on`")


def check_circle(spec: PipelineSpec, known: Mapping[str, PipelineSpec]) -> None:
    """Refuse a declaration that makes pipelines wait for each other; parents may be declared later.

    Raises:
        DeclarationError: Naming the whole circle.
    """
    if spec.depends_on:
        in_order([spec.name], {**known, spec.name: spec})
