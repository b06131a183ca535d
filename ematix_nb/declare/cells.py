"""The text of a ``%%flow`` cell, read: what it declares, without declaring it.

A cell is one line (``%%flow pipeline orders --to warehouse:orders``) and a body: TOML
of a connection, columns of a table, the SELECT of a pipeline. Every option of
``%%flow pipeline`` is one keyword of ``@ematix.pipeline``. Nothing here registers
anything, so an export reads cells the same way as the notebook does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ematix_nb.declare import registry, tables
from ematix_nb.declare.address import (
    check_connection_name,
    check_pipeline_name,
    parse_table_name,
    snake_case,
    suggested_name,
)
from ematix_nb.declare.parameters import names_in, read_parameters
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import ConfigError, DeclarationError, FlowError, UnknownNameError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ematix_nb.declare.cases import Case
    from ematix_nb.declare.checks import Check
    from ematix_nb.declare.spec import Column, PipelineSpec, TableSpec

PREFIX = "%%flow "
KINDS = {
    "connection": "%%flow connection NAME: name a system; the body is TOML",
    "table": "%%flow table [SCHEMA.]NAME: declare a table; the body is one column a line",
    "pipeline": "%%flow pipeline NAME --to CONNECTION:TABLE [options]: declare a pipeline; the body is a SELECT",
    "check": "%%flow check NAME: what has to hold before a load of a pipeline commits; the body is one check a line",
    "test": "%%flow test PIPELINE [--name NAME]: a test of a pipeline; the body gives rows and expects rows",
    "query": "%%flow query NAME --from CONNECTION [--into LIBRARY]: rows as a frame in NAME; the body is a SELECT",
}
"""What a ``%%flow`` cell can be, one line each."""


class Option(NamedTuple):
    """One option of ``%%flow pipeline``."""

    keyword: str
    """The keyword of ``@ematix.pipeline``."""
    form: str
    """``text``, ``names`` (a,b), ``pairs`` (target=source,...), ``number``, ``flag`` or ``several`` (repeatable)."""
    meaning: str


OPTIONS: dict[str, Option] = {
    "--from": Option("source_connection", "text", "connection the SELECT runs in; the target's by default"),
    "--to": Option("target", "text", "connection:table; with --table the connection alone"),
    "--table": Option("table", "text", "a declared table, by its name or class"),
    "--source-table": Option("source_table", "text", "read this table; the body stays empty"),
    "--mode": Option("mode", "text", "append, truncate, merge or scd2"),
    "--keys": Option("keys", "names", "key columns, separated by commas"),
    "--watermark": Option(
        "watermark_column", "columns", "load only what grew in this column, or these, since the last run"
    ),
    "--overlap": Option("overlap", "text", "how far to read back: 10m, 2h, 5"),
    "--late-rows": Option("late_rows", "text", "overlap, or snapshot: find rows by their transaction (PostgreSQL)"),
    "--schedule": Option("schedule", "text", "cron expression in quotes"),
    "--timezone": Option("timezone", "text", "zone of the schedule: Europe/Berlin"),
    "--catch-up": Option("catch_up", "text", "missed slots: latest, all or none"),
    "--depends-on": Option("depends_on", "names", "pipelines that have to succeed before"),
    "--retries": Option("retries", "number", "tries again after an error that may pass, such as a lost connection"),
    "--retry-backoff": Option("retry_backoff", "text", "pause before the first retry, doubled each time: 30s, 5m"),
    "--alerts": Option("alerts", "names", "channels of the settings that hear of failures; none: nobody"),
    "--compare": Option("compare_columns", "names", "columns that decide whether a row changed"),
    "--update": Option("update_columns", "names", "columns that a merge updates"),
    "--event-time": Option("event_timestamp_column", "text", "scd2: when a version began"),
    "--deletes": Option("handle_deletes", "text", "hard (merge) or soft (scd2)"),
    "--ttl-seconds": Option("ttl_seconds", "number", "scd2: close rows not seen for so long"),
    "--column-map": Option("column_map", "pairs", "target=source,..."),
    "--dedup-by": Option("dedup_by", "text", "of one key keep the row with the largest value in this column"),
    "--on-duplicate-key": Option("on_duplicate_key", "text", "last or error"),
    "--on-null-key": Option("on_null_key", "text", "error or quarantine"),
    "--max-bad-rows": Option("max_bad_rows", "number", "put up to so many rows that cannot be loaded into quarantine"),
    "--on-drift": Option("on_drift", "text", "evolve, freeze or quarantine"),
    "--on-nul": Option("on_nul", "text", "error or strip"),
    "--empty-source": Option("empty_source", "text", "keep or apply"),
    "--allow-lossy": Option("allow_lossy", "names", "columns that may lose precision"),
    "--partition-column": Option("partition_column", "text", "read in ranges of this column, several at once"),
    "--partitions": Option("partitions", "number", "how many sessions; 4 by default"),
    "--check": Option("checks", "several", "what has to hold before a load commits: not_null(id); may be repeated"),
    "--post": Option("transforms_post", "several", "SQL to run in the target afterwards; may be repeated"),
    "--continue-on-failure-post": Option("continue_on_failure_post", "flag", "go on when a --post fails"),
}
"""The options of ``%%flow pipeline``."""


QUERY_OPTIONS: dict[str, Option] = {
    "--from": Option("source_connection", "text", "connection the SELECT runs in"),
    "--into": Option(
        "into", "text", "polars (what it is without), pandas, arrow or pyspark; preview to look at them only"
    ),
    "--limit": Option("limit", "number", "stop after so many rows"),
}
"""The options of ``%%flow query``."""

TEST_OPTIONS: dict[str, Option] = {"--name": Option("name", "text", "what tells it from other tests of the pipeline")}
"""The options of ``%%flow test``."""


@dataclass(frozen=True)
class Cell:
    """A ``%%flow`` cell, understood."""

    kind: str
    """One of :data:`KINDS`."""
    name: str
    body: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of a pipeline: keywords of ``@ematix.pipeline``, ``table`` beside them; of a query: its own."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of a connection: its settings as written, secrets included; never print them."""
    columns: tuple[Column, ...] = ()
    """Of a table."""
    checks: tuple[Check, ...] = ()
    """Of checks."""
    case: Case | None = None
    """Of a test."""
    parameters: tuple[str, ...] = ()
    """Of a body of SQL: the names of its ``{{name}}``, which are variables of the notebook."""
    body_line: int = 2
    """The line of the cell on which the body begins."""

    def __repr__(self) -> str:
        return f"<%%flow {self.kind} {self.name}>"


class Token(NamedTuple):
    """One word of the line."""

    text: str
    column: int
    """Of its first character in the line, from 0."""
    quoted: bool


def parse_cell(line: str, body: str) -> Cell:
    r"""Read a cell: the line after ``%%flow``, and what stands below it.

    A line that ends with a backslash goes on below.

    Raises:
        FlowError: The cell is not understood; says what, where, and what would be right.

    Example:
        >>> cell = parse_cell("pipeline orders --to warehouse:orders --keys id,day --mode merge", "SELECT 1 AS id")
        >>> cell.name, cell.options["keys"], cell.options["mode"]
        ('orders', ('id', 'day'), 'merge')
        >>> parse_cell("connection lake", 'kind = "object_store_local"').settings
        {'kind': 'object_store_local'}
    """
    line, body, first = _continued(line, body)
    kind, _, rest = line.strip().partition(" ")
    if not kind:
        raise UsageError("`%%flow` does not say what the cell declares", hint=_kinds(), where="cell line 1")
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or _kinds()
        raise UsageError(f"unknown `%%flow {kind}`", hint=hint, where="cell line 1")
    if not rest.strip():
        raise UsageError(f"the name of the {kind} is missing", hint=KINDS[kind].partition(": ")[0], where="cell line 1")
    if kind == "connection":
        return _connection(_only_name(kind, line), body, first)
    if kind == "table":
        return _table(rest.strip(), body, first)
    if kind == "check":
        return _checks(line, body, first)
    if kind == "test":
        return _test(line, body, first)
    return _query(line, body, first) if kind == "query" else _pipeline(line, body, first)


def _kinds() -> str:
    return "begin the cell with one of\n" + "\n".join(f"  {text}" for text in KINDS.values())


def _continued(line: str, body: str) -> tuple[str, str, int]:
    """The whole first line, the body below it, and the number of the body's first line."""
    first = 2
    while line.rstrip().endswith("\\") and body:
        more, _, body = body.partition("\n")
        line = f"{line.rstrip()[:-1]} {more.strip()}"
        first += 1
    return line.rstrip().removesuffix("\\"), body, first


def split_line(line: str, start: int = 0) -> list[Token]:
    r"""Split as a POSIX shell does: quotes hold together, a backslash takes the next character as it is.

    Raises:
        UsageError: A quote is not closed; names its column in the cell, from 1.

    Example:
        >>> [token.text for token in split_line(r'--schedule "*/5 * * * *" a\ b')]
        ['--schedule', '*/5 * * * *', 'a b']
    """
    tokens: list[Token] = []
    position = start
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        begin, text, quoted = position, "", False
        while position < len(line) and not line[position].isspace():
            piece, position, was_quoted = _piece(line, position)
            text += piece
            quoted = quoted or was_quoted
        tokens.append(Token(text, begin, quoted))
    return tokens


def _piece(line: str, position: int) -> tuple[str, int, bool]:
    """One character, escape or quoted part, where it ends, and whether it was quoted."""
    mark = line[position]
    if mark == "\\":
        return line[position + 1 : position + 2], position + 2, False
    if mark not in "'\"":
        return mark, position + 1, False
    text, end = "", position + 1
    while end < len(line) and line[end] != mark:
        escaped = mark == '"' and line[end] == "\\" and line[end + 1 : end + 2] in ('"', "\\")
        end += escaped
        text += line[end]
        end += 1
    if end >= len(line):
        column = len(PREFIX) + position + 1
        what = f"unclosed `{mark}` at column {column}"
        raise UsageError(what, hint="close it on the same line", where=f"cell line 1, column {column}")
    return text, end + 1, True


def _only_name(kind: str, line: str) -> str:
    words = [token.text for token in split_line(line)][1:]
    option = next((word for word in words if word.startswith("--")), None)
    if option is not None:
        raise UsageError(f"`%%flow {kind}` has no options, got `{option}`", hint="settings stand in the body, as TOML")
    name = " ".join(words)
    try:
        return check_connection_name(name)
    except DeclarationError as error:
        raise DeclarationError(error.what, f"`{suggested_name(name)}` is one", "cell line 1") from None


def _connection(name: str, body: str, first: int) -> Cell:
    import tomllib

    try:
        settings = tomllib.loads(body.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        what = re.sub(r"at line (\d+)", lambda found: f"at line {int(found[1]) + first - 1}", str(error))
        hint = 'the body is TOML: kind = "postgres"'
        raise ConfigError(f"connection `{name}`: {what[0].lower()}{what[1:]}", hint, "cell") from None
    except (RecursionError, ValueError):
        raise ConfigError(f"connection `{name}`: the body is not TOML", 'kind = "postgres"', "cell") from None
    if not settings:
        raise DeclarationError(
            f"connection `{name}` has no settings", hint='write `kind = "duckdb"` below', where="cell"
        )
    return Cell("connection", name, body, settings=settings, body_line=first)


def _table(name: str, body: str, first: int) -> Cell:
    if re.search(r"\s--", name):
        raise UsageError("`%%flow table` has no options", hint="keys and normalizers stand in the lines: id bigint pk")
    ref = parse_table_name(name)
    columns = []
    for number, text in enumerate(body.splitlines(), start=first):
        if not (line := tables._COMMENT.sub(_kept, text).strip().removesuffix(",").rstrip()):  # noqa: SLF001
            continue
        try:
            columns.append(tables._cell_column(line))  # noqa: SLF001 - the same package; its public form registers
        except DeclarationError as error:
            raise DeclarationError(error.what, error.hint, f"cell line {number}") from None
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # what ast.parse says to NUL or deep nesting
            raise DeclarationError(f"`{line[:80]}` is not understood", "id bigint pk", f"cell line {number}") from None
    if not columns:
        raise DeclarationError(f"table `{ref}` has no columns", "write one a line: id bigint pk", "cell")
    tables.make_table(ref, columns)
    return Cell("table", name, body, columns=tuple(columns), body_line=first)


def _kept(found: re.Match[str]) -> str:
    return found["kept"] or ""


def table_spec(cell: Cell) -> TableSpec:
    """The table that a cell declares; it is not registered."""
    return tables.make_table(parse_table_name(cell.name), cell.columns)


def _named(kind: str, line: str, options: Mapping[str, Option]) -> tuple[str, dict[str, Any]]:
    """The name on the first line, which is one of Python, and the options behind it."""
    tokens = split_line(line)[1:]
    count = next((n for n, token in enumerate(tokens) if token.text.startswith("-") and not token.quoted), len(tokens))
    name = " ".join(token.text for token in tokens[:count])
    if not name:
        usage = KINDS[kind].partition(": ")[0]
        raise UsageError(f"the name of the {kind} is missing", hint=usage, where="cell line 1")
    try:
        check_pipeline_name(name, kind)
    except DeclarationError as error:
        raise DeclarationError(error.what, error.hint, "cell line 1") from None
    return name, _options(tokens[count:], options)


def _check_body(body: str) -> None:
    if not _without_comments(body).strip():
        what = "there are only comments" if body.strip() else "there is no SQL"
        raise DeclarationError(f"{what} in the cell", hint="write a SELECT below the first line", where="cell")


def _query(line: str, body: str, first: int) -> Cell:
    name, options = _named("query", line, QUERY_OPTIONS)
    if not name.isidentifier():
        what = f"`{name}` is not a name for a variable"
        raise DeclarationError(what, f"`{suggested_name(name).replace('-', '_')}` is one", "cell line 1")
    _check_body(body)
    if "source_connection" not in options:
        raise UsageError("`--from` is missing", hint="--from warehouse", where="cell line 1")
    return Cell("query", name, body, options, parameters=names_in(body), body_line=first)


def _checks(line: str, body: str, first: int) -> Cell:
    from ematix_nb.declare.checks import parse_body

    name, _ = _named("check", line, {})
    return Cell("check", name, body, checks=parse_body(body, first), body_line=first)


def _test(line: str, body: str, first: int) -> Cell:
    from ematix_nb.declare.cases import parse_case

    name, options = _named("test", line, TEST_OPTIONS)
    case = parse_case(name, options.get("name", ""), body, first)
    return Cell("test", name, body, options, case=case, body_line=first)


def _pipeline(line: str, body: str, first: int) -> Cell:
    name, options = _named("pipeline", line, OPTIONS)
    empty = not _without_comments(body).strip()
    if "source_table" not in options:
        _check_body(body)
    if not empty and "source_table" in options:
        raise DeclarationError("both --source-table and SQL are given", hint="take one of them away", where="cell")
    if "target" not in options and "table" not in options:
        raise UsageError("`--to` is missing", hint="--to warehouse:analytics.orders", where="cell line 1")
    return Cell("pipeline", name, body, options, parameters=names_in(body), body_line=first)


_SQL_COMMENT = re.compile(r"""(?P<kept>'(?:[^']|'')*'|"(?:[^"]|"")*")|--[^\n]*|/\*.*?(?:\*/|\Z)""", re.DOTALL)


def _without_comments(sql: str) -> str:
    return _SQL_COMMENT.sub(_kept, sql).replace(";", "")


def _options(tokens: list[Token], known: Mapping[str, Option]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    position = 0
    while position < len(tokens):
        flag, value, position = _option(tokens, position, known)
        option = known[flag]
        if option.form == "several":
            found.setdefault(option.keyword, []).append(value)
            continue
        read = _value(flag, option, value)
        if found.setdefault(option.keyword, read) != read:
            what = f"`{flag}` is given twice: {_shown(found[option.keyword])}, {value}"
            raise UsageError(what, hint="give it once", where="cell line 1")
    return found


def _option(tokens: list[Token], position: int, known: Mapping[str, Option]) -> tuple[str, str, int]:
    """A known flag, its text, and where the next one begins."""
    token = tokens[position]
    flag, equals, value = token.text.partition("=")
    where = f"cell line 1, column {len(PREFIX) + token.column + 1}"
    if not flag.startswith("-"):
        raise UsageError(f"`{token.text}` was not expected", hint="a value with blanks stands in quotes", where=where)
    if flag not in known:
        hint = _meant(flag, known) or f"the options are {', '.join(known)}"
        raise UsageError(f"unknown option `{flag}`", hint=hint, where=where)
    if known[flag].form == "flag":
        if equals:
            raise UsageError(f"`{flag}` takes no value", where=where)
        return flag, "", position + 1
    if equals:
        return flag, value, position + 1
    following = tokens[position + 1] if position + 1 < len(tokens) else None
    if following is None or (following.text.startswith("--") and not following.quoted):
        raise UsageError(f"`{flag}` needs a value: {known[flag].meaning}", where=where)
    return flag, following.text, position + 2


_MEANT = {
    "--target": "--to", "--target-connection": "--to", "--source": "--from", "--source-connection": "--from",
    "--key": "--keys", "--watermark-column": "--watermark", "--incremental": "--watermark", "--cron": "--schedule",
    "--tz": "--timezone", "--ttl": "--ttl-seconds", "--after": "--depends-on", "--needs": "--depends-on",
}  # fmt: skip


def _meant(flag: str, known: Mapping[str, Option]) -> str:
    """A suggestion for an unknown flag: the keyword's flag, a known synonym, or the nearest."""
    others = {"--" + option.keyword.replace("_", "-"): name for name, option in known.items()}
    others |= {name: meant for name, meant in _MEANT.items() if meant in known}
    if same := others.get(flag.replace("_", "-")):
        return f"did you mean `{same}`?"
    near = did_you_mean(flag, [*known, *others]).partition("`")[2].partition("`")[0]
    return f"did you mean `{others.get(near, near)}`?" if near else ""


def _value(flag: str, option: Option, text: str) -> Any:
    """The value in the form that the keyword wants."""
    if option.form == "flag":
        return True
    if not text.strip():
        raise UsageError(f"`{flag}` is empty: {option.meaning}", where="cell line 1")
    if option.form == "text":
        return text.strip()
    if option.form == "number":
        if not re.fullmatch(r"[0-9]{1,12}", text.strip()):
            raise UsageError(f"`{flag}` is a whole number, got `{text}`", where="cell line 1")
        return int(text)
    parts = tuple(part.strip() for part in text.split(","))
    if option.form in ("names", "columns"):
        if not all(parts) or len(set(parts)) < len(parts):
            raise UsageError(f"`{flag}` is a list of different names, got `{text}`", f"{flag} a,b", "cell line 1")
        return parts if option.form == "names" or len(parts) > 1 else parts[0]
    sides = [[side.strip() for side in part.split("=")] for part in parts]
    if not all(len(pair) == 2 and all(pair) for pair in sides) or len({pair[0] for pair in sides}) < len(sides):  # noqa: PLR2004
        raise UsageError(f"`{flag}` is target=source,..., got `{text}`", where="cell line 1")
    return {pair[0]: pair[1] for pair in sorted(sides)}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return ",".join(value) if isinstance(value, tuple) else str(value)


def find_declared_table(name: str) -> TableSpec | None:
    """The declared table that a name means: ``schema.table``, ``table`` or the name of its class."""
    if found := registry.find_table(name):
        return found
    last = name.rpartition(".")[2]
    near = [spec for spec in registry.tables().values() if spec.ref.name in (last, snake_case(last))]
    return near[0] if len(near) == 1 else None


def pipeline_keywords(cell: Cell, table: str | None = None) -> dict[str, Any]:
    """The keywords of ``@ematix.pipeline`` that a cell gives, in the order of :data:`OPTIONS`.

    Args:
        cell: Of kind ``pipeline``.
        table: What ``--table`` means, as ``schema.table``.
    """
    options = dict(cell.options)
    if "table" in options:
        named, connection = table or options.pop("table"), options.get("target", "default")
        options.pop("table", None)
        if ":" in connection:
            raise UsageError(
                f"with `--table {named}`, `--to` is the connection alone, got `{connection}`",
                f"--to {connection.partition(':')[0]}",
                "cell line 1",
            )
        options["target"] = f"{connection}:{named}"
    ordered: dict[str, Any] = {"target": options.pop("target")}
    for option in OPTIONS.values():
        if option.keyword in options:
            if option.keyword == "watermark_column":
                ordered["incremental"] = True
            ordered[option.keyword] = options[option.keyword]
    return ordered


def quoted_table(spec: TableSpec) -> str:
    """A table's name as an address writes it, odd parts in double quotes.

    Example:
        >>> from ematix_nb.declare.spec import TableRef, TableSpec
        >>> quoted_table(TableSpec(TableRef("My Schema", "odd.name"), ()))
        '"My Schema"."odd.name"'
    """
    parts = [part for part in (spec.ref.schema, spec.ref.name) if part is not None]
    plain = re.compile(r"[^\W\d]\w*")
    return ".".join(part if plain.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in parts)


def cell_values(cell: Cell, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the parameters of a cell, out of the notebook's variables; checked, so that they can be bound.

    Raises:
        UnknownNameError: There is no such variable.
        DeclarationError: Its value cannot be bound.
    """
    for name in cell.parameters:
        if name not in variables:
            hint = did_you_mean(name, [one for one in variables if not one.startswith("_")])
            what = f"`{{{{{name}}}}}` has no value: no variable `{name}` is set"
            raise UnknownNameError(what, hint or f"set it in a cell above: {name} = ...", "cell")
    return dict(read_parameters({name: variables[name] for name in cell.parameters}))


def build_cell_pipeline(cell: Cell, *, origin: str = "", params: Mapping[str, Any] | None = None) -> PipelineSpec:
    """The pipeline of a cell, checked; it is not registered.

    Args:
        cell: Of kind ``pipeline``.
        origin: What declares it.
        params: The values of its parameters.

    Raises:
        FlowError: Options do not fit together; in the words of the cell.
    """
    named = None
    if "table" in cell.options:
        table = find_declared_table(cell.options["table"])
        if table is None:
            known = list(registry.tables())
            hint = did_you_mean(cell.options["table"], known) or f"declared tables: {', '.join(known) or 'none'}"
            raise UnknownNameError(f"no table `{cell.options['table']}` is declared", hint, "cell line 1")
        named = quoted_table(table)
    sql = None if "source_table" in cell.options else cell.body
    try:
        return build_pipeline(
            name=cell.name, origin=origin or None, sql=sql, params=params or None, **pipeline_keywords(cell, named)
        )
    except FlowError as error:
        raise type(error)(_in_cell_words(error.what), _in_cell_words(error.hint), error.where or "cell") from None


_KEYWORDS = tuple((option.keyword, flag) for flag, option in OPTIONS.items())


def _in_cell_words(text: str) -> str:
    """A message about keywords, as one about the options of a cell."""
    for keyword, flag in _KEYWORDS:
        text = re.sub(rf'\b{keyword}=\("([^"]*)",\)', rf"{flag} \1", text)
        text = re.sub(rf'\b{keyword}=("[^"]*")', rf"{flag} \1", text)
        text = re.sub(rf"`{keyword}`", f"`{flag}`", text)
    return text
