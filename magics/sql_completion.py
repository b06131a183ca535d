"""Completion inside the body of a `%%flow` cell: tables behind FROM, columns elsewhere, variables behind `{{`."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from ematix_nb.declare import cells, registry
from ematix_nb.declare.checks import NAMES as CHECKS
from ematix_nb.declare.fingerprint import connection_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .metadata import Metadata

_FRAGMENT = re.compile(r"[\w.]*\Z")
_OPEN_QUOTE = re.compile(r'(?:\w+\.)?"[^"\n]*\Z')
_VARIABLE = re.compile(r"\{\{\s*(\w*)\Z")
_BEHIND_FROM = re.compile(r"\b(?:from|join)\s+\Z", re.IGNORECASE)
_TABLES = re.compile(
    r"""\b(?:from|join)\s+(?P<table>(?:"(?:[^"]|"")+"|\w+)(?:\.(?:"(?:[^"]|"")+"|\w+))?)
    (?:\s+(?:as\s+)?(?!(?:where|group|order|having|limit|join|left|right|inner|full|cross|on|using|union)\b)(?P<alias>\w+))?""",
    re.IGNORECASE | re.VERBOSE,
)
_TEXT_OR_COMMENT = re.compile(r"'(?:[^']|'')*'|--[^\n]*\n|/\*.*?\*/", re.DOTALL)
_OPEN = re.compile(r"'|--[^\n]*\Z|/\*")
_TYPES = (
    "bigint", "boolean", "bytes", "date", "double", "float", "integer", "interval", "json", "numeric(", "smallint",
    "string(", "text", "time", "timestamp", "timestamptz", "uuid", "pk", "null", "not null", "trim", "lower", "upper",
)  # fmt: skip


class Found(NamedTuple):
    """What may stand in place of the last characters."""

    fragment: str
    choices: list[str]


def complete_body(head: str, before: str, after: str, metadata: Metadata, variables: Mapping[str, Any]) -> Found:
    """Complete in a body.

    Args:
        head: The first line behind ``%%flow``, whole.
        before: The body up to the cursor.
        after: The rest of it.
        metadata: What connections hold.
        variables: The notebook's.
    """
    kind, name, options = _head(head)
    if kind in ("pipeline", "query"):
        if (found := _VARIABLE.search(before)) is not None:
            end = "" if after.startswith("}}") else "}}"
            return Found(found[1], [f"{one}{end}" for one in _bindable(variables) if one.startswith(found[1])])
        return _sql(_source(options), before, after, metadata)
    line = before.rpartition("\n")[2]
    fragment = _word(before)
    choices: list[str] = []
    if kind == "table" and line.strip() != fragment:
        choices = list(_TYPES)
    elif kind == "check":
        choices = [*(f"{one}(" for one in CHECKS), *_target_columns(name, metadata)]
    return Found(fragment, [one for one in choices if one.startswith(fragment)])


def _head(line: str) -> tuple[str, str, dict[str, str]]:
    """Kind, name and options with their values; a line that is half typed counts as far as it goes."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    options = {word: words[n + 1] for n, word in enumerate(words[:-1]) if word.startswith("--")}
    options |= dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
    return words[0] if words else "", words[1] if len(words) > 1 else "", options


def _source(options: Mapping[str, str]) -> str:
    """The connection that the SELECT runs in."""
    return options.get("--from") or options.get("--to", "").partition(":")[0]


def _bindable(variables: Mapping[str, Any]) -> list[str]:
    """Variables whose value a query can take, as far as their kind tells."""
    modules = ("builtins", "datetime", "decimal", "uuid", "numpy", "pandas")
    return sorted(
        name
        for name, value in variables.items()
        if not name.startswith("_")
        and type(value).__module__.partition(".")[0] in modules
        and not callable(value)
        and type(value).__name__ not in ("module", "dict", "DataFrame", "Series")
        and name not in ("In", "Out")
    )


def _sql(connection: str, before: str, after: str, metadata: Metadata) -> Found:
    plain, fragment = _TEXT_OR_COMMENT.sub(" ", before), _word(before)
    if not connection or _OPEN.search(plain):
        return Found(fragment, [])
    if _BEHIND_FROM.search(before[: len(before) - len(fragment)]):
        return Found(fragment, _fitting(fragment, metadata.tables(connection)))
    tables = _named_tables(f"{plain} {_TEXT_OR_COMMENT.sub('', after)}")
    prefix, point, rest = fragment.rpartition(".")
    if point:
        thing = tables.get(prefix) or tables.get(prefix.rpartition(".")[2], prefix)
        return Found(fragment, [f"{prefix}.{one}" for one in _fitting(rest, metadata.columns(connection, thing))])
    columns = {column: None for thing in tables.values() for column in metadata.columns(connection, thing)}
    return Found(fragment, _fitting(fragment, tuple(columns)))


def _word(before: str) -> str:
    """What stands right before the cursor."""
    text = before.rpartition("\n")[2]
    found = (_OPEN_QUOTE if text.count('"') % 2 else _FRAGMENT).search(text)
    return found[0] if found else ""


def _named_tables(sql: str) -> dict[str, str]:
    """The tables behind FROM and JOIN, by the names under which their columns can stand."""
    found: dict[str, str] = {}
    for one in _TABLES.finditer(sql):
        alias = one["alias"] or ""
        if alias:
            found[alias] = one["table"]
        else:
            found[one["table"].rpartition(".")[2]] = one["table"]
    return found


def _fitting(fragment: str, names: tuple[str, ...]) -> list[str]:
    """Names that begin like the fragment, or whose last part does, as SQL writes them; sorted."""
    start = fragment.replace('"', "").lower()
    fits = []
    for name in dict.fromkeys(names):
        bare = name.replace('"', "").lower()
        if bare.startswith(start) or bare.rpartition(".")[2].startswith(start):
            fits.append(name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"')
    return sorted(fits)


_PLAIN = re.compile(r"""(?:[A-Za-z_]\w*|"(?:[^"]|"")+")(?:\.(?:[A-Za-z_]\w*|"(?:[^"]|"")+"))?""")
"""A name, or two with a point between, each part in quotes where it has to be."""


def _target_columns(pipeline: str, metadata: Metadata) -> tuple[str, ...]:
    spec = registry.pipelines().get(pipeline)
    if spec is None:
        return ()
    target = spec.targets[0]
    if target.table is not None:
        return tuple(column.name for column in target.table.columns)
    return metadata.columns(connection_name(target.connection), target.thing)


def complete_option(words: list[str], rest: str, metadata: Metadata) -> list[str] | None:
    """Tables and columns as values of the options of a `%%flow` line; None for other options.

    Args:
        words: After ``%%flow``, the last one unfinished.
        rest: The body, whose tables give columns.
        metadata: What connections hold.
    """
    option, last = words[-2], words[-1]
    form = cells.OPTIONS.get(option)
    if words[0] != "pipeline" or form is None:
        return None
    _, _, options = _head(" ".join(words[:-1]))
    connection = _source(options)
    if option == "--source-table":
        return _fitting(last, metadata.tables(connection)) if connection else []
    if option not in _COLUMN_OPTIONS:
        return None
    given, comma, start = last.rpartition(",")
    things = [options["--source-table"]] if "--source-table" in options else list(_named_tables(rest).values())
    names = {name: None for thing in things for name in metadata.columns(connection, thing)} if connection else {}
    taken = given.split(",")
    return sorted(f"{given}{comma}{name}" for name in names if name.startswith(start) and name not in taken)


_COLUMN_OPTIONS = frozenset(
    {
        "--keys",
        "--watermark",
        "--compare",
        "--update",
        "--event-time",
        "--dedup-by",
        "--partition-column",
        "--allow-lossy",
    }
)


def complete_address(word: str, metadata: Metadata) -> list[str]:
    """What ``connection:thing`` may become: schemas first, then their tables."""
    connection, _, thing = word.partition(":")
    names = [name for name in metadata.tables(connection) if name.startswith(thing)]
    schemas = {name.partition(".")[0] + "." for name in names if "." in name and "/" not in name.partition(".")[0]}
    if len(schemas) > 1 and "." not in thing:
        names = [*(schema for schema in schemas), *(name for name in names if "." not in name)]
    return sorted(f"{connection}:{name}" for name in names)
