"""A connection of kind ``object_store_gcs`` as a storage, by Google's own client."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import redact
from ematix_nb.connections.secret import censor
from ematix_nb.errors import ConfigError, ConnectError, FlowError, MissingDriverError, RunError, TransientError

from .buckets import CHUNK_BYTES, BucketStorage
from .storage import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMES = (5, 60)
"""Seconds to connect, and for an answer."""
RETRY_SECONDS, PROBE_SECONDS = 20, 5
"""How long a request is tried again, and the first one of a session."""
NOT_FOUND, PRECONDITION, TOO_MANY, BROKEN = 404, 412, 429, 500
_REFUSED = (401, 403)


class GcsStorage(BucketStorage):
    """A prefix of a bucket."""

    def __init__(self, client: Any, bucket: str, prefix: str, identity: str, where: str) -> None:
        super().__init__(identity, where)
        self._client = client
        self._bucket = client.bucket(bucket)
        self._prefix = f"{prefix}/" if prefix else ""
        self._patience = RETRY_SECONDS

    def objects(self, folder: str) -> Iterator[Entry]:
        """The objects below a folder, a page at a time."""
        prefix = self._prefix + (f"{folder}/" if folder else "")
        fields = "items(name,size,generation),nextPageToken"
        with self._asking("list", folder):
            pages = iter(
                self._client.list_blobs(self._bucket, prefix=prefix, fields=fields, timeout=TIMES, retry=self._retry)
            )
        while True:
            with self._asking("list", folder):
                found = next(pages, None)
            if found is None:
                return
            yield self._entry(found)

    def stat(self, name: str) -> Entry:
        """One object."""
        with self._asking("read", name):
            found = self._bucket.get_blob(self._prefix + name, timeout=TIMES, retry=self._retry)
        if found is None:
            message = f"{self.identity}/{name}"
            raise FileNotFoundError(message)
        return self._entry(found)

    def fetch(self, entry: Entry, start: int, end: int) -> Any:
        """A range of one generation."""
        if start >= end:
            return b""
        blob = self._bucket.blob(self._prefix + entry.name, generation=int(entry.stamp))
        try:
            with self._asking("read", entry.name):
                return blob.download_as_bytes(
                    start=start, end=end - 1, raw_download=True, checksum=None, timeout=TIMES, retry=self._retry
                )
        except FileNotFoundError as exc:
            message = f"object {entry.name} changed or went away while it was read"
            raise TransientError(message, "run again; write new files under new names") from exc

    def read(self, name: str) -> bytes:
        """A small object."""
        with self._asking("read", name):
            blob = self._bucket.blob(self._prefix + name)
            return bytes(blob.download_as_bytes(raw_download=True, timeout=TIMES, retry=self._retry))

    def put_new(self, name: str, body: bytes) -> bool:
        """An upload under the condition that no generation is there."""
        from google.api_core.exceptions import PreconditionFailed

        with self._asking("write", name):
            try:
                self._put(name, body, if_generation_match=0)
            except PreconditionFailed:
                return False
        return True

    def put(self, name: str, body: bytes) -> None:
        """One request."""
        with self._asking("write", name):
            self._put(name, body)

    def _put(self, name: str, body: bytes, **conditions: int) -> None:
        blob = self._bucket.blob(self._prefix + name)
        blob.upload_from_string(
            body, content_type="application/octet-stream", timeout=TIMES, retry=self._retry, **conditions
        )

    def send(self, name: str, chunks: Iterator[bytes]) -> None:
        """A resumable upload: nothing is there before its end."""
        blob = self._bucket.blob(self._prefix + name)
        with self._asking("write", name):
            writer = blob.open(
                "wb",
                chunk_size=CHUNK_BYTES,
                ignore_flush=True,
                content_type="application/octet-stream",
                timeout=TIMES,
                retry=self._retry,
            )
            try:
                for chunk in chunks:
                    writer.write(chunk)
            except BaseException:
                writer.terminate()
                raise
            writer.close()

    def copy(self, old: str, new: str) -> None:
        """By the store itself, in as many steps as it takes."""
        source = self._bucket.blob(self._prefix + old)
        target = self._bucket.blob(self._prefix + new)
        with self._asking("write", new):
            token, _, _ = target.rewrite(source, timeout=TIMES, retry=self._retry)
            while token is not None:
                token, _, _ = target.rewrite(source, token=token, timeout=TIMES, retry=self._retry)

    def drop(self, name: str) -> None:
        """Remove."""
        with contextlib.suppress(FileNotFoundError), self._asking("delete", name):
            self._bucket.blob(self._prefix + name).delete(timeout=TIMES, retry=self._retry)

    def probe(self) -> None:
        """Ask for the first object, with less patience than later."""
        self._patience = PROBE_SECONDS
        super().probe()
        self._patience = RETRY_SECONDS

    @property
    def _retry(self) -> Any:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(self._patience).with_delay(initial=0.1, maximum=2.0, multiplier=2.0)

    def _entry(self, found: Any) -> Entry:
        return Entry(found.name.removeprefix(self._prefix), int(found.size), str(found.generation))

    @contextlib.contextmanager
    def _asking(self, act: str, name: str) -> Iterator[None]:
        """Turns what the client raises into errors of ours."""
        import requests
        from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

        try:
            yield
        except (FlowError, FileNotFoundError):
            raise
        except GoogleAPICallError as exc:
            if exc.code == PRECONDITION and act == "write":
                raise
            raise self._error(int(exc.code or 0), str(exc.message), act, name) from exc
        except InvalidResponse as exc:
            raise self._error(int(exc.response.status_code), "", act, name) from exc
        except GoogleAuthError as exc:
            message = f"{self.where}: Google refuses the login: {redact(str(exc))[:160]}"
            raise ConnectError(message, "check the service account, or log in with gcloud") from exc
        except (GoogleAPIError, DataCorruption, requests.RequestException, OSError) as exc:
            raise self._silent(act, name) from exc

    def _error(self, status: int, text: str, act: str, name: str) -> Exception:
        if status == NOT_FOUND and ("bucket" in text.lower() or (act == "list")):
            message = f"{self.where}: there is no bucket for {self.identity}"
            return ConnectError(message, "make it, or correct its name or the endpoint")
        if status == NOT_FOUND:
            return FileNotFoundError(f"{self.identity}/{name}")
        if status in _REFUSED:
            message = f"{self.where}: the store refuses to {act} `{name or self.identity}` ({status})"
            return ConnectError(message, "check the service account and what it is allowed to do")
        if status >= BROKEN or status == TOO_MANY:
            return self._silent(act, name)
        return RunError(f"{self.where}: cannot {act} `{name or self.identity}`: {status} {redact(text)[:160]}")

    def _silent(self, act: str, name: str) -> TransientError:
        message = f"{self.where}: the store does not answer ({act} `{name or self.identity}`)"
        return TransientError(message, "check the endpoint and the network; run again")


def open_gcs(connection: Any) -> GcsStorage:
    """The bucket of a resolved connection.

    Raises:
        ConnectError: When it cannot be listed, or there is no login.
        ConfigError: When the service account's file cannot be read.
        MissingDriverError: When Google's client is not installed.
    """
    try:
        from google.cloud import storage
    except ImportError as exc:
        message = "the package `google-cloud-storage` is not installed"
        raise MissingDriverError(message, "pip install 'ematix-nb[gcs]'") from exc
    where = f"connection `{connection.name}`"
    options = {"api_endpoint": connection.endpoint.rstrip("/")} if connection.endpoint else None
    client = storage.Client(project="-", credentials=_credentials(connection, where), client_options=options)
    prefix = connection.prefix.strip("/")
    identity = "/".join(part for part in (f"gs://{connection.bucket}", prefix) if part)
    if connection.endpoint:
        identity += f" at {connection.endpoint}"
    found = GcsStorage(client, connection.bucket, prefix, identity, where)
    found.probe()
    return found


def _credentials(connection: Any, where: str) -> Any:
    """The service account's, none, or the usual ones; the metadata service is asked only without an endpoint."""
    import google.auth
    from google.auth import credentials
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from google.oauth2 import service_account

    anonymous: Any = credentials.AnonymousCredentials  # the package has types, but for these two
    from_file: Any = service_account.Credentials.from_service_account_file
    scope = ["https://www.googleapis.com/auth/devstorage.read_write"]
    told = bool(os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"))
    if connection.service_account:
        try:
            return from_file(str(Path(connection.service_account).expanduser()), scopes=scope)
        except (OSError, ValueError, GoogleAuthError) as exc:
            censor(exc, frames=False)  # the key is in variables of the library
            message = f"{where}: the service account's file `{connection.service_account}` cannot be used"
            raise ConfigError(message, f"it must be the JSON key of a service account ({type(exc).__name__})") from exc
    if connection.anonymous or (connection.endpoint and not told):
        return anonymous()
    try:
        return google.auth.default(scopes=scope)[0]
    except (DefaultCredentialsError, GoogleAuthError) as exc:
        message = f"{where}: there is no login for Google Cloud on this machine"
        raise ConnectError(message, "set `service_account`, `anonymous = true`, or log in with gcloud") from exc
