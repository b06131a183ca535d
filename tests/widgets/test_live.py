"""The live view of a preview, driven through its callbacks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import ipywidgets
import pyarrow as pa
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from ematix_nb import widgets
from ematix_nb.errors import ConnectError
from ematix_nb.verbs.results import LIVE_VIEWS
from ematix_nb.widgets import frontend
from ematix_nb.widgets.card import RunCard
from ematix_nb.widgets.display import outputs
from ematix_nb.widgets.preview import PreviewView
from tests.widgets.previews import paged, preview

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

    view = PreviewView(preview(rows=30, complete=False, model=paged(page)))
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

    view = PreviewView(preview(rows=25, complete=False, model=paged(page)))
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
    assert "<del><bdi>old</bdi></del> → <ins><bdi>name</bdi></ins>" in view.folds["Changes"].value
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


def numbers(end: int) -> Any:
    """A source of so many rows, page by page."""

    def page(offset: int, rows: int) -> Any:
        ids = list(range(offset, min(offset + rows, end)))
        return pa.table({"id": pa.array(ids, pa.int64()), "name": pa.array(map(str, ids), pa.string())})

    return page


@pytest.mark.parametrize("end", [51, 75, 76, 1000, 1024, 1025])
def test_the_last_page_is_found_by_looking(end: int) -> None:
    view = PreviewView(preview(rows=30, complete=False, model=paged(numbers(end))))
    assert view.of.value == ""
    view.end.click()
    assert first_cells(view)[-1] == str(end - 1)
    assert f" of {end:,}<" in view.rows.value
    assert f"of {-(-end // 25)}<" in view.of.value
    assert view.end.disabled
    assert view.forward.disabled
    view.start.click()
    assert first_cells(view)[0] == "0"


def test_an_end_that_is_too_far_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ematix_nb.widgets.preview._END_SECONDS", 0.0)
    view = PreviewView(preview(rows=30, complete=False, model=paged(numbers(10**9))))
    view.end.click()
    assert "the source has more than 25 rows; its end was not found in 0 s" in view.message.value
    assert view.page == 1


def test_one_row_is_called_a_row() -> None:
    assert ">row 1 of 1<" in PreviewView(preview(rows=1)).rows.value
    assert ">no rows: the source is empty<" in PreviewView(preview(rows=0)).rows.value


def test_a_display_is_a_live_output_that_hides_the_static_one_below(shown: None) -> None:
    live, still = outputs(preview())
    assert sorted(live) == [VIEW, "text/plain"]
    assert sorted(still) == ["text/html", "text/plain"]
    found = re.match(r'<div class="ef-still (ef-still-\w+)">', still["text/html"])
    assert found is not None
    widget = ipywidgets.widgets.widget._instances[live[VIEW]["model_id"]]
    assert f"<style>.{found[1]}{{display:none}}</style>" in widget.children[0].value
    assert outputs(preview())[1]["text/html"] != still["text/html"]


@pytest.fixture
def shell() -> Any:
    """The IPython shell of this process; it may be older than this test."""
    config = Config()
    config.HistoryManager.enabled = False
    return InteractiveShell.instance(config=config)


def test_a_shell_displays_previews_in_two_outputs_until_told_otherwise(shell: Any, shown: None) -> None:
    widgets.register()
    format_of = shell.display_formatter.format
    with capture_output() as captured:
        assert format_of(preview()) == ({}, {})
    frontend.set_mode("off")
    assert sorted(format_of(preview())[0]) == ["text/html", "text/plain"]
    frontend.set_mode("on")
    widgets.unregister()
    assert sorted(format_of(preview())[0]) == ["text/html", "text/plain"]
    assert [sorted(output.data) for output in captured.outputs] == [[VIEW, "text/plain"], ["text/html", "text/plain"]]
