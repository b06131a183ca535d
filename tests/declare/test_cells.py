"""`%%flow` cells: what they say, and what is said to a wrong one."""

from __future__ import annotations

import contextlib
import datetime as dt
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ematix_nb.declare import registry
from ematix_nb.declare.cells import OPTIONS, build_cell_pipeline, parse_cell, pipeline_keywords, split_line, table_spec
from ematix_nb.declare.pipelines import OPTIONS as KEYWORDS
from ematix_nb.errors import ConfigError, DeclarationError, FlowError, UnknownNameError, UsageError

SQL = "SELECT 1 AS id"


def test_pipeline_cell_of_the_design() -> None:
    line = (
        "pipeline orders --from lake --to warehouse:analytics.orders --mode merge --keys order_id"
        ' --watermark updated_at --schedule "*/15 * * * *"'
    )
    cell = parse_cell(line, 'SELECT order_id, updated_at FROM "orders/*.parquet"\n')
    assert pipeline_keywords(cell) == {
        "target": "warehouse:analytics.orders",
        "source_connection": "lake",
        "mode": "merge",
        "keys": ("order_id",),
        "incremental": True,
        "watermark_column": "updated_at",
        "schedule": "*/15 * * * *",
    }
    spec = build_cell_pipeline(cell)
    assert spec.query.sql == 'SELECT order_id, updated_at FROM "orders/*.parquet"'
    assert spec.incremental
    assert spec.targets[0].keys == ("order_id",)


def test_every_option_is_a_keyword_of_the_decorator() -> None:
    assert {option.keyword for option in OPTIONS.values()} - {"table"} <= set(KEYWORDS)


def test_every_option_reaches_the_declaration() -> None:
    line = (
        "pipeline people --from crm --to wh:dim.people --mode scd2 --keys id,region --compare name,email"
        " --event-time changed_at --ttl-seconds 60 --column-map full_name=name,mail=email"
        " --watermark changed_at --overlap 2h --late-rows snapshot --schedule @daily"
        " --timezone Europe/Berlin --catch-up all"
        " --dedup-by changed_at --on-duplicate-key error --on-drift warn --on-nul strip --on-null-key error"
        " --empty-source apply --allow-lossy amount --post 'UPDATE a SET b = 1' --post=\"-- note\""
        " --continue-on-failure-post"
    )
    spec = build_cell_pipeline(parse_cell(line, SQL))
    target = spec.targets[0]
    assert (target.mode, target.keys, target.compare_columns) == ("scd2", ("id", "region"), ("name", "email"))
    assert target.event_timestamp_column == "changed_at"
    assert (target.ttl, target.column_map) == (dt.timedelta(seconds=60), (("full_name", "name"), ("mail", "email")))
    assert (spec.overlap, spec.schedule, spec.timezone) == (dt.timedelta(hours=2), "@daily", "Europe/Berlin")
    assert (spec.catch_up, spec.continue_on_failure_post, spec.late_rows) == ("all", True, "snapshot")
    assert spec.transforms_post == ("UPDATE a SET b = 1", "-- note")
    assert (spec.policies.on_drift, spec.policies.on_duplicate_key, spec.policies.dedup_by) == (
        "warn",
        "error",
        "changed_at",
    )
    assert (spec.policies.on_nul, spec.policies.empty_source, spec.policies.allow_lossy) == (
        "strip",
        "apply",
        ("amount",),
    )


def test_deletes_of_a_full_read() -> None:
    line = "pipeline a --to wh:a --mode merge --keys id --update name --deletes hard"
    target = build_cell_pipeline(parse_cell(line, SQL)).targets[0]
    assert (target.update_columns, target.handle_deletes) == (("name",), "hard")


def test_line_goes_on_after_a_backslash() -> None:
    cell = parse_cell("pipeline a --to \\", "    wh:a \\\n  --mode append\nSELECT 1\n")
    assert cell.options == {"target": "wh:a", "mode": "append"}
    assert (cell.body, cell.body_line) == ("SELECT 1\n", 4)


def test_source_table_needs_no_sql() -> None:
    spec = build_cell_pipeline(parse_cell("pipeline a --to wh:a --source-table raw.a", "-- nothing\n"))
    assert (spec.query.source_table, spec.query.sql) == ("raw.a", None)


def test_table_by_class_or_name() -> None:
    with registry.scratch():
        registry.register_table(table_spec(parse_cell("table analytics.customer_dim", "id bigint pk")))
        for name in ("CustomerDim", "customer_dim", "analytics.customer_dim"):
            spec = build_cell_pipeline(parse_cell(f"pipeline a --table {name} --to wh --mode merge", SQL))
            assert spec.targets[0].connection == "wh"
            assert spec.targets[0].table is not None
            assert spec.targets[0].table.primary_key == ("id",)
        with pytest.raises(UnknownNameError, match=r"no table `Custmer` is declared"):
            build_cell_pipeline(parse_cell("pipeline a --table Custmer --to wh", SQL))


def test_connection_cell_is_toml() -> None:
    cell = parse_cell("connection lake", '# files\nkind = "object_store_local"\npath = "data"\n')
    assert cell.settings == {"kind": "object_store_local", "path": "data"}
    assert "data" not in repr(cell)


def test_table_cell_keeps_quoted_names() -> None:
    spec = table_spec(parse_cell('table "My Schema"."odd name"', '"the id" bigint pk -- key\n\nx text null lower\n'))
    assert (spec.ref.schema, spec.ref.name) == ("My Schema", "odd name")
    assert [column.name for column in spec.columns] == ["the id", "x"]


WRONG = [
    (
        "",
        "",
        UsageError,
        r"does not say what the cell declares .*\nhint: begin the cell with one of\n  %%flow connection NAME: ",
    ),
    ("pipline orders", SQL, UsageError, r"unknown `%%flow pipline`[\s\S]*did you mean `pipeline`"),
    ("pipeline", SQL, UsageError, r"name of the pipeline is missing[\s\S]*hint: %%flow pipeline NAME --to"),
    ("pipeline --to a:b", SQL, UsageError, r"name of the pipeline is missing"),
    ("pipeline my pipe --to a:b", SQL, DeclarationError, r"`my pipe` is not a name[\s\S]*`my_pipe` is one"),
    ("pipeline 1abc --to a:b", SQL, DeclarationError, r"`1abc` is not a name[\s\S]*`p_1abc` is one"),
    ("pipeline class --to a:b", SQL, DeclarationError, r"`class` is not a name[\s\S]*`class_` is one"),
    ("connection my wh", 'kind = "x"', DeclarationError, r"`my wh` is not a name[\s\S]*`my_wh` is one"),
    ("connection wh --mode x", 'kind = "x"', UsageError, r"has no options, got `--mode`"),
    ("pipeline a --to a:b", "  \n", DeclarationError, r"no SQL in the cell"),
    ("pipeline a --to a:b", "-- later\n/* or\n never */ ;", DeclarationError, r"only comments in the cell"),
    (
        "pipeline a --targett a:b",
        SQL,
        UsageError,
        r"unknown option `--targett`.*column 19\)\nhint: did you mean `--to`",
    ),
    ("pipeline a --watermrk x", SQL, UsageError, r"did you mean `--watermark`"),
    ("pipeline a --to a:b --watermark day,day", SQL, UsageError, r"`--watermark` is a list of different names"),
    ("pipeline a --to a:b --watermark day,", SQL, UsageError, r"`--watermark` is a list of different names"),
    ("pipeline a --to a:b --watermark ''", SQL, UsageError, r"`--watermark` is empty"),
    ("pipeline a --dedup_by x", SQL, UsageError, r"did you mean `--dedup-by`"),
    ("pipeline a --qqqqqq x", SQL, UsageError, r"the options are --from, --to"),
    ("pipeline a --to a:b --mode append --mode merge", SQL, UsageError, r"`--mode` is given twice: append, merge"),
    ('pipeline a --schedule "* *', SQL, UsageError, r'unclosed `"` at column 30'),
    ("pipeline a --to a:b --mode upsert", SQL, DeclarationError, r"modes are append.*\nhint: did you mean `merge`"),
    ("pipeline a --to a:b --mode merge", SQL, DeclarationError, r"merge needs keys.*\nhint: --keys id"),
    ("pipeline a --mode append", SQL, UsageError, r"`--to` is missing"),
    ("pipeline a --to", SQL, UsageError, r"`--to` needs a value"),
    ("pipeline a --to --mode append", SQL, UsageError, r"`--to` needs a value"),
    ("pipeline a --to a:b loose", SQL, UsageError, r"`loose` was not expected"),
    ("pipeline a --to a:b --keys a,,b", SQL, UsageError, r"list of different names, got `a,,b`"),
    ("pipeline a --to a:b --keys ''", SQL, UsageError, r"`--keys` is empty"),
    ("pipeline a --to a:b --column-map a", SQL, UsageError, r"target=source,\.\.\., got `a`"),
    ("pipeline a --to a:b --ttl-seconds x", SQL, UsageError, r"whole number, got `x`"),
    ("pipeline a --to a:b --continue-on-failure-post=1", SQL, UsageError, r"takes no value"),
    ("pipeline a --to a:b --source-table t", SQL, DeclarationError, r"both --source-table and SQL"),
    ("pipeline a --to a:b --timezone Mars/X", SQL, DeclarationError, r"no time zone `Mars/X`"),
    ("connection wh", "", DeclarationError, r"has no settings"),
    ("connection wh", "kind = postgres", ConfigError, r"invalid value \(at line 2, column 8\)"),
    ("connection wh", "a = " + "[" * 5000, ConfigError, r"connection `wh`"),
    ("table t", "-- nothing", DeclarationError, r"has no columns"),
    ("table t", "id bigint pk\nname txt", DeclarationError, r"unknown type `txt`.*cell line 3"),
    ("table t", "id bigint replace('\0')", DeclarationError, r"cell line 2"),
    ("table t --keys id", "id bigint", UsageError, r"has no options"),
    ("table a.b.c", "id bigint", DeclarationError, r"has 3 parts"),
]


@pytest.mark.parametrize(("line", "body", "error", "message"), WRONG)
def test_wrong_cells(line: str, body: str, error: type[FlowError], message: str) -> None:
    with registry.scratch(), pytest.raises(error, match=message):
        _read(line, body)


def _read(line: str, body: str) -> None:
    cell = parse_cell(line, body)
    if cell.kind == "pipeline":
        build_cell_pipeline(cell)


def test_the_same_value_twice_is_no_conflict() -> None:
    assert parse_cell("pipeline a --to a:b --mode merge --mode merge --keys id", SQL).options["mode"] == "merge"


_WORDS = st.sampled_from(
    ["pipeline", "table", "connection", "orders", "--to", "wh:a", "--keys", "a,b", '"', "'", "\\", "--table", "=", "-"]
)
_LINES = st.one_of(st.text(max_size=60), st.lists(_WORDS | st.text(max_size=5), max_size=8).map(" ".join))


@given(_LINES, st.text(max_size=80))
def test_no_text_leads_to_a_foreign_error(line: str, body: str) -> None:
    with registry.scratch(), contextlib.suppress(FlowError):
        _read(line, body)


@given(st.sampled_from(["table t", "connection c"]), st.text(max_size=120))
def test_no_body_leads_to_a_foreign_error(line: str, body: str) -> None:
    with contextlib.suppress(FlowError):
        parse_cell(line, body)


@given(st.text(alphabet="ab \\\"'-=\t", max_size=30))
def test_words_are_those_of_a_shell(line: str) -> None:
    try:
        expected = shlex.split(line)
    except ValueError:
        return
    assert [token.text for token in split_line(line)] == expected
