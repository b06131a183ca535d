"""Python text of plain values and calls, laid out as a formatter would leave it (88 columns)."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from typing import NamedTuple

WIDTH = 88
INDENT = "    "


class Group(NamedTuple):
    """Something in brackets: a call, a tuple, a subscript."""

    opening: str
    """Everything up to and with the bracket: ``keys=(``."""
    items: tuple[Node, ...]
    closing: str

    @property
    def is_single_tuple(self) -> bool:
        """A tuple of one item needs its comma."""
        return self.opening.endswith("(") and not re.search(r"\w\($", self.opening) and len(self.items) == 1


Node = str | Group


def flat(node: Node) -> str:
    """A node on one line.

    Example:
        >>> flat(Group("keys=(", ('"id"',), ")"))
        'keys=("id",)'
    """
    if isinstance(node, str):
        return node
    comma = "," if node.is_single_tuple else ""
    return f"{node.opening}{', '.join(flat(item) for item in node.items)}{comma}{node.closing}"


def width(text: str) -> int:
    """Columns that a text takes on a screen."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def layout(node: Node, indent: str = "", tail: str = "", *, explode: bool = False) -> str:
    """A node on one line when it fits, else one item a line, each with its comma.

    Args:
        node: What to write.
        indent: What stands before it on its line.
        tail: What follows on the same line.
        explode: One item a line in any case.
    """
    line = flat(node)
    if isinstance(node, str) or not node.items or (not explode and width(f"{indent}{line}{tail}") <= WIDTH):
        return line
    inner = indent + INDENT
    items = "".join(f"{inner}{layout(item, inner, ',')},\n" for item in node.items)
    return f"{node.opening}\n{items}{indent}{node.closing}"


_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _escaped(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter.isprintable():
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004


def text_literal(text: str) -> str:
    r"""A text as a literal of one line, in double quotes unless the other kind needs fewer escapes.

    Example:
        >>> print(text_literal("a 'b'\n"), text_literal('say "x"'))
        "a 'b'\n" 'say "x"'
    """
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + "".join("\\" + quote if letter == quote else _escaped(letter) for letter in text) + quote


def value_node(value: object, prefix: str = "") -> Node:
    """A plain value: text, number, truth value, None, and tuples, lists and dictionaries of these.

    Raises:
        TypeError: It is something else.

    Example:
        >>> flat(value_node({"a": ("x",)}, "m="))
        'm={"a": ("x",)}'
    """
    if value is None or isinstance(value, (bool, int, float)):
        return f"{prefix}{value!r}"
    if isinstance(value, str):
        return prefix + text_literal(value)
    if isinstance(value, (tuple, list)):
        opening, closing = "()" if isinstance(value, tuple) else "[]"
        return Group(prefix + opening, tuple(value_node(item) for item in value), closing)
    if isinstance(value, dict):
        items = tuple(value_node(item, f"{text_literal(str(key))}: ") for key, item in value.items())
        return Group(prefix + "{", items, "}")
    message = f"{type(value).__name__} has no literal"
    raise TypeError(message)


def _in_triple_quotes(text: str) -> str:
    kept = "".join(letter if letter in "\n\t" else _escaped(letter) for letter in text)
    return kept.replace('"""', '\\"\\"\\"')


def sql_literal(sql: str, indent: str) -> str:
    r"""A query in triple quotes, one step further in than ``indent``; its margin means nothing.

    Example:
        >>> sql_literal("SELECT 1\nFROM t", "    ").splitlines()[1:-1]
        ['        SELECT 1', '        FROM t']
    """
    margin = indent + INDENT
    lines = [margin + line if line.strip() else "" for line in _in_triple_quotes(sql).split("\n")]
    return '"""\n' + "\n".join(lines) + f'\n{indent}"""'


def docstring(text: str, indent: str) -> str:
    """A docstring of one or several lines, without the indent of its first line; empty for an empty text."""
    lines = [line.rstrip() for line in textwrap.dedent(text.expandtabs(4)).strip().splitlines()]
    if not lines:
        return ""
    written = [_in_triple_quotes(line.replace("\t", " ")) for line in lines]
    head = " " if written[0].startswith(('"', '\\"')) else ""
    if len(written) == 1 and not written[0].endswith(('"', "\\")):
        return f'"""{head}{written[0]}"""'
    if len(written) == 1:
        return f'"""{head}{written[0]}."""'
    rest = [f"{indent}{line}" if line else "" for line in written[1:]]
    return "\n".join([f'"""{head}{written[0]}', *rest, f'{indent}"""'])
