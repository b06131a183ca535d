"""The live view of a preview: pages of rows in any order, conditions, profiles, the plan, the SQL and the changed rows.

Core ipywidgets only; everything shown is HTML that we made from escaped text. What takes time is asked in a thread.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import redact
from ematix_nb.errors import FlowError
from ematix_nb.query.paging import Page
from ematix_nb.verbs import preview_html as parts
from ematix_nb.verbs.stats_html import stats_html

from .asking import Asker
from .card import widget_view
from .controls import ROW, FilterBar, SortBar, button, column_choice, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from ematix_nb.query.paging import Condition, PreviewModel
    from ematix_nb.verbs.results import PreviewResult, TargetPreview

    from .asking import Question

PAGE_SIZES = (10, 25, 50, 100)
_MAX_PAGE = 2**31 - 1
_NOTHING = "<p>nothing to show: this is a table, not a pipeline</p>"


class PreviewView:
    """The live view of one preview; its callbacks work without a browser.

    Args:
        result: What is shown. With ``result.model`` the whole source can be paged through, sorted and filtered,
            otherwise the sample.
        style: A style element that is on the page as long as the view is.
    """

    def __init__(self, result: PreviewResult, style: str = "") -> None:
        import ipywidgets

        self.result = result
        self.page = 1
        """The page that is shown, from 1."""
        self.total: int | None = result.sample.num_rows if result.complete or result.model is None else None
        """Rows that can be paged through; None until somebody counted them."""
        self._model = result.rows_model()
        self._next: tuple[Condition, ...] = ()
        """The conditions that are asked for; those that hold are in the filter bar."""
        self._is_plain = True
        """The rows are in the source's own order, and all of them."""
        if self.total is None:
            with contextlib.suppress(FlowError):
                self.total = self._model.count_at_once()
        names = list(dict.fromkeys(result.sample.schema.names))
        self.asker = Asker(self._busy, self._say)
        self.rows = ipywidgets.HTML()
        self.message = ipywidgets.HTML()
        self.start = button("First", "angle-double-left", "show the first page")
        self.back = button("Previous", "angle-left", "show the page before")
        self.forward = button("Next", "angle-right", "show the page after")
        self.end = button("Last", "angle-double-right", "count the rows, and show the last page")
        self.halt = button("Stop", "stop", "stop what is being read")
        self.number = ipywidgets.BoundedIntText(
            value=1, min=1, max=_MAX_PAGE, description="page", tooltip="page to show", **field("110px")
        )
        self.of = ipywidgets.HTML()
        self.size = ipywidgets.Dropdown(
            options=PAGE_SIZES, value=25, description="rows a page", tooltip="rows of one page", **field("150px")
        )
        self.sorting = SortBar(names, self._wanted)
        self.filtering = FilterBar(names, self._narrowed)
        self.profiled = column_choice(names, "column", "column to look at as a whole")
        self.profile = button("Profile", "bar-chart", "look at all values of this column, not only at the sample")
        self.profile_of = ipywidgets.HTML()
        self._bodies = {"Columns": self._columns, "Plan": self._plan, "SQL": self._sql, "Changes": self._changes}
        self.folds = {name: ipywidgets.HTML() for name in self._bodies}
        profiling = ipywidgets.HBox([self.profiled, self.profile], layout=ROW)
        columns = ipywidgets.VBox([profiling, self.profile_of, self.folds["Columns"]])
        others = [fold for name, fold in self.folds.items() if name != "Columns"]
        self.tabs = ipywidgets.Tab([self._first_tab(), columns, *others])
        for index, title in enumerate(("Rows", *self.folds)):
            self.tabs.set_title(index, title)
        head = ipywidgets.HTML(style + parts.framed(parts.heading(result) + parts.remarks_html(result)))
        self.root = ipywidgets.VBox([head, self.tabs])
        self._busy(False)
        self._connect()
        self._begin()

    def _first_tab(self) -> Any:
        """What the tab of the rows holds."""
        import ipywidgets

        bar = ipywidgets.HBox(
            [self.start, self.back, self.number, self.of, self.forward, self.end, self.size, self.halt], layout=ROW
        )
        return ipywidgets.VBox([bar, self.sorting.box, self.filtering.box, self.message, self.rows])

    def _begin(self) -> None:
        """Show the first page; until the rest of it is there, the sample."""
        size = int(self.size.value)
        if self._sampled(0, size) is None:
            self._shown(self._model, 1, Page(self.result.sample.slice(0, size), 0, more=True), ())
        self.show(1)

    def _connect(self) -> None:
        self.start.on_click(lambda _: self.show(1))
        self.back.on_click(lambda _: self.show(self.page - 1))
        self.forward.on_click(lambda _: self.show(self.page + 1))
        self.end.on_click(lambda _: self._show_last())
        self.halt.on_click(lambda _: self.asker.stop())
        self.profile.on_click(lambda _: self._profile())
        self.number.observe(lambda change: self._go(int(change["new"])), names="value")
        self.size.observe(lambda _: self.show(1), names="value")
        self.tabs.observe(lambda change: self.open(change["new"]), names="selected_index")

    def _busy(self, working: bool) -> None:  # noqa: FBT001 - called by the asker
        self.halt.layout.visibility = "visible" if working else "hidden"

    def _go(self, page: int) -> None:
        """Follow the number field, unless it only says which page is shown already."""
        if page != self.page:
            self.show(page)

    def _pages(self, total: int) -> int:
        """How many pages so many rows fill; one at least."""
        return max(1, -(-total // int(self.size.value)))

    def show(self, page: int) -> None:
        """Show a page, from 1; past the end the present one stays, and a message says so."""
        if page < 1:
            return
        size = int(self.size.value)
        at_once = self._sampled((page - 1) * size, size)
        if at_once is not None:
            self.asker.now(lambda: self._shown(self._model, page, at_once, self.filtering.conditions))
        else:
            self._ask(page)

    def _sampled(self, offset: int, size: int) -> Page | None:
        """A page that the sample holds already."""
        sample = self.result.sample
        is_whole = self.result.complete or self.result.model is None
        if not self._is_plain or (offset + size >= sample.num_rows and not is_whole):
            return None
        rows = sample.slice(offset, size)
        return Page(rows, offset, not is_whole or offset + rows.num_rows < sample.num_rows)

    def _ask(self, page: int, change: Callable[[PreviewModel], PreviewModel] | None = None) -> None:
        """Read a page in the thread; with a change the page of the changed model."""
        before, conditions = self._model, self._next

        def work(question: Question) -> None:
            size = int(self.size.value)
            try:
                model = change(before) if change is not None else before
                found = model.page((page - 1) * size, size, question.token)
            except FlowError:
                question.show(self._forget)
                raise
            question.show(lambda: self._shown(model, page, found, conditions))
            if found.more and model.known_count is None and model.counts_quickly:
                total = model.count(question.token)
                question.show(lambda: self._counted(total))

        self.asker.ask(work)

    def _forget(self) -> None:
        """What was wanted is wrong: what was accepted before still holds."""
        self._next = self.filtering.conditions
        self.number.value = self.page

    def _shown(self, model: PreviewModel, page: int, found: Page, conditions: tuple[Condition, ...]) -> None:
        """Put a page on the screen."""
        if page > 1 and not found.rows.num_rows:
            self._say(f"there is no page {page:,}")
            self.number.value = self.page
            return
        self._next = conditions
        if conditions != self.filtering.conditions:
            self.filtering.accept(conditions)
        is_other = model is not self._model
        if is_other:
            self._model, self.total = model, model.known_count
            self._is_plain = model.wanted == self.result.rows_model().wanted
        screen = self.result.screen
        screen.model, screen.page = (None if self._is_plain else model), found
        if is_other:
            self.folds["SQL"].value = ""
            self.open(self.tabs.selected_index)
        self.page = page
        if not found.more:
            self.total = found.offset + found.rows.num_rows
        self.message.value = ""
        self.start.disabled = self.back.disabled = page == 1
        self.forward.disabled = self.end.disabled = not found.more
        self.number.value = page
        self._title()  # last: who sees the rows finds the number of their page, and may type another

    def _title(self) -> None:
        """The rows under the words that say which these are, and the number of pages."""
        found = self.result.screen.page
        self.result.screen.total = self.total
        if found is None:
            return
        words = found.covers(self.total).replace("there are more", "the source has more")
        if not found.rows.num_rows:
            words = "no rows: the source is empty" if self._is_plain else "no rows meet the conditions"
        if self.result.model is None and not self.result.complete:
            words += " sampled ones"
        self.rows.value = parts.framed(parts.rows_html(self.result, found.rows, words, width=60))
        pages = f"<small>of {self._pages(self.total):,}</small>" if self.total is not None else ""
        self.of.value = parts.framed(pages) if pages else ""

    def _counted(self, total: int) -> None:
        self.total = total
        self._title()

    def _show_last(self) -> None:
        """Count the rows in the thread, and show the last page."""
        model, size, conditions = self._model, int(self.size.value), self.filtering.conditions

        def work(question: Question) -> None:
            total = model.count(question.token)
            page = max(1, -(-total // size))
            found = model.page((page - 1) * size, size, question.token)

            def both() -> None:
                self.total = total
                self._shown(model, page, found, conditions)

            question.show(both)

        self._say("counting the rows")
        self.asker.ask(work)

    def _wanted(self) -> None:
        """Another order or other conditions are wanted: the first page of that."""
        orders, conditions = self.sorting.orders(), self._next
        self._ask(1, lambda model: model.filter(*conditions).sort(*orders))

    def _narrowed(self, conditions: tuple[Condition, ...]) -> None:
        """Other conditions are wanted; where one is wrong, those before stay."""
        self._next = conditions
        self._wanted()

    def _profile(self) -> None:
        """Look at all values of the chosen column, in the thread."""
        model, column = self._model, self.profiled.value
        if column is None:
            return
        self.profile_of.value = parts.framed("<p>looking at the values</p>")

        def work(question: Question) -> None:
            try:
                found = model.stats(column, question.token)
            except FlowError as error:
                words = parts.escape(redact(error), 800)
                question.show(lambda: self._profiled(parts.framed(f'<p class="ef-warn">{words}</p>')))
                raise
            question.show(lambda: self._profiled(stats_html(found)))

        self.asker.ask(work)

    def _profiled(self, html: str) -> None:
        self.profile_of.value = html

    def _say(self, text: str) -> None:
        self.message.value = parts.framed(f'<p class="ef-warn" role="status">{parts.escape(text)}</p>')

    def open(self, index: int | None) -> None:
        """Fill a tab when it is first looked at, so that a view that nobody opens stays small."""
        if not index:
            return
        name = list(self.folds)[index - 1]
        if not self.folds[name].value:
            self.folds[name].value = parts.framed(self._bodies[name]() or _NOTHING)

    def _columns(self) -> str:
        return parts.columns_html(self.result)

    def _plan(self) -> str:
        return "".join(parts.facts_html(target) for target in self.result.targets)

    def _sql(self) -> str:
        if self._is_plain:
            return parts.sql_html(self.result)
        shown = f"<p><small>on screen</small></p>{parts.code_html(self.result.sql)}"
        return f"{shown}<p><small>sampled</small></p>{parts.sql_html(self.result)}"

    def _changes(self) -> str:
        return "".join(self._changes_of(target) for target in self.result.targets)

    def _changes_of(self, target: TargetPreview) -> str:
        body = parts.changes_html(target, most=200)
        words = parts.change_words(target.expected) if target.expected else ""
        return f"<p><b>{parts.escape(target.plan.target)}</b> {parts.escape(words)}</p>{body}"

    def view(self) -> dict[str, Any]:
        """The widget's part of a MIME bundle."""
        return widget_view(self.root)
