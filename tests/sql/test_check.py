"""The one-SELECT check: what passes, what is refused, and where the caret stands."""

from __future__ import annotations

import pytest

from ematix_nb.errors import SqlError
from ematix_nb.sql.check import TableName, check_select, table_names

SYSTEMS = ("postgres", "duckdb", "sqlite", "mysql", "datafusion")
QUERIES = (
    "SELECT 1",
    "(select 1)",
    "select a from t union all select b from u",
    "with x as (select 1 as a) select a from x",
    "with recursive r as (select 1 as n union all select n + 1 from r where n < 5) select n from r",
    "select ';' as semicolon, '-- no' as text from t; -- the end",
    "select a -- INSERT INTO x\nfrom t /* DROP TABLE t */",
    'select "update", "into" from "delete"',
    ";; select 1 ;",
)
REFUSED = (
    ("", "no SQL"),
    ("-- nothing\n/* here */ ;", "no SQL"),
    ("insert into t values (1)", "only SELECT; use transforms_post"),
    ("drop table t", "only SELECT; use transforms_post"),
    ("with x as (select 1) insert into t select * from x", "only SELECT"),
    ("with d as (delete from t returning *) select * from d", "`DELETE` received at line 1, column 12"),
    ("with d as (update t set a = 1 returning *) select * from d", "only SELECT"),
    ("select a into b from t", "SELECT INTO writes a table at line 1, column 10"),
    ("select a from t for update", "FOR UPDATE locks rows"),
    ("copy t to '/tmp/x'", "`COPY` received"),
    ("attach 'x.db' as x", "`ATTACH` received"),
    ("pragma journal_mode", "`PRAGMA` received"),
    ("set search_path = x", "`SET` received"),
    ("explain select 1", "`EXPLAIN` received"),
    ("install httpfs", "`INSTALL` received"),
    ("call f()", "`CALL` received"),
    ("selct 1", "did you mean `SELECT`"),
    ("' '", "does not begin a query"),
    ("select a, 'x from t", "the ' is never closed at line 1, column 11"),
    ("select * from read_csv('/etc/passwd')", "`read_csv` is refused"),
    ("select * from read_text('/etc/passwd')", "`read_text` is refused"),
    ("select \"pg_read_file\"('/etc/passwd')", "`pg_read_file` is refused"),
    ("select getenv ('HOME')", "`getenv` is refused"),
    ("select lo_import('/etc/passwd')", "`lo_import` is refused"),
    ("select load_extension('x')", "`load_extension` is refused"),
)


@pytest.mark.parametrize("dialect", SYSTEMS)
@pytest.mark.parametrize("sql", QUERIES)
def test_a_query_passes(sql: str, dialect: str) -> None:
    if dialect == "mysql":
        sql = sql.replace('"', "`")
    assert (
        check_select(sql, dialect).sql.strip().endswith(("1", "t", "u", "x", "1)", "5) select n from r", "/", '"', "`"))
    )


@pytest.mark.parametrize("dialect", SYSTEMS)
@pytest.mark.parametrize(("sql", "message"), REFUSED)
def test_anything_else_is_refused(sql: str, message: str, dialect: str) -> None:
    with pytest.raises(SqlError, match=message.replace("(", r"\(")):
        check_select(sql.replace('"', "`") if dialect == "mysql" else sql, dialect)


def test_the_second_statement_is_told_by_its_place() -> None:
    with pytest.raises(SqlError) as caught:
        check_select("select 1;\n\n  drop table t", "postgres")
    assert caught.value.what == "one SELECT only; second starts at line 3, column 3\n    drop table t\n    ^^^^"


def test_the_caret_stands_under_the_wrong_word() -> None:
    with pytest.raises(SqlError) as caught:
        check_select("select a\nfrom t where", "datafusion")
    assert caught.value.what.splitlines()[1:] == ["  from t where", "         ^^^^^"]


def test_values_passes() -> None:
    assert check_select("values (1, 'a'), (2, 'b')", "postgres").sources == ()


def test_the_semicolon_is_cut_so_that_the_query_can_be_wrapped() -> None:
    assert check_select("select 1 ;  ", "duckdb").sql == "select 1 "


def test_sources_are_real_tables_only() -> None:
    sql = """
    with big as (select * from raw.orders where id in (select id from "ids/*.csv"))
    select * from big join (select * from customers) c using (id)
    """
    assert table_names(sql, "datafusion") == ("raw.orders", "ids/*.csv", "customers")


def test_a_name_that_hides_a_table_is_not_a_source_in_its_scope_only() -> None:
    sql = "select * from (with t as (select 1 as a) select * from t) x, t as y"
    assert table_names(sql, "postgres") == ("t",)


def test_names_know_their_quotes() -> None:
    checked = check_select('select * from Raw."Orders"', "datafusion")
    assert checked.sources == (TableName(("Raw", "Orders"), (False, True)),)


def test_the_result_names_are_known_without_a_star() -> None:
    assert check_select("select a, b.c, d + 1 as e from b", "postgres").select_names == ("a", "c", "e")
    assert check_select("select *, 1 as x from b", "postgres").select_names is None


def test_syntax_that_only_the_server_knows_is_left_to_it() -> None:
    checked = check_select("select * from t where a ??!? b", "postgres")
    assert not checked.parsed


UNPARSED = ("with d as (delete from t ??! x) select 1", "select a ??! b into c from t", "select ??! 1 for update")


@pytest.mark.parametrize("sql", UNPARSED)
def test_what_cannot_be_parsed_is_still_judged_by_its_words(sql: str) -> None:
    with pytest.raises(SqlError, match=r"only SELECT|INTO|FOR UPDATE"):
        check_select(sql, "postgres")


@pytest.mark.parametrize("sql", ["select * from generate_series(1, 3)", "select * from my_function('x') f"])
def test_table_functions_are_for_systems_with_their_own_sql(sql: str) -> None:
    with pytest.raises(SqlError, match="table function"):
        check_select(sql, "datafusion")
    assert check_select(sql, "postgres").sql == sql


def test_duckdb_does_not_read_files_by_name() -> None:
    with pytest.raises(SqlError, match="path of a file"):
        check_select("select * from '/etc/passwd'", "duckdb")
    with pytest.raises(SqlError, match="path of a file"):
        check_select('select * from "data/x.parquet"', "duckdb")


@pytest.mark.parametrize(
    ("sql", "line", "hint"),
    [
        ('SELECT id,\n  name FORM "a.csv"', "line 2, column 13", "did you mean `FROM` instead of `FORM`?"),
        ('SELECT id FROM "a.csv" WEHRE id > 1', "line 1, column 30", "did you mean `WHERE` instead of `WEHRE`?"),
        ('SELECT id FROM "a.csv" WHERE (id > 1', "line 1, column 36", "correct the query there"),
    ],
)
def test_a_syntax_error_suggests_the_misspelt_word(sql: str, line: str, hint: str) -> None:
    with pytest.raises(SqlError, match=line) as caught:
        check_select(sql, "datafusion")
    assert caught.value.hint == hint
