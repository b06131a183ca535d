"""The driver's errors as this package's errors, translated once at the edge."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ematix_nb.connections.secret import censor, redact
from ematix_nb.errors import (
    CANCELLED,
    CancelledError,
    ConnectError,
    DataError,
    FlowError,
    MissingDriverError,
    RunError,
    SqlError,
    TransientError,
    UnreachableError,
)

if TYPE_CHECKING:
    import psycopg

VALUE_LIMIT = 80
_COPY_CONTEXT = re.compile(
    r"COPY (?P<table>.*), line (?P<row>\d+)(?:, column (?P<column>[^\n]*?))?(?:: (?P<rest>.*))?$", re.DOTALL
)
_REMEDIES = {
    "22003": "widen the column, or filter the value in the query",
    "23505": "use mode merge with these keys, or remove the duplicates in the query",
    "23502": "give the column a value in the query (COALESCE), or make it nullable",
    "23503": "load the referenced table first",
}
_TRANSIENT_CLASSES = ("08", "53", "57", "58")
_TRANSIENT_CODES = ("40001", "40P01", "55P03", "55006", "25P03", "25P04")
_DATA_CLASSES = ("22", "23", "P0")
_SQL_CLASSES = ("42", "0A", "2B", "3F")
FORBIDDEN = "42501"
_FORBIDDEN = (FORBIDDEN, "25006")


def missing_driver(exc: ImportError) -> MissingDriverError:
    """The error for a package that is not there."""
    message = f"connections of kind postgres need the package `{exc.name or 'psycopg'}`, which cannot be imported"
    return MissingDriverError(message, "pip install 'psycopg[binary]' pgpq")


def shorten(value: object) -> str:
    """A value for a message, at most 80 characters."""
    text = "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in str(value)[: VALUE_LIMIT + 1])
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 1] + "…"


_NO_ROOM = ("too many clients", "remaining connection slots", "too many connections", "starting up", "shutting down")
_SILENT = ("timeout", "timed out")
_NOBODY = ("refused",)
_MAY_PASS = (_NO_ROOM, _SILENT, _NOBODY)
"""The reasons that may be gone a minute later."""

_REASONS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("authentication failed", "no password supplied"),
        "authentication failed for user `{user}` at {place}",
        "check user and password of the connection",
    ),
    (
        ('database "{database}" does not exist',),
        "there is no database `{database}` at {place}",
        "check the name, or create the database",
    ),
    (('role "{user}" does not exist',), "there is no user `{user}` at {place}", "check the user of the connection"),
    (
        ("pg_hba.conf",),
        "{place} does not let user `{user}` in: {text}",
        "ask for an entry in pg_hba.conf, or set sslmode",
    ),
    (
        _SILENT,
        "{place} did not answer within {seconds} seconds",
        "check host, port, firewall and VPN; connect_timeout says how long to wait",
    ),
    (
        ("resolve", "translate host name", "name or service not known"),
        "the host `{host}` is not known",
        "check the spelling of the host, and the network",
    ),
    (
        ("ssl", "certificate"),
        "no trusted connection to {place}: {text}",
        "other machines are asked for a valid certificate (sslmode=verify-full); set sslmode to say otherwise",
    ),
    (
        _NOBODY,
        "nothing listens at {place}: connection refused",
        "is the server started? check host and port",
    ),
    (_NO_ROOM, "{place} takes no more sessions just now: {text}", "try again; max_connections is how many it takes"),
)
"""Words in the driver's message, what it means, what to do; the first that fits counts."""


_ENDED = ("57P01", "57P02", "57P03", "57P05", "08006", "08003")
"""The server ended the session."""
LOST_HINT = "is the server up? nothing of this run was kept that was not committed: run it again"


def connect_error(
    exc: psycopg.Error, *, host: str, port: str, user: str, database: str, seconds: object = "?"
) -> ConnectError:
    """Why no connection came about, in one sentence; ``seconds`` is how long an answer was waited for."""
    text = " ".join(redact(exc).split())
    censor(exc, frames=False)
    low = f"{type(exc).__name__} {text}".lower()
    parts = {"place": f"{host}:{port}", "host": host, "user": user, "database": database, "text": text}
    parts["seconds"] = str(seconds)
    for words, what, hint in _REASONS:
        if any(word.format(**parts).lower() in low for word in words):
            kind = UnreachableError if words in _MAY_PASS else ConnectError
            return kind(what.format(**parts), hint)
    message = "cannot connect to {place} as `{user}`: {text}".format(**parts)
    return ConnectError(message, "check the connection's settings")


def translate(
    exc: psycopg.Error,
    *,
    query: str = "",
    offset: int = 0,
    cancelled: bool = False,
    waited_for: str = "",
    lost: str = "",
    grant: str = "",
) -> FlowError:
    """The error that a user can act on.

    Args:
        exc: What the driver raised.
        query: The user's text, for line and column.
        offset: How many characters of ours stand before it in the statement.
        cancelled: True when `interrupt` was called.
        waited_for: Who holds the lock that was waited for.
        lost: The server, when the connection to it is no longer usable.
        grant: What would let a forbidden statement through.
    """
    code, diag = exc.sqlstate or "", exc.diag
    message = redact(diag.message_primary or " ".join(str(exc).split()))
    hint = redact(diag.message_hint or "")
    censor(exc)
    if cancelled and code in ("57014", ""):
        return CancelledError(CANCELLED)
    if lost and (not code or code in _ENDED):
        return TransientError(f"the connection to {lost} was lost: {message}", LOST_HINT)
    if not code:
        return RunError(message)
    if code in _TRANSIENT_CODES or code[:2] in _TRANSIENT_CLASSES:
        what = f"waited too long for a lock{waited_for}: {message}" if code == "55P03" else message
        return TransientError(what, hint or "try again")
    if code in _FORBIDDEN:
        return RunError(f"PostgreSQL refuses: {message}", hint or grant or "check the rights of the connection's user")
    if code[:2] in _DATA_CLASSES:
        return _data_error(exc, code, message, hint)
    if code[:2] in _SQL_CLASSES:
        hint = hint or redact(diag.message_detail or "")
        return SqlError(message, hint, where=_place(diag.statement_position, query, offset))
    return RunError(f"PostgreSQL failed ({code}): {message}", hint)


def _data_error(exc: psycopg.Error, code: str, message: str, hint: str) -> DataError:
    diag = exc.diag
    found = _COPY_CONTEXT.search(diag.context or "")
    place = ""
    if found:
        column = diag.column_name or found["column"]
        place = (f"column `{column}` " if column else "") + f"row {found['row']}: "
    elif diag.column_name:
        place = f"column `{diag.column_name}`: "
    detail = (
        f" ({shorten(redact(diag.message_detail))})"
        if diag.message_detail and code in ("23505", "23503", "23P01")
        else ""
    )
    return DataError(f"{place}{shorten_tail(message)}{detail}", hint or _REMEDIES.get(code, ""))


def shorten_tail(text: str, limit: int = 300) -> str:
    """A message of bounded length: the server repeats whole values in it."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _place(position: str | None, query: str, offset: int) -> str:
    """Line and column in the user's query, both from 1; empty when unknown."""
    if not position or not query:
        return ""
    index = min(int(position) - 1 - offset, len(query))  # our closing bracket stands for the end of the query
    if index < 0:
        return ""
    before = query[:index]
    return f"line {before.count(chr(10)) + 1}, column {index - (before.rfind(chr(10)) + 1) + 1}"
