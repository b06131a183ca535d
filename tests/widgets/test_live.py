"""The live view of a preview, driven through its callbacks."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import ipywidgets
import pyarrow as pa
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from ematix_nb import widgets
from ematix_nb.errors import ConnectError
from ematix_nb.query.paging import PreviewModel
from ematix_nb.verbs.preview import preview_frame
from ematix_nb.verbs.results import LIVE_VIEWS
from ematix_nb.widgets import frontend
from ematix_nb.widgets.card import RunCard
from ematix_nb.widgets.display import outputs
from ematix_nb.widgets.preview import PreviewView
from tests.widgets.previews import PagedRows, paged, preview

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.query.paging import Stop
    from ematix_nb.query.paging.wanted import Wanted

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
    assert view.asker.wait()
    assert asked == [(25, 26)]
    assert first_cells(view)[-1] == "49"
    view.number.value = 40
    assert view.asker.wait()
    assert first_cells(view) == [str(number) for number in range(975, 1000)]
    assert view.forward.disabled
    view.number.value = 99
    assert view.asker.wait()
    assert "there is no page 99" in view.message.value
    assert view.number.value == 40


def test_a_source_that_is_gone_is_told_in_the_view() -> None:
    def page(offset: int, rows: int) -> Any:
        message = f"cannot reach postgres://ann:hunter22@db/wh ({offset}, {rows})"
        raise ConnectError(message)

    view = PreviewView(preview(rows=25, complete=False, model=paged(page)))
    view.show(2)
    assert view.asker.wait()
    assert "cannot reach postgres://ann:***@db/wh" in view.message.value
    assert view.page == view.number.value == 1


def test_what_a_driver_raises_is_told_too() -> None:
    def page(offset: int, rows: int) -> Any:
        raise ZeroDivisionError("<b>password=hunter22</b>")

    view = PreviewView(preview(rows=25, complete=False, model=paged(page)))
    view.show(2)
    assert view.asker.wait()
    assert "ZeroDivisionError: &lt;b&gt;" in view.message.value
    assert view.halt.layout.visibility == "hidden"


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


def test_the_last_page_is_counted_for() -> None:
    view = PreviewView(preview_frame("t", pa.table({"id": list(range(1024))}), limit=30))
    assert "of 41<" in view.of.value
    view.end.click()
    assert view.asker.wait()
    assert first_cells(view)[-1] == "1023"
    assert "rows 1,001 to 1,024 of 1,024" in view.rows.value
    assert view.end.disabled
    assert view.forward.disabled
    view.start.click()
    assert first_cells(view)[0] == "0"


def test_rows_that_cannot_be_counted_are_told() -> None:
    view = PreviewView(preview(rows=30, complete=False, model=paged(numbers(1000))))
    assert view.of.value == ""
    view.end.click()
    assert view.asker.wait()
    assert "nobody counted them" in view.message.value
    assert view.page == 1


def test_a_sample_that_is_shorter_than_a_page_is_shown_until_the_page_is_there() -> None:
    gate = threading.Event()

    def page(offset: int, rows: int) -> Any:
        assert gate.wait(10)
        return numbers(1000)(offset, rows)

    view = PreviewView(preview(rows=10, complete=False, model=paged(page)))
    assert first_cells(view) == [str(number) for number in range(10)]
    assert view.halt.layout.visibility == "visible"
    gate.set()
    assert view.asker.wait()
    assert first_cells(view) == [str(number) for number in range(25)]
    assert view.halt.layout.visibility == "hidden"


ODD = pa.table(
    {
        "id": pa.array(range(200), pa.int64()),
        "word": [None if number % 10 == 0 else f"w{number % 4}" for number in range(200)],
        "x": [float("nan") if number % 7 == 0 else number / 2 for number in range(200)],
    }
)


@pytest.fixture
def odd() -> PreviewView:
    return PreviewView(preview_frame("odd", ODD, limit=50))


def answered(view: PreviewView) -> PreviewView:
    assert view.asker.wait()
    return view


def ids(view: PreviewView) -> list[str]:
    """The first of the two columns of numbers."""
    return first_cells(view)[::2]


def test_sorting_goes_over_the_whole_source(odd: PreviewView) -> None:
    odd.sorting.columns[0].value = "word"
    odd.sorting.directions[0].value = True
    odd.sorting.columns[1].value = "id"
    odd.sorting.directions[1].value = True
    assert ids(answered(odd))[:3] == ["199", "195", "191"]
    assert 'ORDER BY "word" DESC' in odd.result.sql
    odd.forward.click()
    assert answered(odd).page == 2
    assert odd.result.arrow()["id"].to_pylist()[-1] == int(ids(odd)[-1])
    assert odd.result.covers == "rows 26 to 50 of 200"
    odd.sorting.columns[0].value = ""
    odd.sorting.columns[1].value = ""
    assert ids(answered(odd))[0] == "0"
    assert "ORDER BY" not in odd.result.sql


def add(view: PreviewView, column: str, operator: str, value: str = "") -> None:
    view.filtering.column.value = column
    view.filtering.operator.value = operator
    view.filtering.value.value = value
    view.filtering.add.click()
    answered(view)


def test_conditions_are_added_and_taken_away(odd: PreviewView) -> None:
    add(odd, "word", "=", "w1")
    add(odd, "id", ">=", "100")
    assert ids(odd)[:2] == ["101", "105"]
    assert "rows 1 to 25 of 25" in odd.rows.value
    assert [chip.description for chip in odd.filtering.chips.children] == ["word = w1", "id >= 100"]
    assert odd.result.pandas().attrs["covers"] == "rows 1 to 25 of 25"
    assert odd.result.polars(limit=3)["id"].to_list() == [101, 105, 109]
    odd.filtering.chips.children[0].click()
    answered(odd)
    assert ids(odd)[0] == "100"
    assert "of 100<" in odd.rows.value
    add(odd, "word", "is null")
    assert odd.filtering.value.disabled
    assert "rows 1 to 10 of 10" in odd.rows.value
    add(odd, "id", "<", "0")
    assert "no rows meet the conditions" in odd.rows.value


def test_a_condition_that_is_wrong_changes_nothing(odd: PreviewView) -> None:
    add(odd, "id", "<", "20")
    add(odd, "id", "=", "1 OR 1=1")
    assert "`1 OR 1=1` is no value for `id`, which is bigint" in odd.message.value
    assert [chip.description for chip in odd.filtering.chips.children] == ["id < 20"]
    odd.sorting.columns[0].value = "id"
    assert "rows 1 to 20 of 20" in answered(odd).rows.value
    assert odd.message.value == ""


def test_an_order_that_is_chosen_while_a_condition_is_asked_for_has_both() -> None:
    view = PreviewView(preview_frame("odd", ODD, limit=50))
    view.filtering.column.value = "id"
    view.filtering.operator.value = ">="
    view.filtering.value.value = "190"
    view.filtering.add.click()
    view.sorting.directions[0].value = True
    view.sorting.columns[0].value = "id"
    assert ids(answered(view)) == [str(number) for number in range(199, 189, -1)]


def test_a_profile_is_that_of_the_whole_source_under_the_conditions(odd: PreviewView) -> None:
    odd.tabs.selected_index = 1
    odd.profiled.value = "x"
    odd.profile.click()
    answered(odd)
    text = odd.profile_of.value
    assert "all 200 rows" in text
    assert "29 (14 %)" in text
    assert "99.5" in text
    add(odd, "id", "<", "10")
    odd.profiled.value = "word"
    odd.profile.click()
    answered(odd)
    assert "all 10 rows" in odd.profile_of.value
    assert "commonest" in odd.profile_of.value


def test_a_profile_that_fails_says_so_where_it_would_be() -> None:
    view = PreviewView(preview(rows=30, complete=False, model=paged(numbers(1000))))
    view.profile.click()
    assert "nobody counted them" in answered(view).profile_of.value


def test_the_sql_of_what_is_on_screen_is_shown_beside_what_was_sampled(odd: PreviewView) -> None:
    odd.tabs.selected_index = 3
    assert "on screen" not in odd.folds["SQL"].value
    odd.sorting.columns[0].value = "word"
    answered(odd)
    assert "on screen" in odd.folds["SQL"].value
    assert "ORDER BY" in odd.folds["SQL"].value


def test_a_newer_question_stops_the_older_one() -> None:
    """The older one would wait for ever; its answer never shows."""
    began, released = threading.Event(), threading.Event()

    class Slow(PagedRows):
        def read(self, wanted: Wanted, offset: int, limit: int, stop: Stop) -> Any:
            if wanted.orders:
                stop.on_cancel(released.set)
                began.set()
                assert released.wait(10)
                stop.check()
            return numbers(1000)(offset, limit)

    view = PreviewView(preview(rows=30, complete=False, model=PreviewModel("slow", lambda: Slow(numbers(1000)))))
    view.sorting.columns[0].value = "id"
    assert began.wait(10)
    assert not released.is_set()
    view.number.value = 3
    assert view.asker.wait()
    assert released.is_set()
    assert first_cells(view)[0] == "50"
    assert view.message.value == ""


def test_the_stop_button_stops() -> None:
    began, released = threading.Event(), threading.Event()

    class Slow(PagedRows):
        def count(self, wanted: Wanted, stop: Stop) -> int:  # noqa: ARG002 - as the protocol says
            stop.on_cancel(released.set)
            began.set()
            assert released.wait(10)
            stop.check()
            return 5

    view = PreviewView(preview(rows=30, complete=False, model=PreviewModel("slow", lambda: Slow(numbers(1000)))))
    view.end.click()
    assert began.wait(10)
    assert "counting the rows" in view.message.value
    view.halt.click()
    assert view.asker.wait()
    assert "stopped" in view.message.value
    assert view.page == 1


def test_a_sample_alone_is_sorted_and_says_that_it_is_a_sample() -> None:
    view = PreviewView(preview(rows=30, complete=False))
    view.sorting.columns[0].value = "id"
    view.sorting.directions[0].value = True
    assert first_cells(answered(view))[0] == "29"
    assert "rows 1 to 25 of 30 sampled ones" in view.rows.value


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
