"""DuckDB's errors, translated once."""

from __future__ import annotations

import re

from ematix_nb.connections.secret import censor, redact
from ematix_nb.errors import (
    CANCELLED,
    CancelledError,
    ConflictError,
    ConnectError,
    DataError,
    FlowError,
    RunError,
    SchemaDriftError,
    SqlError,
    TransientError,
)

_CLASSES: tuple[tuple[str, type[FlowError], str], ...] = (
    ("InterruptException", CancelledError, ""),
    ("DependencyException", SchemaDriftError, "drop the indexes of the table, change it, and make them again"),
    ("PermissionException", SqlError, "the query may only read tables of this database"),
    ("ParserException", SqlError, ""),
    ("SyntaxException", SqlError, ""),
    ("BinderException", SqlError, ""),
    ("CatalogException", SqlError, ""),
    ("SerializationException", TransientError, "run it again"),
    ("OutOfMemoryException", RunError, "close other programs, or give the machine more memory"),
    ("ConversionException", DataError, ""),
    ("ConstraintException", DataError, ""),
    ("OutOfRangeException", DataError, ""),
    ("TypeMismatchException", DataError, ""),
    ("InvalidInputException", DataError, ""),
    ("ConnectionException", ConnectError, ""),
)
_KIND = re.compile(r"^[A-Z][A-Za-z-]*(?: [A-Z][a-z]+)* Error: ")
_SUGGESTION = re.compile(r'\n+(?:Did you mean "(?P<near>[^"]+)"\??|Candidate bindings: (?P<known>"[^\n]+))\s*\Z')
_NAME = re.compile(r'(?:column|Function with name) "?(?P<name>[^" ]+)"?')
_LINE = re.compile(r"\n+LINE (?P<line>\d+): (?P<text>.*)\n(?P<mark> *)\^.*\Z", re.DOTALL)


def translate(error: Exception, where: str, lines_before: int = 0, query: str = "") -> FlowError:
    """The error of this package that a driver's error stands for.

    Args:
        error: Of duckdb, or what Arrow made of it in a stream.
        where: The connection, for the message.
        lines_before: Lines that were put in front of the user's query.
        query: The user's query, where the name that an error is about may stand.
    """
    text = str(error)
    message, position = _position(text, lines_before)
    position = position or _named(message, query)
    message, suggestion = _suggested(redact(_KIND.sub("", message).strip()))
    censor(error)
    if "INTERRUPT Error" in text:
        return CancelledError(CANCELLED, where=where)
    if type(error).__name__ == "TransactionException":
        conflict = "onflict" in text
        return (ConflictError if conflict else RunError)(message, "run it again" if conflict else "", where)
    names = {cls.__name__ for cls in type(error).__mro__}
    for name, made, hint in _CLASSES:
        if name in names:
            return made(message, hint or suggestion, f"{where}, {position}" if position else where)
    return (DataError if isinstance(error, OSError | ValueError) else RunError)(message, where=where)


def _suggested(message: str) -> tuple[str, str]:
    """The message without DuckDB's suggestion, and the suggestion as a hint."""
    found = _SUGGESTION.search(message)
    if found is None:
        return message, ""
    known = found["known"]
    hint = f"columns: {known.replace(chr(34), '')}" if known else f"did you mean `{found['near']}`?"
    return message[: found.start()].strip(), hint


def _position(text: str, lines_before: int) -> tuple[str, str]:
    """The message without DuckDB's drawing of the line, and ``line n, column m`` (empty when unknown)."""
    match = _LINE.search(text)
    if match is None:
        return text, ""
    line = int(match["line"]) - lines_before
    column = len(match["mark"]) - len(f"LINE {match['line']}: ") + 1
    cut = match["text"].startswith("...")
    place = f"line {line}" if cut or column < 1 else f"line {line}, column {column}"
    return text[: match.start()], place if line > 0 else ""


def _named(message: str, query: str) -> str:
    """Where the name that a message is about stands in the query; empty unless it stands there once."""
    match = _NAME.search(message)
    if match is None or query.count(match["name"]) != 1:
        return ""
    before = query[: query.index(match["name"])]
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
