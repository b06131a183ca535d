"""A JupyterLab of the tests' own, and a Chromium that looks at it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from tests.support.postgres import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext

ROOT = Path(__file__).parents[2]
START_SECONDS = 40
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
"""Of JupyterLab: it asks nobody for news, and keeps every cell on the page."""


class Lab:
    """A running server.

    Args:
        folder: Where its notebooks are.
        url: Without a slash at the end.
        token: What a browser has to know.
    """

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.folder = folder
        self.url = url
        self.token = token

    def page_of(self, notebook: str) -> str:
        """The address that opens a notebook alone in JupyterLab."""
        return f"{self.url}/doc/tree/{notebook}?token={self.token}&reset"


@contextlib.contextmanager
def running_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab on a free port of 127.0.0.1 with folders of its own, until the block ends."""
    for name, settings in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings), encoding="utf-8")
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    port, token = free_port(), secrets.token_hex(16)
    lab = Lab(notebooks, f"http://127.0.0.1:{port}", token)
    with (folder / "lab.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(
            _command(folder, notebooks, port, token), env=_environment(folder), cwd=notebooks, stdout=log, stderr=log
        )
        try:
            _wait_for(lab, server, folder / "lab.log")
            yield lab
        finally:
            server.send_signal(signal.SIGTERM)  # it ends its kernels first
            server.wait(timeout=20)


def _command(folder: Path, notebooks: Path, port: int, token: str) -> list[str]:
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": notebooks,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
        "LabApp.extension_manager": "readonly",
        "LabApp.user_settings_dir": folder / "settings",
        "LabApp.workspaces_dir": folder / "workspaces",
    }
    return [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]


def _environment(folder: Path) -> dict[str, str]:
    own = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, **own, "HOME": str(folder), "PATH": path, "PYTHONPATH": str(ROOT)}


def _wait_for(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_SECONDS * 10):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), urlopen(f"{lab.url}/api/status?token={lab.token}", timeout=5) as answer:
            if answer.status == 200:
                return
        select.select([], [], [], 0.1)
    text = log.read_text("utf-8")[-2_000:]
    message = f"JupyterLab did not start within {START_SECONDS} s:\n{text}"
    raise RuntimeError(message)


@contextlib.contextmanager
def running_browser(path: str, profile: Path) -> Iterator[BrowserContext]:
    """Chromium without a window, with an empty profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        context: Any = player.chromium.launch_persistent_context(
            profile, executable_path=path, headless=True, args=FLAGS, viewport={"width": 1280, "height": 1000}
        )
        context.set_default_timeout(15_000)
        try:
            yield context
        finally:
            context.close()
