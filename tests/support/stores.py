"""What the tests ask of an object store: fresh buckets, and their objects by the store's own client."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ematix_nb.connections.base import Connection

_numbers = itertools.count(1)


def bucket_name() -> str:
    """A name that no other test of any process uses."""
    return f"test-{os.getpid()}-{next(_numbers)}"


class Store(Protocol):
    """One server."""

    name: ClassVar[str]
    endpoint: str

    def fresh(self) -> Bucket:
        """A new, empty bucket."""
        ...


class Bucket(Protocol):
    """One bucket of a server, by the store's own client."""

    store: str
    name: str
    endpoint: str
    """The server's URL."""

    def connection(self, file_format: str, *, name: str = "lake", **settings: Any) -> Connection:
        """A connection that may do everything in it."""
        ...

    def put(self, key: str, body: bytes) -> None:
        """Make or replace an object."""
        ...

    def get(self, key: str) -> bytes:
        """An object."""
        ...

    def keys(self, prefix: str = "") -> list[str]:
        """The names of all objects, in order."""
        ...

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        ...


class ObstoreBucket:
    """A bucket that obstore reads and writes."""

    client: Any

    def put(self, key: str, body: bytes) -> None:
        """Make or replace an object."""
        import obstore

        obstore.put(self.client, key, body, use_multipart=False)

    def get(self, key: str) -> bytes:
        """An object."""
        import obstore

        return bytes(obstore.get(self.client, key).bytes())

    def keys(self, prefix: str = "") -> list[str]:
        """The names of all objects, in order."""
        import obstore

        found = (each["path"] for page in obstore.list(self.client, prefix=prefix or None) for each in page)
        return sorted(found)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        import obstore

        for key in keys:
            obstore.delete(self.client, key)
