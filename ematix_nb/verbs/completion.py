"""Tab completion: what the last word of a line may become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.verbs.grammar import GLOBALS, VERBS, Argument, actions, arguments, verbs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def candidates(words: list[str], registry: Any) -> list[str]:
    """Words that begin like the last one, sorted; names come from ``registry`` (see `grammar.complete`).

    Example:
        >>> candidates(["prev"], {})
        ['preview']
        >>> candidates(["preview", "or"], {"pipeline": ["orders", "stock"]})
        ['orders']
        >>> candidates(["run-due", "--catch-up", "a"], {})
        ['all']
    """
    *before, last = words or [""]
    return sorted(word for word in set(_choices(before, last, registry)) if word.startswith(last))


def _choices(before: list[str], last: str, registry: Any) -> Iterable[str]:
    verb, given = _verb(before)
    table: tuple[Argument, ...] = (*(arguments(verb, "%flow") if verb else ()), *GLOBALS)
    options = {form.split()[0]: kind for form, kind, *_ in table if form.startswith("-")}
    previous = before[-1] if before else ""
    if options.get(previous, "flag") != "flag":
        return known(registry, options[previous])
    if last.startswith("-"):
        repeatable = {name for name, kind in options.items() if kind == "many"}
        return [name for name in options if name in repeatable or name not in before]
    if not verb:
        return verbs()
    below = actions(verb)
    if below:
        names = known(registry, "pipeline") if verb in ("runs", "watermark", "quarantine") else ()
        return [*below, *names]
    places = [(form, kind) for form, kind, *_ in table if not form.startswith("-")]
    if not places:
        return []
    form, kind = places[min(given, len(places) - 1)]
    return known(registry, kind) if given < len(places) or "..." in form else []


def _verb(before: list[str]) -> tuple[str, int]:
    """The verb (with action) so far, and how many plain words follow it."""
    valued = {form.split()[0] for form, kind, *_ in GLOBALS if kind != "flag"}
    verb, given, skip = "", 0, False
    for word in before:
        if skip or word.startswith("-"):
            skip = not skip and word in valued | _valued(verb)
        elif not verb:
            verb = word if word in VERBS else ""
        elif given == 0 and word in actions(verb):
            verb = f"{verb} {word}"
        else:
            given += 1
    return verb, given


def _valued(verb: str) -> set[str]:
    table = arguments(verb, "%flow") if verb else ()
    return {form.split()[0] for form, kind, *_ in table if form.startswith("-") and kind != "flag"}


def known(registry: Any, kind: str) -> list[str]:
    """What a value of that kind may be; nothing for free text."""
    if kind.startswith("choice:"):
        return kind.removeprefix("choice:").split("|")
    if kind == "verb":
        return verbs()
    if kind == "address":
        return [*known(registry, "pipeline"), *(f"{name}:" for name in known(registry, "connection"))]
    if kind not in ("pipeline", "connection", "transform", "profile"):
        return []
    return list(registry.get(kind, ())) if isinstance(registry, dict) else list(_declared().get(kind, ()))


def _declared() -> Mapping[str, Iterable[str]]:
    """What is declared and configured now."""
    from ematix_nb.connections import known_profiles, list_connections
    from ematix_nb.declare import registry
    from ematix_nb.errors import FlowError

    names: dict[str, Iterable[str]] = {"pipeline": registry.pipelines(), "transform": registry.transforms()}
    try:
        names["connection"] = {info.name for info in list_connections()}
        names["profile"] = known_profiles()
    except FlowError:
        # completion must not disturb typing because a settings file is broken
        return names
    return names
