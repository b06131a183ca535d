"""A place for Delta tables, with a registry of its own."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import hmac
import shutil
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.connections import DeltaAzureConnection, DeltaS3Connection
from ematix_nb.declare import registry
from tests.conformance.matrix import Delta, open_system
from tests.conformance.run import Bench
from tests.conftest import missing
from tests.support import programs, s3
from tests.support.stores import bucket_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.connections.base import Connection

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the emulator's one account, the same everywhere."""


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    with registry.scratch():
        yield


@pytest.fixture
def lake(tmp_path: Path) -> Delta:
    """A folder for tables."""
    return Delta(tmp_path / "lake", "lake")


@pytest.fixture
def bench(lake: Delta, tmp_path: Path) -> Bench:
    """Rows of a SQLite table into a Delta table."""
    return Bench(lake, open_system("sqlite", tmp_path / "source", None, label="source"))


class StoreDelta(Delta):
    """Tables in a bucket or container."""

    def __init__(self, connection: Connection, root: str, storage: dict[str, str], client: Any) -> None:
        self.connection = connection
        self.client = client
        self._root = root
        self._storage = storage

    def uri(self, table: str) -> str:
        """Where a table lies."""
        return f"{self._root}/{table}"

    def storage(self) -> dict[str, str]:
        """Options of the library."""
        return self._storage

    def keys(self) -> list[str]:
        """The names of all objects."""
        import obstore

        return sorted(str(found["path"]) for page in obstore.list(self.client) for found in page)

    def leftovers(self) -> list[str]:
        """Logs of staged files."""
        return [key for key in self.keys() if "/part-" in key and "/_delta_log/" in key]

    def everything(self) -> object:
        """All objects by name."""
        return self.keys()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[s3.S3Store]:
    """An S3 server."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(s3.server())
        except programs.ProgramMissingError as error:
            missing(str(error))
        yield found


@pytest.fixture(scope="session")
def azure_endpoint() -> Iterator[str]:
    """Azurite's address, with its account."""
    program = programs.folder() / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    node = shutil.which("node")
    if node is None or not program.exists():
        missing(str(programs.missing("azurite (a package of Node.js)")))

    def command(port: int, place: Path) -> list[str]:
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(place / "data")]
        return [str(node), str(program), *options, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]

    with programs.running(command) as port:
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"


def s3_place(server: s3.S3Store) -> StoreDelta:
    """A fresh bucket."""
    bucket = server.fresh()
    keys = {"access_key_id": s3.KEY, "secret_access_key": s3.SECRET}
    connection = DeltaS3Connection(
        name="lake", bucket=bucket.name, prefix="some/lake", region=s3.REGION, endpoint=bucket.endpoint, **keys
    )
    storage = {
        "AWS_ENDPOINT_URL": bucket.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": s3.REGION,
        "AWS_ACCESS_KEY_ID": s3.KEY,
        "AWS_SECRET_ACCESS_KEY": s3.SECRET,
    }
    return StoreDelta(connection, f"s3://{bucket.name}/some/lake", storage, bucket.client)


def azure_place(endpoint: str) -> StoreDelta:
    """A fresh container."""
    from obstore.store import AzureStore

    name = bucket_name()
    headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    told = "".join(f"{key}:{text}\n" for key, text in headers.items())
    text = "PUT" + "\n" * 12 + told + f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest())
    request = urllib.request.Request(
        f"{endpoint}/{name}?restype=container",
        method="PUT",
        headers={**headers, "Authorization": f"SharedKey {ACCOUNT}:{signature.decode()}", "Content-Length": "0"},
    )
    urllib.request.urlopen(request, timeout=10).read()
    config: Any = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY, "endpoint": endpoint}
    client = AzureStore(name, config=config, client_options={"allow_http": True})
    connection = DeltaAzureConnection(
        name="lake", account=ACCOUNT, container=name, endpoint=endpoint, account_key=ACCOUNT_KEY
    )
    storage = {
        "account_name": ACCOUNT,
        "account_key": ACCOUNT_KEY,
        "azure_storage_endpoint": endpoint,
        "allow_http": "true",
        "azure_storage_use_emulator": "false",
    }
    return StoreDelta(connection, f"az://{name}", storage, client)


@pytest.fixture(params=["s3", "azure"])
def place(request: pytest.FixtureRequest) -> StoreDelta:
    """A fresh place in an object store."""
    if request.param == "s3":
        return s3_place(request.getfixturevalue("s3_server"))
    return azure_place(request.getfixturevalue("azure_endpoint"))
