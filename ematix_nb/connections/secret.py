"""Texts that must never be printed, and the masking of those that slip into other texts.

A `Secret` is a ``str`` whose characters are ``***``; the real text stands
beside it and is given out by `Secret.reveal` only. So whatever prints,
formats, serialises or pickles a secret gets the mask without knowing it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex

from ematix_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

MASK = "***"
"""What stands in the place of a secret."""

# Passwords of countless development set-ups that are ordinary words too. They are masked where
# they stand as a password, not wherever they occur: `role "postgres" does not exist` has to stay readable.
_ORDINARY = frozenset({"postgres", "postgresql", "mysql", "root", "admin", "guest", "user", "test", "password", "true"})
_SHORT = 4
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_USERINFO = re.compile(r"(?P<head>\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@'\"<>]*:)(?P<value>[^\s'\"<>]*)(?=@)")
_WORDS = r"(?:pass(?:word|wd|phrase)|pwd|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key|signature)"
_PAIR = re.compile(
    rf"(?P<head>\b[A-Za-z0-9_.-]*{_WORDS}[A-Za-z0-9_.-]*['\"]?\s*(?:=|%3[Dd]|(?<=['\"])\s*:)\s*)"
    r"(?P<value>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\$\{[^}]*\}|[^\s&;,'\"()<>]+)",
    re.IGNORECASE,
)
_SAS = re.compile(r"(?P<head>(?<![\w.-])sig=)(?P<value>[^\s&'\"<>]+)")
_HEADER = re.compile(r"(?P<head>\b(?:Bearer|Basic)\s+)(?P<value>[A-Za-z0-9._~+/=-]{8,})")
_PEM = re.compile(
    r"(?P<head>-----BEGIN [A-Z ]*PRIVATE KEY-----)(?P<value>.*?)(?=-----END|\Z)",
    re.DOTALL,
)
_PATTERNS = (_PEM, _USERINFO, _PAIR, _SAS, _HEADER)

_known: set[str] = set()
_compiled: tuple[int, re.Pattern[str] | None] = (0, None)


class Secret(str):
    """A text that shows ``***`` wherever it is printed, formatted, pickled or serialised.

    Args:
        text: The secret itself.
        shown: What to show in its place, for example a URL with the password masked.

    Example:
        >>> password = Secret("hunter22")
        >>> print(password, repr(password), f"{password}")
        *** Secret('***') ***
        >>> password.reveal()
        'hunter22'
    """

    __slots__ = ("_text",)
    _text: str | None

    def __new__(cls, text: str, shown: str = MASK) -> Self:
        """Hide ``text`` and remember it for `redact`."""
        plain = text.reveal() if isinstance(text, Secret) else text
        self = super().__new__(cls, shown)
        object.__setattr__(self, "_text", plain)
        for part in [*([plain] if shown == MASK else []), *secret_parts(plain)]:
            remember(part)
        return self

    def reveal(self) -> str:
        """Give the real text, for the driver that needs it and for nothing else.

        Raises:
            ConfigError: The secret came out of a pickle, which never holds it.
        """
        if self._text is None:
            what = "a secret was asked for in a process that it never reached: secrets are not pickled"
            raise ConfigError(what, hint="look the connection up by its name in this process, or use `${VARIABLE}`")
        return self._text

    def __repr__(self) -> str:
        """The mask in a constructor's clothes."""
        return f"Secret({str.__str__(self)!r})"

    def __eq__(self, other: object) -> bool:
        """Equal to a secret of the same text; never to a plain string."""
        return isinstance(other, Secret) and self._text == other._text

    def __ne__(self, other: object) -> bool:
        """The opposite of equal."""
        return not self == other

    def __hash__(self) -> int:
        """The hash of the mask, which tells nothing."""
        return str.__hash__(self)

    def __copy__(self) -> Secret:
        """Itself: it never changes."""
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        """Itself: it never changes."""
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: a secret never changes."""
        del value
        message = f"a Secret cannot be changed: {name}"
        raise AttributeError(message)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, tuple[str]]:
        """Pickle the mask only."""
        del protocol
        return (_lost, (str.__str__(self),))

    def _repr_html_(self) -> str:
        import html

        return html.escape(str.__str__(self))


def _lost(shown: str) -> Secret:
    """A secret on the far side of a pickle: what it showed, without its text."""
    self = str.__new__(Secret, shown)
    object.__setattr__(self, "_text", None)
    return self


def reveal(text: str) -> str:
    """The real text of a secret, or the text itself when it is none.

    Example:
        >>> reveal(Secret("hunter22")), reveal("plain")
        ('hunter22', 'plain')
    """
    return text.reveal() if isinstance(text, Secret) else text


def remember(text: str) -> None:
    """Mask ``text``, and its %-encoded and decoded forms, in every later `redact`."""
    if not text or text in _ORDINARY or _REFERENCE.fullmatch(text):
        return
    from urllib.parse import quote, quote_plus, unquote

    _known.update({text, quote(text, safe=""), quote_plus(text), unquote(text)} - _ORDINARY - {""})


def redact(text: object) -> str:
    """Mask every known secret and everything that looks like one.

    Known are the texts of all secrets made in this process (as they are, and
    %-encoded; a secret shorter than four characters only where it stands as a
    word of its own). Looks like one: the password of a URL, ``password=`` and
    its like, ``Bearer`` headers, private keys. ``${NAME}`` references stay.

    Args:
        text: A text or an exception.

    Example:
        >>> redact("cannot reach postgres://ann:hunter22@db/wh?sslpassword=x1")
        'cannot reach postgres://ann:***@db/wh?sslpassword=***'
    """
    plain = str(text)
    pattern = _by_value()
    return redact_url(plain if pattern is None else pattern.sub(MASK, plain))


def redact_url(url: str) -> str:
    """Mask the passwords in a URL or a ``key=value`` text by their place alone.

    Example:
        >>> redact_url("amqp://ann:secret@mq/v?heartbeat=5"), redact_url("postgres://ann:${PW}@db/wh")
        ('amqp://ann:***@mq/v?heartbeat=5', 'postgres://ann:${PW}@db/wh')
    """
    for pattern in _PATTERNS:
        url = pattern.sub(_mask, url)
    return url


def censor(error: BaseException, *, frames: bool = True) -> None:
    """Mask the secrets in the text of a driver's error and of what led to it, before ours is raised `from` it.

    Python prints the texts of all of them when nobody catches ours.

    Args:
        error: It is changed in place, where it holds a secret.
        frames: False forgets the driver's own frames: a debugger, and a traceback that shows variables, would find
            the password among the arguments of the driver's `connect`.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if not frames:
            found.with_traceback(None)
        text = str(found)
        if redact(text) != text:
            found.args = tuple(redact(part) if isinstance(part, str) else part for part in found.args)
        found = found.__cause__ or found.__context__


class SecretDict(dict[str, Any]):
    """Settings of a driver, secrets among them: it prints its keys alone.

    Example:
        >>> SecretDict(user="ann", password="hunter22")
        SecretDict(user=***, password=***)
    """

    def __repr__(self) -> str:
        """The keys."""
        return f"SecretDict({', '.join(f'{key}={MASK}' for key in self)})"


def secret_parts(text: str) -> Iterator[str]:
    """The pieces of ``text`` that `redact_url` masks."""
    for pattern in _PATTERNS:
        for match in pattern.finditer(text):
            value = match["value"].strip("'\"")
            if value != MASK and not _REFERENCE.fullmatch(value):
                yield value


def _mask(match: re.Match[str]) -> str:
    value = match["value"]
    if _REFERENCE.fullmatch(value.strip("'\"")) or not value:
        return match[0]
    quote = value[0] if value[0] in "'\"" and value[-1] == value[0] and len(value) > 1 else ""
    return f"{match['head']}{quote}{MASK}{quote}"


def _by_value() -> re.Pattern[str] | None:
    """One pattern for all known secrets, the longest first; rebuilt when one is added."""
    global _compiled  # noqa: PLW0603 - a cache of the set above
    size, pattern = _compiled
    if size != len(_known):
        texts = sorted(_known.copy(), key=len, reverse=True)
        forms = [re.escape(t) if len(t) >= _SHORT else rf"(?<!\w){re.escape(t)}(?!\w)" for t in texts]
        pattern = re.compile("|".join(forms))
        _compiled = (len(texts), pattern)
    return pattern
