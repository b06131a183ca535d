"""The notebook front end: `%flow`, `%%flow` and what they show."""

from __future__ import annotations

from typing import Any

_loaded: dict[int, Any] = {}
"""Extensions by the id of their shell."""


def load_ipython_extension(ipython: Any) -> None:
    """Add the magics, completion, short errors and live views to a shell; a second call changes nothing."""
    if id(ipython) in _loaded:
        return
    from .extension import Extension

    _loaded[id(ipython)] = Extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Put back what was there before; harmless when nothing was loaded."""
    extension = _loaded.pop(id(ipython), None)
    if extension is not None:
        extension.remove()
