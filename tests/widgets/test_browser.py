"""The live view and its static twin in JupyterLab, looked at with Chromium."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.widgets.odd_rows import IMAGE, NAME, RIGHT_TO_LEFT, ROWS, SCRIPT, write_odd
from tests.widgets.previews import preview

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext, Dialog, Locator, Page

    from tests.widgets.lab import Lab

pytestmark = pytest.mark.browser

STILL = "the first 50 rows of the source; it has more"
"""Stands in the static view alone."""
TABS = ("Rows", "Columns", "Plan", "SQL", "Changes")
READY = """async () => {
  const context = window.jupyterapp.shell.currentWidget.context;
  await context.ready;
  await context.sessionContext.ready;
  await context.sessionContext.session?.kernel?.info;
}"""
CONTRASTS = """view => {
  const pen = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const luminance = () => {
    const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map(
      part => part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paint = colour => { pen.fillStyle = '#000'; pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); };
  const behind = element => {
    paint('#fff');
    const chain = [];
    for (let at = element; at; at = at.parentElement) chain.unshift(getComputedStyle(at).backgroundColor);
    chain.forEach(paint);
  };
  return [...view.querySelectorAll('.ematix-flow, .ematix-flow *')]
    .filter(element => element.checkVisibility() && element.tagName !== 'STYLE')
    .filter(element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
    .map(element => {
      behind(element);
      const back = luminance();
      paint(getComputedStyle(element).color);
      const [low, high] = [back, luminance()].sort((a, b) => a - b);
      return [element.textContent.slice(0, 30), (high + 0.05) / (low + 0.05)];
    });
}"""


@dataclass
class Watch:
    """What a page did that it should not."""

    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def over(self, page: Page) -> None:
        page.on("console", lambda message: self.errors.extend([message.text] if message.type == "error" else []))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._close)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or ""))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).hostname or ""))

    def _close(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def page(browser: BrowserContext, lab: Lab, watch: Watch) -> Page:
    """The notebook after all its cells ran."""
    write_odd(lab.folder)
    page = browser.pages[0]
    watch.over(page)
    opened(page, lab, "odd.ipynb")
    command(page, "notebook:run-all-cells")
    page.locator(".jp-OutputArea").last.get_by_role("tab", name="Rows").wait_for()
    return page


@pytest.fixture
def view(page: Page) -> Locator:
    """The output of the preview, on the first of its tabs and pages."""
    found = page.locator(".jp-OutputArea").last
    found.get_by_role("tab", name="Rows").click()
    if (first := found.get_by_role("button", name="First")).is_enabled():
        first.click()
    found.get_by_text("rows 1 to 25").wait_for()
    return found


@pytest.fixture(autouse=True)
def _nothing_went_wrong(watch: Watch) -> Iterator[None]:
    yield
    assert watch == Watch(hosts=watch.hosts & {"127.0.0.1"})


def opened(page: Page, lab: Lab, notebook: str) -> None:
    """Open a notebook, and wait until it can run."""
    page.goto(lab.page_of(notebook))
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.evaluate(READY)


def command(page: Page, name: str, **arguments: str) -> None:
    """Give JupyterLab a command, and wait for its end where it is one that ends."""
    page.evaluate("([name, given]) => void window.jupyterapp.commands.execute(name, given)", [name, arguments])


def body(view: Locator) -> list[list[str]]:
    """The texts of the table of rows, cell by cell."""
    found: list[list[str]] = view.get_by_role("region", name="rows").evaluate(
        "box => [...box.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return found


def in_theme(page: Page, name: str) -> None:
    command(page, "apputils:change-theme", theme=f"JupyterLab {name}")
    page.locator(f"body[data-jp-theme-name='JupyterLab {name}']").wait_for(state="attached")
    page.wait_for_function(
        "light => /white/.test(getComputedStyle(document.body).getPropertyValue('--jp-layout-color0')) === light",
        arg=name == "Light",
    )


def test_values_are_shown_as_text_and_nothing_in_them_runs(page: Page, view: Locator) -> None:
    rows = body(view)
    assert [row[0] for row in rows] == [str(number) for number in range(1, 26)]
    texts = [row[1] for row in rows[:10]]
    assert texts == [
        SCRIPT, IMAGE, "🦆 émoji 日本", RIGHT_TO_LEFT, "empty", "NULL", "NULL", "x" * 59 + "…", "\\u202egnp.exe",
        "two\\nlines",
    ]  # fmt: skip
    assert rows[0][2] == "-12345.67"
    heads = view.get_by_role("region", name="rows").get_by_role("columnheader")
    assert [text.split("\n")[:2] for text in heads.all_inner_texts()] == [
        ["id", "bigint"],
        [NAME, "text, 1 NULL"],
        ["amount", "numeric(18,2)"],
    ]
    assert page.evaluate("[window.hacked, document.querySelectorAll('img[src=x]').length]") == [None, 0]


def test_null_and_the_empty_text_differ_from_texts_in_more_than_colour(view: Locator) -> None:
    cells = view.get_by_role("region", name="rows").locator("tbody td:nth-child(2)")
    looks = [
        cells.nth(place)
        .locator("*")
        .first.evaluate(
            "e => { const s = getComputedStyle(e); return [e.textContent, s.fontStyle, s.borderTopWidth]; }"
        )
        for place in (4, 5, 6)
    ]
    assert looks == [["empty", "italic", "1px"], ["NULL", "normal", "0px"], ["NULL", "italic", "1px"]]


def test_numbers_stand_under_their_names_to_the_right(view: Locator) -> None:
    grid = view.get_by_role("region", name="rows")
    aligned = (
        "e => [...e.querySelectorAll('tr')].slice(0, 3).map(r => [...r.cells].map(c => getComputedStyle(c).textAlign))"
    )
    assert grid.evaluate(aligned) == [["right", "left", "right"]] * 3


def test_pages_are_turned_by_the_kernel(view: Locator) -> None:
    press = {name: view.get_by_role("button", name=name) for name in ("First", "Previous", "Next", "Last")}
    assert [button.is_enabled() for button in press.values()] == [False, False, True, True]
    press["Next"].click()
    view.get_by_text("rows 26 to 50").wait_for()
    assert body(view)[0][:2] == ["26", "plain 25"]
    press["Last"].click()
    view.get_by_text(f"rows 126 to {ROWS} of {ROWS}").wait_for()
    assert [row[0] for row in body(view)] == [str(number) for number in range(126, ROWS + 1)]
    view.get_by_text("of 6", exact=True).wait_for()
    assert [button.is_enabled() for button in press.values()] == [True, True, False, False]
    press["Previous"].click()
    view.get_by_text("rows 101 to 125").wait_for()
    number = view.get_by_label("page", exact=True)
    number.fill("3")
    number.press("Enter")
    view.get_by_text("rows 51 to 75").wait_for()
    number.fill("99")
    number.press("Enter")
    view.get_by_role("status").get_by_text("there is no page 99").wait_for()
    view.get_by_label("rows a page").select_option("100")
    view.get_by_text(f"rows 1 to 100 of {ROWS}").wait_for()
    view.get_by_label("rows a page").select_option("25")
    view.get_by_text("rows 1 to 25 of").wait_for()


def wait_for_first(view: Locator, text: str) -> None:
    """Wait until the first row begins with a text."""
    view.get_by_role("region", name="rows").locator(
        f"tbody tr:first-child td:first-child bdi:text-is('{text}')"
    ).wait_for()


def test_rows_are_sorted_and_filtered_by_the_kernel(view: Locator) -> None:
    view.get_by_label("sort by").select_option("id")
    view.get_by_label("order", exact=True).select_option("largest first")
    wait_for_first(view, str(ROWS))
    view.get_by_label("where").select_option("id")
    view.get_by_label("operator").select_option(">=")
    value = view.get_by_label("value")
    value.fill("130")
    value.press("Enter")
    view.get_by_role("button", name="Add").click()
    view.get_by_text("rows 1 to 8 of 8").wait_for()
    assert [row[0] for row in body(view)] == [str(number) for number in range(137, 129, -1)]
    value.fill("x OR 1=1")
    value.press("Enter")
    view.get_by_role("button", name="Add").click()
    view.get_by_role("status").get_by_text("is no value for `id`, which is bigint").wait_for()
    view.get_by_role("button", name="id >= 130").click()
    wait_for_first(view, str(ROWS))
    view.get_by_label("sort by").select_option("the order of the source")
    view.get_by_label("order", exact=True).select_option("smallest first")
    wait_for_first(view, "1")


def test_a_column_is_profiled_as_a_whole(view: Locator) -> None:
    view.get_by_role("tab", name="Columns").click()
    view.get_by_label("column", exact=True).select_option(NAME)
    view.get_by_role("button", name="Profile").click()
    view.get_by_text(f"all {ROWS} rows").wait_for()
    assert view.get_by_text("less than 1 %").is_visible()  # the NULL


@pytest.mark.parametrize(
    ("tab", "texts"),
    [
        ("Columns", ["source type", "numeric(18,2)", "exact", "distinct", "-12345.67"]),
        ("Plan", ["merge on id", "insert-select (source and target are one database)"]),
        ("SQL", ["FROM raw.odd", "ON CONFLICT"]),
        ("Changes", ["10 rows to insert, 4 to update, 36 unchanged", "~ update", "+ insert", "id=20"]),
    ],
)
def test_each_tab_shows_its_part(page: Page, view: Locator, tab: str, texts: list[str]) -> None:
    view.get_by_role("tab", name=tab).click()
    panel = view.locator(".widget-tab-contents > .jupyter-widgets:not(.lm-mod-hidden)")
    panel.locator(".ematix-flow").last.wait_for()
    shown = panel.inner_text()
    assert [text for text in texts if text not in shown] == []
    assert page.evaluate("window.hacked") is None


def test_a_change_from_null_to_the_text_null_can_be_seen(view: Locator) -> None:
    view.get_by_role("tab", name="Changes").click()
    rows = view.get_by_role("region", name="changes").locator("tbody tr")
    rows.first.wait_for()
    parts = {
        key: rows.filter(has=view.page.get_by_role("cell", name=f"id={key}", exact=True)).evaluate(
            "row => [...row.querySelectorAll('del, ins')].map(part => part.firstChild.tagName + ' ' + part.innerText)"
        )
        for key in (6, 7)
    }
    assert parts == {6: ["EM NULL", "BDI NULL"], 7: ["BDI NULL", "EM NULL"]}


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_every_text_is_readable(page: Page, view: Locator, theme: str) -> None:
    in_theme(page, theme)
    try:
        for tab in TABS:
            view.get_by_role("tab", name=tab).click()
            panel = view.locator(".widget-tab-contents > .jupyter-widgets:not(.lm-mod-hidden)")
            panel.locator(".ematix-flow").first.wait_for()
            page.mouse.move(0, 0)
            found = view.evaluate(CONTRASTS)
            assert len(found) > 5
            assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []
    finally:
        in_theme(page, "Light")


BARE_PAGES = {
    "light": "body{background:#fff;color:#222}",
    "dark": "body{background:#1e1e1e;color:#ccc}",
    "an editor's": "html{--vscode-editor-background:#1e1e1e}body{background:#1e1e1e;color:#ccc}",
}


@pytest.mark.parametrize("style", BARE_PAGES.values(), ids=BARE_PAGES)
def test_every_text_is_readable_on_a_page_that_knows_nothing_of_us(browser: BrowserContext, style: str) -> None:
    page = browser.new_page()
    page.set_content(f"<style>{style}</style>{preview(rows=60, complete=False).to_html()}")
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    found = page.locator("body").evaluate(CONTRASTS)
    page.close()
    assert len(found) > 100
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


def test_the_keyboard_reaches_every_control(page: Page, view: Locator) -> None:
    view.get_by_role("button", name="Next").click()
    view.get_by_text("rows 26 to 50").wait_for()
    view.get_by_role("tab", name="Rows").focus()
    reached = []
    for _ in range(15):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(({labels, ariaLabel, innerText}) => labels?.[0]?.innerText || ariaLabel || innerText.trim())"
                "(document.activeElement)"
            )
        )
    assert reached == [
        "First", "Previous", "page", "Next", "Last", "rows a page", "sort by", "order", "then by", "its order", "where",
        "operator", "value", "Add", "rows",
    ]  # fmt: skip
    view.get_by_role("button", name="First").focus()
    page.keyboard.press("Enter")
    view.get_by_text("rows 1 to 25").wait_for()
    view.get_by_role("tab", name="Rows").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    view.get_by_role("region", name="columns").wait_for()


def test_a_narrow_window_scrolls_the_table_alone(page: Page, view: Locator) -> None:
    usual = page.viewport_size
    assert usual is not None
    page.set_viewport_size({"width": 600, "height": 900})
    try:
        box = view.bounding_box()
        assert box is not None
        for name in ("First", "Last"):
            button = view.get_by_role("button", name=name).bounding_box()
            assert button is not None
            assert button["x"] + button["width"] <= box["x"] + box["width"]
        grid = view.get_by_role("region", name="rows")
        inside = "e => e.scrollWidth > e.clientWidth && e.getBoundingClientRect().right <= innerWidth"
        page.wait_for_function(inside, arg=grid.element_handle())
    finally:
        page.set_viewport_size(usual)


def still_parts(page: Page) -> tuple[Locator, Locator]:
    """The output that held the live view, and the static one below it."""
    outputs = page.locator(".jp-OutputArea").last.locator(".jp-OutputArea-child")
    return outputs.first, outputs.last


def test_while_the_live_view_is_there_the_static_one_is_hidden(page: Page, view: Locator) -> None:
    live, still = still_parts(page)
    assert live.get_by_role("tablist").is_visible()
    assert still.get_by_text(STILL).count() == 1
    assert not still.get_by_text(STILL).is_visible()


@pytest.fixture(scope="module")
def saved(page: Page, lab: Lab) -> dict[str, object]:
    """The notebook as JupyterLab saved it; the kernel is gone."""
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "odd.ipynb" in answer.url):
        command(page, "docmanager:save")
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    found: dict[str, object] = json.loads((lab.folder / "odd.ipynb").read_text("utf-8"))
    return found


def test_the_saved_notebook_is_small(saved: dict[str, object]) -> None:
    assert 5_000 < len(json.dumps(saved)) < 100_000


def test_reopened_with_a_new_kernel_the_static_view_shows(
    page: Page, lab: Lab, saved: dict[str, object], watch: Watch
) -> None:
    opened(page, lab, "odd.ipynb")
    live, still = still_parts(page)
    live.get_by_text("Error displaying widget").wait_for(state="attached")
    assert watch.errors.pop().startswith("Error: widget model not found")  # of ipywidgets; the reader does not see it
    assert not live.is_visible()
    assert still.get_by_text(STILL).is_visible()
    assert still.get_by_role("cell", name=SCRIPT).first.is_visible()
    assert page.evaluate("window.hacked") is None


def test_reopened_by_somebody_without_kernel_or_trust_the_static_view_shows(
    page: Page, lab: Lab, saved: dict[str, object]
) -> None:
    text = json.dumps({**saved, "metadata": {"kernelspec": {"name": "gone", "display_name": "gone", "language": "x"}}})
    (lab.folder / "sent.ipynb").write_text(text.replace("plain 15", "plain fifteen"), encoding="utf-8")
    page.goto(lab.page_of("sent.ipynb"))
    page.get_by_role("dialog").get_by_role("button", name="No Kernel").click()
    live, still = still_parts(page)
    still.get_by_text("plain fifteen").first.wait_for()
    assert live.inner_text().strip() == ""
    assert still.get_by_role("cell", name=IMAGE).first.is_visible()
    assert still.locator("em", has_text="NULL").first.is_visible()
    assert page.evaluate("window.hacked") is None


def test_converted_to_a_page_the_table_shows(browser: BrowserContext, lab: Lab, saved: dict[str, object]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "odd.ipynb"],
        cwd=lab.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = browser.new_page()
    page.route("https://**", lambda route: route.fulfill(body=""))  # scripts that nbconvert puts in every page
    page.goto((lab.folder / "odd.html").as_uri(), wait_until="domcontentloaded")
    table = page.get_by_role("region", name="rows")
    assert table.get_by_role("cell", name=SCRIPT).first.is_visible()
    assert table.locator("tbody tr").count() == 50
    assert "Error displaying widget" not in page.locator("body").inner_text()
    assert page.evaluate("window.hacked") is None
