"""One JupyterLab and one Chromium for all tests of a module that look at a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.widgets.lab import running_browser, running_lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext

    from tests.widgets.lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab whose notebooks lie in an empty folder."""
    with running_lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="module")
def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A Chromium that has seen nothing yet."""
    with running_browser(chromium, tmp_path_factory.mktemp("profile")) as context:
        yield context
