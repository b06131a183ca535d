"""The live view of a preview, driven through its callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ematix_nb import widgets
from ematix_nb.errors import ConnectError
from ematix_nb.verbs.results import LIVE_VIEWS
from ematix_nb.widgets import frontend
from ematix_nb.widgets.card import RunCard
from ematix_nb.widgets.preview import PreviewView
from tests.widgets.previews import preview

if TYPE_CHECKING:
    from collections.abc import Iterator

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def shown() -> Iterator[None]:
    """As with a front end."""
    frontend.set_mode("on")
    widgets.register()
    yield
    widgets.unregister()
    frontend.set_mode("auto")


def test_the_bundle_holds_widget_html_and_text(shown: None) -> None:
    bundle = preview()._repr_mimebundle_()
    assert sorted(bundle) == [VIEW, "text/html", "text/plain"]
    assert sorted(bundle[VIEW]) == ["model_id", "version_major", "version_minor"]


def test_without_a_front_end_there_is_no_widget(shown: None) -> None:
    frontend.set_mode("auto")
    assert sorted(preview()._repr_mimebundle_()) == ["text/html", "text/plain"]


def test_unregistering_leaves_nothing(shown: None) -> None:
    widgets.unregister()
    assert LIVE_VIEWS == {}


def first_cells(view: PreviewView) -> list[str]:
    return [part.partition("</bdi>")[0] for part in view.rows.value.split('<td class="ef-right"><bdi>')[1:]]


def test_paging_through_the_sample() -> None:
    view = PreviewView(preview(rows=60))
    assert first_cells(view) == [str(number) for number in range(25)]
    assert "rows 1 to 25" in view.rows.value
    assert (view.back.disabled, view.forward.disabled) == (True, False)
    view.forward.click()
    view.forward.click()
    assert first_cells(view) == [str(number) for number in range(50, 60)]
    assert view.number.value == 3
    assert (view.back.disabled, view.forward.disabled) == (False, True)
    view.back.click()
    assert first_cells(view)[0] == "25"
    view.number.value = 1
    assert first_cells(view)[0] == "0"
    view.size.value = 10
    assert first_cells(view) == [str(number) for number in range(10)]


def test_a_page_behind_the_end_is_refused_with_a_message() -> None:
    view = PreviewView(preview(rows=30))
    view.number.value = 9
    assert "there is no page 9" in view.message.value
    assert view.page == 1
    assert view.number.value == 1
    assert first_cells(view)[0] == "0"


def test_pages_behind_the_sample_come_from_the_source() -> None:
    asked: list[tuple[int, int]] = []

    def page(offset: int, rows: int) -> Any:
        asked.append((offset, rows))
        ids = list(range(offset, min(offset + rows, 1000)))
        return pa.table({"id": ids, "name": [f"name {number}" for number in ids]})

    view = PreviewView(preview(rows=30, complete=False, pages=page))
    assert asked == []
    view.forward.click()
    assert asked == [(25, 26)]
    assert first_cells(view)[-1] == "49"
    view.number.value = 40
    assert first_cells(view) == [str(number) for number in range(975, 1000)]
    assert view.forward.disabled


def test_a_source_that_is_gone_is_told_in_the_view() -> None:
    def page(offset: int, rows: int) -> Any:
        message = f"cannot reach postgres://ann:hunter22@db/wh ({offset}, {rows})"
        raise ConnectError(message)

    view = PreviewView(preview(rows=25, complete=False, pages=page))
    view.show(2)
    assert "cannot reach postgres://ann:***@db/wh" in view.message.value
    assert view.page == 1


def test_a_tab_is_filled_when_it_is_opened() -> None:
    view = PreviewView(preview())
    assert [part.value for part in view.folds.values()] == ["", "", "", ""]
    view.tabs.selected_index = 1
    assert "source type" in view.folds["Columns"].value
    view.tabs.selected_index = 2
    assert "watermark" in view.folds["Plan"].value
    view.tabs.selected_index = 3
    assert "INSERT INTO name" in view.folds["SQL"].value
    view.tabs.selected_index = 4
    assert "<del>old</del> → <ins>name</ins>" in view.folds["Changes"].value
    assert [view.tabs.get_title(index) for index in range(5)] == ["Rows", "Columns", "Plan", "SQL", "Changes"]


def test_the_button_of_a_run_card_cancels_once() -> None:
    calls: list[int] = []
    card = RunCard("<p>running</p>", lambda: calls.append(1))
    card.button.click()
    assert calls == [1]
    assert card.button.disabled
    card.update("<p>done</p>")
    assert card.state.value == "<p>done</p>"
    assert list(card.view()) == [VIEW]
    card.close()
