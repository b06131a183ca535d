"""``%%flow`` cells as decorated classes and functions."""

from __future__ import annotations

import keyword
import unicodedata
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import connection_from_settings
from ematix_nb.connections.base import is_secret_setting
from ematix_nb.connections.interpolate import is_reference
from ematix_nb.connections.secret import redact_url
from ematix_nb.declare import cells
from ematix_nb.declare.address import snake_case, suggested_name
from ematix_nb.declare.functions import dedent_sql
from ematix_nb.errors import FlowError, UsageError
from ematix_nb.export.literals import INDENT, WIDTH, Group, docstring, layout, sql_literal, text_literal, value_node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column, Normalizer, TableSpec
    from ematix_nb.export.literals import Node

EMATIX = ("ematix_nb", "ematix")
_CLASSES = {
    "tinyint": "TinyInt", "smallint": "SmallInt", "integer": "Integer", "bigint": "BigInt", "utinyint": "UTinyInt",
    "usmallint": "USmallInt", "uinteger": "UInteger", "ubigint": "UBigInt", "float": "Float", "double": "Double",
    "boolean": "Boolean", "text": "Text", "date": "Date", "time": "Time", "timestamp": "Timestamp",
    "timestamptz": "TimestampTZ", "interval": "Interval", "json": "JSON", "jsonb": "JSONB", "uuid": "UUID",
    "bytes": "Bytes", "string": "String", "numeric": "Numeric", "array": "Array",
}  # fmt: skip
_PARSERS = ("parse_timestamp", "parse_date")


def is_plain_secret(setting: str, value: str) -> bool:
    """Whether a value is, or holds, a secret that stands there in plain.

    Example:
        >>> is_plain_secret("password", "x"), is_plain_secret("password", "${PW}"), is_plain_secret("path", "x")
        (True, False, False)
    """
    if not value or is_reference(value):
        return False
    return is_secret_setting(setting) or redact_url(value) != value


def refuse_secrets(name: str, settings: Mapping[str, Any], where: str) -> None:
    """Stop when a connection's settings hold a secret in plain.

    Raises:
        UsageError: Names the setting and a variable for it, never the value.
    """
    for setting, value in settings.items():
        if isinstance(value, str) and is_plain_secret(setting, value):
            variable = "".join(one if one.isalnum() else "_" for one in f"{name}_{setting}").upper()
            what = f"`{setting}` of connection `{name}` holds a secret in plain text, which no export writes"
            raise UsageError(what, hint=f'write {setting} = "${{{variable}}}" in the cell', where=where)


def connection_code(cell: cells.Cell, identifier: str, where: str) -> str:
    """A class of settings under ``@ematix.connection``.

    Raises:
        FlowError: A setting is wrong, or holds a secret in plain.
    """
    refuse_secrets(cell.name, cell.settings, where)
    url = cell.settings.get("url", cell.settings.get("dsn", ""))
    if "kind" in cell.settings or "${" not in str(url).partition("://")[0]:
        try:
            connection_from_settings(cell.name, cell.settings)
        except FlowError as error:
            raise type(error)(error.what, error.hint, where) from None
    named = () if identifier == cell.name else (value_node(cell.name, "name="),)
    lines = [layout(value_node(value, f"{name} = "), INDENT) for name, value in cell.settings.items()]
    head = decorator("connection", named)
    return f"{head}\nclass {identifier}:\n" + "\n".join(INDENT + line for line in lines)


def decorator(name: str, arguments: tuple[Node, ...], *, explode: bool = False) -> str:
    """``@ematix.name(...)``; without brackets when there are no arguments."""
    if not arguments:
        return f"@ematix.{name}"
    return layout(Group(f"@ematix.{name}(", arguments, ")"), explode=explode)


def class_name(table: str) -> str:
    """A class name for a table.

    Example:
        >>> class_name("customer_dim"), class_name("2024 sales")
        ('CustomerDim', 'P2024Sales')
    """
    return "".join(part[:1].upper() + part[1:] for part in suggested_name(table).split("_")) or "Table"


def has_class_form(spec: TableSpec) -> bool:
    """Whether every column can stand in a class: an ordinary name, a type that has a class."""
    return all(
        column.name.isidentifier()
        and not keyword.iskeyword(column.name)
        and not column.name.startswith("__")
        and unicodedata.normalize("NFKC", column.name) == column.name
        and _type_text(column.type) is not None
        for column in spec.columns
    )


def _type_text(kind: DataType) -> str | None:
    """The class of a type, as an annotation writes it; None when there is none."""
    name = _CLASSES.get(kind.kind)
    if kind.kind == "string":
        return f"String[{kind.length}]"
    if kind.kind == "numeric":
        return "Numeric" if kind.precision is None else f"Numeric[{kind.precision}, {kind.scale or 0}]"
    if kind.kind == "array" and kind.item is not None:
        item = _type_text(kind.item)
        return None if item is None else f"Array[{item}]"
    return None if kind.precision is not None else name


def _type_names(kind: DataType) -> set[str]:
    return {_CLASSES[kind.kind]} | (_type_names(kind.item) if kind.item is not None else set())


def table_code(spec: TableSpec, identifier: str, doc: str = "") -> tuple[str, set[tuple[str, str]]]:
    """A class of annotations under ``@ematix.table``, and the names it imports."""
    imports = {EMATIX}
    arguments = [value_node(spec.ref.schema, "schema=")] if spec.ref.schema is not None else []
    if snake_case(identifier) != spec.ref.name:
        arguments.append(value_node(spec.ref.name, "name="))
    lines = [docstring(doc, INDENT), ""] if doc else []
    for column in spec.columns:
        node, used = _annotation(column)
        imports |= used
        lines.append(layout(node, INDENT))
    head = decorator("table", tuple(arguments))
    body = "\n".join(INDENT + line if line else "" for line in lines)
    return f"{head}\nclass {identifier}:\n{body}", imports


def _annotation(column: Column) -> tuple[Node, set[tuple[str, str]]]:
    kind = f"{_type_text(column.type)}{' | None' if column.nullable else ''}"
    imports = {("ematix_nb.types", name) for name in _type_names(column.type)}
    marks: list[Node] = []
    if column.primary_key:
        marks.append("pk()")
        imports.add(("ematix_nb", "pk"))
    if column.natural_key is not None:
        marks.append(Group("natural_key(", (text_literal(column.natural_key),) if column.natural_key else (), ")"))
        imports.add(("ematix_nb", "natural_key"))
    for step in column.normalizers:
        marks.append(_step(step))
        imports.add(("ematix_nb", "normalize"))
    if not marks:
        return f"{column.name}: {kind}", imports
    imports.add(("typing", "Annotated"))
    return Group(f"{column.name}: Annotated[", (kind, *marks), "]"), imports


def _step(step: Normalizer) -> Node:
    """A normalizer as its call."""
    if step.name in _PARSERS:
        formats, on_failure, fallback = step.arguments
        items = [value_node(formats, "formats="), value_node(on_failure, "on_failure=")]
        items += [value_node(fallback, "default=")] if fallback is not None else []
        return Group(f"normalize.{step.name}(", tuple(items), ")")
    return Group(f"normalize.{step.name}(", tuple(value_node(value) for value in step.arguments), ")")


def table_text(cell: cells.Cell) -> tuple[str, set[tuple[str, str]]]:
    """A table whose columns no class can name, declared by the text of its cell."""
    body = sql_literal(dedent_sql(cell.body), "")
    head = f"parse_table_cell({text_literal(cell.name)}, {body}"
    return f"{head})", {("ematix_nb.declare.tables", "parse_table_cell")}


def pipeline_code(cell: cells.Cell, identifier: str, table: str | None, doc: str = "") -> str:
    """A function that returns the SELECT, under ``@ematix.pipeline``."""
    keywords = cells.pipeline_keywords(cell, table)
    if identifier != cell.name:
        keywords = {"name": cell.name, **keywords}
    arguments = [value_node(value, f"{name}=") for name, value in keywords.items()]
    if cell.parameters:  # the names of the notebook's variables, which come along
        arguments.append(Group("params={", tuple(f'"{name}": {name}' for name in sorted(cell.parameters)), "}"))
    head = decorator("pipeline", tuple(arguments), explode=True)
    lines = [INDENT + docstring(doc, INDENT)] if doc else []
    if "source_table" in cell.options:
        lines.append(f"{INDENT}pass")
    else:
        lines.append(f"{INDENT}return {_query_literal(dedent_sql(cell.body))}")
    return f"{head}\ndef {identifier}(conn):\n" + "\n".join(lines)


def checks_code(cell: cells.Cell) -> str:
    """The call that adds the checks of a cell to its pipeline."""
    texts = tuple(text_literal(str(check)) for check in cell.checks)
    return layout(Group("ematix.check(", (text_literal(cell.name), *texts), ")"), explode=True)


def _query_literal(sql: str) -> str:
    one = text_literal(sql)
    simple = "\n" not in sql and "\\" not in one and len(f"{INDENT}return {one}") <= WIDTH
    return one if simple else sql_literal(sql, INDENT)
