"""The live card of a run: phase, rows, pace, a line of its rate, and, in the background, a Cancel button."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.verbs.charts import bar, sparkline
from ematix_nb.verbs.preview_html import escape, framed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run_html(head: str, status: str, phase: str, pace: str, rates: Sequence[float], share: float | None) -> str:
    """The state of a run as static HTML.

    Args:
        head: Pipeline and target.
        status: running, cancelling, or how it ended.
        phase: What it does now; empty when nothing of its own.
        pace: Rows, rate and time left, in words.
        rates: Rows a second, the newest last.
        share: Of the rows that are expected, 0 to 1; None when nobody knows.
    """
    kind = {"success": "ef-good", "failed": "ef-bad", "cancelled": "ef-warn", "cancelling": "ef-warn"}.get(status, "")
    state = f'<span class="{kind}">{escape(status)}</span>' if kind else escape(status)
    doing = f", {escape(phase)}" if phase else ""
    charts = (bar(share, 1.0, 120, label="share of the rows") if share is not None else "") + sparkline(rates)
    return framed(f"<p><b>{escape(head)}</b> {state}{doing}<br><small>{escape(pace)}</small>{charts}</p>")


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
