"""sqlite3's errors, translated once."""

from __future__ import annotations

import re
import sqlite3

from ematix_nb.connections.secret import censor, redact
from ematix_nb.errors import (
    CANCELLED,
    CancelledError,
    ConnectError,
    DataError,
    FlowError,
    RunError,
    SqlError,
    TransientError,
)

_CLASSES: dict[int, tuple[type[FlowError], str]] = {
    sqlite3.SQLITE_ERROR: (SqlError, ""),
    sqlite3.SQLITE_INTERRUPT: (CancelledError, ""),
    sqlite3.SQLITE_BUSY: (TransientError, "another process writes: run it again, or raise `busy_timeout_ms`"),
    sqlite3.SQLITE_LOCKED: (TransientError, "another session writes: run it again"),
    sqlite3.SQLITE_SCHEMA: (TransientError, "run it again"),
    sqlite3.SQLITE_CONSTRAINT: (DataError, ""),
    sqlite3.SQLITE_MISMATCH: (DataError, ""),
    sqlite3.SQLITE_TOOBIG: (DataError, ""),
    sqlite3.SQLITE_CANTOPEN: (ConnectError, "correct `path`"),
    sqlite3.SQLITE_NOTADB: (ConnectError, "correct `path`: the file is no SQLite database"),
    sqlite3.SQLITE_READONLY: (RunError, "the database is open for reading only"),
}
_NEAR = re.compile(r'near "(?P<token>.+)": syntax error|no such (?:column|function|table): (?P<name>\S+)', re.DOTALL)


def translate(error: Exception, where: str, query: str = "") -> FlowError:
    """The error of this package that a driver's error stands for; ``query`` is the user's, for the position."""
    text = redact(error)
    censor(error)
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        if "decode to UTF-8" in text:
            return DataError(text, "CAST the column to BLOB in the query", where)
        if "binding" in text:
            return SqlError("the query has a parameter, which nothing fills in", where=where)
        made: type[FlowError] = SqlError if isinstance(error, sqlite3.ProgrammingError | sqlite3.Warning) else RunError
        return DataError(text, where=where) if isinstance(error, OverflowError) else made(text, where=where)
    made, hint = _CLASSES.get(code & 0xFF, (RunError, ""))
    if made is CancelledError:
        return CancelledError(CANCELLED, where=where)
    position = _position(text, query) if made is SqlError else ""
    return made(text, hint, f"{where}, {position}" if position else where)


def _position(text: str, query: str) -> str:
    """Where the word that a message is about stands in the query; empty unless it stands there once."""
    match = _NEAR.search(text)
    word = (match["token"] or match["name"]) if match else ""
    found = list(re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", query)) if word else []
    if len(found) != 1:
        return ""
    before = query[: found[0].start()]
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
