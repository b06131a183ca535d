"""Names and addresses as text: ``warehouse:analytics.orders``, ``"My Schema"."odd.name"``, pipeline names."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from ematix_nb.declare.spec import TableRef
from ematix_nb.errors import DeclarationError

_CONNECTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PIPELINE = re.compile(r"[^\W\d][\w-]*")
_MAX_PARTS = 2


@dataclass(frozen=True, slots=True)
class Address:
    """One thing in one connection."""

    connection: str
    thing: str
    """A table, a path or pattern, a topic: what the connection's system calls it."""

    def __str__(self) -> str:
        return f"{self.connection}:{self.thing}"


def is_address(text: str) -> bool:
    """Whether a text has the form ``connection:thing``; a URL and a quoted name have not.

    Example:
        >>> is_address("lake:orders/*.parquet"), is_address("analytics.orders"), is_address("s3://bucket/x")
        (True, False, False)
    """
    head, colon, thing = text.partition(":")
    return bool(colon) and _CONNECTION.fullmatch(head) is not None and not thing.startswith("//")


def parse_address(text: str) -> Address:
    """Split ``connection:thing`` at its first colon.

    Raises:
        DeclarationError: When there is no connection, or nothing after the colon.

    Example:
        >>> parse_address("warehouse:analytics.orders")
        Address(connection='warehouse', thing='analytics.orders')
    """
    text = text.strip()
    if not is_address(text):
        hint = "an address is connection:thing, as in warehouse:analytics.orders or lake:orders/*.parquet"
        raise DeclarationError(f"`{text}` names no connection", hint=hint)
    connection, _, thing = text.partition(":")
    if not thing.strip():
        raise DeclarationError(
            f"`{text}` names nothing after the colon", hint=f"{connection}:schema.table, for instance"
        )
    return Address(connection, thing.strip())


def check_connection_name(name: str) -> str:
    """The name itself, when it can be a connection's.

    Raises:
        DeclarationError: Otherwise.
    """
    if not _CONNECTION.fullmatch(name):
        what = f"`{name}` is not a name for a connection"
        raise DeclarationError(what, hint="use letters, digits and `_`, `-` or `.`; begin with a letter or `_`")
    return name


_PART = re.compile(r'"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^".\s]+(?:[^".]*[^".\s])?)')


def parse_table_name(text: str) -> TableRef:
    """Read ``table`` or ``schema.table``; either part may stand in double quotes, doubled inside.

    Case is kept as written.

    Raises:
        DeclarationError: When it is not one or two names.

    Example:
        >>> parse_table_name('"My Schema"."weird.name"')
        TableRef(schema='My Schema', name='weird.name')
    """
    parts, position, stripped = [], 0, text.strip()
    while True:
        match = _PART.match(stripped, position)
        if match is None:
            hint = 'write schema.table; a part with a point or a quote in it stands in double quotes: "odd.name"'
            raise DeclarationError(f"`{text}` is not the name of a table", hint=hint)
        quoted = match["quoted"]
        parts.append(match["plain"] if quoted is None else quoted.replace('""', '"'))
        position = match.end()
        if position == len(stripped):
            break
        if stripped[position] != ".":
            raise DeclarationError(f"`{text}` is not the name of a table: `{stripped[position:]}` was not expected")
        position += 1
    if len(parts) > _MAX_PARTS:
        hint = "the database belongs to the connection; a part with a point in it stands in double quotes"
        raise DeclarationError(f"`{text}` has {len(parts)} parts; a table is schema.table", hint=hint)
    if not all(parts):
        raise DeclarationError(f"`{text}` holds an empty name")
    return TableRef(parts[0] if len(parts) == _MAX_PARTS else None, parts[-1])


def check_pipeline_name(name: object, kind: str = "pipeline") -> str:
    """The name itself, when it can be a pipeline's: letters, digits, ``_`` and ``-``, no keyword of Python.

    Raises:
        DeclarationError: Otherwise, with a name that would do.

    Example:
        >>> check_pipeline_name("orders")
        'orders'
    """
    if isinstance(name, str) and _PIPELINE.fullmatch(name) and not keyword.iskeyword(name):
        return name
    raise DeclarationError(f"`{name}` is not a name for a {kind}", hint=f"`{suggested_name(str(name))}` is one")


def suggested_name(text: str) -> str:
    """A valid name near a text.

    Example:
        >>> suggested_name("my pipe"), suggested_name("1abc"), suggested_name("class")
        ('my_pipe', 'p_1abc', 'class_')
    """
    name = re.sub(r"\W+", "_", text.strip()).strip("_") or "pipeline"
    if name[0].isdigit():
        name = f"p_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def snake_case(name: str) -> str:
    """A class name as a table name.

    Example:
        >>> snake_case("CustomerDim"), snake_case("HTTPRequests2024"), snake_case("ABTest")
        ('customer_dim', 'http_requests2024', 'ab_test')
    """
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", spaced).lower()
