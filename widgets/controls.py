"""The controls of a live view that say what rows are wanted: an order and conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.query.paging import Condition, Order
from ematix_nb.query.paging.wanted import MISSING, OPERATORS
from ematix_nb.verbs.cells import show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NONE = ""
_CHIP = 60
ROW: dict[str, str] = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "2px 6px"}


def button(text: str, icon: str, tooltip: str) -> Any:
    """A button as wide as its text."""
    import ipywidgets

    return ipywidgets.Button(description=text, icon=icon, tooltip=tooltip, layout={"width": "auto"})


def field(width: str) -> dict[str, Any]:
    """The look of a field whose label takes no more room than it needs."""
    return {"layout": {"width": width}, "style": {"description_width": "initial"}}


def column_choice(names: Sequence[str], label: str, tooltip: str, none: str | None = None) -> Any:
    """A list of columns, by place: names may be equal or odd."""
    import ipywidgets

    options = [(show(name, 40) or "(no name)", name) for name in names]
    if none is not None:
        options.insert(0, (none, NONE))
    return ipywidgets.Dropdown(options=options, description=label, tooltip=tooltip, **field("220px"))


class SortBar:
    """Sort by up to two columns.

    Args:
        names: Of the columns.
        changed: Called when another order is wanted.
    """

    def __init__(self, names: Sequence[str], changed: Callable[[], None]) -> None:
        import ipywidgets

        self.columns = [
            column_choice(names, label, tooltip, none)
            for label, tooltip, none in (
                ("sort by", "column to sort by; NULLs come last", "the order of the source"),
                ("then by", "column that decides between equal values", "nothing"),
            )
        ]
        self.directions = [
            ipywidgets.Dropdown(
                options=[("smallest first", False), ("largest first", True)],
                description=label,
                tooltip=tooltip,
                **field("190px"),
            )
            for label, tooltip in (("order", "order of the first column"), ("its order", "order of the second column"))
        ]
        parts = [part for pair in zip(self.columns, self.directions, strict=True) for part in pair]
        self.box = ipywidgets.HBox(parts, layout=ROW)
        for part in parts:
            part.observe(lambda _: changed(), names="value")

    def orders(self) -> tuple[Order, ...]:
        """What is wanted; a column that is chosen twice counts once."""
        found: dict[str, Order] = {}
        for column, direction in zip(self.columns, self.directions, strict=True):
            if column.value != NONE:
                found.setdefault(column.value, Order(column.value, descending=bool(direction.value)))
        return tuple(found.values())


class FilterBar:
    """Conditions, one added after the other, each with a button that takes it away.

    Args:
        names: Of the columns.
        changed: Called with the conditions that are wanted then; they are kept when `accept` is called.
    """

    def __init__(self, names: Sequence[str], changed: Callable[[tuple[Condition, ...]], None]) -> None:
        import ipywidgets

        self.conditions: tuple[Condition, ...] = ()
        self._changed = changed
        self.column = column_choice(names, "where", "column of a condition")
        self.operator = ipywidgets.Dropdown(
            options=OPERATORS, description="operator", tooltip="what has to hold", **field("160px")
        )
        self.value = ipywidgets.Text(
            description="value", continuous_update=False, tooltip="value to compare with", **field("200px")
        )
        self.add = button("Add", "plus", "show only rows that meet this condition too")
        self.chips = ipywidgets.HBox([], layout=ROW)
        line = ipywidgets.HBox([self.column, self.operator, self.value, self.add], layout=ROW)
        self.box = ipywidgets.VBox([line, self.chips])
        self.add.on_click(lambda _: self._add())
        self.operator.observe(lambda _: self._fit(), names="value")

    def _fit(self) -> None:
        self.value.disabled = self.operator.value in MISSING

    def _add(self) -> None:
        if self.column.value is None:
            return
        given = None if self.operator.value in MISSING else self.value.value
        self._changed((*self.conditions, Condition(self.column.value, self.operator.value, given)))

    def accept(self, conditions: tuple[Condition, ...]) -> None:
        """These hold now; each gets a button that takes it away."""
        self.conditions = conditions
        chips = []
        for place, condition in enumerate(conditions):
            chip = button(show(str(condition), _CHIP), "times", "take this condition away")
            chip.on_click(lambda _, place=place: self._remove(place))
            chips.append(chip)
        older, self.chips.children = self.chips.children, chips
        for part in older:
            part.close()

    def _remove(self, place: int) -> None:
        self._changed(self.conditions[:place] + self.conditions[place + 1 :])
