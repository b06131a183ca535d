"""Whether somebody can click: a kernel with a front end, or a headless execution, a terminal, plain Python."""

from __future__ import annotations

import sys
from typing import Any, Literal

Mode = Literal["auto", "on", "off"]

_mode: Mode = "auto"


def set_mode(mode: Mode) -> None:
    """Decide for this process: ``on`` and ``off`` are meant literally, ``auto`` looks for a front end."""
    global _mode  # noqa: PLW0603 - one process has one front end
    _mode = mode


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
