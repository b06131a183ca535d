"""Is this text one SELECT that only reads?

The check stands in front of every source query, whatever system answers it. It
parses with sqlglot; what sqlglot cannot parse but a server may well understand
is judged by its tokens alone (one statement, first word, forbidden words), so
that no system-specific syntax is refused by mistake.
"""

from __future__ import annotations

import difflib
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from ematix_nb.errors import SqlError
from ematix_nb.sql.picked import Picked, folded_name, picked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PARSER = {"postgres": "postgres", "duckdb": "duckdb", "sqlite": "sqlite", "mysql": "mysql", "datafusion": "duckdb"}
"""Dialect -> the sqlglot dialect that reads it."""
_ENGINE = "datafusion"
"""The engine for sources without an SQL of their own: no table functions there."""
_QUERY_WORDS = frozenset({"SELECT", "WITH", "VALUES", "TABLE"})
_STATEMENT_WORDS = frozenset(
    """
    INSERT UPDATE DELETE MERGE REPLACE UPSERT CREATE DROP ALTER TRUNCATE RENAME COMMENT COPY ATTACH DETACH PRAGMA
    SET RESET SHOW DESCRIBE DESC EXPLAIN ANALYZE VACUUM GRANT REVOKE BEGIN START COMMIT ROLLBACK SAVEPOINT RELEASE
    CALL DO EXECUTE PREPARE DEALLOCATE LOCK LISTEN NOTIFY LOAD INSTALL EXPORT IMPORT USE KILL REINDEX CLUSTER
    REFRESH CHECKPOINT DECLARE FETCH CLOSE DISCARD HANDLER UNLOCK PIVOT UNPIVOT SUMMARIZE
    """.split()  # noqa: SIM905 - a list of words reads better
)
_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
_OUTSIDE = frozenset(
    """
    read_csv read_csv_auto read_parquet read_json read_json_auto read_json_objects read_json_objects_auto
    read_ndjson read_ndjson_auto read_ndjson_objects read_text read_blob read_xlsx read_avro read_duckdb read_vortex
    read_single_csv_file read_single_json_file read_single_parquet_file parquet_scan parquet_metadata
    parquet_full_metadata parquet_schema parquet_file_metadata parquet_kv_metadata parquet_bloom_probe csv_scan
    json_scan sniff_csv glob getenv st_read st_read_meta sqlite_scan sqlite_attach postgres_scan
    postgres_scan_pushdown postgres_query postgres_execute postgres_attach mysql_scan mysql_query mysql_execute
    iceberg_scan delta_scan arrow_scan arrow_scan_dumb python_arrow_scan pandas_scan python_map_function
    copy_database import_database which_secret duckdb_secrets load_aws_credentials pg_read_file pg_read_binary_file
    pg_ls_dir pg_ls_logdir pg_ls_waldir pg_ls_tmpdir pg_ls_archive_statusdir pg_ls_logicalmapdir pg_ls_logicalsnapdir
    pg_ls_replslotdir pg_ls_summariesdir pg_stat_file pg_current_logfile pg_hba_file_rules pg_ident_file_mappings
    pg_show_all_file_settings lo_import lo_export dblink dblink_connect dblink_connect_u dblink_exec dblink_open
    dblink_send_query dblink_fetch pg_file_write pg_file_unlink pg_file_rename pg_file_read load_file load_extension
    readfile writefile fsdir zipfile edit sys_exec sys_eval
    """.split()  # noqa: SIM905 - as above
)
"""Functions that read or write files, the environment or other systems."""
_RUNS_SQL = frozenset(
    """
    query query_table json_execute_serialized_sql from_substrait from_substrait_json query_to_xml query_to_xmlschema
    query_to_xml_and_xmlschema cursor_to_xml ts_stat ts_rewrite crosstab connectby xpath_table
    """.split()  # noqa: SIM905 - as above
)
"""Functions that run a text as SQL, which nobody has looked at; `ts_rewrite` does so with two arguments."""
_CHANGES_SERVER = frozenset(
    """
    set_config setval pg_notify pg_reload_conf pg_terminate_backend pg_cancel_backend pg_rotate_logfile pg_promote
    pg_switch_wal pg_create_restore_point pg_backup_start pg_backup_stop pg_logical_emit_message
    pg_create_physical_replication_slot pg_create_logical_replication_slot pg_drop_replication_slot
    pg_replication_slot_advance pg_logical_slot_get_changes pg_logical_slot_get_binary_changes
    pg_import_system_collations pg_stat_reset pg_wal_replay_pause pg_wal_replay_resume pg_log_backend_memory_contexts
    pg_advisory_lock pg_advisory_xact_lock pg_try_advisory_lock pg_try_advisory_xact_lock pg_advisory_unlock
    pg_advisory_unlock_all get_lock release_lock release_all_locks lo_create lo_unlink lo_from_bytea lo_put
    checkpoint force_checkpoint enable_logging disable_logging truncate_duckdb_logs write_log create_external_resource
    register_external_resource register_external_resource_type deregister_external_resource destroy_external_resource
    """.split()  # noqa: SIM905 - as above
)
"""Functions that change the server, the session or other sessions."""
_FILES_HINT = 'read files through an object_store_local connection: FROM "folder/*.parquet"'
_REFUSED_FUNCTIONS = (
    (_OUTSIDE, "it reaches outside the database", _FILES_HINT),
    (_RUNS_SQL, "it runs a text as SQL", "write that query itself, as a subquery or a pipeline of its own"),
    (_CHANGES_SERVER, "it changes the server or the session", "use transforms_post for statements with an effect"),
)
_HARMLESS = {
    "sqlite": frozenset({"glob", "query"}),
    "postgres": frozenset({"glob", "query"}),
    "mysql": frozenset({"query"}),
}
"""Names of the list above that mean something else in a system."""
_FILE_ENDINGS = (
    ".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson", ".gz", ".zst", ".xlsx", ".txt", ".arrow", ".avro", ".db",
)  # fmt: skip
_POST = "use transforms_post for statements that change something"


@dataclass(frozen=True, slots=True)
class TableName:
    """A table of a query, as the user wrote it.

    Example:
        >>> check_select('select * from "orders/*.parquet" o', "datafusion").sources[0].parts
        ('orders/*.parquet',)
    """

    parts: tuple[str, ...]
    """Catalogue, schema and name; only those that are written."""
    quoted: tuple[bool, ...]
    """For each part, whether it stands in quotes."""

    def __str__(self) -> str:
        pairs = zip(self.parts, self.quoted, strict=True)
        return ".".join(f'"{part}"' if quoted and not part.isidentifier() else part for part, quoted in pairs)


@dataclass(frozen=True, slots=True)
class Checked:
    """A text that is one SELECT."""

    sql: str
    """The text up to its last semicolon: it can be wrapped in brackets."""
    sources: tuple[TableName, ...] = ()
    """The tables it reads, each once, without the names that it defines itself (WITH)."""
    select_names: tuple[str, ...] | None = None
    """The names of the result's columns; None when they are not known without the catalogue (``*``)."""
    picked: Picked | None = None
    """Set when the query only picks columns of its one table."""
    parsed: bool = True
    """False when only the tokens were judged: ``sources`` and ``select_names`` are not known then."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the sources as text.

        Example:
            >>> check_select("with x as (select * from raw.orders) select * from x", "postgres").tables
            ('raw.orders',)
        """
        return tuple(".".join(source.parts) for source in self.sources)


def dialect_of(kind: str) -> str:
    """The dialect in which queries of a kind of connection are written.

    Example:
        >>> dialect_of("postgres"), dialect_of("object_store_local")
        ('postgres', 'datafusion')
    """
    return kind if kind in _PARSER else _ENGINE


def check_select(sql: str, dialect: str) -> Checked:
    """Refuse everything but one statement that reads.

    Args:
        sql: The user's text.
        dialect: The backend's name, or ``datafusion`` for sources without an SQL of their own.

    Raises:
        SqlError: With line, column and a caret under the place, counted in ``sql``.

    Example:
        >>> check_select("select a, b + 1 as c from t;", "postgres").select_names
        ('a', 'c')
    """
    tokens, body = _one_statement(sql, dialect)
    _first_word(sql, tokens, dialect)
    _no_disguise(body, tokens, dialect)
    _no_readers(sql, tokens, dialect)
    tree = _parse(body, dialect)
    if tree is None:
        _judge_tokens(sql, tokens)
        return Checked(body, parsed=False)
    _judge_tree(tree, sql, tokens, dialect)
    sources = tuple(dict.fromkeys(_sources(tree)))
    if dialect == "duckdb":
        _no_file_names(sources)
    return Checked(body, sources, _select_names(tree), picked(tree) if len(sources) == 1 else None)


def check_expression(sql: str, dialect: str) -> str:
    """Refuse a part of a query that reaches beyond its place: the text itself, when it stays in its brackets.

    Args:
        sql: A condition or a value of the user's, which is put between brackets of ours.
        dialect: As for `check_select`.

    Raises:
        SqlError: It ends the statement, closes a bracket that it did not open, or calls what no query may call.

    Example:
        >>> check_expression("a > 1 AND b IN (1, 2)", "postgres")
        'a > 1 AND b IN (1, 2)'
    """
    from sqlglot.tokenizer_core import TokenType

    tokens = _tokens(sql, dialect)
    opened: list[Any] = []
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            _refuse("an expression ends the statement", sql, token, "take the semicolon away")
        if token.token_type == TokenType.L_PAREN:
            opened.append(token)
        if token.token_type == TokenType.R_PAREN and not opened:
            _refuse("an expression closes a bracket that it did not open", sql, token, "take the bracket away")
        if token.token_type == TokenType.R_PAREN:
            opened.pop()
    if opened:
        _refuse("the ( is never closed", sql, opened[-1], "close it with a )")
    _no_disguise(sql, tokens, dialect)
    _no_readers(sql, tokens, dialect)
    _judge_tokens(sql, tokens)
    return sql


def table_names(sql: str, dialect: str) -> tuple[str, ...]:
    """The tables that a query reads; see `Checked.tables`.

    Raises:
        SqlError: When the text is not one SELECT.
    """
    return check_select(sql, dialect).tables


def located(message: str, sql: str, line: int, column: int, hint: str = "", width: int = 1) -> SqlError:
    """An `SqlError` that shows the line of the user's text with a caret.

    Args:
        message: What is wrong, one sentence.
        sql: The user's text.
        line: From 1.
        column: From 1.
        hint: What to do next.
        width: How many carets.
    """
    lines = sql.splitlines() or [""]
    text = lines[min(line, len(lines)) - 1]
    cut = max(0, column - 60)
    shown = text[cut : cut + 100].replace("\t", " ")
    caret = " " * (column - 1 - cut) + "^" * max(1, min(width, 40))
    what = f"{message} at line {line}, column {column}\n  {shown}\n  {caret}"
    return SqlError(what, hint)


def _refuse(message: str, sql: str, token: Any, hint: str = "") -> NoReturn:
    """Raise at a token of sqlglot: its ``col`` is the column of its last character."""
    column = token.start - sql.rfind("\n", 0, token.start)
    raise located(message, sql, sql.count("\n", 0, token.start) + 1, column, hint, token.end - token.start + 1)


def _tokens(sql: str, dialect: str) -> list[Any]:
    import sqlglot
    from sqlglot.errors import TokenError

    try:
        return list(sqlglot.tokenize(sql, dialect=_PARSER.get(dialect)))
    except TokenError as exc:
        line, column, quote = _unclosed(sql)
        if quote:
            hint = f"close it with another {quote}"
            raise located(f"the {quote} is never closed", sql, line, column, hint) from exc
        message = f"the text cannot be split into words: {str(exc)[:80]}"
        raise SqlError(message, "look for quotes and brackets that are not closed") from exc


def _unclosed(sql: str) -> tuple[int, int, str]:
    """Line, column and sign of the quote or comment that runs to the end of the text."""
    position = 0
    while position < len(sql):
        two, one = sql[position : position + 2], sql[position]
        if two == "--":
            end = sql.find("\n", position)
        elif two == "/*":
            end = sql.find("*/", position + 2)
        elif one in "'\"`":
            end = sql.find(one, position + 1)
        else:
            position += 1
            continue
        if end < 0:
            line = sql.count("\n", 0, position) + 1
            sign = "" if two == "--" else "/*" if two == "/*" else one
            return line, position - sql.rfind("\n", 0, position), sign
        position = end + (2 if two == "/*" else 1)
    return 0, 0, ""


def _one_statement(sql: str, dialect: str) -> tuple[list[Any], str]:
    """The tokens of the only statement, and its text without semicolons around it; places in it stay the same."""
    from sqlglot.tokenizer_core import TokenType

    first: list[Any] = []
    end = len(sql)
    for token in _tokens(sql, dialect):
        if token.token_type == TokenType.SEMICOLON:
            end = min(end, token.start) if first else end
        elif end < len(sql):
            _refuse("one SELECT only; second starts", sql, token, "put each query into a pipeline of its own")
        else:
            first.append(token)
    if not first:
        what = "no SQL: the text is empty or holds nothing but comments"
        raise SqlError(what, "write one SELECT")
    head = sql[: first[0].start]
    return first, (head if ";" not in head else re.sub(r"[^\n]", " ", head)) + sql[first[0].start : end]


def _words(tokens: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    """The tokens that are words, not quoted, in upper case."""
    from sqlglot.tokenizer_core import TokenType

    quoted = {TokenType.IDENTIFIER, TokenType.STRING}
    for token in tokens:
        if token.token_type not in quoted and token.text[:1].isalpha():
            yield token, token.text.upper()


def _first_word(sql: str, tokens: Sequence[Any], dialect: str) -> None:
    allowed = _QUERY_WORDS | ({"FROM"} if dialect in ("duckdb", _ENGINE) else set())
    start = next((token for token in tokens if token.text != "("), tokens[0])
    word = next(iter(start.text.split()), "").upper()
    if word in allowed:
        return
    if word in _STATEMENT_WORDS:
        _refuse(f"only SELECT can be a source: `{word}` received", sql, start, f"only SELECT; {_POST}")
    near = difflib.get_close_matches(word, sorted(_QUERY_WORDS), n=1, cutoff=0.6)
    hint = f"did you mean `{near[0]}`?" if near else "begin with SELECT, WITH or VALUES"
    _refuse(f"`{start.text[:40]}` does not begin a query", sql, start, hint)


def _no_readers(sql: str, tokens: Sequence[Any], dialect: str) -> None:
    """Refuse calls of functions that do more than compute."""
    harmless = _HARMLESS.get(dialect, frozenset())
    for token, after in itertools.pairwise(tokens):
        name = token.text.lower()
        if after.text != "(" or name in harmless:
            continue
        for names, reason, hint in _REFUSED_FUNCTIONS:
            if name in names:
                _refuse(f"function `{token.text}` is refused: {reason}", sql, token, hint)


_EXECUTABLE = re.compile(r"/\*M?!")


def _no_disguise(sql: str, tokens: Sequence[Any], dialect: str) -> None:
    """Refuse what a server reads otherwise than we do: comments that it executes, names that it decodes first."""
    if dialect == "mysql":
        ends = [0, *(token.end + 1 for token in tokens)]
        starts = [*(token.start for token in tokens), len(sql)]
        for end, start in zip(ends, starts, strict=True):
            if found := _EXECUTABLE.search(sql, end, start):
                place = found.start()
                line, column = sql.count("\n", 0, place) + 1, place - sql.rfind("\n", 0, place)
                message = "a comment that the server executes is refused"
                raise located(message, sql, line, column, "leave it out, or write its text into the query", width=3)
    if dialect == "postgres":
        for first, second, third in zip(tokens, tokens[1:], tokens[2:], strict=False):
            adjacent = first.end + 1 == second.start and second.end + 1 == third.start
            if adjacent and first.text in "uU" and second.text == "&" and sql[third.start] == '"':
                _refuse('a name of the form `U&"..."` is refused', sql, first, "write its letters as they are")


def _parse(body: str, dialect: str) -> Any:
    """The syntax tree; None when sqlglot does not understand it and a server will judge."""
    import sqlglot
    from sqlglot.errors import ParseError

    try:
        trees = [tree for tree in sqlglot.parse(body, dialect=_PARSER.get(dialect)) if tree is not None]
    except ParseError as exc:
        if dialect != _ENGINE:
            return None
        raise _syntax_error(body, exc) from exc
    except RecursionError as exc:
        message = "the query is nested too deeply"
        raise SqlError(message, "split it, or load it in steps") from exc
    return trees[0] if len(trees) == 1 else None


def _syntax_error(body: str, exc: Any) -> SqlError:
    first = exc.errors[0] if exc.errors else {}
    highlight = first.get("highlight") or ""
    line, end = int(first.get("line") or 1), int(first.get("col") or 1)
    text = str(first.get("description") or exc)
    if "'this' missing" in text or "Required keyword" in text:
        text = "something is missing after it"
    elif "Unexpected token" in text:
        text = "it was not expected"
    near = f" near `{highlight[:40]}`" if highlight else ""
    column = max(1, end - len(highlight) + 1)
    words = [token for token, _ in _words(_tokens(body, _ENGINE)) if (token.line, token.col) <= (line, end)]
    hint = _misspelt(words[-2:]) or "correct the query there"
    return located(f"syntax error{near}: {text[:160]},", body, line, column, hint, width=len(highlight))


_CLAUSES = ("FROM", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "JOIN", "UNION", "SELECT", "BETWEEN", "DISTINCT")


def _misspelt(tokens: Sequence[Any]) -> str:
    """A suggestion when a word next to the error is nearly one of SQL's own."""
    from sqlglot.tokenizer_core import TokenType

    for token in reversed(tokens):
        near = difflib.get_close_matches(token.text.upper(), _CLAUSES, n=1, cutoff=0.7)
        if near and token.token_type == TokenType.VAR:
            return f"did you mean `{near[0]}` instead of `{token.text[:40]}`?"
    return ""


def _judge_tokens(sql: str, tokens: Sequence[Any]) -> None:
    """What the words alone can tell: no data-modifying WITH, no INTO, no FOR UPDATE."""
    before = {after.start: token.text.upper() for token, after in itertools.pairwise(tokens)}
    for token, word in _words(tokens):
        previous = before.get(token.start, "")
        if word in _CHANGES and previous in ("(", ")"):
            _refuse(f"only SELECT can be a source: `{word}` received", sql, token, f"only SELECT; {_POST}")
        if word == "INTO" and previous != ".":
            _refuse("SELECT INTO writes a table", sql, token, "leave INTO out: the pipeline's target receives the rows")
        if previous == "FOR" and word in ("UPDATE", "SHARE"):
            _refuse(f"FOR {word} locks rows of the source", sql, token, "leave the lock out")


def _judge_tree(tree: Any, sql: str, tokens: Sequence[Any], dialect: str) -> None:
    from sqlglot import exp

    if not isinstance(tree, (exp.Query, exp.Values)):
        _judge_tokens(sql, tokens)
        message = f"only SELECT can be a source: `{tree.key.upper()}` received"
        raise SqlError(message, f"only SELECT; {_POST}")
    changes = (exp.DML, exp.Merge, exp.Create, exp.Drop, exp.Copy, exp.Command, exp.Alter, exp.Set)
    for node in tree.walk():
        if isinstance(node, (*changes, exp.Into, exp.Lock)):
            _judge_tokens(sql, tokens)
            message = f"only SELECT can be a source: `{node.key.upper()}` received"
            raise SqlError(message, f"only SELECT; {_POST}")
        outside = dialect == _ENGINE and isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier)
        if outside and node.this is not None:
            message = f"table function `{node.this.sql()[:60]}` is refused"
            raise SqlError(message, 'name a folder, file or pattern instead: FROM "orders/*.parquet"')


def _sources(tree: Any) -> Iterator[TableName]:
    from sqlglot import exp
    from sqlglot.errors import OptimizeError
    from sqlglot.optimizer.scope import traverse_scope

    try:
        found = {id(t): t for scope in traverse_scope(tree) for t in scope.sources.values() if isinstance(t, exp.Table)}
        tables = [table for table in tree.find_all(exp.Table, bfs=False) if id(table) in found]
    except OptimizeError:  # two sources under one alias: the engine that runs the query names them
        defined = {cte.alias for cte in tree.find_all(exp.CTE)}
        tables = [table for table in tree.find_all(exp.Table, bfs=False) if table.db or table.name not in defined]
    defined = _defined(tree)
    tables = [table for table in tables if table.db or folded_name(table.this) not in defined]
    for table in sorted(tables, key=lambda table: int(table.this.meta.get("start", 0))):
        parts = [part for part in table.parts if isinstance(part, exp.Identifier)]
        if parts:
            yield TableName(tuple(part.name for part in parts), tuple(bool(part.args.get("quoted")) for part in parts))


def _defined(tree: Any) -> set[str]:
    """Names of WITH that a reference may spell in another case; those spelled the same were told apart before."""
    from sqlglot import exp

    names = [cte.args["alias"].this for cte in tree.find_all(exp.CTE)]
    return {folded_name(name) for name in names if not name.args.get("quoted") and name.name != name.name.lower()}


def _no_file_names(sources: Sequence[TableName]) -> None:
    """DuckDB reads a file when a quoted name is the path of one."""
    for source in sources:
        name = source.parts[-1]
        if len(source.parts) == 1 and (name.lower().endswith(_FILE_ENDINGS) or "://" in name or name.startswith("/")):
            message = f"table name `{name[:80]}` is the path of a file"
            raise SqlError(message, "read files through an object_store_local connection")


def _select_names(tree: Any) -> tuple[str, ...] | None:
    if not hasattr(tree, "named_selects") or any(projection.is_star for projection in tree.selects):
        return None
    names = tuple(tree.named_selects)
    return names if names and all(names) else None
