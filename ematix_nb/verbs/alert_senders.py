"""Handing one alert to its receiver: a program's standard input, or a POST."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ematix_nb.connections import redact

if TYPE_CHECKING:
    from ematix_nb.verbs.alert_channels import Channel

SHOWN = 200
"""Characters of what a program said that a warning repeats."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An alert goes where the settings say, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Take the answer as it is: an error."""


def send(channel: Channel, body: bytes) -> str:
    """Hand an alert over and wait for the receiver, as long as the channel allows.

    Returns:
        What went wrong, redacted; empty when the receiver took it.
    """
    if channel.webhook is not None:
        return _post(channel.webhook.reveal(), body, channel.timeout_seconds)
    return _start(channel.command, body, channel.timeout_seconds)


def _post(url: str, body: bytes, seconds: float) -> str:
    host = urlsplit(url).hostname or "?"
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked when the settings were read
        url, data=body, method="POST", headers={"Content-Type": "application/json", "User-Agent": "ematix-nb"}
    )
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=seconds):
            return ""
    except urllib.error.HTTPError as exc:
        exc.close()
        return f"{host} answered {exc.code}"
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = getattr(exc, "reason", exc)
        return f"{host} cannot be reached: {redact(reason)[:SHOWN] or type(exc).__name__}"


def _start(command: tuple[str, ...], body: bytes, seconds: float) -> str:
    """Files in place of pipes: nothing can block, whether the program reads or not, and whatever it leaves behind."""
    name = redact(os.path.basename(command[0]))  # noqa: PTH119 - a word, not a place
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(body)
        given.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603 - a list of words from the user's own settings, without a shell
                command, stdin=given, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        except (OSError, ValueError) as exc:
            return f"`{name}` cannot be started: {redact(exc)[:SHOWN]}"
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
            process.wait()
            return f"`{name}` did not end within {seconds:g} seconds"
        if code == 0:
            return ""
        said.seek(0)
        text = " ".join(redact(said.read(SHOWN * 10).decode("utf-8", "replace")).split())[:SHOWN]
        return f"`{name}` ended with {code}" + (f": {text}" if text else "")
