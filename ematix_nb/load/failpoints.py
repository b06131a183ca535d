"""Named places in a run where tests make it fail, stop or wait.

A failpoint does nothing unless a test has installed an action with
:func:`install`; an installed package has no way to do that from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = (
    "lock",
    "read_state",
    "open_source",
    "stage_create",
    "fetch",
    "stage_write",
    "stage_done",
    "check_counts",
    "tx_begin",
    "apply",
    "state_write",
    "history_write",
    "before_commit",
    "commit",
    "ack_source",
    "release",
    "post_transform",
)
"""In the order of a run; each is reached right after the step was done."""

ASIDE = "aside"
"""Reached by loads into folders and Delta tables alone, when the rows that do not fit lie beside the target."""

_action: Callable[[str], None] | None = None


def install(action: Callable[[str], None] | None) -> None:
    """Call ``action(step)`` at every failpoint; None takes it away."""
    global _action  # noqa: PLW0603  one switch for the whole process, set by tests alone
    _action = action


def failpoint(step: str) -> None:
    """A step was done."""
    if _action is not None:
        _action(step)
