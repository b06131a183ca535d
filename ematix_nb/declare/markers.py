"""What an annotation says of a column beside its type: key or not, nullable or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ematix_nb.errors import DeclarationError


@dataclass(frozen=True)
class PrimaryKey:
    """The column belongs to the primary key."""

    options: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class NaturalKey:
    """The column belongs to a natural key."""

    group: str = ""


@dataclass(frozen=True)
class Nullable:
    """The column may be NULL."""


Marker = PrimaryKey | NaturalKey | Nullable


def pk(**options: Any) -> PrimaryKey:
    """Mark a column of the primary key; several marked columns form one key.

    Args:
        options: Kept, and without effect.
    """
    return PrimaryKey(options)


def natural_key(group: str = "") -> NaturalKey:
    """Mark a column of a natural (business) key.

    Args:
        group: Columns of one group form one key; the group without a name comes first.

    Raises:
        DeclarationError: When the group is not a text.
    """
    if not isinstance(group, str):
        raise DeclarationError(f"natural_key: the group is a text, got {group!r}")
    return NaturalKey(group)


def nullable() -> Nullable:
    """Mark a column that may be NULL; the same as ``| None``."""
    return Nullable()
