"""Hostile names, values and errors in the live view: what a browser makes of its HTML holds our elements alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import pyarrow as pa
import pytest

from ematix_nb.errors import DataError
from ematix_nb.query.paging.stats import column_stats
from ematix_nb.verbs.preview import preview_frame
from ematix_nb.verbs.stats_html import stats_html
from ematix_nb.widgets.preview import PreviewView
from tests.widgets.previews import paged, preview
from tests.widgets.test_static import ATTRIBUTES, PAYLOADS, TAGS

if TYPE_CHECKING:
    from collections.abc import Iterator

html5lib = pytest.importorskip("html5lib", reason="installed by the extra `dev`")

MADE_BY_THE_PARSER = {"html", "head", "body", "tbody"}


def texts_of(html: str) -> str:
    """The text of HTML as a browser parses it, which may hold our elements and attributes alone."""
    tree = html5lib.parse(html, treebuilder="etree", namespaceHTMLElements=False)
    found = []
    for element in tree.iter():
        assert isinstance(element.tag, str), "a comment"
        assert element.tag.rpartition("}")[2] in TAGS | MADE_BY_THE_PARSER, element.tag
        for name, value in element.attrib.items():
            assert str(name).lower() in ATTRIBUTES, (element.tag, name)
            assert "alert" not in value
        if element.tag != "style":
            found.append(element.text or "")
        found.append(element.tail or "")
    return "".join(found)


def htmls(widget: Any) -> Iterator[str]:
    """Every piece of HTML in a widget."""
    if isinstance(widget, ipywidgets.HTML):
        yield widget.value
    for child in getattr(widget, "children", ()):
        yield from htmls(child)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_every_tab_holds_our_elements_alone(payload: str) -> None:
    view = PreviewView(preview(payload, rows=30))
    for index in range(5):
        view.tabs.selected_index = index
    shown = [texts_of(html) for html in htmls(view.root)]
    assert sum(len(text) for text in shown) > 500


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_is_asked_and_answered_holds_our_elements_alone(payload: str) -> None:
    word = payload.replace("\x00", "")
    view = PreviewView(preview_frame(word, pa.table({word: [word, word, payload, None]}), limit=2))
    view.sorting.columns[0].value = word
    assert view.asker.wait()
    view.filtering.column.value = word
    view.filtering.operator.value = "starts with"
    view.filtering.value.value = word[:40]
    view.filtering.add.click()
    assert view.asker.wait()
    view.profile.click()
    assert view.asker.wait()
    view.tabs.selected_index = 3
    assert not word[:20].isascii() or not word[:20].isprintable() or word[:20] in texts_of(view.profile_of.value)
    for html in htmls(view.root):
        texts_of(html)
    assert view.message.value == ""
    assert len(view.filtering.chips.children) == 1


@pytest.mark.parametrize("payload", PAYLOADS)
def test_an_error_holds_our_elements_alone(payload: str) -> None:
    def page(offset: int, rows: int) -> Any:
        raise DataError(f"{payload} {offset} {rows}", payload)

    view = PreviewView(preview(rows=25, complete=False, model=paged(page)))
    view.show(2)
    assert view.asker.wait()
    assert "FLOW-230" in texts_of(view.message.value)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_profile_holds_our_elements_alone(payload: str) -> None:
    stats = column_stats(payload, payload, iter([pa.array([payload, payload, "", None])]), None)
    text = texts_of(stats_html(stats))
    assert "empty: 1 (25 %)" in text
    assert "2 (50 %)" in text
