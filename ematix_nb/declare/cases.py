"""The text of a test of a pipeline, read: the rows that its source and target have, and those that are expected.

::

    given raw.orders
    id, status, updated_at timestamptz
    1,  new,    2026-01-01 12:00Z

    target
    id, status
    1,  old

    expect
    id, status
    1,  new

Values stand between commas; nothing (or NULL) is NULL, ``''`` the empty text, quotes hold commas together. A type may
stand behind the name of a column; else the values tell it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ematix_nb.declare.data_types import BOOLEAN, TEXT, TIMESTAMP, TIMESTAMPTZ, DataType
from ematix_nb.declare.spec import TableRef
from ematix_nb.declare.types import parse_type
from ematix_nb.errors import DeclarationError

_SECTIONS = ("given", "target", "expect")
_SPLIT = re.compile(r"""((?:'(?:[^']|'')*+'|"(?:[^"]|"")*+"|\([^()]*+\)|[^,'"(])*+)(?:,|\Z)""")
_COLUMN = re.compile(r'(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\W\d][\w$]*))(?:\s+(?P<type>.+))?\Z')
_KINDS = (
    (re.compile(r"-?\d{1,18}\Z"), DataType("bigint")),
    (re.compile(r"true\Z|false\Z", re.IGNORECASE), BOOLEAN),
    (re.compile(r"\d{4}-\d\d-\d\d\Z"), DataType("date")),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?\Z"), TIMESTAMP),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?\s?(Z|[+-]\d\d(:?\d\d)?)\Z"), TIMESTAMPTZ),
)
_NUMBER = re.compile(r"-?\d{1,18}\.(\d{1,18})\Z|-?\d{1,18}\Z")
_HINT = "a test holds `given TABLE`, perhaps `target`, and `expect`; below each the columns, then a row a line"


@dataclass(frozen=True)
class Rows:
    """Some rows of one table, as text."""

    ref: TableRef | None
    """The table of the source; None for the target's rows."""
    columns: tuple[tuple[str, DataType | None], ...]
    """Names, and types where they are written or the values tell them; None where all values are NULL."""
    rows: tuple[tuple[str | None, ...], ...]
    line: int
    """Where they begin, in the cell."""


@dataclass(frozen=True)
class Case:
    """A test of a pipeline."""

    pipeline: str
    name: str
    """What tells it from other tests of the pipeline; may be empty."""
    given: tuple[Rows, ...]
    target: Rows | None
    """What the target holds before; None: the pipeline makes it."""
    expect: Rows


def parse_case(pipeline: str, name: str, body: str, first_line: int = 1) -> Case:
    r"""Read the text of a test.

    Args:
        pipeline: What is tested.
        name: Of the test.
        body: The sections.
        first_line: The line of the cell on which the body begins.

    Raises:
        DeclarationError: A line is not understood; says which one and what would be right.

    Example:
        >>> case = parse_case("p", "", "given t\nid, name\n1, 'a, b'\n\nexpect\nid\n1")
        >>> case.given[0].rows, case.expect.columns[0][0]
        ((('1', 'a, b'),), 'id')
    """
    given: list[Rows] = []
    others: dict[str, Rows] = {}
    for word, table, line, lines in _sections(body, first_line):
        rows = _rows(TableRef(None, "") if word != "given" else _table(table, line), lines, line)
        if word == "given":
            if any(one.ref == rows.ref for one in given):
                raise _wrong(f"`given {table}` stands twice", "put its rows together", line)
            given.append(rows)
        elif word in others or table:
            raise _wrong(f"`{word}` {'stands twice' if word in others else 'takes no name'}", _HINT, line)
        else:
            others[word] = rows
    if "expect" not in others:
        raise DeclarationError("the test expects nothing", hint=_HINT, where="cell")
    return Case(pipeline, name, tuple(given), others.get("target"), others["expect"])


def _sections(body: str, first_line: int) -> list[tuple[str, str, int, list[tuple[int, str]]]]:
    found: list[tuple[str, str, int, list[tuple[int, str]]]] = []
    for number, text in enumerate(body.splitlines(), start=first_line):
        line = text.strip()
        if not line or line.startswith(("--", "#")):
            continue
        word, _, name = line.rstrip(":").partition(" ")
        if word.lower() in _SECTIONS and "," not in line:
            found.append((word.lower(), name.strip(), number, []))
        elif not found:
            raise _wrong(f"`{line[:60]}` stands before any section", _HINT, number)
        else:
            found[-1][3].append((number, line))
    return found


def _wrong(what: str, hint: str, line: int) -> DeclarationError:
    return DeclarationError(what, hint, f"cell line {line}")


def _table(name: str, line: int) -> TableRef:
    from ematix_nb.declare.address import parse_table_name

    if not name:
        raise _wrong("`given` names no table", "given raw.orders", line)
    if "/" in name and not name.startswith('"'):
        return TableRef(None, name)
    try:
        return parse_table_name(name)
    except DeclarationError as error:
        raise _wrong(error.what, error.hint, line) from None


def _rows(ref: TableRef, lines: list[tuple[int, str]], line: int) -> Rows:
    if not lines:
        raise _wrong("the section has no columns", "write their names below it: id, status", line)
    (number, head), *rest = lines
    columns = [_column(text, number) for text in _split(head, number)]
    names = [name for name, _ in columns]
    if len(set(names)) < len(names):
        raise _wrong(f"a column stands twice in `{head[:60]}`", "name each once", number)
    rows = []
    for place, text in rest:
        values = [_value(part) for part in _split(text, place)]
        if len(values) != len(columns):
            what = f"{len(values)} values for {len(columns)} columns: `{text[:60]}`"
            raise _wrong(what, "NULL stands for no value, quotes hold commas together", place)
        rows.append(tuple(values))
    typed = tuple((name, kind or _told([row[at] for row in rows])) for at, (name, kind) in enumerate(columns))
    return Rows(ref if ref.name else None, typed, tuple(rows), line)


def _split(line: str, number: int) -> list[str]:
    parts, position = [], 0
    while position <= len(line):
        found = _SPLIT.match(line, position)
        if found is None:
            raise _wrong(f"`{line[position:][:60]}` is not understood", "close the quote or the bracket", number)
        parts.append(found[1].strip())
        if found.end() == len(line) and not line[position:].endswith(","):
            break
        position = found.end() if found.end() > position else position + 1
        if position == len(line):
            parts.append("")
            break
    return parts


def _column(text: str, line: int) -> tuple[str, DataType | None]:
    found = _COLUMN.match(text)
    if found is None:
        raise _wrong(f"`{text[:60]}` is no name of a column", 'id, status, "odd name", amount numeric(10,2)', line)
    name = found["plain"] or found["quoted"].replace('""', '"')
    if not found["type"]:
        return name, None
    try:
        kind, rest = parse_type(found["type"])
    except DeclarationError as error:
        raise _wrong(error.what, error.hint, line) from None
    if rest.strip():
        raise _wrong(f"`{rest.strip()[:60]}` behind the type of `{name}` was not expected", f"{name} {kind}", line)
    return name, kind


def _value(text: str) -> str | None:
    if text == "" or text.upper() == "NULL":
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace(text[0] * 2, text[0])
    return text


def _told(values: list[str | None]) -> DataType | None:
    """The type that fits all values; None when there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    for pattern, kind in _KINDS:
        if all(pattern.match(value) for value in known):
            return kind
    numbers = [_NUMBER.match(value) for value in known]
    if all(numbers):
        places = max(len(found[1] or "") for found in numbers if found)
        return DataType("numeric", precision=38, scale=places)
    return TEXT
