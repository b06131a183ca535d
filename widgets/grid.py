"""The grid: a live view that scrolls through any number of rows (extra ``grid``).

The front end asks typed questions (page, sort, filter, stats, stop) in which columns are places and values are texts;
it never sends SQL. Cells travel as texts, and NULL as null, so that no value changes on its way.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import FlowError, MissingDriverError, UsageError
from ematix_nb.query.paging import Condition, Order, Page
from ematix_nb.query.paging.wanted import MISSING, can_sort, operators_for
from ematix_nb.verbs.cells import show
from ematix_nb.verbs.preview_text import cell_values, is_number
from ematix_nb.verbs.stats_html import stats_facts

from .asking import Asker
from .preview import PreviewView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ematix_nb.query.paging import PreviewModel
    from ematix_nb.verbs.results import PreviewResult

    from .asking import Question

STATIC = Path(__file__).parent / "static"
CELL = 200
"""Characters of a cell; the rest is cut, and that is seen."""
FIRST = 100
MOST_ROWS = 500
MOST_CONDITIONS = 20
MOST_WHOLE = 2**53
"""Whole numbers that a front end can send exactly."""


@functools.cache
def _widget_class() -> Any:
    try:
        import anywidget
    except ImportError as exc:
        message = "the grid needs the package `anywidget`"
        raise MissingDriverError(message, 'pip install "ematix-nb[grid]"') from exc
    import traitlets

    base: Any = anywidget.AnyWidget

    class Grid(base):  # type: ignore[misc]  # of no known type where the extra is not installed
        """The front end's half; what it knows at the start."""

        _esm = (STATIC / "grid.js").read_text(encoding="utf-8")
        _css = (STATIC / "grid.css").read_text(encoding="utf-8")
        columns: Any = traitlets.List().tag(sync=True)
        first: Any = traitlets.Dict().tag(sync=True)
        sampled: Any = traitlets.Unicode().tag(sync=True)

    return Grid


class GridView(PreviewView):
    """The live view of a preview whose rows scroll; the other tabs are those of `PreviewView`.

    Args:
        result: What is shown.
        style: A style element that is on the page as long as the view is.

    Raises:
        MissingDriverError: The extra ``grid`` is not installed.
    """

    def __init__(self, result: PreviewResult, style: str = "") -> None:
        self._grid_class = _widget_class()
        self._orders: tuple[Order, ...] = ()
        """What was asked for last, whether it is there already or not."""
        self.generation = 0
        """Of the newest order and conditions; answers to older ones are dropped."""
        super().__init__(result, style)
        self.looking = Asker(self._idle, lambda words: self._fail(words, self.generation))
        """For statistics, which stop no page."""

    # -- what PreviewView does otherwise

    def _first_tab(self) -> Any:
        sample = self.result.sample
        is_sample = self.result.model is None and not self.result.complete
        self.columns = self._columns_of()
        is_more = sample.num_rows > FIRST or not (self.result.complete or is_sample)
        first = Page(sample.slice(0, FIRST), 0, more=is_more)
        self.result.screen.page, self.result.screen.total = first, self.total
        self.grid = self._grid_class(
            columns=self.columns,
            first=self._page(first, anew=True),
            sampled="of the sample" if is_sample else "",
        )
        self.grid.on_msg(lambda _, content, __: self.answer(content))
        return self.grid

    def _begin(self) -> None:
        """The grid has its first rows, and asks for the others."""

    def show(self, page: int) -> None:
        """Nothing: the grid asks for what it shows."""

    def _busy(self, working: bool) -> None:  # noqa: FBT001 - called by the asker
        if not working:
            self._idle(working)

    def _say(self, text: str) -> None:
        self._fail(text, self.generation)

    # -- what the front end knows

    def _columns_of(self) -> list[dict[str, Any]]:
        """Name, type and what may be asked, column by column; where the source cannot be opened nothing may."""
        sample = self.result.sample.schema
        try:
            kinds = {column.name: column.type for column in self._model.columns}
        except FlowError:
            kinds = {}
        found = []
        for field in sample:
            kind = kinds.get(field.name)
            found.append(
                {
                    "name": show(field.name, 60),
                    "type": show(str(kind or field.type), 60),
                    "number": is_number(field.type),
                    "sorts": kind is not None and can_sort(kind),
                    "operators": [] if kind is None else list(operators_for(kind)),
                }
            )
        return found

    def _page(self, page: Page, *, anew: bool, model: PreviewModel | None = None) -> dict[str, Any]:
        """A page as the front end takes it."""
        wanted = (model or self._model).wanted
        names = self._names
        return {
            "type": "page",
            "generation": self.generation,
            "offset": page.offset,
            "rows": _texts(page.rows),
            "more": page.more,
            "total": self.total,
            "anew": anew,
            "sort": [{"column": names.index(one.column), "descending": one.descending} for one in wanted.orders],
            "filter": [
                {
                    "column": names.index(one.column),
                    "operator": one.operator,
                    "value": None if one.operator in MISSING else show(one.value, CELL),
                }
                for one in wanted.conditions
            ],
        }

    @property
    def _names(self) -> list[str]:
        return list(self.result.sample.schema.names)

    # -- questions

    def answer(self, content: object) -> None:
        """Answer a question of the front end; returns at once, the answer is sent when it is there."""
        try:
            self._answer(_mapping(content))
        except UsageError as error:
            self._fail(str(error), self.generation)

    def _answer(self, asked: Mapping[str, Any]) -> None:
        kind = asked.get("type")
        if kind == "stop":
            self.asker.stop()
            self.looking.stop()
            return
        generation = _whole(asked, "generation", MOST_WHOLE)
        if kind == "page":
            self._ask_page(_whole(asked, "offset", MOST_WHOLE), _whole(asked, "limit", MOST_ROWS, 1), generation)
        elif kind == "sort":
            self._ask_anew(tuple(self._order(each) for each in _several(asked, "sort")), None, generation)
        elif kind == "filter":
            self._ask_anew(None, tuple(self._condition(each) for each in _several(asked, "filter")), generation)
        elif kind == "stats":
            self._ask_stats(self._name(asked))
        else:
            message = f"a question of the type `{str(kind)[:40]}` is not known"
            raise UsageError(message, "page, sort, filter, stats and stop are")

    def _name(self, asked: Mapping[str, Any]) -> str:
        return self._names[_whole(asked, "column", len(self._names) - 1)]

    def _order(self, asked: object) -> Order:
        given = _mapping(asked)
        return Order(self._name(given), descending=given.get("descending") is True)

    def _condition(self, asked: object) -> Condition:
        given = _mapping(asked)
        operator, value = given.get("operator"), given.get("value")
        if not isinstance(operator, str) or not (value is None or isinstance(value, str)):
            message = "a condition of the view is not understood"
            raise UsageError(message, "operator and value are texts")
        return Condition(self._name(given), operator, value)

    def _ask_page(self, offset: int, limit: int, generation: int) -> None:
        model = self._model

        def work(question: Question) -> None:
            found = model.page(offset, limit, question.token)
            question.show(lambda: self._sent(model, found, generation, anew=False))
            self._count(model, found, question)

        if generation == self.generation:
            self.asker.ask(work)

    def _ask_anew(
        self, orders: tuple[Order, ...] | None, conditions: tuple[Condition, ...] | None, generation: int
    ) -> None:
        """Another order or other conditions; where they are wrong, those before stay."""
        before, wanted = self._model, self._model.wanted
        asked_orders = self._orders = self._orders if orders is None else orders
        asked_conditions = self._next = self._next if conditions is None else conditions
        self.generation = generation

        def work(question: Question) -> None:
            try:
                model = before.filter(*asked_conditions).sort(*asked_orders)
                found = model.page(0, FIRST, question.token)
            except FlowError:
                self._orders, self._next = wanted.orders, wanted.conditions
                raise

            def shown() -> None:
                self._model, self.total = model, model.known_count
                self._is_plain = model.wanted == self.result.rows_model().wanted
                self._sent(model, found, generation, anew=True)

            question.show(shown)
            self._count(model, found, question)

        self.asker.ask(work)

    def _count(self, model: PreviewModel, found: Page, question: Question) -> None:
        if self.total is None and found.more and model.counts_quickly:
            total = model.count(question.token)

            def told() -> None:
                self.total = self.result.screen.total = total
                self._send({"type": "total", "generation": self.generation, "total": total})

            question.show(told)

    def _sent(self, model: PreviewModel, found: Page, generation: int, *, anew: bool) -> None:
        """Send a page, and remember what is on screen."""
        if not found.more and (found.rows.num_rows or not found.offset):
            self.total = found.offset + found.rows.num_rows
        screen = self.result.screen
        screen.model, screen.page, screen.total = (None if self._is_plain else model), found, self.total
        self.folds["SQL"].value = ""
        self.open(self.tabs.selected_index)
        self._send({**self._page(found, anew=anew, model=model), "generation": generation})

    def _ask_stats(self, name: str) -> None:
        model = self._model

        def work(question: Question) -> None:
            found = model.stats(name, question.token)
            answer = {
                "type": "stats",
                "column": show(name, 60),
                "kind": show(found.type, 60),
                "covers": found.covers(),
                "facts": [list(fact) for fact in stats_facts(found)],
                "bars": list(found.bars),
            }
            question.show(lambda: self._send(answer))

        self.looking.ask(work)

    def _fail(self, words: str, generation: int) -> None:
        was = self._page(Page(self.result.sample.slice(0, 0), 0, more=True), anew=False)
        self._send(
            {
                "type": "error",
                "words": show(words, 800).replace("\\n", "\n"),
                "generation": generation,
                "was": {"sort": was["sort"], "filter": was["filter"]},
            }
        )

    def _idle(self, working: bool) -> None:  # noqa: FBT001 - called by the askers
        if not working:
            self._send({"type": "idle"})

    def _send(self, content: dict[str, Any]) -> None:
        grid = getattr(self, "grid", None)
        if grid is not None:
            grid.send(content)


def _texts(rows: Any) -> list[list[str | None]]:
    """The cells row by row; None is NULL."""
    columns = [
        [None if value is None else show(value, CELL) for value in cell_values(column)] for column in rows.columns
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _mapping(content: object) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        message = f"a question of the view is a {type(content).__name__}, not an object"
        raise UsageError(message, "run the cell again")
    return content


def _whole(asked: Mapping[str, Any], name: str, most: int, least: int = 0) -> int:
    found = asked.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        message = f"`{name}` of a question of the view is {str(found)[:40]!r}, expected {least} to {most}"
        raise UsageError(message, "run the cell again")
    return found


def _several(asked: Mapping[str, Any], name: str) -> list[Any]:
    found = asked.get(name)
    if not isinstance(found, list) or len(found) > MOST_CONDITIONS:
        message = f"`{name}` of a question of the view is no list of at most {MOST_CONDITIONS}"
        raise UsageError(message, "run the cell again")
    return found
