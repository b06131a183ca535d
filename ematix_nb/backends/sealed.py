"""JSON files with a checksum: what a disk or a hand changed in them is noticed and never believed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

VERSION = 2
"""Of the files that hold state; files of version 1 have no checksum and are still read."""
_SUM = "sha256"


def seal(body: dict[str, Any]) -> bytes:
    """A body as the bytes of a file, with the checksum of its text.

    Example:
        >>> unseal(seal({"version": 2, "entry": {"a": 1}}))
        {'version': 2, 'entry': {'a': 1}}
    """
    return _text({_SUM: _digest(body), **body}).encode()


def unseal(raw: bytes) -> dict[str, Any]:
    """The body of a file.

    Raises:
        ValueError: It is not what `seal` wrote.
    """
    try:
        body = json.loads(raw)
    except RecursionError as exc:
        message = "it is nested too deeply"
        raise ValueError(message) from exc
    if not isinstance(body, dict) or not isinstance(body.get("version"), int):
        message = "it is no file of ours"
        raise ValueError(message)  # noqa: TRY004 - its text is wrong, whatever the type
    told = body.pop(_SUM, None)
    if body["version"] != 1 and (told is None or told != _digest(body)) and body["version"] <= VERSION:
        message = "its checksum does not fit: it was damaged or changed by hand"
        raise ValueError(message)
    return body


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, indent=1)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(_text(body).encode("utf-8", "surrogatepass")).hexdigest()
