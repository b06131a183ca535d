"""From a typed connection to what the driver needs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

APPLICATION_NAME = "ematix_nb"
CONNECT_TIMEOUT_S = 10
KEEPALIVES = {"keepalives_idle": "60", "keepalives_interval": "15", "keepalives_count": "4"}
"""Seconds, seconds and questions: a host that vanished without a word is missed after two minutes, not two hours."""

SESSION_SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "standard_conforming_strings": "on",
}
"""Values are rendered the same in every session, whatever the server's or the role's defaults are."""


def secured(options: dict[str, Any]) -> dict[str, Any]:
    """Parameters with ``sslmode=verify-full`` for other machines, unless the user said something else."""
    hosts = [host for host in str(options.get("host") or options.get("hostaddr") or "").split(",") if host]
    if all(map(_is_local, hosts)) or "sslmode" in options or "PGSSLMODE" in os.environ or "service" in options:
        return options
    added = {"sslmode": "verify-full"}
    if "sslrootcert" not in options and "PGSSLROOTCERT" not in os.environ:
        added["sslrootcert"] = "system"
    return options | added


def _is_local(host: str) -> bool:
    """A socket, or an address of this machine; `127.example` is the name of another one."""
    import ipaddress

    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What opening one session takes."""

    conninfo: str = field(repr=False)
    """URL or empty; holds secrets."""
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    """Connection parameters beside the URL."""
    read_only: bool = False


def settings_of(connection: Any, *, read_only: bool) -> Settings:
    """Fill in the variables of a `PostgresConnection` and name the driver's parameters.

    Raises:
        ConfigError: A variable is not set.
    """
    plain = connection.resolved()
    options: dict[str, Any] = {}
    for setting, parameter in (("host", "host"), ("database", "dbname"), ("user", "user"), ("password", "password")):
        if text := plain.reveal(setting):
            options[parameter] = text
    if plain.port is not None:
        options["port"] = plain.port
    if plain.sslmode:
        options["sslmode"] = plain.sslmode
    if plain.connect_timeout is not None:
        options["connect_timeout"] = plain.connect_timeout
    return Settings(conninfo=plain.reveal("url"), options=options, read_only=read_only or plain.read_only)
