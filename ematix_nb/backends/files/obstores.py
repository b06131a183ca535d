"""Amazon S3, and what speaks like it, and Azure Blob Storage, by obstore."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from ematix_nb.connections.secret import censor, redact
from ematix_nb.errors import ConnectError, FlowError, MissingDriverError, RunError, TransientError

from .buckets import AT_ONCE, CHUNK_BYTES, BucketStorage
from .storage import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 1000
RETRIES: dict[str, Any] = {
    "max_retries": 4,
    "retry_timeout": dt.timedelta(seconds=30),
    "backoff": {"init_backoff": dt.timedelta(milliseconds=100), "max_backoff": dt.timedelta(seconds=2), "base": 2},
}
TIMES = {"connect_timeout": "5s", "timeout": "60s"}
"""One try; all tries of a request end after the time of `RETRIES`."""
MACHINE_TIMES = {"connect_timeout": "2s", "timeout": "30s"}
"""The same where the machine is asked for keys: most machines have nobody who would answer."""
_MACHINE = ("/latest/api/token", "/latest/meta-data", "/metadata/identity")
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9]+)\s*</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "ContainerBeingDeleted")
_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
_SILENT = re.compile(
    r"error sending request|timed? ?out|connection (closed|reset|refused)|dns error|operation was canceled"
    r"|error reading a body|end of file before message|HTTP error: request or response body error",
    re.IGNORECASE,
)
_TOO_BUSY = 500
_SLOW_DOWN = (429, 408)


def driver(extra: str) -> Any:
    """The package.

    Raises:
        MissingDriverError: When it is not installed.
    """
    try:
        import obstore
        import obstore.store
    except ImportError as exc:
        message = "the package `obstore` is not installed"
        raise MissingDriverError(message, f"pip install 'ematix-nb[{extra}]'") from exc
    return obstore


class ObstoreStorage(BucketStorage):
    """A prefix of a bucket or container."""

    def __init__(self, store: Any, identity: str, where: str) -> None:
        super().__init__(identity, where)
        self._store = store

    def objects(self, folder: str) -> Iterator[Entry]:
        """The objects below a folder, a page at a time."""
        import obstore

        pages = iter(obstore.list(self._store, prefix=folder or None, chunk_size=PAGE))
        while True:
            with self._asking("list", folder):
                page = next(pages, None)
            if page is None:
                return
            for found in page:
                yield _entry(found)

    def stat(self, name: str) -> Entry:
        """One object."""
        import obstore

        with self._asking("read", name):
            return _entry(obstore.head(self._store, name))

    def fetch(self, entry: Entry, start: int, end: int) -> Any:
        """A range of one version."""
        import obstore

        with self._asking("read", entry.name):
            found = obstore.get(self._store, entry.name, options={"range": (start, end), "if_match": entry.stamp})
            return found.bytes()

    def read(self, name: str) -> bytes:
        """A small object."""
        import obstore

        with self._asking("read", name):
            return bytes(obstore.get(self._store, name).bytes())

    def put_new(self, name: str, body: bytes) -> bool:
        """A conditional put (``If-None-Match: *``)."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._asking("write", name):
            try:
                obstore.put(self._store, name, body, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def put(self, name: str, body: bytes) -> None:
        """One request."""
        import obstore

        with self._asking("write", name):
            obstore.put(self._store, name, body, use_multipart=False)

    def send(self, name: str, chunks: Iterator[bytes]) -> None:
        """Many parts; aborted when the chunks raise."""
        import obstore

        with self._asking("write", name):
            obstore.put(
                self._store, name, chunks, use_multipart=True, chunk_size=CHUNK_BYTES, max_concurrency=AT_ONCE // 2
            )

    def copy(self, old: str, new: str) -> None:
        """By the store itself."""
        import obstore

        with self._asking("write", new):
            obstore.copy(self._store, old, new)

    def drop(self, name: str) -> None:
        """Remove."""
        import obstore

        with contextlib.suppress(FileNotFoundError), self._asking("delete", name):
            obstore.delete(self._store, name)

    @contextlib.contextmanager
    def _asking(self, act: str, name: str) -> Iterator[None]:
        """Turns what the package raises into errors of ours."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FlowError:
            raise
        except (BaseError, OSError, ValueError) as exc:
            raise self._error(exc, act, name) from exc

    def _error(self, exc: Exception, act: str, name: str) -> Exception:
        from obstore.exceptions import PermissionDeniedError, PreconditionError, UnauthenticatedError

        text = str(exc)
        censor(exc, frames=False)
        code = found[1] if (found := _CODE.search(text)) else ""
        status = int(found[1]) if (found := _STATUS.search(text)) else 0
        if code in _NO_BUCKET:
            message = f"{self.where}: there is no bucket or container for {self.identity}"
            return ConnectError(message, "make it, or correct its name, the region or the endpoint")
        if isinstance(exc, FileNotFoundError):
            return FileNotFoundError(f"{self.identity}/{name}")
        if code in _REGION or "configured region" in text:
            message = f"{self.where}: the bucket lies in another region than the one that is set"
            return ConnectError(message, "correct `region`")
        if isinstance(exc, (PermissionDeniedError, UnauthenticatedError, PermissionError)) or status in (401, 403):
            message = f"{self.where}: the store refuses to {act} `{name or self.identity}`" + (code and f" ({code})")
            return ConnectError(message, "check the keys and what they are allowed to do")
        if isinstance(exc, PreconditionError):
            message = f"object {name} changed while it was read"
            return TransientError(message, "run again; write new files under new names")
        if any(part in text for part in _MACHINE):
            message = f"{self.where}: there are no keys for {self.identity}, and this machine gives none"
            return ConnectError(message, "set the keys in the connection, or in the environment")
        if status >= _TOO_BUSY or status in _SLOW_DOWN or _SILENT.search(text):
            message = f"{self.where}: the store does not answer ({act} `{name or self.identity}`)"
            return TransientError(message, "check the endpoint and the network; run again")
        message = f"{self.where}: cannot {act} `{name or self.identity}`: {_short(text, code)}"
        return RunError(message, "give the object another name" if "invalid path" in text else "")


def _short(text: str, code: str) -> str:
    """The first line of an error, without addresses (they may be signed) and secrets."""
    line = re.sub(r"https?://\S+", "...", text.partition("Debug source")[0].strip().replace("\n", " "))
    return redact(code or line[:200])


def _entry(found: Any) -> Entry:
    tag = str(found["e_tag"] or "").strip('"')
    return Entry(str(found["path"]), int(found["size"]), f'"{tag}"')


def opened(storage: ObstoreStorage) -> ObstoreStorage:
    """The storage, when it answers."""
    storage.probe()
    return storage
