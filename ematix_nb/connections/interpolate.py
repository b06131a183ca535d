"""``${VAR}`` in settings: one pass, at the moment of use.

``${VAR}`` is the variable, ``${VAR:-text}`` falls back to ``text`` when it is unset
or empty, ``$${`` is a literal ``${``. A value that comes out of a variable is never
expanded again.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ematix_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_START = re.compile(r"\$?\$\{")


@dataclass(frozen=True)
class Reference:
    """One ``${NAME}`` or ``${NAME:-default}`` in a text."""

    name: str
    default: str | None
    """The text after ``:-``; None when there is none."""
    start: int
    """Index of its ``$`` in the text."""
    end: int
    """Index after its ``}``."""


def parse(text: str, where: str) -> list[str | Reference]:
    """Split a text into literal pieces and references, in order.

    Args:
        text: The setting as written.
        where: The setting, for example ``connections.wh.url``.

    Raises:
        ConfigError: A reference is malformed; names the column in the value, from 1.
    """
    parts: list[str | Reference] = []
    position = 0
    while match := _START.search(text, position):
        parts.append(text[position : match.start()])
        if match[0] == "$${":
            parts.append("${")
            position = match.end()
            continue
        reference = _reference(text, match.start(), where)
        parts.append(reference)
        position = reference.end
    parts.append(text[position:])
    return [part for part in parts if part != ""]


def _reference(text: str, start: int, where: str) -> Reference:
    end = text.find("}", start)
    body = text[start + 2 : end] if end >= 0 else ""
    name, separator, default = body.partition(":-")
    if end >= 0 and _NAME.fullmatch(name):
        return Reference(name, default if separator else None, start, end + 1)
    problem = "has no closing `}`" if end < 0 else "has no name" if not name else "is not a variable name"
    what = f"the `${{` at column {start + 1} of {where} {problem}"
    raise ConfigError(what, hint="write `${NAME}` or `${NAME:-default}`; `$${` stands for a literal `${`")


def variables(text: str, where: str = "the setting") -> tuple[str, ...]:
    """The variables that a text refers to, in order of appearance.

    Example:
        >>> variables("postgres://${USER_NAME}:${PW:-x}@h/d"), variables("$${NOT}")
        (('USER_NAME', 'PW'), ())
    """
    return tuple(part.name for part in parse(text, where) if isinstance(part, Reference))


def is_reference(text: str) -> bool:
    """True when a text is one ``${NAME}`` and nothing else, so that it holds no secret itself."""
    return text.startswith("${") and text.endswith("}") and _NAME.fullmatch(text[2:-1]) is not None


def interpolate(
    text: str,
    where: str,
    environ: Mapping[str, str] | None = None,
    encode: Callable[[str, Reference], str] | None = None,
) -> str:
    """Put the variables into a text, once.

    Args:
        text: The setting as written.
        where: The setting, for messages: ``connections.wh.url``.
        environ: The variables; None for those of the process.
        encode: Makes a value fit for the place of its reference; None leaves it as it is.

    Raises:
        ConfigError: A variable is not set, or empty without ``:-``, or a reference is malformed.

    Example:
        >>> interpolate("${HOST}:${PORT:-5432}/$${x}", "a.b", {"HOST": "${PORT}"})
        '${PORT}:5432/${x}'
    """
    environment = os.environ if environ is None else environ
    pieces = []
    for part in parse(text, where):
        if isinstance(part, str):
            pieces.append(part)
            continue
        value = _value(part, where, environment)
        pieces.append(encode(value, part) if encode else value)
    return "".join(pieces)


def _value(reference: Reference, where: str, environ: Mapping[str, str]) -> str:
    value = environ.get(reference.name)
    if value:
        return value
    if reference.default is not None:
        return reference.default
    name = reference.name
    if value is None:
        what = f"variable {name} is not set (used in {where})"
        raise ConfigError(what, hint=f"set it, or give a default: `${{{name}:-default}}`")
    what = f"variable {name} is set but empty (used in {where})"
    raise ConfigError(what, hint=f"give it a value; where empty is meant, write `${{{name}:-}}`")
