"""The live view of a preview: pages of rows, the column profile, the plan, the SQL and the changed rows.

Core ipywidgets only; everything shown is HTML that we made from escaped text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.connections import redact
from ematix_nb.errors import FlowError
from ematix_nb.verbs import preview_html as parts

from .card import widget_view

if TYPE_CHECKING:
    from ematix_nb.verbs.results import PreviewResult

PAGE_SIZES = (10, 25, 50, 100)
_MAX_OFFSET = 10_000_000


class PreviewView:
    """The live view of one preview; its callbacks work without a browser.

    Args:
        result: What is shown. With ``result.pages`` the whole source can be paged through,
            otherwise the sample.
    """

    def __init__(self, result: PreviewResult) -> None:
        import ipywidgets

        self.result = result
        self.page = 1
        """The page that is shown, from 1."""
        self.rows = ipywidgets.HTML()
        self.message = ipywidgets.HTML()
        self.back = ipywidgets.Button(description="Previous", icon="chevron-left", layout={"width": "auto"})
        self.forward = ipywidgets.Button(description="Next", icon="chevron-right", layout={"width": "auto"})
        self.number = ipywidgets.BoundedIntText(
            value=1, min=1, max=_MAX_OFFSET, description="page", layout={"width": "150px"}
        )
        self.size = ipywidgets.Dropdown(options=PAGE_SIZES, value=25, description="rows", layout={"width": "150px"})
        self._bodies = {"Columns": self._columns, "Plan": self._plan, "SQL": self._sql, "Changes": self._changes}
        self.folds = {name: ipywidgets.HTML() for name in self._bodies}
        bar = ipywidgets.HBox([self.back, self.forward, self.number, self.size])
        first = ipywidgets.VBox([bar, self.message, self.rows])
        self.tabs = ipywidgets.Tab([first, *self.folds.values()])
        for index, title in enumerate(("Rows", *self.folds)):
            self.tabs.set_title(index, title)
        head = ipywidgets.HTML(parts.framed(parts.heading(result) + parts.remarks_html(result)))
        self.root = ipywidgets.VBox([head, self.tabs])
        self._connect()
        self.show(1)

    def _connect(self) -> None:
        self.back.on_click(lambda _: self.show(self.page - 1))
        self.forward.on_click(lambda _: self.show(self.page + 1))
        self.number.observe(lambda change: self._go(int(change["new"])), names="value")
        self.size.observe(lambda _: self.show(1), names="value")
        self.tabs.observe(lambda change: self.open(change["new"]), names="selected_index")

    def _go(self, page: int) -> None:
        """Follow the number field, unless it only says which page is shown already."""
        if page != self.page:
            self.show(page)

    def show(self, page: int) -> None:
        """Show a page, from 1; past the end the present one stays, and a message says so."""
        if page < 1:
            return
        size = int(self.size.value)
        try:
            rows, more = self._read((page - 1) * size, size)
        except FlowError as error:
            self._say(redact(error))
            self.number.value = self.page
            return
        if page > 1 and not rows.num_rows:
            self._say(f"there is no page {page}")
            self.number.value = self.page
            return
        self.page = page
        first = (page - 1) * size
        title = f"rows {first + 1:,} to {first + rows.num_rows:,}" if rows.num_rows else "no rows"
        self.rows.value = parts.framed(parts.rows_html(self.result, rows, title))
        self.message.value = ""
        self.back.disabled = page == 1
        self.forward.disabled = not more
        self.number.value = page

    def _read(self, offset: int, size: int) -> tuple[Any, bool]:
        """A page of rows, and whether there are more behind it."""
        sample = self.result.sample
        inside = offset + size < sample.num_rows or self.result.complete or self.result.pages is None
        rows = sample.slice(offset, size + 1) if inside else self.result.pages(offset, size + 1)
        return rows.slice(0, size), rows.num_rows > size

    def _say(self, text: str) -> None:
        self.message.value = parts.framed(f'<p class="ef-warn">{parts.escape(text)}</p>')

    def open(self, index: int | None) -> None:
        """Fill a tab when it is first looked at, so that a view that nobody opens stays small."""
        if not index:
            return
        name = list(self.folds)[index - 1]
        if not self.folds[name].value:
            self.folds[name].value = parts.framed(self._bodies[name]() or "<p><small>nothing</small></p>")

    def _columns(self) -> str:
        return parts.columns_html(self.result)

    def _plan(self) -> str:
        return "".join(parts.facts_html(target) for target in self.result.targets)

    def _sql(self) -> str:
        return parts.sql_html(self.result)

    def _changes(self) -> str:
        return "".join(parts.diff_html(target, most=200) for target in self.result.targets)

    def view(self) -> dict[str, Any]:
        """The widget's part of a MIME bundle."""
        return widget_view(self.root)
