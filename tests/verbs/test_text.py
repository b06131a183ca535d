"""Text, HTML and JSON of single values and tables."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal

import pytest

from ematix_nb.verbs.cells import json_value, show
from ematix_nb.verbs.html import MAX_BYTES, escape, preformatted, table_html
from ematix_nb.verbs.text import cut, display_width, neutral, table


def test_a_table_is_aligned_and_cannot_disturb_a_terminal() -> None:
    rows = [("日本", 1, None), ("a\x1b[2Jb\nc", 1234, "x\u202ey")]
    assert table(("name", "rows", "note"), rows).splitlines() == [
        "name          rows  note",
        "------------  ----  --------",
        "日本             1",
        "a\\x1b[2Jb\\nc  1234  x\\u202ey",
    ]


def test_long_cells_are_cut() -> None:
    assert table(("a",), [("x" * 500,)], max_width=10).splitlines()[2] == "x" * 9 + "…"
    assert display_width(cut("日本語日本語", 5)) <= 5


def test_neutral_keeps_what_is_printable() -> None:
    assert neutral("a\tb\nc é 😀") == "a b\nc é 😀"
    assert neutral("\x9b31m\x7f\u2028") == "\\x9b31m\\x7f\\u2028"
    assert neutral("\ud800") == "\\ud800"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**53, 2**53),
        (2**53 + 1, "9007199254740993"),
        (-(2**63), "-9223372036854775808"),
        (1.5, 1.5),
        (float("inf"), "Infinity"),
        (float("nan"), "NaN"),
        (Decimal("12345678901234567890.0100"), "12345678901234567890.0100"),
        (Decimal("1E+3"), "1000"),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), "2026-01-02 03:04:05.000006+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (b"\x00\xff", "00ff"),
        ({"a": [Decimal(1), None]}, {"a": ["1", None]}),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_json_values_lose_nothing(value: object, expected: object) -> None:
    assert json_value(value) == expected
    json.dumps(json_value(value), allow_nan=False)


def test_cells_are_one_line() -> None:
    assert show("a\r\n\tb") == "a\\r\\n\\tb"
    assert show({"k": Decimal("1.0")}) == '{"k": "1.0"}'
    assert show(b"\x01") == "0x01"
    assert show("x" * 1_000_000, 5) == "xxxx…"


def test_html_is_escaped_small_and_dark_where_the_page_is() -> None:
    html = table_html("<t>", ("<c>",), [("<script>alert(1)</script>",), (5,)], "", ("n<",))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert '<td class="n">5</td>' in html
    assert "currentColor" in html
    assert escape('"\x1b') == "&quot;\\x1b"
    assert "nothing" in table_html("", ("a",), [], "nothing")


def test_html_stays_below_its_limit_and_says_what_is_missing() -> None:
    many = table_html("", ("a", "b"), [("é" * 150, n) for n in range(10_000)])
    assert len(many.encode()) <= MAX_BYTES
    assert "more rows are not shown here" in many
    text = preformatted("<" * 500_000)
    assert len(text.encode()) <= MAX_BYTES
    assert "the rest is not shown here" in text
