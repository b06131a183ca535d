"""A line to a server that a test can cut: a TCP proxy on 127.0.0.1."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 16


@dataclass
class Line:
    """The proxy."""

    url: str
    """The server's URL by way of the proxy."""
    is_down: bool = False
    """New connections are closed at once."""
    _ends: list[socket.socket] = field(default_factory=list)
    _moves: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._moves.set()

    def stall(self) -> None:
        """Take nothing and give nothing, and keep every connection open, new ones as well."""
        self._moves.clear()

    def cut(self) -> None:
        """End every connection without a word, and let no new one through."""
        self.is_down = True
        self._moves.set()
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def hang_up(self) -> None:
        """Say on every connection that nothing more comes, and take nothing more; let no new one through."""
        self.is_down = True
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        self.is_down = False

    def serve(self, listener: socket.socket, server: tuple[str, int]) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            if self.is_down:
                client.close()
                continue
            other = _short(socket.socket())
            other.connect(server)
            self._ends += [client, other]
            for source, target in ((client, other), (other, client)):
                threading.Thread(target=_forward, args=(source, target, self._moves), daemon=True).start()


def _short(end: socket.socket) -> socket.socket:
    """Let it hold little: neither side gets far ahead of the other one."""
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        end.setsockopt(socket.SOL_SOCKET, buffer, CHUNK)
    return end


def _forward(source: socket.socket, target: socket.socket, moves: threading.Event) -> None:
    """Hand on what one end sends; when either end is gone, the other one learns it."""
    with contextlib.suppress(OSError):
        while moves.wait() and (data := source.recv(CHUNK)):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def line_to(url: str) -> Iterator[Line]:
    """A line to the server of a URL."""
    parts = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _short(listener)  # what it accepts inherits it
        user = f"{parts.username}{f':{parts.password}' if parts.password else ''}@" if parts.username else ""
        here = f"{user}127.0.0.1:{listener.getsockname()[1]}"
        line = Line(urlunsplit(parts._replace(netloc=here)))
        server = (str(parts.hostname), int(parts.port or 0))
        thread = threading.Thread(target=line.serve, args=(listener, server), daemon=True)
        thread.start()
        try:
            yield line
        finally:
            line.cut()
            listener.shutdown(socket.SHUT_RDWR)
    thread.join()
