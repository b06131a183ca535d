"""Cleaning steps as SQL of each system, with equal results on all of them.

One table of templates serves every system; each system has its own for what it
spells differently. ``{x}`` is the expression so far. Known limits: letters
whose other case is more than one letter (``ß``, ``İ``) follow the system.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import INTEGER_KINDS
from ematix_nb.errors import DeclarationError, did_you_mean
from ematix_nb.sql import mysql_normalizers, time_formats
from ematix_nb.sql.normalizer_step import (
    BLANK,
    CANNOT,
    FLOATS,
    MAX_EXACT,
    NUMBER,
    Step,
    Template,
    refuse_nul,
    result_kind,
)

if TYPE_CHECKING:
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column

_TEXT_TYPE = {"postgres": "text", "duckdb": "VARCHAR", "sqlite": "TEXT", "datafusion": "VARCHAR"}


def _text(step: Step) -> str:
    """The expression so far as text."""
    return f"CAST({step.x} AS {_TEXT_TYPE[step.engine]})"


def quoted(text: str) -> str:
    """A text as an SQL literal.

    Raises:
        DeclarationError: When it holds a NUL character, which no statement can.
    """
    refuse_nul(text)
    return "'" + text.replace("'", "''") + "'"


def literal(engine: str, value: Any) -> str:
    """A plain value as an SQL literal of a system."""
    if isinstance(value, bool):
        return str(int(value)) if engine == "sqlite" else str(value).upper()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float):
        return repr(value) if engine == "sqlite" else f"CAST('{value!r}' AS {_DOUBLE[engine]})"
    if isinstance(value, dt.datetime):
        kind = "timestamptz" if value.tzinfo else "timestamp"
        moment = value.astimezone(dt.UTC) if value.tzinfo else value
        return _time_cast(engine, quoted(moment.isoformat(sep=" ", timespec="microseconds")), kind)
    if isinstance(value, dt.date):
        return _time_cast(engine, quoted(value.isoformat()), "date")
    if isinstance(value, dt.time):
        return quoted(value.isoformat()) if engine == "sqlite" else f"CAST({quoted(value.isoformat())} AS time)"
    if isinstance(value, decimal.Decimal) and not value.is_finite():
        raise DeclarationError(f"`{value}` is not a number that a statement can hold")
    if isinstance(value, decimal.Decimal):
        return _decimal_literal(engine, format(value, "f"))
    return str(value)


def _decimal_literal(engine: str, text: str) -> str:
    """SQLite keeps decimals as text; DataFusion would read a bare one as a double."""
    if engine == "sqlite":
        return quoted(text)
    return f"CAST({quoted(text)} AS DECIMAL(38, {len(text.partition('.')[2])}))" if engine == "datafusion" else text


_DOUBLE = {"postgres": "double precision", "duckdb": "DOUBLE", "sqlite": "REAL", "datafusion": "DOUBLE"}
_ARROW_TIME = {
    "timestamptz": """'Timestamp(Microsecond, Some("UTC"))'""",
    "timestamp": "'Timestamp(Microsecond, None)'",
    "date": "'Date32'",
}


def _time_cast(engine: str, text: str, kind: str) -> str:
    """A text expression in ISO form as a time."""
    if engine == "sqlite":
        return text
    if engine == "datafusion":
        return f"arrow_cast({text}, {_ARROW_TIME[kind]})"
    return f"CAST({text} AS {kind})"


def _matches(step: Step, expression: str, pattern: str) -> str:
    if step.engine == "duckdb":
        return f"regexp_matches({expression}, {quoted(pattern)})"
    return f"({expression} ~ {quoted(pattern)})"


def _regexp(step: Step, expression: str, pattern: str, replacement: str, flags: str = "") -> str:
    if step.engine == "sqlite":
        return f"ematix_regex_replace({expression}, {quoted(pattern)}, {quoted(replacement)}, {quoted(flags)})"
    if step.engine == "datafusion":
        replacement = replacement.replace("$", "$$")
    tail = f", {quoted(flags)}" if flags else ""
    return f"regexp_replace({expression}, {quoted(pattern)}, {quoted(replacement)}{tail})"


def _replace(step: Step) -> str:
    old, new = step.arguments
    return f"replace({step.x}, {quoted(old)}, {quoted(new)})"


def _regex_replace(step: Step) -> str:
    pattern, replacement, flags = step.arguments
    return _regexp(step, step.x, pattern, replacement, flags)


def _phone(step: Step) -> str:
    return _regexp(step, step.x, "[^0-9+]", "", "g")


def _default(step: Step) -> str:
    return f"COALESCE({step.x}, {literal(step.engine, step.arguments[0])})"


def _nullif(step: Step) -> str:
    return f"NULLIF({step.x}, {literal(step.engine, step.arguments[0])})"


def _clamp(step: Step) -> str:
    if step.engine == "sqlite" and step.column.type.kind == "numeric":  # kept as text, which compares otherwise
        return f"ematix_clamp({step.x}, {', '.join(quoted(str(value)) for value in step.arguments)})"
    low, high = (literal(step.engine, value) for value in step.arguments)
    return f"CASE WHEN {step.x} < {low} THEN {low} WHEN {step.x} > {high} THEN {high} ELSE {step.x} END"


def _parse_bool(step: Step) -> str:
    word = f"{'ematix_lower' if step.engine == 'sqlite' else 'lower'}({_text(step)})"
    branches = [
        f" WHEN {word} IN ({', '.join(quoted(one) for one in words)}) THEN {literal(step.engine, value)}"
        for words, value in zip(step.arguments, (True, False), strict=True)
        if words
    ]
    return f"CASE{''.join(branches)} END" if branches else "NULL"


def _parse_int(step: Step) -> str:
    guard = _matches(step, _text(step), "^-?[0-9]+$")
    if step.engine != "postgres":
        return f"CASE WHEN {guard} THEN TRY_CAST({_text(step)} AS BIGINT) END"
    fits = f"CAST({_text(step)} AS numeric) BETWEEN -9223372036854775808 AND 9223372036854775807"
    return f"CASE WHEN {guard} THEN CASE WHEN {fits} THEN CAST({_text(step)} AS bigint) END END"


def _parse_numeric(step: Step) -> str:
    precision, scale = step.digits
    if step.engine == "sqlite":
        return f"ematix_parse_numeric({step.x}, {precision}, {scale})"
    guard, kind = _matches(step, _text(step), NUMBER), f"DECIMAL({precision}, {scale})"
    if step.engine != "postgres":
        return f"CASE WHEN {guard} THEN TRY_CAST({_text(step)} AS {kind}) END"
    fits = f"abs(round(CAST({_text(step)} AS numeric), {scale})) < 1{'0' * (precision - scale)}"
    return f"CASE WHEN {guard} THEN CASE WHEN {fits} THEN CAST({_text(step)} AS {kind}) END END"


def _round(step: Step) -> str:
    digits, kind = step.arguments[0], step.column.type.kind
    if kind in INTEGER_KINDS:
        return step.x
    inexact = kind in FLOATS
    if step.engine == "sqlite":
        return f"ematix_round({step.x}, {digits}, {int(not inexact)})"
    if step.engine == "postgres":
        exact = f"round(CAST({_text(step)} AS numeric), {digits})"
    else:
        exact = f"CAST({_text(step)} AS DECIMAL(38, {digits}))"
    if not inexact:
        return exact
    double = _DOUBLE[step.engine]
    fits = f"abs({step.x}) < {MAX_EXACT}"
    return f"CASE WHEN {fits} THEN CAST({exact} AS {double}) ELSE CAST({step.x} AS {double}) END"


def _parse_time(step: Step, kind: str) -> str:
    formats, on_failure, value = step.arguments
    if step.engine == "sqlite":
        arguments = f"{step.x}, {quoted(json.dumps(formats))}, {quoted(kind)}, {quoted(on_failure)}"
        parsed = f"ematix_parse_time({arguments})"
    else:
        parsed = _parsed_time(step, formats, kind, on_failure)
    return parsed if value is None else f"COALESCE({parsed}, {literal(step.engine, value)})"


def _parsed_time(step: Step, formats: tuple[str, ...], kind: str, on_failure: str) -> str:
    normal = _text(step)
    for one in formats:
        normal = _regexp(step, normal, time_formats.pattern(one), time_formats.template(one))
    if kind == "date":
        cast = _time_cast(step.engine, f"substr({normal}, 2, 10)", "date")
    elif kind == "timestamp" and step.engine != "datafusion":
        cast = f"CAST(substr({normal}, 2) AS timestamptz) AT TIME ZONE 'UTC'"
    else:
        cast = _time_cast(step.engine, f"substr({normal}, 2)", kind)
    otherwise = f" WHEN {step.x} IS NOT NULL THEN {_failure(step, kind)}" if on_failure == "error" else ""
    return f"CASE WHEN {_matches(step, normal, time_formats.VALID)} THEN {cast}{otherwise} END"


def _failure(step: Step, kind: str) -> str:
    """An expression that fails with the value in the message."""
    message = f"concat({quoted(CANNOT)}, {_text(step)})"
    if step.engine == "duckdb":
        return f"error({message})"
    number = f"CAST(CAST({message} AS bigint) AS {_TEXT_TYPE[step.engine]})"
    return _time_cast(step.engine, number, kind)


def _parse_timestamp(step: Step) -> str:
    naive = step.time_kind == "timestamp" and "to_timezone" not in step.later
    return _parse_time(step, "timestamp" if naive else "timestamptz")


def _parse_date(step: Step) -> str:
    return _parse_time(step, "date")


def _to_timezone(step: Step) -> str:
    zone, kind = step.arguments[0], "timestamp" if step.column.type.kind == "timestamp" else "timestamptz"
    if kind == "timestamptz" and "parse_timestamp" in step.earlier:
        return step.x
    if step.engine == "sqlite":
        return f"ematix_to_timezone({step.x}, {quoted(zone)}, {quoted(kind)})"
    if step.engine == "datafusion":
        in_zone = quoted(f'Timestamp(Microsecond, Some("{zone}"))')
        if kind == "timestamptz":
            return f"arrow_cast(arrow_cast({step.x}, {in_zone}), {_ARROW_TIME[kind]})"
        return f"to_local_time(arrow_cast(arrow_cast({step.x}, {_ARROW_TIME['timestamptz']}), {in_zone}))"
    if kind == "timestamp":
        return f"(CAST({step.x} AS timestamptz) AT TIME ZONE {quoted(zone)})"
    type_of = "CAST(pg_typeof({x}) AS text)" if step.engine == "postgres" else "lower(typeof({x}))"
    is_moment = f"{type_of.format(x=step.x)} = 'timestamp with time zone'"
    moment, wall = f"CAST({step.x} AS timestamptz)", f"CAST({_text(step)} AS timestamp) AT TIME ZONE {quoted(zone)}"
    return f"CASE WHEN {is_moment} THEN {moment} ELSE {wall} END"


def _date_trunc(step: Step) -> str:
    part, kind = quoted(step.arguments[0]), step.time_kind
    if step.engine == "sqlite":
        return f"ematix_date_trunc({part}, {step.x}, {quoted(kind)})"
    if kind == "date":
        cut = f"date_trunc({part}, {_time_cast(step.engine, step.x, 'timestamp')})"
        return f"CAST({cut} AS date)"
    if kind == "timestamp" or step.engine == "datafusion":
        cut = f"date_trunc({part}, {_time_cast(step.engine, step.x, kind)})"
        return _time_cast(step.engine, cut, kind)
    return f"(date_trunc({part}, CAST({step.x} AS timestamptz) AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')"


_SCAN = re.compile(
    r"""'(?:[^']|'')*'|`(?:[^`]|``)*`|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|(?<![\w$.])(?P<col>col)(?![\w$])""", re.DOTALL
)


def substitute(expression: str, x: str) -> str:
    """Put an expression in place of the word ``col``; texts, quoted names and comments are left alone.

    Example:
        >>> substitute("upper(col) || ' col' || col_count", "(a)")
        "upper((a)) || ' col' || col_count"
    """
    return _SCAN.sub(lambda found: x if found["col"] else found[0], expression)


def _sql(step: Step) -> str:
    return f"({substitute(step.arguments[0], f'({step.x})')}\n)"


def _derive(step: Step) -> str:
    return f"({step.arguments[0]}\n)"


COMMON: dict[str, Template] = {
    "trim": "btrim({x}, ' ')",
    "lower": "lower({x})",
    "upper": "upper({x})",
    "empty_to_null": "NULLIF({x}, '')",
    "whitespace_to_null": f"NULLIF(btrim({{x}}, '{BLANK}'), '')",
    "truncate": "left({x}, {0})",
    "email_normalize": "lower(btrim({x}, ' '))",
    "replace": _replace,
    "regex_replace": _regex_replace,
    "phone_normalize": _phone,
    "parse_timestamp": _parse_timestamp,
    "parse_date": _parse_date,
    "to_timezone": _to_timezone,
    "date_trunc": _date_trunc,
    "parse_int": _parse_int,
    "parse_numeric": _parse_numeric,
    "round": _round,
    "clamp": _clamp,
    "parse_bool": _parse_bool,
    "default": _default,
    "nullif": _nullif,
    "sql": _sql,
    "derive": _derive,
}
ENGINES: dict[str, dict[str, Template]] = {
    "postgres": {},
    "duckdb": {
        "trim": "trim({x}, ' ')",
        "whitespace_to_null": f"NULLIF(trim({{x}}, '{BLANK}'), '')",
        "email_normalize": "lower(trim({x}, ' '))",
    },
    "datafusion": {},
    "sqlite": {
        "trim": "trim({x}, ' ')",
        "lower": "ematix_lower({x})",
        "upper": "ematix_upper({x})",
        "whitespace_to_null": f"NULLIF(trim({{x}}, '{BLANK}'), '')",
        "truncate": "substr({x}, 1, {0})",
        "email_normalize": "ematix_lower(trim({x}, ' '))",
        "parse_int": "ematix_parse_int({x})",
    },
    "mariadb": mysql_normalizers.TEMPLATES,
    "mysql": mysql_normalizers.TEMPLATES,
}
"""What each system spells differently."""


def compile_normalizers(engine: str, column: Column, source_expression: str, *, source: DataType | None = None) -> str:
    """The steps of a column, applied from left to right to an expression of the source.

    Args:
        engine: `Dialect.steps_engine` of the source: ``postgres``, ``duckdb``, ``sqlite`` (with
            `ematix_nb.sql.sqlite_functions` registered), ``mariadb``, ``mysql`` or ``datafusion``.
        column: Gives the steps, and the type that times and numbers become.
        source_expression: A quoted column, usually.
        source: The type of that expression, where it is known. MariaDB, MySQL and SQLite need it: their expressions
            do not tell a moment from a wall clock, or truth from a number.

    Raises:
        DeclarationError: When the system or a step is unknown to us.

    Example:
        >>> from ematix_nb.declare.data_types import TEXT
        >>> from ematix_nb.declare.spec import Column, Normalizer
        >>> print(compile_normalizers("duckdb", Column("email", TEXT, normalizers=(Normalizer("lower"),)), '"email"'))
        lower("email")
    """
    if engine not in ENGINES:
        hint = did_you_mean(engine, ENGINES) or f"it works on {', '.join(ENGINES)}"
        raise DeclarationError(f"normalizers do not work on `{engine}`", hint=hint)
    names = tuple(step.name for step in column.normalizers)
    expression = source_expression
    for position, normalizer in enumerate(column.normalizers):
        template = ENGINES[engine].get(normalizer.name) or COMMON.get(normalizer.name)
        if template is None:
            hint = did_you_mean(normalizer.name, COMMON)
            raise DeclarationError(f"column `{column.name}`: there is no normalizer `{normalizer.name}`", hint=hint)
        earlier, later = names[:position], names[position + 1 :]
        if isinstance(template, str):
            expression = template.format(*normalizer.arguments, x=expression)
        else:
            expression = template(Step(engine, expression, normalizer.arguments, column, earlier, later, source))
    return _finished(engine, expression, column, source) if names else expression


def _finished(engine: str, expression: str, column: Column, source: DataType | None) -> str:
    """The expression after all steps, as text where the type of the result would not tell truth or an offset."""
    kind, made = column.type.kind, result_kind(column, source)
    if made == kind == "boolean" and engine in (*mysql_normalizers.ENGINES, "sqlite"):
        return f"CASE {expression} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"
    if made == "timestamptz" and kind not in ("timestamp", "date") and engine in mysql_normalizers.ENGINES:
        return f"CONCAT({expression}, '+00:00')"
    return expression
