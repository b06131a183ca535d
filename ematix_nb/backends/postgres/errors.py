"""The driver's errors as this package's errors, translated once at the edge."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ematix_nb.connections.secret import redact
from ematix_nb.errors import (
    CancelledError,
    ConnectError,
    DataError,
    FlowError,
    MissingDriverError,
    RunError,
    SqlError,
    TransientError,
)

if TYPE_CHECKING:
    import psycopg

VALUE_LIMIT = 80
_COPY_CONTEXT = re.compile(
    r"COPY (?P<table>.*), line (?P<row>\d+)(?:, column (?P<column>[^\n]*?))?(?:: (?P<rest>.*))?$", re.S
)
_REMEDIES = {
    "22003": "widen the column, or filter the value in the query",
    "23505": "use mode merge with these keys, or remove the duplicates in the query",
    "23502": "give the column a value in the query (COALESCE), or make it nullable",
    "23503": "load the referenced table first",
}
_TRANSIENT_CLASSES = ("08", "53", "57", "58")
_TRANSIENT_CODES = ("40001", "40P01", "55P03", "55006", "25P03", "25P04")
_FORBIDDEN = ("42501", "25006")


def missing_driver(exc: ImportError) -> MissingDriverError:
    """The error for a package that is not there."""
    message = f"connections of kind postgres need the package `{exc.name or 'psycopg'}`, which cannot be imported"
    return MissingDriverError(message, "pip install 'psycopg[binary]' pgpq")


def shorten(value: object) -> str:
    """A value for a message, at most 80 characters."""
    text = str(value)
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 1] + "…"


def connect_error(exc: psycopg.Error, *, host: str, port: str, user: str, database: str) -> ConnectError:
    """Why no connection came about, in one sentence."""
    text, place = " ".join(redact(exc).split()), f"{host}:{port}"
    low = text.lower()
    if "authentication failed" in low or "no password supplied" in low:
        return ConnectError(
            f"authentication failed for user `{user}` at {place}", "check user and password of the connection"
        )
    if 'database "' in low and "does not exist" in low:
        return ConnectError(f"there is no database `{database}` at {place}", "check the name, or create the database")
    if "no pg_hba.conf entry" in low or "no encryption" in low:
        return ConnectError(
            f"{place} does not let user `{user}` in: {text}", "ask for an entry in pg_hba.conf, or set sslmode"
        )
    if 'role "' in low and "does not exist" in low:
        return ConnectError(f"there is no user `{user}` at {place}", "check the user of the connection")
    if "timeout" in type(exc).__name__.lower() or "timeout" in low or "timed out" in low:
        return ConnectError(f"{place} did not answer in time", "check host, port, firewall and VPN")
    if "resolve" in low or "translate host name" in low or "name or service not known" in low:
        return ConnectError(f"the host `{host}` is not known", "check the spelling of the host, and the network")
    if "refused" in low:
        return ConnectError(
            f"nothing listens at {place}: connection refused", "is the server started? check host and port"
        )
    return ConnectError(f"cannot connect to {place} as `{user}`: {text}", "check the connection's settings")


def translate(
    exc: psycopg.Error,
    *,
    query: str = "",
    offset: int = 0,
    cancelled: bool = False,
    waited_for: str = "",
    lost: bool = False,
) -> FlowError:
    """The error that a user can act on.

    Args:
        exc: What the driver raised.
        query: The user's text, for line and column.
        offset: How many characters of ours stand before it in the statement.
        cancelled: True when `interrupt` was called.
        waited_for: Who holds the lock that was waited for.
        lost: True when the connection is no longer usable.
    """
    code, diag = exc.sqlstate or "", exc.diag
    message = redact(diag.message_primary or " ".join(str(exc).split()))
    hint = redact(diag.message_hint or "")
    if code == "57014":
        if cancelled:
            return CancelledError("the statement was stopped, as asked", "nothing of this transaction was kept")
        return TransientError(f"the server stopped the statement: {message}", "raise statement_timeout, or try again")
    if code == "55P03":
        return TransientError(f"waited too long for a lock{waited_for}: {message}", "try again when it is free")
    if code in _TRANSIENT_CODES or code[:2] in _TRANSIENT_CLASSES:
        return TransientError(message, hint or "try again")
    if code in _FORBIDDEN:
        return RunError(f"PostgreSQL refuses: {message}", hint or "check the rights of the connection's user")
    if code[:2] in ("22", "23") or code == "P0001":
        return _data_error(exc, code, message, hint)
    if code[:2] in ("42", "0A", "2B", "3F"):
        return SqlError(message, hint, where=_place(diag.statement_position, query, offset))
    if not code:
        if cancelled:
            return CancelledError("the statement was stopped, as asked", "nothing of this transaction was kept")
        return TransientError(f"the connection was lost: {message}", "try again") if lost else RunError(message)
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
    detail = f" ({shorten(redact(diag.message_detail))})" if diag.message_detail and code.startswith("23") else ""
    return DataError(f"{place}{shorten_tail(message)}{detail}", hint or _REMEDIES.get(code, ""))


def shorten_tail(text: str, limit: int = 300) -> str:
    """A message of bounded length: the server repeats whole values in it."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _place(position: str | None, query: str, offset: int) -> str:
    """Line and column in the user's query, both from 1; empty when unknown."""
    if not position or not query:
        return ""
    index = int(position) - 1 - offset
    if not 0 <= index <= len(query):
        return ""
    before = query[:index]
    return f"line {before.count(chr(10)) + 1}, column {index - (before.rfind(chr(10)) + 1) + 1}"
