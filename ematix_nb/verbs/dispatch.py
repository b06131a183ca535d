"""From an understood line to its verb: profile, modules, then the function, imported now."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

from ematix_nb.errors import EXIT_OK, EXIT_WARNINGS, UsageError
from ematix_nb.verbs.grammar import NO_MODULES, VERBS, Parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ematix_nb.events import Listener
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.verbs.results import Result


class Call:
    """One verb about to be called, and what it may use."""

    def __init__(self, parsed: Parsed) -> None:
        self.parsed = parsed
        self.options = parsed.options
        self.listener: Listener | None = None
        self.token: CancelToken | None = None
        self.trigger = "manual"
        self.confirm: Callable[[str], bool] | None = None
        self.ask: Callable[[str], str] | None = None
        """Asks for a secret, without showing it; None where nobody can be asked."""
        self.notes: list[str] = []
        """What loading the modules had to tell."""
        self.modules: tuple[str, ...] = ()
        """The modules that were loaded, as they were named."""

    def run(self) -> Result:
        """Call the verb."""
        if place := self.options.get("log_json"):
            from ematix_nb.verbs.log import logged

            return logged(self, place, self._called)
        return self._called()

    def _called(self) -> Result:
        target = VERBS[self.parsed.verb][1]
        module, _, function = target.partition(":")
        verb = getattr(importlib.import_module(f"ematix_nb.verbs.{module}"), function)
        return cast("Result", verb(self))

    def agreed(self, question: str) -> None:
        """Go on only when the user agrees.

        Raises:
            UsageError: When there is nobody to ask, or the answer is no.
        """
        if self.options.get("yes"):
            return
        if self.confirm is None:
            raise UsageError(f"{question} Nobody can be asked here.", hint="add --yes")
        if not self.confirm(question):
            raise UsageError("stopped: the answer was no; nothing was changed")

    def exit_code(self, result: Result) -> int:
        """The result's code; with `--strict` warnings make 5 out of 0."""
        code = result.exit_code
        if code != EXIT_OK or not self.options.get("strict"):
            return code
        return EXIT_WARNINGS if self.notes or has_warnings(result) else EXIT_OK

    def run_options(self) -> dict[str, Any]:
        """Listener and token for functions that take them."""
        given: dict[str, Any] = {}
        if self.listener is not None:
            given["listener"] = self.listener
        if self.token is not None:
            given["token"] = self.token
        return given


def has_warnings(result: Any) -> bool:
    """Whether a result carries warnings, in itself or in the results that it is made of."""
    if getattr(result, "warnings", ()):
        return True
    parts = [*getattr(result, "targets", ()), *getattr(result, "ran", ()), *getattr(result, "results", ())]
    return any(has_warnings(part) for part in parts)


def prepare(
    parsed: Parsed,
    *,
    listener: Listener | None = None,
    token: CancelToken | None = None,
    trigger: str = "manual",
    registry_ready: bool = False,
) -> Call:
    """Choose the profile, load the modules, and hand back what can be called.

    Raises:
        UsageError: The profile or a module is not known, or a module raises.
    """
    call = Call(parsed)
    call.listener, call.token, call.trigger = listener, token, trigger
    if parsed.profile is not None and parsed.verb != "connections set":
        from ematix_nb.connections import use_profile

        use_profile(parsed.profile)
    alone = parsed.verb in NO_MODULES or parsed.options.get("connection") is not None
    wanted = parsed.module or (() if registry_ready or alone else None)
    if wanted != ():
        from ematix_nb.verbs.modules import load_modules

        loaded = load_modules(wanted)
        call.modules = tuple(one.name for one in loaded)
        call.notes = [f"0 pipelines in {one.name}" for one in loaded if not one.pipelines]
    return call
