"""The driver's errors as this package's errors, translated once at the edge."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ematix_nb.connections.secret import censor, redact
from ematix_nb.errors import (
    CANCELLED,
    CancelledError,
    ConnectError,
    DataError,
    FlowError,
    MissingDriverError,
    RunError,
    SchemaDriftError,
    SqlError,
    TransientError,
    UnreachableError,
)

if TYPE_CHECKING:
    from .config import Settings

VALUE_LIMIT = 80
TEXT_LIMIT = 300

INTERRUPTED = (1317, 1028, 1053)
NO_ROOM = (1040, 1053, 1203, 1226)
TRANSIENT = (1040, 1042, 1043, 1047, 1129, 1152, 1158, 1159, 1160, 1161, 1180, 1203, 1205, 1213, 1226, 1206, 1637,
             1792, 1836, 1927, 2006, 2013, 2055, 3024, 3572, 4031)  # fmt: skip
LOST = (2006, 2013, 2055, 0, 4031)
NOT_ALLOWED = (1044, 1045, 1095, 1142, 1143, 1227, 1290, 1370, 1698)
DATA = {
    1062: "use mode merge with these keys, or remove the duplicates in the query",
    1048: "give the column a value in the query (COALESCE), or make it nullable",
    1364: "give the column a value in the query, or give it a default",
    1264: "widen the column, or filter the value in the query",
    1406: "widen the column, or shorten the value in the query",
    1265: "convert the value in the query, or widen the column",
    1292: "correct or CAST the value in the query",
    1366: "correct or CAST the value in the query, or make the column utf8mb4",
    1216: "load the referenced table first",
    1452: "load the referenced table first",
    1217: "delete the rows that refer to it first",
    1451: "delete the rows that refer to it first",
    1153: "raise max_allowed_packet of the server, or switch local_infile on",
    1365: "",
    1367: "",
    1411: "",
    1426: "",
    1441: "",
    1588: "",
    1644: "",
    1690: "CAST to a larger type in the query",
    3140: "correct the JSON in the query",
    3819: "correct the value in the query",
    4025: "correct the value in the query",
}  # fmt: skip
"""Errors that a value causes, and what to do."""
KEYS = {
    1170: "make the key column a VARCHAR(n) or VARBINARY(n); an index holds at most 3072 bytes",
    1071: "make the key columns shorter; an index holds at most 3072 bytes",
    1118: "declare long texts as Text instead of String(n): a row holds at most 65535 bytes of them",
}
SQL = (1007, 1050,
       1046, 1049, 1051, 1052, 1054, 1055, 1056, 1059, 1060, 1061, 1064, 1066, 1091, 1093, 1109, 1110, 1111, 1115, 1116,
       1140, 1146, 1149, 1166, 1222, 1241, 1242, 1247, 1248, 1267, 1271, 1305, 1327, 1347, 1348, 1356, 1582, 1630,
       3032, 4161)  # fmt: skip
NAMES = (1059, 3057)
"""A name is too long, or is none for a lock."""
_LINE = re.compile(r"near '(?P<near>.*)' at line (?P<line>\d+)$", re.DOTALL)
_UNKNOWN = re.compile(r"Unknown column '(?P<name>[^']+)' in ")
_COLUMN = re.compile(r"(?:for column|column) [`'](?P<column>(?:[^`']|'')*)['`](?: at row (?P<row>\d+))?$")
_QUALIFIED = re.compile(r"for column `[^`]*`\.`[^`]*`\.`(?P<column>[^`]*)` at row (?P<row>\d+)$")
_STEP = re.compile(r"(?:Identifier name|Incorrect user-level lock name) '(?P<told>.*?) {2,}", re.DOTALL)
"""How a cleaning step fails: as the name of a lock, filled up with blanks."""
_ROW = re.compile(r" at row (?P<row>\d+)$")


def missing_driver(exc: ImportError) -> MissingDriverError:
    """The error for a package that is not there."""
    message = "connections of kind mysql need the package `pymysql`, which cannot be imported"
    return MissingDriverError(message, f"pip install 'ematix-nb[mysql]' ({exc.name or 'pymysql'})")


def shorten(value: object, limit: int = VALUE_LIMIT) -> str:
    """A value for a message, at most 80 characters."""
    text = "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in str(value)[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def code_of(exc: BaseException) -> int:
    """The number of a driver's error; 0 when it has none."""
    first = exc.args[0] if exc.args else 0
    return first if isinstance(first, int) else 0


def text_of(exc: BaseException) -> str:
    """The text of a driver's error."""
    text = exc.args[1] if len(exc.args) > 1 else exc.args[0] if exc.args else type(exc).__name__
    return " ".join(redact(str(text)).split())


def connect_error(exc: Exception, settings: Settings) -> ConnectError:
    """Why no connection came about, in one sentence."""
    code, text = code_of(exc), text_of(exc)
    censor(exc, frames=False)
    low = text.lower()
    if code in (1045, 1698):
        message = f"authentication failed for user `{settings.user}` at {settings.place}"
        return ConnectError(message, "check user and password of the connection")
    if code in (1049, 1044):
        message = f"there is no database `{settings.database}` for `{settings.user}` at {settings.place}"
        return ConnectError(message, "check the name and the rights, or create the database")
    if reason := _silence(code, text, settings):
        return UnreachableError(*reason)
    if "name or service not known" in low or "getaddrinfo" in low or "name resolution" in low:
        return ConnectError(f"the host `{settings.host}` is not known", "check the spelling, and the network")
    if "cryptography" in low:
        message = f"the login of `{settings.user}` at {settings.place} needs TLS, or the package `cryptography`"
        return ConnectError(message, "set ssl_mode=required in the URL, or pip install cryptography")
    if "ssl" in low or "certificate" in low:
        message = f"no trusted connection to {settings.place}: {shorten(text, TEXT_LIMIT)}"
        hint = "other machines are asked for a valid certificate; ssl_ca=, ssl_mode= in the URL say otherwise"
        return ConnectError(message, hint)
    message = f"cannot connect to {settings.place} as `{settings.user}`: {shorten(text, TEXT_LIMIT)}"
    return ConnectError(message, "check the connection's settings")


def _silence(code: int, text: str, settings: Settings) -> tuple[str, str] | None:
    """Message and hint where nobody answers, or has no room for us; None for every other reason."""
    if "timed out" in text.lower():
        hint = "check host, port, firewall and VPN; connect_timeout says how long to wait"
        return f"{settings.place} did not answer within {settings.connect_timeout} seconds", hint
    if "refused" in text.lower():
        return f"nothing listens at {settings.place}: connection refused", "is the server started? check host and port"
    if code in NO_ROOM:
        message = f"{settings.place} takes no more sessions just now: {shorten(text, TEXT_LIMIT)}"
        return message, "try again; max_connections is how many it takes"
    return None


def lost_error(place: str, text: str = "") -> TransientError:
    """The connection is gone."""
    message = f"the connection to {place} was lost{text and ': '}{shorten(text, TEXT_LIMIT)}"
    return TransientError(
        message, "is the server up? nothing of this run was kept that was not committed: run it again"
    )


def translate(
    exc: Exception, *, query: str = "", offset_lines: int = 0, cancelled: bool = False, place: str = "the server"
) -> FlowError:
    """The error that a user can act on.

    Args:
        exc: What the driver raised.
        query: The user's text, for line and column.
        offset_lines: How many lines of ours stand before it in the statement.
        cancelled: True when `interrupt` was called.
        place: Where the server is.
    """
    code, text = code_of(exc), text_of(exc)
    censor(exc)
    if cancelled and (code in INTERRUPTED or code in LOST):
        return CancelledError(CANCELLED)
    if code in LOST:
        return lost_error(place, text)
    if code in TRANSIENT or code in INTERRUPTED:
        return TransientError(_locked(code, text), "try again")
    if code in NOT_ALLOWED:
        return RunError(f"the server refuses: {shorten(text, TEXT_LIMIT)}", "check the rights of the user")
    if code in KEYS:
        return SchemaDriftError(shorten(text, TEXT_LIMIT), KEYS[code])
    step = _STEP.match(str(exc.args[-1])) if code in NAMES else None
    if code in DATA or step:
        return _failed_step(step["told"]) if step else data_error(code, text)
    if code in SQL:
        return SqlError(_told(text), where=_place(text, query, offset_lines))
    return RunError(f"the server failed ({code}): {shorten(text, TEXT_LIMIT)}")


def _locked(code: int, text: str) -> str:
    if code == 1205:  # noqa: PLR2004 - the server's number for it
        return f"waited too long for a lock: {shorten(text, TEXT_LIMIT)}"
    return shorten(text, TEXT_LIMIT)


def _failed_step(told: str) -> DataError:
    return DataError(shorten(redact(told), TEXT_LIMIT), "correct the value in the SELECT, or filter it")


def data_error(code: int, text: str) -> DataError:
    """An error that a value causes, with column and row in front where the server tells them."""
    text = " ".join(text.split())
    found = _QUALIFIED.search(text) or _COLUMN.search(text)
    row = _ROW.search(text)
    place = f"column `{found['column']}`" if found else ""
    if row:
        place += f"{', ' if place else ''}row {row['row']}"
    return DataError(f"{place}{': ' if place else ''}{shorten(text, TEXT_LIMIT)}", DATA.get(code, ""))


def _told(text: str) -> str:
    """A syntax error without the advice to look into the manual."""
    found = _LINE.search(text)
    if "error in your SQL syntax" not in text or not found:
        return shorten(text, TEXT_LIMIT)
    return f"syntax error near `{shorten(found['near'])}`" if found["near"] else "syntax error at the end of the query"


def _place(text: str, query: str, offset_lines: int) -> str:
    """Line and column in the user's query, both from 1; empty when unknown."""
    found, unknown = _LINE.search(text), _UNKNOWN.match(text)
    if unknown and query:
        return _first_place(unknown["name"].rpartition(".")[2], query)
    if not found or not query:
        return ""
    line = int(found["line"]) - offset_lines
    lines = query.splitlines()
    if not 1 <= line <= len(lines):
        return ""
    start = found["near"].splitlines()[0][:40] if found["near"] else ""
    column = lines[line - 1].find(start) + 1 if start else 0
    return f"line {line}, column {column}" if column else f"line {line}"


def _first_place(name: str, query: str) -> str:
    """Where a name stands first in a query; empty when it is not found as a word."""
    word = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", query)
    if not word:
        return ""
    before = query[: word.start()]
    return f"line {before.count(chr(10)) + 1}, column {word.start() - before.rfind(chr(10))}"


def driver_errors() -> tuple[type[Exception], ...]:
    """What the driver raises, besides its own errors, when a connection breaks."""
    import pymysql

    return (pymysql.err.Error, OSError, EOFError)


def is_lost(connection: Any) -> bool:
    """Whether a connection of the driver cannot be used any more."""
    return not connection.open
