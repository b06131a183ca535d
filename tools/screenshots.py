"""Renews the pictures of the documentation from the executed notebooks: `python tools/screenshots.py`.

Needs Chromium and the packages of `make test` (nbconvert comes with JupyterLab, playwright with the extra `dev`).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOK = REPOSITORY / "notebooks" / "01_first_pipeline.ipynb"
PICTURES = {"preview.png": "%flow preview airlines"}
"""File in docs/images -> how the cell begins that it shows."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
SIZE = {"width": 1040, "height": 900}


def main() -> int:
    """Convert the notebook to a page, and take a picture of each cell that is wanted."""
    from nbconvert import HTMLExporter
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        print("Chromium is missing (Debian: apt-get install chromium)")
        return 1
    page_text, _ = HTMLExporter().from_filename(str(NOTEBOOK))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as player:
        file = Path(folder) / "notebook.html"
        file.write_text(page_text, encoding="utf-8")
        browser = player.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
        page.route("http*://**", lambda route: route.abort())  # fonts and scripts that the page can do without
        page.goto(file.as_uri(), wait_until="domcontentloaded")
        for name, begins in PICTURES.items():
            cell = page.locator(".jp-CodeCell", has_text=begins).first
            cell.screenshot(path=REPOSITORY / "docs" / "images" / name)
            print(f"docs/images/{name}")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
