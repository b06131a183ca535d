"""Live views of result objects, built on ipywidgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import display
from .frontend import has_front_end

if TYPE_CHECKING:
    from ematix_nb.verbs.results import PreviewResult

__all__ = ["has_front_end", "register", "unregister"]


def register() -> None:
    """Give previews their live view, where a front end is there to show it."""
    from ematix_nb.verbs.results import LIVE_VIEWS, PreviewResult

    LIVE_VIEWS[PreviewResult] = _preview
    display.install()


def unregister() -> None:
    """Leave the static displays alone."""
    from ematix_nb.verbs.results import LIVE_VIEWS, PreviewResult

    LIVE_VIEWS.pop(PreviewResult, None)
    display.uninstall()


def _preview(result: PreviewResult) -> dict[str, Any] | None:
    if not has_front_end():
        return None
    return display.view_of(result).view()
