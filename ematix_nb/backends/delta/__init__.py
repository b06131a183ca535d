"""Delta Lake tables in a folder or an object store: read as snapshots, changed by one commit each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from ematix_nb.backends.base import Capabilities

    from .io import DeltaSession


class DeltaBackend:
    """Opens places that hold Delta tables."""

    kinds: tuple[str, ...] = ("delta_local", "delta_s3", "delta_azure", "delta_gcs")
    capabilities: Capabilities = CAPABILITIES

    def open(self, connection: Any, *, read_only: bool = False, create: bool = True) -> DeltaSession:
        """Open the place of a connection; nothing is made there before the first write.

        Raises:
            ConnectError: When the folder above a local place does not exist, or the place is a file.
            MissingDriverError: When a package is missing.
        """
        from .config import delta_config
        from .io import DeltaSession

        return DeltaSession(delta_config(connection, create=create), read_only=read_only)


BACKEND = DeltaBackend()
