"""Names of the source document's compiled module that have an equal here."""

from __future__ import annotations

from ematix_nb.declare.fingerprint import fingerprint

__all__ = ["core_version", "fingerprint"]


def core_version() -> str:
    """The version of the engine.

    Example:
        >>> core_version()
        '0.1.0'
    """
    from ematix_nb import __version__

    return __version__
