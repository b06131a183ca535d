"""A line to a database server that counts what a client asks, and is cut at one of these requests, or at a byte.

The protocols of PostgreSQL and MySQL are read as far as it takes to know where a request ends.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CHUNK = 1 << 16
UNSENT = "unsent"
"""The line ends before the request leaves."""
TORN = "torn"
"""Half of the request arrives."""
LOST = "lost"
"""The server does what is asked, and its answer is lost."""
DOWN = "down"
"""As `LOST`, and the line stays down."""
CUTS = (UNSENT, TORN, LOST, DOWN)
_STARTUP_HEAD, _TYPED_HEAD, _PACKET_HEAD = 4, 5, 4
_ASKS = b"QScfF"
"""PostgreSQL's messages that are answered: query, sync, end and failure of a copy, function call."""
_QUIT = b"\x01"


@dataclass
class Line:
    """The proxy."""

    url: str = ""
    """The server's URL by way of the proxy."""
    requests: int = 0
    """Since `cut_at`."""
    fired: int = 0
    passed: int = 0
    """Bytes in both directions, of all connections, since `cut_at` or `cut_at_byte`."""
    borders: list[int] = field(default_factory=list)
    """How many bytes had passed when a message ended."""
    _at: int = 0
    _byte: int = 0
    _how: str = ""
    _down: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cut_at(self, request: int, how: str) -> None:
        """End the connection on which the n-th request comes (from 1), in one of the ways of `CUTS`; 0: never."""
        with self._lock:
            self.requests, self.fired, self._at, self._how, self._down = 0, 0, request, how, False
            self.passed, self.borders, self._byte = 0, [], 0

    def cut_at_byte(self, number: int) -> None:
        """End the connection on which the n-th byte of the conversation comes (from 1), right after it."""
        self.cut_at(0, "")
        self._byte = number

    def mend(self) -> None:
        """No more cuts."""
        with self._lock:
            self._at, self._byte, self._down = 0, 0, False

    @property
    def is_down(self) -> bool:
        """New connections are closed at once."""
        return self._down

    def asked(self) -> str:
        """Count a request; how the line is cut at it, empty when it is not."""
        with self._lock:
            self.requests += 1
            if self.requests != self._at:
                return ""
            self.fired += 1
            self._down = self._how == DOWN
            return self._how

    def passing(self, length: int, ends: Iterable[int]) -> int | None:
        """Count bytes on their way; how many still pass when the line is cut among them, None when it is not."""
        with self._lock:
            before, self.passed = self.passed, self.passed + length
            self.borders += [before + end for end in ends]
            if not before < self._byte <= self.passed:
                return None
            self.fired += 1
            return self._byte - before


class _Connection:
    """One connection through the line."""

    def __init__(self, line: Line, client: socket.socket, server: socket.socket, reader: Callable[[], _Reader]) -> None:
        self._line, self._client, self._server = line, client, server
        self._read, self._answers = reader(), reader()
        self._answers.follow()
        self._mute = False
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # messages are sent one by one

    def start(self) -> None:
        for work in (self._from_client, self._from_server):
            threading.Thread(target=work, daemon=True).start()

    def _from_client(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(CHUNK):
                for message, asks in self._read.messages(data):
                    how = self._line.asked() if asks else ""
                    if how == UNSENT:
                        return self._end()
                    if how == TORN:
                        self._server.sendall(message[: len(message) // 2])
                        return self._end()
                    self._mute = self._mute or bool(how)
                    if not self._pass(self._server, message, [len(message)]):
                        return self._end()
        return self._end()

    def _from_server(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(CHUNK):
                if self._mute or self._line.is_down:
                    break
                if not self._pass(self._client, data, self._answers.ends(data)):
                    break
        self._end()

    def _pass(self, end: socket.socket, data: bytes, ends: Iterable[int]) -> bool:
        """Send on what may pass; whether that was all."""
        kept = self._line.passing(len(data), ends)
        end.sendall(data[:kept])
        return kept is None

    def _end(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class _Reader:
    """Parts a client's bytes into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def messages(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Whole messages, and whether each is answered."""
        self._rest += data
        while (length := self._length()) is not None and len(self._rest) >= length:
            message, self._rest = self._rest[:length], self._rest[length:]
            yield message, self._asks(message)

    def ends(self, data: bytes) -> list[int]:
        """Where in these bytes messages end."""
        at, found = -len(self._rest), []
        for message, _ in self.messages(data):
            at += len(message)
            found.append(at)
        return found

    def follow(self) -> None:
        """Read what the other side says."""

    def _length(self) -> int | None:
        raise NotImplementedError

    def _asks(self, message: bytes) -> bool:
        raise NotImplementedError


class _Postgres(_Reader):
    """Typed messages behind an untyped first one."""

    _started = False

    def follow(self) -> None:
        """The server has no first message of its own."""
        self._started = True

    def _length(self) -> int | None:
        if not self._started:
            return int.from_bytes(self._rest[:4], "big") if len(self._rest) >= _STARTUP_HEAD else None
        return 1 + int.from_bytes(self._rest[1:5], "big") if len(self._rest) >= _TYPED_HEAD else None

    def _asks(self, message: bytes) -> bool:
        if not self._started:
            self._started = True
            return True
        return message[:1] in _ASKS


class _MySQL(_Reader):
    """Packets with a number, 0 for a command; the client's first answer has another one."""

    _greeted = False

    def _length(self) -> int | None:
        return 4 + int.from_bytes(self._rest[:3], "little") if len(self._rest) >= _PACKET_HEAD else None

    def _asks(self, message: bytes) -> bool:
        greets, self._greeted = not self._greeted, True
        is_command = message[3] == 0 and message[4:5] != _QUIT
        return greets or is_command or len(message) == _PACKET_HEAD  # the last: the end of a file


@contextlib.contextmanager
def line_to(url: str) -> Iterator[Line]:
    """A line to the server of a URL; what goes over it is not encrypted."""
    parts = urlsplit(url)
    is_postgres = parts.scheme.startswith("postgres")
    reader, plain = (_Postgres, "sslmode=disable") if is_postgres else (_MySQL, "ssl_mode=disabled")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        user = f"{parts.username}{f':{parts.password}' if parts.password else ''}@" if parts.username else ""
        place = f"{user}127.0.0.1:{listener.getsockname()[1]}"
        query = "&".join(filter(None, (parts.query, plain)))
        line = Line(urlunsplit(parts._replace(netloc=place, query=query)))
        server = (str(parts.hostname), int(parts.port or 0))

        def serve() -> None:
            while True:
                try:
                    client = listener.accept()[0]
                except OSError:
                    return
                if line.is_down:
                    client.close()
                    continue
                _Connection(line, client, socket.create_connection(server), reader).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield line
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join()
