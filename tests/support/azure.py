"""A server that speaks Azure Blob Storage: azurite."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import hmac
import re
import shutil
import urllib.request
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from ematix_nb.connections import ObjectStoreAzureConnection
from tests.support import programs
from tests.support.faults import in_front_of
from tests.support.stores import ObstoreBucket, bucket_name

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the emulator's one account, the same everywhere."""
VERSION = "2021-08-06"
_LISTED = re.compile(r"<(?P<kind>Blob|BlobPrefix)><Name[^>]*>(?P<name>[^<]*)</Name>.*?</(?P=kind)>", re.DOTALL)


@dataclass
class AzureContainer(ObstoreBucket):
    """One container."""

    endpoint: str
    name: str
    client: Any
    store: str = "azure"

    def connection(self, file_format: str, *, name: str = "lake", **settings: Any) -> ObjectStoreAzureConnection:
        """A connection with the account's key."""
        given = {
            "account": ACCOUNT,
            "container": self.name,
            "endpoint": self.endpoint,
            **({} if "sas_token" in settings else {"account_key": KEY}),
            **settings,
        }
        return ObjectStoreAzureConnection(name=name, format=file_format, **given)


@dataclass
class AzureStore:
    """The server."""

    endpoint: str
    name: ClassVar[str] = "azure"

    def fresh(self) -> AzureContainer:
        """A new container."""
        from obstore.store import AzureStore as Client

        name = bucket_name()
        date = email.utils.formatdate(usegmt=True)
        headers = {"x-ms-date": date, "x-ms-version": VERSION}
        told = "".join(f"{key}:{text}\n" for key, text in headers.items())
        text = "PUT" + "\n" * 12 + told + f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        request = urllib.request.Request(
            f"{self.endpoint}/{name}?restype=container",
            method="PUT",
            headers={**headers, "Authorization": f"SharedKey {ACCOUNT}:{sign(text)}", "Content-Length": "0"},
        )
        urllib.request.urlopen(request, timeout=10).read()
        config: Any = {"account_name": ACCOUNT, "account_key": KEY, "endpoint": self.endpoint}
        return AzureContainer(self.endpoint, name, Client(name, config=config, client_options={"allow_http": True}))


def sign(text: str) -> str:
    """The signature of the emulator's account."""
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()


@contextlib.contextmanager
def server() -> Iterator[AzureStore]:
    """A running server.

    Raises:
        ProgramMissingError: It is not installed, or does not start.
    """
    program = programs.folder() / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    node = shutil.which("node")
    if node is None or not program.exists():
        raise programs.missing("azurite (a package of Node.js)")

    def command(port: int, place: Any) -> list[str]:
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(place / "data")]
        return [node, str(program), *options, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]

    with programs.running(command) as port:
        yield AzureStore(f"http://127.0.0.1:{port}/{ACCOUNT}")


@contextlib.contextmanager
def with_starts(endpoint: str) -> Iterator[AzureStore]:
    """The server with listings that begin where they are asked to: azurite takes no notice of `startFrom`.

    The Delta library asks for the commits after the newest that it knows, and refuses others.
    """
    with in_front_of(endpoint) as proxy:
        proxy.change = _from_start
        yield AzureStore(proxy.url)


def _from_start(asked: str, body: bytes) -> bytes:
    """A listing without the names before the one where it shall begin; any other answer as it is."""
    query = parse_qs(urlsplit(asked).query)
    if "startFrom" not in query or not body.startswith(b"<?xml"):
        return body
    text = body.decode()
    start = query["startFrom"][0]
    return _LISTED.sub(lambda found: found[0] if unescape(found["name"]) >= start else "", text).encode()
