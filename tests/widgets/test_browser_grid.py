"""The grid in JupyterLab, looked at with Chromium."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.widgets.odd_rows import IMAGE, NAME, ROWS, SCRIPT, write_odd
from tests.widgets.test_browser import CONTRASTS, Watch, command, in_theme, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext, Locator, Page

    from tests.widgets.lab import Lab

pytestmark = pytest.mark.browser
pytest.importorskip("anywidget", reason="the extra `grid` is not installed")

CELLS = (
    '%load_ext ematix_nb\n%config FlowMagics.widgets = "grid"',
    '%%flow connection wh\nkind = "duckdb"\npath = "odd.duckdb"',
    "p = %flow preview wh:raw.odd\np",
    "import polars as pl\nmany = pl.select(n=pl.int_range(2_000_000), even=pl.lit(True))\nq = %flow preview many\nq",
)


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def page(browser: BrowserContext, lab: Lab, watch: Watch) -> Page:
    """The notebook after all its cells ran."""
    write_odd(lab.folder)
    notebook = json.loads((lab.folder / "odd.ipynb").read_text("utf-8"))
    cell = notebook["cells"][0]
    notebook["cells"] = [{**cell, "id": f"grid-{place}", "source": text} for place, text in enumerate(CELLS)]
    (lab.folder / "grid.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    page = browser.pages[0]
    watch.over(page)
    opened(page, lab, "grid.ipynb")
    command(page, "notebook:run-all-cells")
    page.locator(".ef-grid-view").nth(1).wait_for()
    return page


@pytest.fixture(autouse=True)
def _nothing_went_wrong(watch: Watch) -> Iterator[None]:
    yield
    assert watch == Watch(hosts=watch.hosts & {"127.0.0.1", ""})  # "": the module comes as a blob of the page


@pytest.fixture
def odd(page: Page) -> Locator:
    return page.locator(".ef-grid").first


@pytest.fixture
def many(page: Page) -> Locator:
    return page.locator(".ef-grid").nth(1)


def rows(grid: Locator) -> list[list[str]]:
    """The cells that are on the page."""
    found: list[list[str]] = grid.evaluate(
        "e => [...e.querySelectorAll('.ef-grid-body [role=row]')].map(r => [...r.children].map(c => c.textContent))"
    )
    return found


def wait_for_first(grid: Locator, text: str) -> None:
    """Wait until the first row in sight begins with a text."""
    grid.locator(f".ef-grid-body [role=row]:first-child [role=gridcell]:first-child bdi:text-is('{text}')").wait_for()


def test_values_are_shown_as_text_and_nothing_in_them_runs(page: Page, odd: Locator) -> None:
    wait_for_first(odd, "1")
    found = rows(odd)
    assert [row[1] for row in found[:7]] == [SCRIPT, IMAGE, "🦆 émoji 日本", "שלום עולם", "empty", "NULL", "NULL"]
    assert found[0][2] == "-12345.67"
    heads = odd.get_by_role("columnheader").locator(".ef-grid-name").all_inner_texts()
    assert heads == ["id", NAME, "amount"]
    assert page.evaluate("[window.hacked, document.querySelectorAll('img[src=x]').length]") == [None, 0]


def test_it_scrolls_to_the_last_row(odd: Locator) -> None:
    grid = odd.locator(".ef-grid-view")
    grid.press("End")
    odd.get_by_text(f"{ROWS} rows", exact=True).wait_for()
    grid.press("End")
    odd.locator(f"[role=gridcell] bdi:text-is('{ROWS}')").wait_for()
    assert len(rows(odd)) < 30
    grid.press("Home")
    wait_for_first(odd, "1")


def test_two_million_rows_scroll_by_bar_wheel_and_keys(page: Page, many: Locator) -> None:
    grid = many.locator(".ef-grid-view")
    many.get_by_text("2,000,000 rows", exact=True).wait_for()
    grid.scroll_into_view_if_needed()
    grid.press("End")
    many.locator("[role=gridcell] bdi:text-is('1999999')").wait_for()
    assert grid.evaluate("e => e.scrollHeight") < 9_000_000
    grid.evaluate("e => { e.scrollTop = (e.scrollHeight - e.clientHeight) / 2; }")
    page.wait_for_function(
        "e => Math.abs(Number(e.querySelector('.ef-grid-body [role=gridcell]').textContent) - 1_000_000) < 50",
        arg=many.element_handle(),
    )
    before = int(rows(many)[0][0])
    grid.press("ArrowDown")
    wait_for_first(many, str(before + 1))
    grid.hover()
    page.mouse.wheel(0, 240)
    wait_for_first(many, str(before + 11))
    grid.press("Home")
    wait_for_first(many, "0")


def test_a_click_sorts_and_a_condition_filters(odd: Locator) -> None:
    name = odd.get_by_role("columnheader").first.locator(".ef-grid-name")
    name.click()
    odd.locator("[aria-sort=ascending]").wait_for()
    name.click()
    wait_for_first(odd, str(ROWS))
    odd.get_by_label("where", exact=True).select_option("id")
    odd.get_by_label("what has to hold").select_option("<=")
    odd.get_by_label("value", exact=True).fill("3")
    odd.get_by_role("button", name="Add").click()
    odd.get_by_text("3 rows", exact=True).wait_for()
    assert [row[0] for row in rows(odd)] == ["3", "2", "1"]
    odd.get_by_label("value", exact=True).fill("1 OR 1=1")
    odd.get_by_role("button", name="Add").click()
    odd.get_by_role("alert").get_by_text("is no value for `id`, which is bigint").wait_for()
    assert len(rows(odd)) == 3
    odd.get_by_role("button", name="id <= 3").click()
    wait_for_first(odd, str(ROWS))
    name.click()
    wait_for_first(odd, "1")
    assert odd.get_by_role("alert").inner_text() == ""


def test_a_column_is_profiled(odd: Locator) -> None:
    odd.get_by_role("button", name="profile of amount").click()
    odd.get_by_text(f"all {ROWS} rows").wait_for()
    assert odd.get_by_role("img", name="histogram").is_visible()
    assert "-12345.67" in odd.locator("dl").inner_text()
    odd.get_by_role("button", name="Close").click()


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_every_text_is_readable(page: Page, odd: Locator, theme: str) -> None:
    in_theme(page, theme)
    try:
        odd.get_by_role("button", name="profile of amount").click()
        odd.get_by_text(f"all {ROWS} rows").wait_for()
        page.mouse.move(0, 0)
        found = odd.evaluate(CONTRASTS.replace(".ematix-flow", ".ef-grid-bar, .ef-grid-facts, .ef-grid-view"))
        assert len(found) > 20
        assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []
    finally:
        odd.get_by_role("button", name="Close").click()
        in_theme(page, "Light")


def test_the_saved_notebook_shows_the_static_view_and_is_small(page: Page, lab: Lab) -> None:
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "grid.ipynb" in answer.url):
        command(page, "docmanager:save")
    text = (lab.folder / "grid.ipynb").read_text("utf-8")
    assert "the first 50 rows of the source; it has more" in text
    assert len(text) < 150_000
