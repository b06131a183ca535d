"""SQL over files and frames, by DataFusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .frames import open_frames
    from .session import FrameSession, open_file_query

__all__ = ["FrameSession", "open_file_query", "open_frames"]


def __getattr__(name: str) -> object:
    """Load the session when it is asked for."""
    if name in __all__:
        from . import frames, session

        return getattr(frames if name == "open_frames" else session, name)
    message = f"module `{__name__}` has no attribute `{name}`"
    raise AttributeError(message)
