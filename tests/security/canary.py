"""Secrets that are planted to be looked for: fourteen places, every form in which one could come out again."""

from __future__ import annotations

import base64
import contextlib
import http.server
import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARK = "CANARY-"
PLACES = (
    "password in a URL",
    "TOML key",
    "variable in a key",
    "variable in a URL",
    "SAS token",
    "account key",
    "S3 secret",
    "EMATIX_FLOW_DSN",
    "connection cell",
    "error text of a driver",
    "query of a URL",
    "login of a broker",
    "address of a webhook",
    "key file",
)


def secret(place: str) -> str:
    """The secret of a place; every one holds characters that mean something in a URL."""
    number = PLACES.index(place) + 1
    if place == "SAS token":
        return f"sv=2024-01-01&ss=b&sig={MARK}{number}-kQ7z"
    if place == "account key":
        return base64.b64encode(f"{MARK}{number}-kQ7z-with-a-length-that-azure-likes".encode()).decode()
    return f"{MARK}{number}-p@ss:/?#kQ7z"


def quoted(place: str) -> str:
    """The same for a URL."""
    return quote(secret(place), safe="")


def marks() -> tuple[bytes, ...]:
    """What a text holds in which a secret stands: as it is, quoted, in base64 at each offset, in hex, backwards."""
    plain = MARK.encode()
    found = [plain, plain[::-1], plain.hex().encode(), MARK.encode("utf-16-le")]
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + plain)
        found.append(coded[(0, 2, 3)[offset] : -4])
    return tuple(found)


MARKS = marks()


def leaks(content: bytes | str) -> list[str]:
    """The places in a content where a secret shows, with what stands around it."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    found = []
    for mark in MARKS:
        position = data.find(mark)
        if position >= 0:
            found.append(data[max(0, position - 80) : position + 60].decode("utf-8", "replace"))
    return found


def leaking_files(folder: Path, planted: tuple[Path, ...]) -> list[str]:
    """The files below a folder, but for those into which we wrote a secret, that hold one; names count too."""
    found = []
    for path in sorted(folder.rglob("*")):
        found += [f"name {path}"] if leaks(str(path)) else []
        if path.is_file() and path not in planted:
            found += [f"{path}: {text}" for text in leaks(path.read_bytes())]
    return found


class _Echo(http.server.BaseHTTPRequestHandler):
    """Refuses everything, and repeats what it was told."""

    def _refuse(self) -> None:
        told = f"{self.path} {dict(self.headers)}".replace("&", "&amp;").replace("<", "&lt;")
        body = f"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>{told}</Message></Error>".encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _refuse  # noqa: N815 - names that the base class looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Say nothing."""


@contextlib.contextmanager
def echoing_store() -> Iterator[str]:
    """An object store that answers each request with 403 and the request itself."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
