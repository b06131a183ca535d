"""The live card of a background run: its state and a Cancel button."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class RunCard:
    """State as HTML of ours above a button.

    Args:
        text: The first state, escaped HTML.
        cancel: Called when the button is clicked; the cell has ended by then, so the click arrives.
    """

    def __init__(self, text: str, cancel: Callable[[], None]) -> None:
        import ipywidgets

        self.state = ipywidgets.HTML(text)
        self.button = ipywidgets.Button(description="Cancel", icon="stop", tooltip="stop it; nothing is written")
        self.box = ipywidgets.VBox([self.state, self.button])
        self._cancel = cancel
        self.button.on_click(self._clicked)

    def _clicked(self, _: object) -> None:
        self.button.disabled = True
        self._cancel()

    def update(self, text: str) -> None:
        """Show another state."""
        self.state.value = text

    def view(self) -> dict[str, Any]:
        """The widget's part of a MIME bundle."""
        return widget_view(self.box)

    def close(self) -> None:
        """Take it off the page."""
        for part in (self.state, self.button, self.box):
            part.close()


def widget_view(widget: Any) -> dict[str, Any]:
    """The part of a MIME bundle that shows a widget."""
    kind = "application/vnd.jupyter.widget-view+json"
    return {kind: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}}
