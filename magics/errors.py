"""Errors of users in a cell: what, where and what to do next, without a traceback; `%flow debug` shows it."""

from __future__ import annotations

import re
import sys
import traceback
from typing import TYPE_CHECKING

from ematix_nb.connections import redact
from ematix_nb.errors import FlowError

if TYPE_CHECKING:
    from types import TracebackType

_HOOK = "_render_traceback_"  # what IPython asks an exception for before it formats a traceback itself
_CELL = re.compile(r"<ipython-input-|[/\\]ipykernel_\d+[/\\]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def install() -> None:
    """Make every `FlowError` short in this process's cells."""
    setattr(FlowError, _HOOK, render)


def uninstall() -> None:
    """Give `FlowError` its ordinary traceback back."""
    if _HOOK in vars(FlowError):
        delattr(FlowError, _HOOK)


def render(error: FlowError) -> list[str]:
    r"""The lines shown in place of a traceback; no secrets, no control characters.

    Example:
        >>> print("\n".join(render(FlowError("no pipeline `ordres`", hint="did you mean `orders`?"))))
        FlowError: FLOW-000 no pipeline `ordres`
        hint: did you mean `orders`?
        (%flow debug shows the traceback)
    """
    line = _cell_line(error.__traceback__)
    at = f" (line {line} of the cell)" if line > 1 and not error.where else ""
    first, _, rest = plain(str(error)).partition("\n")
    return [f"{type(error).__name__}: {first}{at}", *rest.splitlines(), "(%flow debug shows the traceback)"]


def plain(text: str) -> str:
    """Text without secrets, and with control characters made visible."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", redact(text))


def _cell_line(trace: TracebackType | None) -> int:
    """The line of the user's own cell that led to the error; 0 when none did."""
    lines = [line for frame, line in traceback.walk_tb(trace) if _CELL.search(frame.f_code.co_filename)]
    return lines[-1] if lines else 0


def last_traceback() -> str:
    """The whole traceback of the last error of this session, for `%flow debug`; without values and secrets."""
    error = getattr(sys, "last_value", None)
    if not isinstance(error, BaseException):
        return "no error has happened in this session"
    return "".join(plain(part) for part in traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
