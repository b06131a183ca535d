"""A preview as text and as static HTML."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
from html.parser import HTMLParser
from typing import Any

import pyarrow as pa
import pytest

from ematix_nb.magics.cells import Definition
from ematix_nb.verbs.html import STYLE
from ematix_nb.verbs.preview_html import MAX_BYTES, changes_html
from ematix_nb.verbs.results import PreviewResult
from ematix_nb.widgets.preview import PreviewView
from tests.widgets.previews import preview

TAGS = {
    "b", "bdi", "br", "del", "details", "div", "em", "ins", "p", "pre", "rect", "small", "span", "style", "summary",
    "svg", "table", "tbody", "td", "th", "thead", "tr",
}  # fmt: skip
ATTRIBUTES = {
    "aria-label",
    "class",
    "fill",
    "height",
    "open",
    "role",
    "scope",
    "tabindex",
    "viewbox",
    "width",
    "x",
    "y",
}

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</pre></div><script>alert(1)</script>",
    "</td></tr></table><h1>x</h1>",
    "</summary></details><iframe src=//x>",
    "--><script>alert(1)</script>",
    "<!-- <script>",
    "]]><script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "` onerror=alert(1)",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "javascript:alert(1)",
    "[x](javascript:alert(1))",
    "<button data-commandlinker-command='terminal:create-new'>x</button>",
    "<div id=MathJax>x</div>",
    "<div style='position:fixed;inset:0;background:red'>x</div>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//x>",
    "<meta http-equiv=refresh content='0;url=//x'>",
    "<base href=//x>",
    "<form action=//x><input name=y></form>",
    "<object data=//x></object>",
    "<embed src=//x>",
    "<video><source onerror=alert(1)></video>",
    "<math><mtext></mtext></math>",
    "<details open ontoggle=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "<\x00script>alert(1)</script>",
    "\x1b]8;;http://x\x1b\\click\x1b[2J",
    "$x$ \\(y\\) $$z$$",
    "\u202egnp.exe \u2066x\u2069 \u200fy",
    "**bold** # title",
    "[/red][link=http://x]y",
]


class Strict(HTMLParser):
    """Refuses every tag and attribute that we do not write; gathers the text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES, (tag, name)
            assert "alert" not in (value or ""), value
        if tag not in ("br", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            assert data in STYLE or data.startswith(".ematix-flow{--ef-good:")
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)


def checked(text: str) -> str:
    """The text of HTML that holds nothing but what we write."""
    parser = Strict()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    found = "".join(parser.texts)
    assert not any(char in found for char in "\x00\x1b\u202e\u2066\u2069\u200f")
    return found


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_is_text_everywhere(payload: str) -> None:
    result = preview(payload)
    found = checked(result.to_html())
    if payload.isprintable():
        assert found.count(payload[:40]) > 10
    text = result.to_text()
    assert not any(char in text for char in "\x00\x1b\u202e\u2066\u2069\u200f")
    card = Definition("pipeline", payload, ((payload, payload),), (payload,), (payload,))
    checked(card.to_html())
    assert "\x1b" not in card.to_text()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_is_text_in_the_live_view(payload: str) -> None:
    view = PreviewView(preview(payload))
    for index in range(1, 5):
        view.open(index)
    for part in (view.rows, *view.folds.values(), view.root.children[0]):
        checked(part.value)
    view._say(payload)
    checked(view.message.value)


def test_formulas_in_data_are_not_typeset() -> None:
    assert preview("$x$").to_html().startswith('<div class="ematix-flow tex2jax_ignore mathjax_ignore">')


def test_the_same_preview_gives_the_same_bytes() -> None:
    assert preview().to_html() == preview().to_html()
    assert " id=" not in preview().to_html()


def test_the_text_of_a_preview() -> None:
    assert preview("name").to_text().splitlines() == [
        "preview of name: name -> wh:name (nothing was written)",
        "  mode       merge on id, name (name)",
        "  route      arrow (name)",
        "  watermark  name >= name (stored name, overlap name)",
        "  schema     create table name",
        "  rows       1 insert, 1 update, 1 close (counted on the sample alone)",
        "",
        "columns",
        "  column  source type  target type  verdict      nulls  distinct  min   max",
        "  ------  -----------  -----------  -----------  -----  --------  ----  ----",
        "  id      bigint       bigint       exact        0      3         0     2",
        "  name    text         text         exact: name  0      1         name  name",
        "",
        "rows: 3 (all rows of the source)",
        "  id  name",
        "  --  ------",
        "  0   name 0",
        "  1   name 1",
        "  2   name 2",
        "",
        "changes in wh:name (name)",
        "  + id=1: name=name",
        "  ~ id=2: name old -> name",
        "  - name=name: id=3",
        "warning: name",
        "note: name",
    ]


def test_the_text_shows_twenty_rows_at_most() -> None:
    lines = preview(rows=100, complete=False).to_text().splitlines()
    assert "rows: 20 (of 100 sampled; the source has more)" in lines
    assert "  19  name 19" in lines
    assert "  20  name 20" not in lines


def table_preview(sample: Any, **options: Any) -> PreviewResult:
    given: dict[str, Any] = {"name": "lake:x", "query": "SELECT 1", "limit": 50, "complete": False, **options}
    return PreviewResult(sample=sample, **given)


@pytest.mark.parametrize(
    ("columns", "rows", "cell"), [(5, 50, "x" * 5000), (300, 50, "é" * 100), (2000, 50, "<" * 300), (60, 100_000, "x")]
)
def test_the_html_is_small_however_large_the_sample_is(columns: int, rows: int, cell: str) -> None:
    sample = pa.table({f"column {number}": pa.array([cell]).take(pa.array([0] * rows)) for number in range(columns)})
    text = table_preview(sample).to_html()
    assert 2_000 < len(text.encode()) <= MAX_BYTES
    assert text.count("<tr>") < 200


def test_long_sql_is_cut() -> None:
    text = table_preview(pa.table({"a": [1]}), query="SELECT '<' ;\n" * 20_000).to_html()
    assert len(text.encode()) <= MAX_BYTES


def test_an_empty_source_is_said_to_be_empty() -> None:
    result = table_preview(pa.table({"id": pa.array([], pa.int64())}), complete=True)
    assert "rows: 0 (all rows of the source)" in result.to_text()
    checked(result.to_html())


def test_odd_values_are_shown_as_they_are() -> None:
    values = {
        "big": pa.array([2**62]),
        "money": pa.array([decimal.Decimal("12345678901234567890.10")]),
        "when": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC")),
        "day": pa.array([dt.date(2024, 2, 29)]),
        "nothing": pa.array([None], pa.string()),
        "empty": pa.array([""]),
        "nan": pa.array([float("nan")]),
        "bytes": pa.array([b"\x00\xff"]),
        "list": pa.array([[1, None]]),
    }
    text = table_preview(pa.table(values), complete=True).to_text()
    row = text.splitlines()[-1]
    assert row.split() == [
        "4611686018427387904", "12345678901234567890.10", "2023-11-14", "22:13:20.123456789Z", "2024-02-29", "NULL",
        "NaN", "0x00ff", "[1,", "null]",
    ]  # fmt: skip


def test_two_columns_of_one_name_are_both_shown() -> None:
    sample = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert table_preview(sample, complete=True).to_text().splitlines()[-1].split() == ["1", "2"]
    checked(table_preview(sample).to_html())


def test_counts_are_words_with_their_plurals() -> None:
    one, many = pa.table({"id": [1]}), pa.table({"id": list(range(80))})
    assert ">1 row, all of the source<" in table_preview(one, complete=True).to_html()
    assert ">the first row of the source; it has more<" in table_preview(one).to_html()
    assert ">80 rows, all of the source<" not in table_preview(many, complete=True).to_html()
    assert ">the first 50 of 80 rows of the source<" in table_preview(many, complete=True).to_html()
    assert ">the first 50 of 80 sampled rows; the source has more<" in table_preview(many).to_html()
    assert ">no rows: the source is empty<" in table_preview(one.slice(1), complete=True).to_html()
    assert ">1 row to insert, 1 to update, 1 to close (counted on the sample alone)<" in preview().to_html()


def test_a_new_version_shows_what_differs_with_a_sign_of_its_own() -> None:
    change = {"change": "new version", "key": {"id": 1}, "before": {"a": 1, "b": None}, "after": {"a": 1, "b": "NULL"}}
    result = preview()
    target = dataclasses.replace(result.targets[0], diff=(change,))
    text = changes_html(target)
    assert '<td class="ef-warn">~ new version</td>' in text
    assert '<small>b</small> <del><em class="ef-null">NULL</em></del> → <ins><bdi>NULL</bdi></ins>' in text
    assert "<small>a</small>" not in text
