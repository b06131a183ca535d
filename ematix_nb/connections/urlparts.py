"""Take a connection URL apart, and say which part is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ematix_nb.errors import ConfigError

from .interpolate import Reference, interpolate, parse
from .secret import Secret, redact, redact_url, remember

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PORT = 65535
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, kw_only=True)
class UrlParts:
    """The parts of a URL, decoded; an absent part is empty (``port``: None)."""

    scheme: str
    user: str = ""
    password: Secret | None = None
    host: str = ""
    """Host as written, without the port; several are separated by commas."""
    port: int | None = None
    path: str = ""
    """Path without its first slash."""
    query: Mapping[str, str]


def split_url(url: str, where: str) -> UrlParts:
    """Take a URL apart.

    Args:
        url: The URL, with its variables filled in.
        where: The setting it stands in, for messages.

    Raises:
        ConfigError: It cannot be split; says which part, and never shows the password.
    """
    from urllib.parse import unquote

    match = _SCHEME.fullmatch(url)
    if match is None:
        what = f"{where} is not a URL: got `{_short(redact(url))}`, expected `scheme://...`"
        raise ConfigError(what, hint="for example postgres://user@host/database or duckdb:///file.duckdb")
    authority, path, query = _cut(match["rest"])
    _refuse_unescaped(match["scheme"], authority, path, query, where)
    userinfo, _, hosts = authority.rpartition("@")
    user, colon, password = userinfo.partition(":")
    remember(password)
    host, port = _host_and_port(hosts, where, show="@" in authority)
    return UrlParts(
        scheme=match["scheme"].lower(),
        user=unquote(user),
        password=Secret(unquote(password)) if colon and password else None,
        host=host,
        port=port,
        path=unquote(path.removeprefix("/")),
        query=_query(query, where),
    )


def _cut(rest: str) -> tuple[str, str, str]:
    """Authority, path (with its slash) and query of what follows ``://``."""
    before, _, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    return authority, slash + path, query


def _refuse_unescaped(scheme: str, authority: str, path: str, query: str, where: str) -> None:
    """Refuse a URL that a reserved character in its password has cut in the wrong place."""
    later = path + "?" + query
    culprit = ""
    if authority.count("@") > 1:
        culprit = "@"
    elif "#" in authority or ("#" in later and "@" in later.partition("#")[2]):
        culprit = "#"
    elif "@" not in authority and ":" in authority and "@" in (path if _ends_in_port(authority) else later):
        culprit = "/" if path else "?"
    elif _BAD_ESCAPE.search(authority.rpartition("@")[0]):
        culprit = "%"
    if culprit:
        what = f"{where} cannot be split: its user or password holds an unescaped `{culprit}` ({scheme}://***)"
        code = f"%{ord(culprit):02X}"
        raise ConfigError(what, hint=f"write `{culprit}` as `{code}` in the URL, or use the field `password` instead")


def _ends_in_port(authority: str) -> bool:
    return authority.rpartition(":")[2].isdigit()


def _host_and_port(hosts: str, where: str, *, show: bool) -> tuple[str, int | None]:
    """Host and port; without an ``@`` a wrong port may be a password, and is not shown."""
    if hosts.startswith("["):
        host, _, tail = hosts.partition("]")
        host, port_text = host + "]", tail.removeprefix(":")
    elif "," in hosts:
        for one in hosts.split(","):
            _host_and_port(one, where, show=show)
        return hosts, None
    else:
        host, _, port_text = hosts.partition(":")
    if not port_text:
        return host, None
    if not (port_text.isascii() and port_text.isdigit()) or not 0 < int(port_text[:9]) <= MAX_PORT:
        shown = _short(redact(port_text)) if show else "***"
        what = f"the port in {where} is `{shown}`, expected a number from 1 to {MAX_PORT}"
        raise ConfigError(what, hint="the port stands after the host: scheme://user@host:5432/database")
    return host, int(port_text)


def _query(query: str, where: str) -> dict[str, str]:
    from urllib.parse import parse_qsl

    pairs = parse_qsl(query.partition("#")[0], keep_blank_values=True)
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in found:
            what = f"{where} gives the parameter `{key}` twice"
            raise ConfigError(what, hint="give it once")
        found[key] = value
    return found


def check_server_url(url: str, where: str, schemes: tuple[str, ...], *, database: bool) -> UrlParts:
    """Check that a URL names a server that its connection can use.

    Args:
        url: The URL, with its variables filled in.
        where: The setting it stands in, for messages.
        schemes: The schemes that are fine, the usual one first.
        database: Whether it must name a database.

    Raises:
        ConfigError: Says which part is wrong or missing.
    """
    parts = split_url(url, where)
    example = f"{schemes[0]}://user@host" + ("/database" if database else "")
    if parts.scheme not in schemes:
        what = f"{where} has the scheme `{parts.scheme}`, expected {' or '.join(schemes)}"
        raise ConfigError(what, hint=f"write it as {example}")
    if not parts.host and "host" not in parts.query:
        what = f"{where} names no host: `{_short(redact_url(url))}`"
        raise ConfigError(what, hint=f"write it as {example}")
    if database and not parts.path and not {"dbname", "database"} & set(parts.query):
        what = f"{where} names no database: `{_short(redact_url(url))}`"
        raise ConfigError(what, hint=f"write it as {example}")
    return parts


def fill_url(template: str, where: str, environ: Mapping[str, str] | None = None) -> str:
    """Put variables into a URL so that their values cannot change its structure.

    A variable at the very start may bring the scheme or the whole URL and is taken
    as it is. Later ones are %-encoded for the part they stand in.

    Example:
        >>> fill_url("postgres://u:${PW}@h/d", "c.url", {"PW": "p@ss:/?#"})
        'postgres://u:p%40ss%3A%2F%3F%23@h/d'
    """
    from urllib.parse import quote

    masked = template
    for part in parse(template, where):
        if isinstance(part, Reference):
            masked = masked[: part.start] + "\0" * (part.end - part.start) + masked[part.end :]
    scheme_end = masked.find("://")
    host_end = next((i for i in range(scheme_end + 3, len(masked)) if masked[i] in "/?#"), len(masked))
    user_end = masked.rfind("@", scheme_end + 3, host_end)

    def encode(value: str, reference: Reference) -> str:
        start = reference.start
        if start == 0 or scheme_end < 0 or start < scheme_end:
            return value
        if start < user_end:
            return quote(value, safe="")
        if start < host_end:
            return quote(value, safe=":[],")
        return quote(value, safe="/" if "?" not in masked[:start] else "")

    return interpolate(template, where, environ, encode)


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
