"""A place for Delta tables, with a registry of its own."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.connections import DeltaAzureConnection, DeltaS3Connection
from ematix_nb.declare import registry
from ematix_nb.load import failpoints
from tests.conformance.matrix import Delta, open_system
from tests.conformance.run import Bench
from tests.support import azure, s3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ematix_nb.connections.base import Connection
    from tests.support.stores import Bucket


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


class Recorder:
    """Keeps the events of a run."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_event(self, event: Any) -> None:
        """Keep one."""
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        """Those of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


@contextlib.contextmanager
def let_in(act: Callable[[int], object], *, times: int = 1) -> Iterator[None]:
    """Another writer, in a thread of its own: each time a run stands before its commit it is let in, and awaited."""
    barrier = threading.Barrier(2, timeout=60)
    here = threading.get_ident()
    met: list[int] = []

    def reached(step: str) -> None:
        if step == "before_commit" and len(met) < times and threading.get_ident() == here:
            met.append(len(met))
            barrier.wait()  # the run has read the table and is about to commit
            barrier.wait()  # the other one has committed

    def work() -> None:
        for number in range(times):
            barrier.wait()
            act(number)
            barrier.wait()

    other = threading.Thread(target=work, daemon=True)
    other.start()
    failpoints.install(reached)
    try:
        yield
    finally:
        failpoints.install(None)
        barrier.abort()
        other.join(60)
    assert len(met) == times


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


def s3_place(bucket: Any) -> StoreDelta:
    """A bucket."""
    keys: dict[str, Any] = {"access_key_id": s3.KEY, "secret_access_key": s3.SECRET}
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


def azure_place(container: Any) -> StoreDelta:
    """A container."""
    connection = DeltaAzureConnection(
        name="lake",
        account=azure.ACCOUNT,
        container=container.name,
        endpoint=container.endpoint,
        account_key=azure.KEY,
    )
    storage = {
        "account_name": azure.ACCOUNT,
        "account_key": azure.KEY,
        "azure_storage_endpoint": container.endpoint,
        "allow_http": "true",
        "azure_storage_use_emulator": "false",
    }
    return StoreDelta(connection, f"az://{container.name}", storage, container.client)


PLACES = {"s3": s3_place, "azure": azure_place}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, delta_bucket: Callable[[str], Bucket]) -> StoreDelta:
    """A fresh place in an object store."""
    return PLACES[request.param](delta_bucket(request.param))
