"""Parquet, CSV, JSONL and ORC files in folders and buckets: read as tables, published whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from ematix_nb.backends.base import Capabilities

    from .io import FolderSession
    from .storage import Storage


class FilesBackend:
    """Serves connections to folders and to buckets of S3, Azure and Google."""

    kinds: tuple[str, ...] = ("object_store_local", "object_store_s3", "object_store_azure", "object_store_gcs")
    capabilities: Capabilities = CAPABILITIES

    def open(self, connection: Any, *, read_only: bool = False, create: bool = True) -> FolderSession:
        """Open the folder or bucket of a connection; a writer makes the folder when its parent exists.

        Without ``create`` an empty folder stands in for one that is not there.

        Raises:
            ConnectError: When the folder does not exist or may not be read, or the bucket cannot be listed.
        """
        from .config import file_config
        from .io import FolderSession

        ready = connection.resolved()
        config = file_config(ready)
        return FolderSession(_storage(ready, write=not read_only, create=create), config, read_only=read_only)


def _storage(connection: Any, *, write: bool, create: bool) -> Storage:
    """The place of a resolved connection."""
    if connection.kind == "object_store_s3":
        from .s3 import open_s3

        return open_s3(connection)
    if connection.kind == "object_store_azure":
        from .azure import open_azure

        return open_azure(connection)
    if connection.kind == "object_store_gcs":
        from .gcs import open_gcs

        return open_gcs(connection)
    from .local import open_local

    return open_local(connection, write=write, create=create)


BACKEND = FilesBackend()
