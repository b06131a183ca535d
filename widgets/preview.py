"""The live view of a preview: pages of rows, the column profile, the plan, the SQL and the changed rows.

Core ipywidgets only; everything shown is HTML that we made from escaped text.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import redact
from ematix_nb.errors import FlowError
from ematix_nb.verbs import preview_html as parts

from .card import widget_view

if TYPE_CHECKING:
    from ematix_nb.verbs.results import PreviewResult, TargetPreview

PAGE_SIZES = (10, 25, 50, 100)
_MAX_OFFSET = 10_000_000
_END_SECONDS = 2.0
"""For finding the last page; the kernel is busy meanwhile."""


class PreviewView:
    """The live view of one preview; its callbacks work without a browser.

    Args:
        result: What is shown. With ``result.model`` the whole source can be paged through,
            otherwise the sample.
        style: A style element that is on the page as long as the view is.
    """

    def __init__(self, result: PreviewResult, style: str = "") -> None:
        import ipywidgets

        self.result = result
        self.page = 1
        """The page that is shown, from 1."""
        self.total: int | None = result.sample.num_rows if result.complete or result.model is None else None
        """Rows that can be paged through; None until the last of them was seen."""
        self.rows = ipywidgets.HTML()
        self.message = ipywidgets.HTML()
        self.start = _button("First", "angle-double-left", "show the first page")
        self.back = _button("Previous", "angle-left", "show the page before")
        self.forward = _button("Next", "angle-right", "show the page after")
        self.end = _button("Last", "angle-double-right", "show the last page")
        self.number = ipywidgets.BoundedIntText(
            value=1, min=1, max=_MAX_OFFSET, description="page", tooltip="page to show", **_field("110px")
        )
        self.of = ipywidgets.HTML()
        self.size = ipywidgets.Dropdown(
            options=PAGE_SIZES, value=25, description="rows a page", tooltip="rows of one page", **_field("150px")
        )
        self._bodies = {"Columns": self._columns, "Plan": self._plan, "SQL": self._sql, "Changes": self._changes}
        self.folds = {name: ipywidgets.HTML() for name in self._bodies}
        bar = ipywidgets.HBox(
            [self.start, self.back, self.number, self.of, self.forward, self.end, self.size],
            layout={"flex_flow": "row wrap", "align_items": "center", "grid_gap": "2px 6px"},
        )
        first = ipywidgets.VBox([bar, self.message, self.rows])
        self.tabs = ipywidgets.Tab([first, *self.folds.values()])
        for index, title in enumerate(("Rows", *self.folds)):
            self.tabs.set_title(index, title)
        head = ipywidgets.HTML(style + parts.framed(parts.heading(result) + parts.remarks_html(result)))
        self.root = ipywidgets.VBox([head, self.tabs])
        self._connect()
        self.show(1)

    def _connect(self) -> None:
        self.start.on_click(lambda _: self.show(1))
        self.back.on_click(lambda _: self.show(self.page - 1))
        self.forward.on_click(lambda _: self.show(self.page + 1))
        self.end.on_click(lambda _: self._show_last())
        self.number.observe(lambda change: self._go(int(change["new"])), names="value")
        self.size.observe(lambda _: self.show(1), names="value")
        self.tabs.observe(lambda change: self.open(change["new"]), names="selected_index")

    def _go(self, page: int) -> None:
        """Follow the number field, unless it only says which page is shown already."""
        if page != self.page:
            self.show(page)

    def _pages(self, total: int) -> int:
        """How many pages so many rows fill; one at least."""
        return max(1, -(-total // int(self.size.value)))

    def _show_last(self) -> None:
        """Show the last page; where the end is far, say how far it was looked for."""
        try:
            seen = self._find_end(self.page * int(self.size.value))
        except FlowError as error:
            self._say(redact(error))
            return
        if self.total is None:
            self._say(f"the source has more than {seen:,} rows; its end was not found in {_END_SECONDS:g} s")
        else:
            self.show(self._pages(self.total))

    def _find_end(self, seen: int) -> int:
        """Look for the number of rows by reading single ones, twice as far each time; a row stands at ``seen``."""
        until = time.monotonic() + _END_SECONDS
        behind: int | None = None
        while self.total is None and time.monotonic() < until:
            probe = 2 * seen if behind is None else (seen + behind) // 2
            if self._read(probe, 1)[0].num_rows:
                seen = probe
            else:
                behind = probe
            if behind == seen + 1:
                self.total = behind
        return seen

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
            self._say(f"there is no page {page:,}")
            self.number.value = self.page
            return
        self.page = page
        first = (page - 1) * size
        if not more:
            self.total = first + rows.num_rows
        self.rows.value = parts.framed(parts.rows_html(self.result, rows, self._title(first, rows.num_rows), width=60))
        self.message.value = ""
        self._turn(more)

    def _turn(self, more: bool) -> None:  # noqa: FBT001 - whether a page follows
        """The bar of the page that is shown."""
        self.start.disabled = self.back.disabled = self.page == 1
        self.forward.disabled = self.end.disabled = not more
        self.of.value = parts.framed(f"<small>of {self._pages(self.total):,}</small>") if self.total is not None else ""
        self.number.value = self.page

    def _title(self, first: int, rows: int) -> str:
        """Which of how many rows are shown."""
        if not rows:
            return "no rows: the source is empty"
        here = f"row {first + 1:,}" if rows == 1 else f"rows {first + 1:,} to {first + rows:,}"
        return f"{here}; the source has more" if self.total is None else f"{here} of {self.total:,}"

    def _read(self, offset: int, size: int) -> tuple[Any, bool]:
        """A page of rows, and whether there are more behind it."""
        sample = self.result.sample
        inside = offset + size < sample.num_rows or self.result.complete or self.result.model is None
        if inside or self.result.model is None:
            rows = sample.slice(offset, size + 1)
            return rows.slice(0, size), rows.num_rows > size
        page = self.result.model.page(offset, size)
        return page.rows, page.more

    def _say(self, text: str) -> None:
        self.message.value = parts.framed(f'<p class="ef-warn" role="status">{parts.escape(text)}</p>')

    def open(self, index: int | None) -> None:
        """Fill a tab when it is first looked at, so that a view that nobody opens stays small."""
        if not index:
            return
        name = list(self.folds)[index - 1]
        if not self.folds[name].value:
            self.folds[name].value = parts.framed(
                self._bodies[name]() or "<p>nothing to show: this is a table, not a pipeline</p>"
            )

    def _columns(self) -> str:
        return parts.columns_html(self.result)

    def _plan(self) -> str:
        return "".join(parts.facts_html(target) for target in self.result.targets)

    def _sql(self) -> str:
        return parts.sql_html(self.result)

    def _changes(self) -> str:
        return "".join(self._changes_of(target) for target in self.result.targets)

    def _changes_of(self, target: TargetPreview) -> str:
        body = parts.changes_html(target, most=200)
        words = parts.change_words(target.expected) if target.expected else ""
        return f"<p><b>{parts.escape(target.plan.target)}</b> {parts.escape(words)}</p>{body}"

    def view(self) -> dict[str, Any]:
        """The widget's part of a MIME bundle."""
        return widget_view(self.root)


def _button(text: str, icon: str, tooltip: str) -> Any:
    import ipywidgets

    return ipywidgets.Button(description=text, icon=icon, tooltip=tooltip, layout={"width": "auto"})


def _field(width: str) -> dict[str, Any]:
    """The look of a field whose label takes no more room than it needs."""
    return {"layout": {"width": width}, "style": {"description_width": "initial"}}
