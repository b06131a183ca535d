"""The live view of a preview above its static display, of which a reader sees one.

A saved notebook holds the identity of a live view, not the view: reopened without its kernel, a front
end shows an error in its place. So there are two outputs. The live one hides the static one while it
is on the page; the static one hides what is left of the live one once that is gone.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from .frontend import current_shell, has_front_end, uses_grid

if TYPE_CHECKING:
    from ematix_nb.verbs.results import PreviewResult

    from .preview import PreviewView

_LOST = (
    "<style>.jp-OutputArea-child:has(+.jp-OutputArea-child .ef-still):not(:has(.jp-OutputArea-output>*))"
    "{display:none}</style>"
)
"""Hides an output of JupyterLab that holds a bare text instead of a view, above a static display."""


def install() -> None:
    """Displays previews by :func:`show`; does nothing outside IPython."""
    if (formatter := _formatter()) is not None:
        from ematix_nb.verbs.results import PreviewResult

        formatter.for_type(PreviewResult, show)


def uninstall() -> None:
    """Leaves previews to their own displays."""
    if (formatter := _formatter()) is not None:
        from ematix_nb.verbs.results import PreviewResult

        formatter.type_printers.pop(PreviewResult, None)


def show(result: PreviewResult) -> None:
    """Display a preview as two outputs, live and static.

    Raises:
        NotImplementedError: Without a front end; IPython then shows the result as any other.
    """
    if not has_front_end():
        raise NotImplementedError
    from IPython.display import display

    for bundle in outputs(result):
        display(bundle, raw=True)  # type: ignore[no-untyped-call]


def outputs(result: PreviewResult) -> tuple[dict[str, Any], dict[str, Any]]:
    """The MIME bundles of the live output and of the static one below it."""
    twin = f"ef-still-{secrets.token_hex(6)}"
    live = view_of(result, f"<style>.{twin}{{display:none}}</style>").view()
    still = f'<div class="ef-still {twin}">{_LOST}{result.to_html()}</div>'
    return {"text/plain": "", **live}, {"text/plain": result.to_text(), "text/html": still}


def view_of(result: PreviewResult, style: str = "") -> PreviewView:
    """The live view that was chosen: pages, or the grid."""
    if uses_grid():
        from .grid import GridView

        return GridView(result, style)
    from .preview import PreviewView

    return PreviewView(result, style)


def _formatter() -> Any:
    display_formatter = getattr(current_shell(), "display_formatter", None)
    return getattr(display_formatter, "ipython_display_formatter", None)
