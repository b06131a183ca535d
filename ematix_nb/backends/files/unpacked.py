"""The bytes of packed files, up to a limit: a few kilobytes can unfold to terabytes."""

from __future__ import annotations

import io
from typing import Any

from ematix_nb.errors import DataError

FREE_BYTES = 256 << 20
"""So much may come out of a file however small it is."""
MAX_RATIO = 250
"""Beyond that, so many bytes for each packed one: text of real data is packed to a twentieth."""


class Unpacked(io.RawIOBase):
    """A stream of unpacked bytes that ends with an error when there are far more than the packed ones could hold.

    Args:
        stream: Gives the unpacked bytes; closed with this one.
        name: Of the file, for the error.
        packed: Bytes of the packed file.
    """

    def __init__(self, stream: Any, name: str, packed: int) -> None:
        super().__init__()
        self._stream = stream
        self._name = name
        self._limit = max(FREE_BYTES, packed * MAX_RATIO)
        self._packed = packed
        self._read = 0

    def readable(self) -> bool:
        """It is for reading alone."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes.

        Raises:
            DataError: More came out than is allowed.
        """
        if size is None or size < 0:
            return self.readall()
        data = bytes(self._stream.read(size))
        self._read += len(data)
        if self._read > self._limit:
            message = f"{self._name}: {self._packed:,} packed bytes unfold to more than {self._limit >> 20:,} MiB"
            raise DataError(message, "when the file is right, unpack it first and read it unpacked")
        return data

    def close(self) -> None:
        """Close the packed file as well."""
        if not self.closed:
            self._stream.close()
        super().close()
