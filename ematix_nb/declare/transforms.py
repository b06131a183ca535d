"""Named transforms: functions that run after a load or on their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.declare import registry
from ematix_nb.declare.address import check_pipeline_name
from ematix_nb.declare.functions import digest
from ematix_nb.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class TransformRef:
    """A reference to a transform or pipeline by name, resolved when it runs."""

    name: str


@dataclass(frozen=True)
class Transform:
    """A named transform."""

    name: str
    function: Callable[..., Any]
    """Called with the target's connection, and the facts of the run before it when it takes two arguments."""
    target_connection: Any = "default"
    schedule: str | None = None
    origin: str = ""
    description: str = ""
    digest: str = ""


def transform_ref(name: str) -> TransformRef:
    """Name a transform (or pipeline) to run after a load; it may be declared later.

    Example:
        >>> transform_ref("update_mart")
        TransformRef(name='update_mart')
    """
    return TransformRef(check_pipeline_name(name, "transform"))


def check_callable(function: object) -> None:
    """Refuse a transform that is not a function.

    Raises:
        DeclarationError: Saying what it is.
    """
    if not callable(function) or isinstance(function, type):
        raise DeclarationError(f"a transform is a function, got {type(function).__name__}")


def build_transform(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    target_connection: Any = "default",
    schedule: str | None = None,
    origin: str = "",
) -> Transform:
    """A checked `Transform`; it is not registered.

    Raises:
        DeclarationError: When it is no function, or has no valid name.
    """
    check_callable(function)
    chosen = check_pipeline_name(name or getattr(function, "__name__", ""), "transform")
    description = (function.__doc__ or "").strip()
    where = origin or registry.caller_origin()
    return Transform(chosen, function, target_connection, schedule, where, description, digest(function))
