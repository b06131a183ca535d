"""The grid of the extra `grid`, driven by the messages that its front end sends."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from traitlets import TraitError

from ematix_nb import widgets
from ematix_nb.errors import MissingDriverError
from ematix_nb.verbs.preview import preview_frame
from ematix_nb.widgets import frontend, grid
from ematix_nb.widgets.display import view_of
from tests.widgets.previews import paged, preview
from tests.widgets.test_static import PAYLOADS

pytest.importorskip("anywidget", reason="the extra `grid` is not installed")

STATIC = Path(grid.__file__).parent / "static"
TABLE = pa.table(
    {
        "id": pa.array([2**53 + number for number in range(1_200)], pa.int64()),
        "word": [None if number % 10 == 0 else "" if number % 10 == 1 else f"w{number % 4}" for number in range(1_200)],
        "x": [math.nan if number % 7 == 0 else number / 2 for number in range(1_200)],
        "parts": [[number] for number in range(1_200)],
        "raw": [b"\x00\xff"] * 1_200,
    }
)


class Front:
    """What a front end would get."""

    def __init__(self, view: grid.GridView) -> None:
        self.view = view
        self.got: list[dict[str, Any]] = []
        view.grid.send = self.got.append
        self.number = 0

    def ask(self, **question: Any) -> list[dict[str, Any]]:
        """The answers to one question, as JSON brings them; the word that nothing is left to do apart."""
        self.got.clear()
        question.setdefault("generation", self.view.generation)
        self.view.answer(json.loads(json.dumps({**question, "id": 1})))
        assert self.view.asker.wait()
        assert self.view.looking.wait()
        found: list[dict[str, Any]] = json.loads(json.dumps(self.got, allow_nan=False))
        return [answer for answer in found if answer["type"] != "idle"]

    def anew(self, **question: Any) -> list[dict[str, Any]]:
        """Ask for another order or other conditions."""
        return self.ask(generation=self.view.generation + 1, **question)


@pytest.fixture
def front() -> Front:
    return Front(grid.GridView(preview_frame("t", TABLE, limit=50)))


def test_it_starts_with_the_sample_and_the_columns(front: Front) -> None:
    first = front.view.grid.first
    assert (len(first["rows"]), first["more"], first["total"]) == (50, True, 1_200)
    assert first["rows"][0] == [str(2**53), None, "NaN", "[0]", "0x00ff"]
    assert first["rows"][1][1] == ""
    columns = front.view.grid.columns
    assert [column["name"] for column in columns] == ["id", "word", "x", "parts", "raw"]
    assert [column["type"] for column in columns] == ["bigint", "text", "double", "array(bigint)", "bytes"]
    assert [column["sorts"] for column in columns] == [True, True, True, False, True]
    assert columns[3]["operators"] == ["is null", "is not null"]


def test_a_page_comes_as_text(front: Front) -> None:
    (answer,) = front.ask(type="page", offset=1_100, limit=200)
    assert (answer["type"], answer["offset"], len(answer["rows"]), answer["more"]) == ("page", 1_100, 100, False)
    assert answer["rows"][-1][0] == str(2**53 + 1_199)
    assert front.view.result.arrow().num_rows == 100
    assert front.view.result.covers == "rows 1,101 to 1,200 of 1,200"


def test_sort_and_filter_go_over_the_whole_source(front: Front) -> None:
    (answer,) = front.anew(type="sort", sort=[{"column": 0, "descending": True}])
    assert (answer["anew"], answer["generation"], answer["rows"][0][0]) == (True, 1, str(2**53 + 1_199))
    assert answer["sort"] == [{"column": 0, "descending": True}]
    asked = [
        {"column": 1, "operator": "is null", "value": None},
        {"column": 0, "operator": "<", "value": str(2**53 + 100)},
    ]
    (answer,) = front.anew(type="filter", filter=asked)
    assert [row[0] for row in answer["rows"]] == [str(2**53 + number) for number in range(90, -1, -10)]
    assert (answer["total"], answer["filter"]) == (10, asked)
    assert front.view.result.sql.count("WHERE") == 1
    (answer,) = front.anew(type="filter", filter=[])
    assert (answer["total"], answer["sort"]) == (1_200, [{"column": 0, "descending": True}])


def test_statistics_come_beside_the_rows(front: Front) -> None:
    (answer,) = front.ask(type="stats", column=2)
    assert (answer["column"], answer["covers"], sum(answer["bars"])) == ("x", "all 1,200 rows", 1_200 - 172)
    assert ["NaN", "172 (14 %)"] in answer["facts"]


def test_answers_to_older_questions_are_dropped(front: Front) -> None:
    front.anew(type="sort", sort=[{"column": 0, "descending": True}])
    assert front.ask(type="page", offset=0, limit=100, generation=0) == []


WRONG: list[Any] = [
    {"type": "sql", "sql": "DROP TABLE t"},
    {"type": "exec"},
    {"type": "page", "offset": -1, "limit": 10},
    {"type": "page", "offset": 0, "limit": 10**9},
    {"type": "page", "offset": "0", "limit": 10},
    {"type": "page", "offset": True, "limit": 10},
    {"type": "sort", "sort": [{"column": 99}]},
    {"type": "sort", "sort": [{"column": "id"}]},
    {"type": "sort", "sort": "id"},
    {"type": "sort", "sort": [{"column": 3}]},
    {"type": "filter", "filter": [{"column": 0, "operator": "= 1 OR 1", "value": "1"}]},
    {"type": "filter", "filter": [{"column": 0, "operator": "=", "value": {"sql": "1"}}]},
    {"type": "filter", "filter": [{"column": 0, "operator": "=", "value": "1 OR 1=1"}]},
    {"type": "filter", "filter": [{"column": 0, "operator": "is null"}] * 21},
    {"type": "stats", "column": None},
]


@pytest.mark.parametrize("question", WRONG, ids=str)
def test_a_question_that_is_not_understood_is_an_error_and_changes_nothing(front: Front, question: Any) -> None:
    (answer,) = front.ask(**question)
    assert answer["type"] == "error"
    assert answer["words"].startswith("FLOW-1")
    assert answer["was"] == {"sort": [], "filter": []}
    (page,) = front.ask(type="page", offset=0, limit=100)
    assert page["rows"][0][0] == str(2**53)


def test_what_is_no_object_is_an_error_too(front: Front) -> None:
    for content in (None, 5, "SELECT 1", ["page"]):
        front.got.clear()
        front.view.answer(content)
        assert [answer["type"] for answer in front.got] == ["error"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_texts_travel_as_texts(payload: str) -> None:
    """The front end sets what it gets as text; nothing else reaches it than texts, numbers and truths."""
    word = payload.replace("\x00", "")
    view = grid.GridView(preview_frame(word, pa.table({word: [payload, word]}), limit=1))
    front = Front(view)
    assert front.view.grid.columns[0]["name"].isprintable()
    (answer,) = front.ask(type="page", offset=0, limit=100)
    assert all(sign not in text for row in answer["rows"] for text in row for sign in "\x00\x1b\u202e\u2066\u200f")
    (answer,) = front.anew(type="filter", filter=[{"column": 0, "operator": "=", "value": word}])
    assert answer["type"] == "page"
    assert answer["total"] in (1, 2)


def test_the_scripts_are_small_and_make_no_markup_of_data_and_fetch_nothing() -> None:
    texts = {path.name: path.read_text("utf-8") for path in STATIC.iterdir()}
    assert sorted(texts) == ["grid.css", "grid.js"]
    assert sum(len(text.encode()) for text in texts.values()) < 60_000
    words = (
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "fetch(", "import ",
        "import(", "XMLHttpRequest", "WebSocket", "url(", "@import", "sql", "SELECT",
    )  # fmt: skip
    assert [(name, word) for name, text in texts.items() for word in words if word in text] == []
    addresses = [text for text in texts.values() if "://" in text.replace("http://www.w3.org/2000/svg", "")]
    assert addresses == []


def test_a_sample_alone_says_so() -> None:
    view = grid.GridView(preview(rows=30, complete=False))
    assert view.grid.sampled == "of the sample"
    assert view.grid.first["total"] == 30


def test_a_source_that_is_gone_shows_the_sample_and_the_error() -> None:
    def page(offset: int, rows: int) -> Any:
        raise ZeroDivisionError("<b>postgres://ann:hunter22@db/wh</b>")

    front = Front(grid.GridView(preview(rows=30, complete=False, model=paged(page))))
    (answer,) = front.ask(type="page", offset=100, limit=100)
    assert answer["type"] == "error"
    assert "ZeroDivisionError" in answer["words"]
    assert "hunter22" not in answer["words"]


def test_it_is_chosen_by_a_setting() -> None:
    try:
        frontend.use_grid(True)
        assert type(view_of(preview())) is grid.GridView
    finally:
        frontend.use_grid(False)
    assert type(view_of(preview())) is not grid.GridView


def test_without_the_package_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from ematix_nb.magics.flow import FlowMagics

    grid._widget_class.cache_clear()
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(MissingDriverError, match=r"the grid needs the package `anywidget`\nhint: pip install") as error:
        grid.GridView(preview())
    assert error.value.hint == 'pip install "ematix-nb[grid]"'
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    magics = FlowMagics(None)
    with pytest.raises(TraitError, match="the grid needs the package"):
        magics.widgets = "grid"
    assert widgets.has_front_end() in (True, False)
