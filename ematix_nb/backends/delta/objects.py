"""Small files beside the tables: made once by conditional create, never changed."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import shutil
from typing import TYPE_CHECKING, Any, Protocol

from ematix_nb.backends.disk import on_disk
from ematix_nb.backends.files.local import link_new, sync_folder
from ematix_nb.connections.secret import SecretDict, redact
from ematix_nb.errors import ConnectError, MissingDriverError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LONGEST = 200
TIMES = {"connect_timeout": "5s", "timeout": "30s"}
"""One try of a request to a store."""
RETRY_SECONDS, RETRIES = 30, 4
"""How long a request is tried again, and how often: a store that hangs holds up a run for half a minute."""
_CODE = re.compile(r"<Code>\s*(?P<code>[A-Za-z0-9]+)\s*</Code>")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "InvalidBucketName")


class Objects(Protocol):
    """Named byte strings below a root; names are relative, with slashes."""

    def create(self, name: str, data: bytes) -> None:
        """Make an object, durably and whole.

        Raises:
            FileExistsError: When the name is taken.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """The bytes; None when there is no such object."""
        ...

    def open(self, name: str) -> Any:
        """An object as a pyarrow file with random access.

        Raises:
            FileNotFoundError: When there is no such object.
        """
        ...

    def files(self, folder: str) -> list[str]:
        """Names of the objects right in a folder, sorted."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Names of the folders right in a folder, sorted."""
        ...

    def remove(self, name: str) -> None:
        """Remove an object; harmless when it is not there."""
        ...

    def remove_folder(self, folder: str) -> None:
        """Remove all below a folder; harmless when it is not there."""
        ...

    def sync(self, name: str) -> None:
        """Make an object that another program wrote durable."""
        ...


class LocalObjects:
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, name: str, data: bytes) -> None:
        """Make a file: a finished temporary one, then a link that fails when the name is taken."""
        final = self._root / name
        with on_disk("write", final):
            final.parent.mkdir(parents=True, exist_ok=True)
            link_new(final, f".{final.name}", data)
            sync_folder(final.parent)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file."""
        with on_disk("read", self._root / name):
            try:
                return (self._root / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def open(self, name: str) -> Any:
        """A file."""
        import pyarrow as pa

        return pa.OSFile(str(self._root / name))

    def files(self, folder: str) -> list[str]:
        """Files right in a folder, hidden ones left out."""
        return sorted(path.name for path in self._entries(folder) if path.is_file() and path.name[0] != ".")

    def folders(self, folder: str) -> list[str]:
        """Folders right in a folder."""
        return sorted(path.name for path in self._entries(folder) if path.is_dir())

    def _entries(self, folder: str) -> list[Path]:
        with on_disk("list", self._root / folder):
            try:
                return list((self._root / folder).iterdir())
            except (FileNotFoundError, NotADirectoryError):
                return []

    def remove(self, name: str) -> None:
        """Remove a file."""
        with on_disk("remove", self._root / name):
            (self._root / name).unlink(missing_ok=True)

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all in it."""
        shutil.rmtree(self._root / folder, ignore_errors=True)

    def sync(self, name: str) -> None:
        """Flush a file and its folder to disk."""
        path = self._root / name
        with on_disk("make durable", path):
            sync_folder(path)
            sync_folder(path.parent)


class StoreObjects:
    """Objects of a bucket; the store itself keeps them whole, and refuses to create one twice."""

    def __init__(self, store: Any, where: str) -> None:
        self._store = store
        self._where = where

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn what the store says into errors of ours.

        Raises:
            ConnectError: When the bucket is not there, or the store refuses the login or cannot be reached.
        """
        from obstore.exceptions import BaseError

        try:
            yield
        except BaseError as exc:
            text = str(exc).partition("Debug source:")[0]
            code = _CODE.search(text)
            if code is not None and code["code"] in _NO_BUCKET:
                message = f"{self._where} does not exist"
                raise ConnectError(message, "make it, or correct the connection") from exc
            reason = code["code"] if code is not None else " ".join(redact(text).split())[:LONGEST]
            message = f"{self._where} cannot be used: {reason}"
            raise ConnectError(message, "check the address, the credentials and their rights") from exc

    def create(self, name: str, data: bytes) -> None:
        """Put an object unless it exists."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._asking():
            try:
                obstore.put(self._store, name, data, mode="create")
            except AlreadyExistsError as exc:
                raise FileExistsError(name) from exc

    def read(self, name: str) -> bytes | None:
        """Get an object."""
        import obstore

        with self._asking():
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError:
                return None

    def open(self, name: str) -> Any:
        """An object, of which ranges are fetched."""
        from ematix_nb.backends.files.obstores import ObstoreStorage

        storage = ObstoreStorage(self._store, self._where, self._where)
        return storage.open(storage.stat(name))

    def files(self, folder: str) -> list[str]:
        """Objects right below a prefix."""
        return sorted(str(found["path"]).rsplit("/", 1)[-1] for found in self._list(folder)["objects"])

    def folders(self, folder: str) -> list[str]:
        """Common prefixes right below a prefix."""
        return sorted(str(found).rstrip("/").rsplit("/", 1)[-1] for found in self._list(folder)["common_prefixes"])

    def _list(self, folder: str) -> Any:
        import obstore

        with self._asking():
            return obstore.list_with_delimiter(self._store, folder or None)

    def remove(self, name: str) -> None:
        """Delete an object."""
        import obstore

        with self._asking(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    def remove_folder(self, folder: str) -> None:
        """Delete all below a prefix."""
        import obstore

        with self._asking():
            for group in obstore.list(self._store, f"{folder}/"):
                names = [str(found["path"]) for found in group]
                if names:
                    obstore.delete(self._store, names)

    def sync(self, name: str) -> None:
        """Nothing to do: a put is durable."""


def _obstore(name: str, extra: str) -> Any:
    try:
        import obstore.store as stores
    except ImportError as exc:
        message = f"connection `{name}` needs the package `obstore`"
        raise MissingDriverError(message, f"pip install 'ematix-nb[{extra}]'") from exc
    return stores


def _retries() -> Any:
    return {"max_retries": RETRIES, "retry_timeout": dt.timedelta(seconds=RETRY_SECONDS)}


def library_limits() -> dict[str, str]:
    """The same limits as options of the Delta library."""
    return {**TIMES, "max_retries": str(RETRIES), "retry_timeout": f"{RETRY_SECONDS}s"}


def _prefix(connection: Any) -> str | None:
    return connection.prefix.strip("/") or None


def s3_objects(connection: Any, region: str, keys: Mapping[str, str | None], *, plain: bool) -> StoreObjects:
    """The objects of a bucket."""
    stores = _obstore(connection.name, "s3")
    given = SecretDict({name: value for name, value in keys.items() if value})
    if connection.endpoint:
        given["endpoint"] = connection.endpoint
    store = stores.S3Store(
        connection.bucket,
        prefix=_prefix(connection),
        region=region,
        client_options={**TIMES, "allow_http": plain},
        retry_config=_retries(),
        virtual_hosted_style_request=False,
        **given,
    )
    return StoreObjects(store, f"bucket `{connection.bucket}`")


def azure_objects(connection: Any, keys: Mapping[str, str | None], *, plain: bool) -> StoreObjects:
    """The objects of a container."""
    stores = _obstore(connection.name, "azure")
    given = SecretDict({name: value for name, value in keys.items() if value})
    if connection.endpoint:
        given["endpoint"] = connection.endpoint
    store = stores.AzureStore(
        connection.container,
        prefix=_prefix(connection),
        account_name=connection.account,
        client_options={**TIMES, "allow_http": plain},
        retry_config=_retries(),
        **given,
    )
    return StoreObjects(store, f"container `{connection.container}`")


def gcs_objects(connection: Any) -> StoreObjects:
    """The objects of a Google bucket."""
    stores = _obstore(connection.name, "gcs")
    given = {"service_account": connection.service_account} if connection.service_account else {}
    store = stores.GCSStore(
        connection.bucket, prefix=_prefix(connection), client_options={**TIMES}, retry_config=_retries(), **given
    )
    return StoreObjects(store, f"bucket `{connection.bucket}`")
