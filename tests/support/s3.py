"""A server that speaks S3: ministack, in an environment of its own."""

from __future__ import annotations

import contextlib
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.connections import ObjectStoreS3Connection
from tests.support import programs
from tests.support.stores import ObstoreBucket, bucket_name

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, SECRET = "tester", "tester-secret"
REGION = "us-east-1"
# Without these it listens on every address and opens more ports.
VARIABLES = {
    "BIND_HOST": "127.0.0.1",
    "GATEWAY_PORT": "{port}",
    "IOT_MTLS_ENABLED": "0",
    "SFTP_ENABLED": "0",
    "S3_PERSIST": "0",
}


@dataclass
class S3Bucket(ObstoreBucket):
    """One bucket."""

    endpoint: str
    name: str
    client: Any
    store: str = "s3"

    def connection(self, file_format: str, *, name: str = "lake", **settings: Any) -> ObjectStoreS3Connection:
        """A connection with keys."""
        given = {
            "bucket": self.name,
            "region": REGION,
            "endpoint": self.endpoint,
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            **settings,
        }
        return ObjectStoreS3Connection(name=name, format=file_format, **given)


@dataclass
class S3Store:
    """The server."""

    endpoint: str
    name: ClassVar[str] = "s3"

    def fresh(self) -> S3Bucket:
        """A new bucket."""
        from obstore.store import S3Store as Client

        name = bucket_name()
        signed = f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=0"
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT", headers={"Authorization": signed})
        urllib.request.urlopen(request, timeout=10).read()
        config: Any = {
            "endpoint": self.endpoint,
            "region": REGION,
            "access_key_id": KEY,
            "secret_access_key": SECRET,
        }
        return S3Bucket(self.endpoint, name, Client(name, config=config, client_options={"allow_http": True}))


@contextlib.contextmanager
def server() -> Iterator[S3Store]:
    """A running server.

    Raises:
        ProgramMissingError: It is not installed, or does not start.
    """
    program = programs.folder() / "venv" / "bin" / "ministack"
    if not program.exists():
        raise programs.missing("ministack")
    with programs.running(lambda _port, _place: [str(program)], VARIABLES) as port:
        yield S3Store(f"http://127.0.0.1:{port}")
