"""Whether somebody can click: a kernel with a front end, or a headless execution, a terminal, plain Python."""

from __future__ import annotations

import sys
from typing import Any, Literal

Mode = Literal["auto", "on", "off"]

_mode: Mode = "auto"
_has_grid = False


def set_mode(mode: Mode) -> None:
    """Decide for this process: ``on`` and ``off`` are meant literally, ``auto`` looks for a front end."""
    global _mode  # noqa: PLW0603 - one process has one front end
    _mode = mode


def use_grid(wanted: bool) -> None:  # noqa: FBT001 - a setting
    """Decide for this process whether the rows of a preview are a grid (extra ``grid``) or pages."""
    global _has_grid  # noqa: PLW0603 - one process has one front end
    _has_grid = wanted


def uses_grid() -> bool:
    """Whether the rows of a preview are a grid."""
    return _has_grid


def mode_named(name: str) -> Mode:
    """The mode of that name; anything unknown is ``auto``."""
    return "on" if name == "on" else "off" if name == "off" else "auto"


def current_shell() -> Any:
    """The running IPython shell; None in plain Python, without importing IPython there."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def has_front_end() -> bool:
    """True when live views make sense.

    Executors without a person (nbclient, papermill, nbval) refuse input requests, and that is
    how they are told from a front end; they get the static displays alone.
    """
    if _mode != "auto":
        return _mode == "on"
    kernel = getattr(current_shell(), "kernel", None)
    return kernel is not None and bool(getattr(kernel, "_allow_stdin", False))
