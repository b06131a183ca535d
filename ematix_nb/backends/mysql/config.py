"""From a typed connection to what the driver needs."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from ematix_nb.connections.kinds import server_parts
from ematix_nb.errors import ConfigError, did_you_mean

PORT = 3306
CONNECT_TIMEOUT_S = 10
SSL_MODES = ("disabled", "required", "verify_ca", "verify_identity")
PARAMETERS = ("ssl_mode", "ssl_ca", "ssl_cert", "ssl_key", "socket")
IDLE_S = 28_800
"""Seconds for which the server waits for a client that is busy with the other side of a load."""
DDL_LOCK_TIMEOUT_S = 10

SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"
"""Values are refused rather than changed, a 0 stays a 0 in an AUTO_INCREMENT column, zero dates can be read (and are
refused by column and row), backslashes escape."""
SESSION_SETTINGS: dict[str, str | int] = {
    "sql_mode": SQL_MODE,
    "time_zone": "+00:00",
    "net_read_timeout": IDLE_S,
    "net_write_timeout": IDLE_S,
    "wait_timeout": IDLE_S,
    "foreign_key_checks": 1,
    "unique_checks": 1,
    "sql_safe_updates": 0,
    "sql_notes": 1,
    "max_error_count": 1024,
    "div_precision_increment": 4,
}
"""The same in every session, whatever the server's defaults are."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What opening one session takes."""

    name: str
    """The connection's name, for messages."""
    host: str
    port: int
    user: str
    password: str = field(default="", repr=False)
    database: str
    socket: str = ""
    connect_timeout: int = CONNECT_TIMEOUT_S
    ssl_mode: str = ""
    ssl_ca: str = ""
    ssl_cert: str = ""
    ssl_key: str = ""
    read_only: bool = False
    zero_dates_are_null: bool = False

    @property
    def place(self) -> str:
        """Where the server is, for messages."""
        return self.socket or f"{self.host}:{self.port}"


def settings_of(connection: Any, *, read_only: bool) -> Settings:
    """Fill in the variables of a `MySQLConnection` and name the driver's parameters.

    Raises:
        ConfigError: A variable is not set, or the URL has a parameter that is not known.
    """
    plain = connection.resolved()
    parts = server_parts(plain)
    extra = {name.replace("-", "_").lower(): value for name, value in parts.query.items()}
    for name in extra:
        if name not in PARAMETERS:
            message = f"connections.{plain.name}.url has the unknown parameter `{name}`"
            raise ConfigError(message, did_you_mean(name, PARAMETERS) or f"known ones: {', '.join(PARAMETERS)}")
    mode = extra.get("ssl_mode", "").lower()
    if mode and mode not in SSL_MODES:
        message = f"connections.{plain.name}.url: ssl_mode is `{mode}`, expected one of {', '.join(SSL_MODES)}"
        raise ConfigError(message, "correct `ssl_mode`")
    return Settings(
        name=plain.name,
        host=parts.host.strip("[]"),
        port=parts.port or PORT,
        user=parts.user,
        password=parts.password.reveal() if parts.password else "",
        database=parts.path,
        socket=extra.get("socket", ""),
        connect_timeout=plain.connect_timeout or CONNECT_TIMEOUT_S,
        ssl_mode=mode,
        ssl_ca=extra.get("ssl_ca", ""),
        ssl_cert=extra.get("ssl_cert", ""),
        ssl_key=extra.get("ssl_key", ""),
        read_only=read_only or plain.read_only,
        zero_dates_are_null=plain.zero_dates == "null",
    )


def tls_options(settings: Settings) -> dict[str, Any]:
    """The driver's TLS arguments: other machines have to show a certificate for their name unless the URL says else."""
    if settings.ssl_mode == "disabled" or (not settings.ssl_mode and is_local(settings)):
        return {"ssl_disabled": True}
    import ssl

    context = ssl.create_default_context(cafile=settings.ssl_ca or None)
    if settings.ssl_mode in ("required", "verify_ca"):
        context.check_hostname = False
    if settings.ssl_mode == "required":
        context.verify_mode = ssl.CERT_NONE
    if settings.ssl_cert:
        context.load_cert_chain(settings.ssl_cert, settings.ssl_key or None)
    return {"ssl": context}


def is_local(settings: Settings) -> bool:
    """Whether the server is on this machine."""
    if settings.socket or settings.host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        return False
