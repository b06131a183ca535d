"""Everything that loading the extension adds to a shell, and taking it away again."""

from __future__ import annotations

from typing import Any

from ematix_nb import widgets

from . import errors
from .completion import matcher
from .flow import FlowMagics
from .recording import Recording


def with_body(lines: list[str]) -> list[str]:
    r"""Give a `%%flow` cell of one line an empty body; IPython refuses cells without one.

    Example:
        >>> with_body(["%%flow pipeline x --to wh:x --source-table y"])
        ['%%flow pipeline x --to wh:x --source-table y\n', '\n']
        >>> with_body(["1 + 1"])
        ['1 + 1']
    """
    if len(lines) == 1 and lines[0].startswith("%%flow "):
        return [lines[0].rstrip("\n") + "\n", "\n"]
    return lines


class Extension:
    """What one shell was given.

    Args:
        shell: The IPython shell.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        manager = shell.magics_manager
        self._before = {kind: manager.magics[kind].get("flow") for kind in ("line", "cell")}
        self.magics = FlowMagics(shell=shell)  # nosec B604
        shell.register_magics(self.magics)
        self._matcher = matcher(self.magics.complete, self.magics.complete_body)
        completer = getattr(shell, "Completer", None)
        if completer is not None:
            completer.custom_matchers.append(self._matcher)
        shell.input_transformers_cleanup.append(with_body)
        self.recording = Recording(shell)
        errors.install()
        widgets.register()

    def remove(self) -> None:
        """Put back the magics that had the name, and take off completion, hooks and views."""
        for kind, function in self._before.items():
            table = self.shell.magics_manager.magics[kind]
            table.pop("flow", None)
            if function is not None:
                table["flow"] = function
        self.shell.magics_manager.registry.pop("FlowMagics", None)
        completer = getattr(self.shell, "Completer", None)
        if completer is not None and self._matcher in completer.custom_matchers:
            completer.custom_matchers.remove(self._matcher)
        if self.magics in self.shell.configurables:
            self.shell.configurables.remove(self.magics)
        self.shell.input_transformers_cleanup.remove(with_body)
        self.recording.remove()
        errors.uninstall()
        widgets.unregister()
