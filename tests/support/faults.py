"""A proxy in front of a server: answers errors, drops connections and loses answers when a test says so."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DROP = "drop"
"""The connection ends without an answer; the server never hears of the request."""
LOSE = "lose"
"""The server does what is asked, and the answer is lost."""
CUT = "cut"
"""Half of the answer's body arrives."""
DEAF = "deaf"
"""The server never hears of the condition under which it is asked."""
Fault = str | tuple[int, str] | None
"""What happens to a request: one of these, a status with a body, or nothing."""
_NAME = re.compile(rb'"name": *"([^"]+)"')
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Faults:
    """The proxy."""

    url: str
    """What stands before the path, as the server's own URL has it."""
    rule: Callable[[str, str], Fault] = lambda _method, _path: None
    """Asked for each request with its method and decoded path and query."""
    seen: list[tuple[str, str]] = field(default_factory=list)
    change: Callable[[str, bytes], bytes] = lambda _path, body: body
    """What becomes of the body of an answer, given the request's path and query."""

    def forget(self) -> None:
        """No more faults."""
        self.rule = lambda _method, _path: None


@contextlib.contextmanager
def in_front_of(endpoint: str) -> Iterator[Faults]:  # noqa: C901 - one class, defined where its server is known
    """A proxy for a server."""
    parts = urlsplit(endpoint)
    faults = Faults("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = unquote(self.path)
            if "uploadType=multipart" in asked and (named := _NAME.search(body[:4096])):
                asked += f"&name={named[1].decode()}"  # of an object whose name stands in the body
            faults.seen.append((self.command, asked))
            fault = faults.rule(self.command, asked)
            if isinstance(fault, tuple):
                self.answer(fault[0], [("Content-Type", "application/xml")], fault[1].encode(), None)
                return
            if fault == DROP:
                self.close_connection = True
                self.connection.close()
                return
            server = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
            try:
                unheard = {"connection", *({"if-none-match"} if fault == DEAF else ())}
                headers = {name: text for name, text in self.headers.items() if name.lower() not in unheard}
                server.request(self.command, self.path, body, headers)
                found = server.getresponse()
                data = found.read()
            finally:
                server.close()
            if fault == LOSE:
                self.close_connection = True
                self.connection.close()
                return
            data = faults.change(self.path, data)
            kept = [(name, text) for name, text in found.getheaders() if name.lower() not in _HOP]
            length = found.getheader("Content-Length") if self.command == "HEAD" else None
            self.answer(found.status, kept, data, length, cut=fault == CUT)

        def answer(
            self, status: int, headers: list[tuple[str, str]], body: bytes, length: str | None, *, cut: bool = False
        ) -> None:
            self.send_response_only(status)
            for name, text in headers:
                self.send_header(name, text)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if cut else body)
            if cut:
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = handle_any  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Silent."""

        def handle(self) -> None:
            with contextlib.suppress(OSError, ValueError):  # the client is gone, or we closed on it
                super().handle()

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Silent."""

    server = Server(("127.0.0.1", 0), Handler)
    faults.url = f"http://127.0.0.1:{server.server_address[1]}{parts.path}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield faults
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
