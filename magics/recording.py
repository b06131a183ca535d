"""Remembers the cells that ran, for `%flow export`; tells what a Python cell changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import difference
from ematix_nb.export.session import LOG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.spec import PipelineSpec

_MAGIC = re.compile(r"^%%flow\s")


class Recording:
    """The hooks around the cells of one shell.

    Args:
        shell: The IPython shell.
    """

    def __init__(self, shell: Any) -> None:
        self._events = shell.events
        self._before: dict[str, PipelineSpec] = {}
        self._take_earlier(getattr(shell.history_manager, "input_hist_raw", ()), shell.execution_count)
        self._events.register("pre_run_cell", self._pre_run_cell)
        self._events.register("post_run_cell", self._post_run_cell)

    def remove(self) -> None:
        """Take the hooks off."""
        self._events.unregister("pre_run_cell", self._pre_run_cell)
        self._events.unregister("post_run_cell", self._post_run_cell)

    def _take_earlier(self, sources: Sequence[str], now: int) -> None:
        """Record the cells before the one that loads the extension: they may hold imports that a pipeline needs."""
        for source in sources[1:now]:
            LOG.record(source)

    def _pre_run_cell(self, _: Any) -> None:
        self._before = registry.pipelines()

    def _post_run_cell(self, result: Any) -> None:
        if result.info is None or not result.success:
            return
        source = result.info.raw_cell or ""
        if not result.info.silent:
            LOG.record(source, getattr(result.info, "cell_id", None))
        if not _MAGIC.match(source):
            self._tell_changes()

    def _tell_changes(self) -> None:
        """What a Python cell changed in a pipeline that was declared before; a `%%flow` cell shows a card."""
        for name, spec in registry.pipelines().items():
            old = self._before.get(name)
            lines = difference(old, spec) if old is not None and old is not spec else []
            for line in lines:
                print(f"pipeline {name} changed: {line}")  # noqa: T201 - the cell's output
