"""Declared pipelines: keywords, rules, keys, queries."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from ematix_nb.declare import registry
from ematix_nb.declare.markers import natural_key, pk
from ematix_nb.declare.pipelines import Target, build_pipeline, override, resolve_keys, target
from ematix_nb.declare.spec import TargetSpec
from ematix_nb.declare.tables import parse_table_cell, table
from ematix_nb.declare.transforms import build_transform, transform_ref
from ematix_nb.errors import DeclarationError
from ematix_nb.transforms import deduplicate_by, filter_where

if TYPE_CHECKING:
    from ematix_nb.types import BigInt, Text, TimestampTZ

SQL = "SELECT 1 AS id"


@pytest.fixture
def customers() -> Any:
    @table(schema="analytics")
    class CustomerDim:
        customer_id: Annotated[BigInt, pk()]
        email: Text | None
        name: Text | None
        updated_at: TimestampTZ

    return CustomerDim


def build(**options: Any) -> Any:
    return build_pipeline(**{"name": "p", "sql": SQL, "target": "wh:s.t", **options})


def refused(match: str, **options: Any) -> None:
    with pytest.raises(DeclarationError, match=match):
        build(**options)


def test_every_keyword(customers: Any) -> None:
    def after(conn: Any) -> None: ...

    def orders(conn: Any) -> Any:
        """Orders changed since the last run."""
        return """
            SELECT customer_id
            FROM raw.customers
        """

    spec = build_pipeline(
        orders,
        target=customers,
        target_connection="warehouse",
        source_connection="raw_db",
        schedule="0 * * * *",
        timezone="Europe/Berlin",
        catch_up="all",
        mode="scd2",
        keys=["customer_id"],
        compare_columns=["email", "name"],
        event_timestamp_column="updated_at",
        ttl_seconds=86_400 * 30,
        column_map={"email": "mail"},
        incremental_column="updated_at",
        overlap="10m",
        on_drift="warn",
        on_duplicate_key="error",
        dedup_by="updated_at",
        on_null_key="error",
        empty_source="apply",
        allow_lossy="name",
        on_nul="strip",
        transforms_pre=[deduplicate_by("customer_id"), filter_where("name IS NOT NULL")],
        transforms_post=["ANALYZE x", transform_ref("update_mart"), after, build_transform(after, name="other")],
        continue_on_failure_post=True,
        continue_on_failure=True,
    )
    item = spec.targets[0]
    assert (spec.name, spec.description) == ("orders", "Orders changed since the last run.")
    assert spec.query.sql == "SELECT customer_id\nFROM raw.customers"
    assert (item.mode, item.keys, item.ttl, item.column_map) == (
        "scd2",
        ("customer_id",),
        dt.timedelta(days=30),
        (("email", "mail"),),
    )
    assert (item.connection, item.table) == ("warehouse", customers.__table_spec__)
    assert (spec.incremental, spec.watermark_column, spec.overlap) == (True, "updated_at", dt.timedelta(minutes=10))
    assert (spec.policies.on_nul, spec.policies.allow_lossy, spec.policies.dedup_by) == (
        "strip",
        ("name",),
        "updated_at",
    )
    assert (spec.timezone, spec.catch_up, spec.source) == ("Europe/Berlin", "all", "raw_db")
    assert (spec.continue_on_failure_post, spec.continue_on_target_failure) == (True, True)
    assert [getattr(step, "name", step) for step in spec.transforms_post] == [
        "ANALYZE x",
        "update_mart",
        after,
        "other",
    ]
    assert spec.origin == __file__


def test_targets_as_text(customers: Any) -> None:
    one = build(target="warehouse:analytics.orders").targets[0]
    assert (one.connection, one.thing, one.table, one.mode) == ("warehouse", "analytics.orders", None, "append")
    two = build(target="analytics.orders").targets[0]
    assert (two.connection, two.thing) == ("default", "analytics.orders")
    declared = build(target="lake:analytics.customer_dim", mode="scd1").targets[0]
    assert (declared.table, declared.mode) == (customers.__table_spec__, "merge")
    assert build(target=customers).targets[0].connection == "default"
    refused("names the connection `a`, target_connection `b`", target="a:s.t", target_connection="b")


def test_many_targets(customers: Any) -> None:
    spec = build(
        target=None,
        targets=[
            Target(table=customers, connection="warehouse"),
            Target(prefix="events/raw", connection="lake", mode="append", parquet_compression="zstd"),
            target(customers, mode="scd2", target_connection="history"),
            customers,
        ],
        mode="merge",
        compare_columns=["email"],
        handle_deletes=None,
        target_connection="rest",
    )
    assert [(one.connection, one.mode, one.compare_columns) for one in spec.targets] == [
        ("warehouse", "merge", ("email",)),
        ("lake", "append", ()),
        ("history", "scd2", ("email",)),
        ("rest", "merge", ("email",)),
    ]
    assert (spec.targets[1].thing, spec.targets[1].write_options) == ("events/raw", (("parquet_compression", "zstd"),))
    with pytest.raises(DeclarationError, match="unknown option `modee` of a target"):
        target(customers, modee="merge")


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("unknown option `watermark_colum`[^§]*did you mean `watermark_column`", {"watermark_colum": "x"}),
    ("both source_table and SQL", {"source_table": "raw.t"}),
    ("neither is given", {"target": None}),
    ("both are given", {"targets": ["a:b"]}),
    ("at least one target", {"target": None, "targets": []}),
    ("is given twice", {"target": None, "targets": ["a:b", "a:b"]}),
    ("modes are append, truncate, merge, scd2[^§]*did you mean `merge`", {"mode": "upsert"}),
    ("merge needs keys[^§]*keys=", {"mode": "merge"}),
    ("scd2 needs keys", {"mode": "scd2"}),
    (r"`my pipe` is not a name for a pipeline[^§]*`my_pipe`", {"name": "my pipe"}),
    ("`class_` is one", {"name": "class"}),
    ("there is no time zone `Mars/X`", {"timezone": "Mars/X"}),
    ("did you mean `Europe/Berlin`", {"timezone": "Europe/Berlim"}),
    ("incremental=True needs watermark_column", {"incremental": True}),
    (r"watermark_column names columns, got \[\]", {"watermark_column": []}),
    ("watermark_column names `a` twice", {"watermark_column": ["a", " a"]}),
    ("watermark_column is a column, or a list of columns in their order, got {'a'}", {"watermark_column": {"a"}}),
    ("incremental is true or false", {"incremental": "yes"}),
    ("overlap is an option of incremental", {"overlap": 5}),
    ("overlap is not negative", {"overlap": -5, "watermark_column": "x"}),
    ("overlap is a duration", {"overlap": "soon", "watermark_column": "x"}),
    ("truncate empties the target", {"mode": "truncate", "watermark_column": "x"}),
    (
        "handle_deletes needs all rows",
        {"mode": "merge", "keys": "id", "handle_deletes": "hard", "watermark_column": "x"},
    ),
    ("handle_deletes is an option of merge and scd2", {"handle_deletes": "hard"}),
    ("merge cannot delete softly", {"mode": "merge", "keys": "id", "handle_deletes": "soft"}),
    ("scd2 keeps history", {"mode": "scd2", "keys": "id", "handle_deletes": "hard"}),
    ("handle_deletes is `har`", {"mode": "merge", "keys": "id", "handle_deletes": "har"}),
    ("ttl is an option of scd2", {"ttl": dt.timedelta(1)}),
    ("`ttl` and `ttl_seconds`", {"ttl": 1, "ttl_seconds": 1}),
    ("event_timestamp_column is an option of scd2", {"event_timestamp_column": "x"}),
    ("compare_columns is an option of merge and scd2", {"compare_columns": ["x"]}),
    ("update_columns is an option of merge", {"mode": "scd2", "keys": "id", "update_columns": ["x"]}),
    ("compare_columns holds the key `id`", {"mode": "merge", "keys": "id", "compare_columns": ["id"]}),
    ("keys names `id` twice", {"mode": "merge", "keys": ["id", "id"]}),
    ("`watermark_column` is given twice", {"watermark_column": "a", "incremental_column": "b"}),
    ("on_drift is `evolv`[^§]*did you mean `evolve`", {"on_drift": "evolv"}),
    ("the query is empty", {"sql": "  \n"}),
    ("transforms_pre holds 'x > 1'[^§]*filter_where", {"transforms_pre": ["x > 1"]}),
    ("transforms_post holds 5", {"transforms_post": [5]}),
    ("column_map maps", {"column_map": ["a"]}),
    ("target_connection is a connection, got int", {"target_connection": 5}),
    ("`1wh` is not a name for a connection", {"source_connection": "1wh"}),
    ("a target is not 5", {"target": 5}),
    ("`int` is not a declared table", {"target": int}),
]


@pytest.mark.parametrize(("match", "options"), REFUSED)
def test_refused(match: str, options: dict[str, Any]) -> None:
    refused(match, **options)


def test_rules_of_declared_columns(customers: Any) -> None:
    refused(
        'key "idd" is not among customer_id, email, name, updated_at', target=customers, mode="merge", keys=("idd",)
    )
    refused(
        "key `email` of table `analytics.customer_dim` may be NULL", target=customers, mode="merge", keys=("email",)
    )
    refused('compare column "mail" is not among', target=customers, mode="merge", compare_columns=["mail"])
    refused(
        "compare_columns holds the key `customer_id`", target=customers, mode="scd2", compare_columns=["customer_id"]
    )
    refused('column_map column "x" is not among', target=customers, column_map={"x": "y"})
    assert build(target=customers, mode="scd2", event_timestamp_column="updated_at").targets[0].mode == "scd2"
    reserved = parse_table_cell("s.r", "id bigint pk\nvalid_from timestamptz")
    refused("column `valid_from` of table `s.r` is reserved in scd2[^§]*column_map", target=reserved, mode="scd2")
    keyless = parse_table_cell("s.k", "id bigint")
    assert build(target=keyless, mode="append").targets[0].table == keyless
    refused(r"merge needs keys[^§]*pk\(\)", target=keyless, mode="merge")


def test_where_a_function_stands_is_told() -> None:
    def broken(conn: Any) -> str:
        return "SELECT 1"

    with pytest.raises(DeclarationError, match=r"merge needs keys \(.*test_pipelines\.py:\d+\)"):
        build_pipeline(broken, target="wh:s.t", mode="merge")


def test_functions() -> None:
    async def later(conn: Any) -> str:
        return "SELECT 1"

    def dynamic(source: Any, target: Any) -> str:
        return f"SELECT {source}"

    def static() -> None:
        pass

    def three(a: Any, b: Any, c: Any) -> str:
        return ""

    def generator(conn: Any) -> Any:
        yield 1

    def draft(conn: Any) -> Any: ...

    class Holder:
        def method(self, conn: Any) -> str:  # noqa: ARG002
            return "SELECT 1"

    def made(function: Any, **options: Any) -> Any:
        return build_pipeline(function, **{"target": "wh:t", **options})

    assert made(later).query.sql == "SELECT 1"
    assert made(dynamic).query.function is dynamic
    assert len(made(dynamic).query.function_digest) == 64
    assert made(static, source_table="raw.customers").query.source_table == "raw.customers"
    assert made(static, source_table="raw_db:raw.customers").source == "raw_db"
    assert made(draft).query.function is draft
    assert made(lambda: "SELECT 2", name="two").query.sql == "SELECT 2"
    assert made(Holder().method).query.sql == "SELECT 1"
    for function, options, match in (
        (lambda: "SELECT 1", {}, "a lambda has no name"),
        (static, {}, "`static` returns None"),
        (three, {}, "takes 3 arguments[^§]*0, 1 .source. or 2"),
        (generator, {}, "`generator` is a generator"),
        (Holder, {}, "`Holder` is a class"),
        (Holder.method, {}, "`method` is a method"),
        (5, {"name": "x"}, "int is not a function"),
        (dynamic, {"source_table": "raw.t"}, "both source_table and SQL"),
    ):
        with pytest.raises(DeclarationError, match=match):
            made(function, **options)


def test_keys_in_the_documented_order() -> None:
    @table(schema="s")
    class Versioned:
        __merge_keys__ = ("b",)
        a: Annotated[BigInt, pk()]
        b: Annotated[BigInt, natural_key("second")]
        c: Annotated[BigInt, natural_key()]

    spec = Versioned.__table_spec__  # type: ignore[attr-defined]
    natural = parse_table_cell("s.n", "a bigint pk\nb bigint natural_key(second)\nc bigint natural_key")
    plain = parse_table_cell("s.p", "a bigint pk")
    assert resolve_keys(TargetSpec(table=spec, keys=("c",))) == (("c",), "as declared", None)
    keys, reason, warning = resolve_keys(TargetSpec(table=spec))
    assert (keys, reason) == (("b",), "__merge_keys__")
    assert warning is not None
    assert "merges on (b) from __merge_keys__, which differs from its primary key (a)" in warning
    assert resolve_keys(TargetSpec(table=natural))[:2] == (("c",), "natural_key()")
    assert resolve_keys(TargetSpec(table=plain)) == (("a",), "pk()", None)
    assert resolve_keys(TargetSpec(thing="s.t")) == ((), "none", None)


def test_override(customers: Any) -> None:
    spec = build(target=customers, mode="append", target_connection="wh", watermark_column="updated_at", on_nul="strip")
    changed = override(spec, mode="merge", keys=("customer_id",), on_drift="warn", target_connection="other")
    item = changed.targets[0]
    assert (item.mode, item.keys, item.connection) == ("merge", ("customer_id",), "other")
    assert (changed.policies.on_drift, changed.policies.on_nul, changed.watermark_column) == (
        "warn",
        "strip",
        "updated_at",
    )
    assert override(spec) == spec
    assert override(build(), keys=("id",)).targets[0].keys == ("id",)
    with pytest.raises(DeclarationError, match="`name` cannot be changed for one run"):
        override(spec, name="x")
    with pytest.raises(DeclarationError, match="did you mean `keys`"):
        override(spec, keyss="x")


def test_a_table_declared_later_is_taken_over() -> None:
    registry.register_pipeline(build(target="wh:s.later"))
    spec = parse_table_cell("s.later", "id bigint")
    assert registry.get_pipeline("p").targets[0].table == spec
