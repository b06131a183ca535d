"""Reading option values as users give them: names, durations, closed sets of words."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ematix_nb.declare.address import check_connection_name
from ematix_nb.declare.spec import MODES
from ematix_nb.errors import DeclarationError, did_you_mean

CHOICES: dict[str, tuple[str, ...]] = {
    "catch_up": ("latest", "all", "none"),
    "on_drift": ("evolve", "freeze", "quarantine", "warn"),
    "on_duplicate_key": ("last", "error"),
    "on_null_key": ("error", "quarantine"),
    "empty_source": ("keep", "apply"),
    "on_nul": ("error", "strip"),
    "handle_deletes": ("hard", "soft"),
    "late_rows": ("overlap", "snapshot"),
}
_SYNONYMS = {"on_drift": {"error": "freeze"}}
"""Older words for some of them, as the source document has them."""
_MODE_ALIASES = {"scd1": "merge"}
_MODE_MEANT = {
    "upsert": "merge", "update": "merge", "insert": "append", "replace": "truncate", "overwrite": "truncate",
    "full": "truncate", "full_refresh": "truncate", "snapshot": "scd2", "history": "scd2",
}  # fmt: skip
_UNITS = {
    "s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400, "w": 604800, "week": 604800,
    "weeks": 604800,
}  # fmt: skip


def mode(value: object) -> str:
    """A load mode; ``scd1`` is merge.

    Raises:
        DeclarationError: When there is no such mode, with the one that was probably meant.
    """
    if isinstance(value, str) and (chosen := _MODE_ALIASES.get(value, value)) in MODES:
        return chosen
    meant = _MODE_MEANT.get(str(value).lower())
    suggestion = f"did you mean `{meant}`?" if meant else did_you_mean(str(value), MODES)
    what = f"mode is `{value}`; modes are {', '.join(MODES)}"
    raise DeclarationError(what, hint=suggestion)


def choice(option: str, value: object) -> str:
    """One of the words that an option may have; a synonym becomes its official word."""
    allowed = CHOICES[option]
    if isinstance(value, str) and (chosen := _SYNONYMS.get(option, {}).get(value, value)) in allowed:
        return chosen
    hint = did_you_mean(str(value), allowed) or f"it may be {', '.join(allowed)}"
    raise DeclarationError(f"{option} is `{value}`", hint=hint)


def flag(option: str, value: object) -> bool:
    """True or false, and nothing that only resembles it."""
    if not isinstance(value, bool):
        raise DeclarationError(f"{option} is true or false, got {value!r}")
    return value


def count(option: str, value: object) -> int:
    """A whole number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DeclarationError(f"{option} is a whole number from 0 on, got {value!r}")
    return value


def text(option: str, value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise DeclarationError(f"{option} is a text, got {value!r}")
    return value.strip()


def names(option: str, value: object, what: str = "columns") -> tuple[str, ...]:
    """Names of columns (or of something else): one text, or several in a list; each at most once."""
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    if not found or not all(isinstance(name, str) and name for name in found):
        raise DeclarationError(f"{option} names {what}, got {value!r}", hint=f'{option}=("id",)')
    for name in found:
        if found.count(name) > 1:
            raise DeclarationError(f"{option} names `{name}` twice")
    return found


def pairs(value: object) -> tuple[tuple[str, str], ...]:
    """A ``column_map``: pairs (target column, source column), sorted."""
    if not isinstance(value, Mapping) or not all(
        isinstance(one, str) and one for item in value.items() for one in item
    ):
        hint = 'column_map={"target_column": "source_column"}'
        raise DeclarationError(f"column_map maps target columns to source columns, got {value!r}", hint=hint)
    return tuple(sorted(value.items()))


def duration(option: str, value: object) -> dt.timedelta:
    """A duration: a timedelta, seconds, or a text such as ``90s``, ``10m``, ``12h``, ``7d``.

    Example:
        >>> duration("ttl", "7d")
        datetime.timedelta(days=7)
    """
    found: dt.timedelta | None = None
    if isinstance(value, dt.timedelta):
        found = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        found = dt.timedelta(seconds=value)
    elif isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+)\s*([a-z]*)\s*", value.lower())):
        unit = _UNITS.get(match[2] or "s")
        found = dt.timedelta(seconds=int(match[1]) * unit) if unit else None
    if found is None or found < dt.timedelta(0):
        raise DeclarationError(
            f"{option} is a duration, got {value!r}", hint="give a timedelta, seconds, or 10m, 12h, 7d"
        )
    return found


def overlap(value: object) -> dt.timedelta | int:
    """How far to read back: a whole number stays one (its unit is the watermark's), all else is a duration."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise DeclarationError(f"overlap is not negative, got {value}")
        return value
    if isinstance(value, str) and value.strip().isdigit():
        return int(value)
    return duration("overlap", value)


def connection(option: str, value: Any) -> Any:
    """A connection's name, or a connection object that has one.

    Raises:
        DeclarationError: When it is neither.
    """
    if isinstance(value, str):
        return check_connection_name(value.strip())
    if isinstance(getattr(value, "name", None), str) and isinstance(getattr(value, "kind", None), str):
        check_connection_name(value.name)
        return value
    hint = 'give a name ("warehouse") or what @ematix.connection made'
    raise DeclarationError(f"{option} is a connection, got {type(value).__name__}", hint=hint)
