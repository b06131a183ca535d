"""Formats of times as regular expressions that every system understands.

A text is rewritten to one normal form, ``=YYYY-MM-DD HH:MM:SS[.ffffff]+HH:MM``, by one
replacement for each format; what matches `VALID` is then a moment that exists,
leap years included, and can be cast without failing. So no system's own
reading of formats, which differ, is needed.
"""

from __future__ import annotations

import re

from ematix_nb.declare.normalizers import format_tokens

_PIECES = {
    "YYYY": "([0-9]{4})",
    "MM": "([0-9]{2})",
    "DD": "([0-9]{2})",
    "HH24": "([0-9]{2})",
    "MI": "([0-9]{2})",
    "SS": "([0-9]{2})",
    "MS": "([0-9]{1,6})",
    "US": "([0-9]{1,6})",
    "OF": "(Z|[+-][0-9]{2}(?::?[0-9]{2})?)",
}
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY = (
    f"(?:{_YEAR}-(?:(?:01|03|05|07|08|10|12)-(?:0[1-9]|[12][0-9]|3[01])|"
    "(?:04|06|09|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|"
    f"{_LEAP_YEAR}-02-29)"
)
MARK = "="
"""Begins the normal form, so that no later format takes it for input."""
VALID = (
    f"^{MARK}{_DAY} (?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]{{1,6}})?"
    "(?:Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)$"
)


def pattern(text: str) -> str:
    """The regular expression of a format; its groups are the tokens in order.

    Example:
        >>> pattern("MM/DD/YYYY")
        '^([0-9]{2})/([0-9]{2})/([0-9]{4})$'
    """
    return "^" + "".join(_PIECES.get(part) or _literal(part) for part in format_tokens(text)) + "$"


def _literal(character: str) -> str:
    return (
        f"[{character}]"
        if character in ".*+?|(){}$/" and character != "/"
        else re.escape(character).replace("\\ ", " ")
    )


def template(text: str) -> str:
    r"""The replacement that brings what `pattern` matched to the normal form; UTC where there is no offset.

    Example:
        >>> template("MM/DD/YYYY")
        '=\\3-\\1-\\2 00:00:00+00'
    """
    tokens = [part for part in format_tokens(text) if part in _PIECES]
    group = {token: f"\\{number}" for number, token in enumerate(tokens, start=1)}
    hour, minute, second = (group.get(token, "00") for token in ("HH24", "MI", "SS"))
    fraction = group.get("MS") or group.get("US")
    rest = ("." + fraction if fraction else "") + group.get("OF", "+00")
    return f"{MARK}{group['YYYY']}-{group['MM']}-{group['DD']} {hour}:{minute}:{second}{rest}"
