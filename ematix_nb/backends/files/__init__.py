"""Folders of Parquet, CSV and JSONL files: read as tables, published whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from ematix_nb.backends.base import Capabilities

    from .io import FolderSession


class LocalFilesBackend:
    """Serves connections of kind ``object_store_local``."""

    kinds: tuple[str, ...] = ("object_store_local",)
    capabilities: Capabilities = CAPABILITIES

    def open(self, connection: Any, *, read_only: bool = False, create: bool = True) -> FolderSession:
        """Open the folder of a connection; a writer makes it when its parent exists.

        Without ``create`` an empty folder stands in for one that is not there.

        Raises:
            ConnectError: When the folder does not exist or may not be read.
        """
        from .config import file_config
        from .io import FolderSession
        from .local import open_local

        ready = connection.resolved()
        storage = open_local(ready, write=not read_only, create=create)
        return FolderSession(storage, file_config(ready), read_only=read_only)


BACKEND = LocalFilesBackend()
