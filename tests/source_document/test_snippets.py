"""The source document's programs run as they are printed; where one cannot, its refusal says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb
import pytest

from ematix_nb import get_connection, registered_connections
from tests.source_document import snippets as s

if TYPE_CHECKING:
    from tests.source_document.conftest import World

EVENTS = "SELECT event_id, name, received_at::text FROM analytics.events ORDER BY event_id"
LOADED = [
    (1, "start", "2026-01-01 10:00:00+00"),
    (2, None, "2026-01-01 11:00:00+00"),
    (3, "stop", "2026-01-01 12:00:00+00"),
]
CUSTOMERS = "SELECT customer_id, email, name FROM analytics.customer_dim ORDER BY customer_id"
CLEAN = [(1, "ann@example.com", "Ann"), (2, None, None)]
MODULE = ("--module", "my_pipelines")


@pytest.fixture
def minimum(world: World) -> World:
    """The first whole file of the document."""
    world.module(s.IMPORTS, s.WAREHOUSE, s.EVENTS, s.INGEST_EVENTS)
    return world


def test_the_minimum_file_with_run(minimum: World) -> None:
    minimum.run("run", *MODULE, "ingest_events")
    assert minimum.rows(EVENTS) == LOADED
    history = "SELECT status, rows_read, rows_inserted FROM ematix_flow.run_history"
    assert minimum.rows(history) == [("success", 3, 3)]


def test_the_minimum_file_with_run_due(minimum: World) -> None:
    words = ("run-due", *MODULE, "--now", "2026-01-02T00:00Z")
    assert "success" in minimum.run(*words).out
    assert "nothing was due" in minimum.run(*words).out
    assert minimum.rows(EVENTS) == LOADED


@pytest.mark.parametrize("verb", ["preview", "validate"])
def test_the_minimum_file_with_verbs_that_write_nothing(verb: str, minimum: World) -> None:
    before = minimum.relations()
    found = minimum.run(verb, *MODULE, "ingest_events")
    assert ("start" if verb == "preview" else "ok") in found.out
    assert minimum.relations() == before == ["raw.customers", "raw.events"]


def test_the_minimum_file_as_a_process(minimum: World) -> None:
    words = [sys.executable, "-m", "ematix_nb", "run", *MODULE, "ingest_events"]
    done = subprocess.run(words, cwd=minimum.folder, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "success" in done.stdout) == (0, True), done
    assert minimum.rows(EVENTS) == LOADED


def test_connections_by_decorator(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAREHOUSE_DSN")
    world.module("from ematix_nb import ematix", s.WAREHOUSE, s.KAFKA)
    module = world.load()
    assert (module.warehouse.name, module.warehouse.kind) == ("warehouse", "postgres")
    assert sorted(registered_connections()) == ["kafka_prod", "warehouse"]
    monkeypatch.setenv("KAFKA_PASS", "hunter22")
    assert "hunter22" not in repr(module.kafka_prod)
    found = world.flow("connections", "check", "warehouse")
    assert found.code != 0
    assert "variable WAREHOUSE_DSN is not set" in found.out + found.err
    monkeypatch.setenv("WAREHOUSE_DSN", world.url)
    assert "ok" in world.run("connections", "check", "warehouse").out


def test_connections_of_a_schema_registry(world: World) -> None:
    world.module("from ematix_nb import ematix", s.REGISTRY)
    module = world.load()
    assert (module.kafka_avro.schema_registry, module.sr_prod.kind) == ("sr_prod", "schema_registry")


def test_a_typed_connection(world: World) -> None:
    world.module(s.TYPED)
    assert world.load().warehouse is get_connection("warehouse")


def test_connections_in_the_settings_file(world: World) -> None:
    file = world.folder.parent / "home" / ".ematix-flow" / "connections.toml"
    file.parent.mkdir(parents=True)
    file.write_text(s.SETTINGS)
    file.chmod(0o600)
    rows = json.loads(world.run("connections", "list", "--format", "json").out)["rows"]
    found = {row["name"]: (row["kind"], row["source"].rpartition("/")[2]) for row in rows}
    assert found["warehouse"] == ("postgres", "connections.toml:1")
    assert found["kafka_prod"] == ("kafka", "connections.toml:4")


def test_connections_set_and_check(world: World) -> None:
    world.run("connections", "set", "warehouse", f"url={world.url}")
    assert "ok" in world.run("connections", "check", "warehouse").out


def test_source_and_target(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMATIX_FLOW_DSN_RAW_DB", world.url)
    world.module(s.IMPORTS, s.WAREHOUSE, s.CUSTOMER_DIM, s.WIRING)
    world.run("run", *MODULE, "sync_customers")
    assert world.rows(CUSTOMERS) == CLEAN
    world.change("UPDATE raw.customers SET name = 'Anna', updated_at = '2026-02-01' WHERE customer_id = 1")
    world.run("run", *MODULE, "sync_customers")
    versions = "SELECT name, is_current, valid_to IS NULL FROM analytics.customer_dim WHERE customer_id = 1 ORDER BY 2"
    assert world.rows(versions) == [("Ann", False, False), ("Anna", True, True)]


def test_a_static_source_table(world: World) -> None:
    table = f"{s.CUSTOMER_DIM}    target_col: Text | None\n"
    world.module(s.IMPORTS, s.WAREHOUSE, table, s.STATIC)
    world.run("run", *MODULE, "sync_customers")
    assert world.rows(CUSTOMERS) == CLEAN
    assert world.rows("SELECT target_col FROM analytics.customer_dim ORDER BY 1") == [("a",), ("b",)]


def test_a_static_source_table_that_maps_a_column_which_the_table_has_not(world: World) -> None:
    world.module(s.IMPORTS, s.WAREHOUSE, s.CUSTOMER_DIM, s.STATIC)
    found = world.flow("run", *MODULE, "sync_customers")
    assert found.code == 2
    assert '"target_col" is not among customer_id, email, name, updated_at' in found.err
    assert "hint: correct column_map" in found.err
    assert world.relations() == ["raw.customers", "raw.events"]


def test_several_targets(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMATIX_FLOW_DSN_RAW_DB", world.url)
    lake = '@ematix.connection\nclass lake:\n    kind = "duckdb"\n    path = "lake.duckdb"\n'
    archive = '@ematix.table(schema="archive")\nclass CustomerArchive(CustomerDim):\n    pass\n'
    world.module(s.IMPORTS, s.WAREHOUSE, lake, s.CUSTOMER_DIM, archive, s.FAN_OUT)
    world.run("run", *MODULE, "sync_customers")
    assert world.rows(CUSTOMERS) == CLEAN
    with duckdb.connect(str(world.folder / "lake.duckdb"), read_only=True) as connection:
        found = connection.execute("SELECT customer_id, email, name FROM archive.customer_archive ORDER BY 1")
        assert found.fetchall() == CLEAN


def test_append(world: World) -> None:
    world.module(s.IMPORTS, s.EVENTS, s.APPEND)
    world.run("run", *MODULE, "ingest")
    assert world.rows(EVENTS) == LOADED


def test_merge_refuses_a_query_without_a_column_that_must_not_be_null(world: World) -> None:
    world.module(s.IMPORTS, s.CUSTOMER_DIM, s.MERGE)
    for verb in ("run", "preview", "dry-run", "plan"):
        found = world.flow(verb, *MODULE, "sync")
        assert found.code == 2, found
        assert (
            "column `updated_at` of `analytics.customer_dim` is NOT NULL and the query does not select it" in found.err
        )
        assert "hint: select `updated_at`, or declare it nullable" in found.err
    assert "`updated_at`" in world.flow("validate", *MODULE, "sync").out
    assert world.relations() == ["raw.customers", "raw.events"]


def test_merge_with_the_column(world: World) -> None:
    complete = s.MERGE.replace("email, name FROM", "email, name, updated_at FROM")
    world.module(s.IMPORTS, s.CUSTOMER_DIM, complete)
    world.run("run", *MODULE, "sync")
    assert world.rows(CUSTOMERS) == CLEAN
    world.change("UPDATE raw.customers SET name = 'Bob' WHERE customer_id = 2")
    found = json.loads(world.run("run", *MODULE, "sync", "--format", "json").out)
    counts = found["targets"][0]["counts"]
    assert (counts["rows_updated"], counts["rows_unchanged"]) == (1, 1)
    assert world.rows(CUSTOMERS)[1] == (2, None, "Bob")


def test_scd2(world: World) -> None:
    world.change("UPDATE raw.customers SET updated_at = now() - interval '1 day' * customer_id")
    world.module(s.IMPORTS, s.CUSTOMER_DIM, s.SCD2)
    world.run("run", *MODULE, "sync")
    assert world.rows(CUSTOMERS) == CLEAN
    began = "SELECT count(*) FROM analytics.customer_dim d JOIN raw.customers c USING (customer_id) "
    assert world.rows(began + "WHERE d.valid_from = c.updated_at AND is_current AND valid_to IS NULL") == [(2,)]


def test_incremental(world: World) -> None:
    world.module(s.IMPORTS, s.EVENTS, s.INCREMENTAL)
    world.run("run", *MODULE, "ingest")
    world.change("INSERT INTO raw.events VALUES (4, 'again', '2026-01-01 13:00+00')")
    world.run("run", *MODULE, "ingest")
    assert world.rows(EVENTS) == [*LOADED, (4, "again", "2026-01-01 13:00:00+00")]
    stored = "SELECT last_value FROM ematix_flow.watermarks"
    assert [value[:19] for (value,) in world.rows(stored)] == ["2026-01-01 13:00:00"]


def test_transforms(world: World) -> None:
    world.change("INSERT INTO raw.events VALUES (1, 'start again', '2026-01-01 14:00+00')")
    mart = '@ematix.transform\ndef update_mart(conn):\n    return {"rows": 2}\n'
    body = 'def ingest(conn):\n    return "SELECT event_id, name, received_at FROM raw.events"\n'
    world.module(s.IMPORTS, s.EVENTS, mart, s.TRANSFORMS + body)
    world.run("run", *MODULE, "ingest")
    assert world.rows(EVENTS) == [(1, "start again", "2026-01-01 14:00:00+00"), LOADED[2]]
    steps = "SELECT step_name, status FROM ematix_flow.run_history WHERE step_name <> '' ORDER BY started_at, step_name"
    assert [status for _, status in world.rows(steps)] == ["transform_success", "transform_success"]
    assert "update_mart" in world.run("transform", "list", *MODULE).out
    assert "success" in world.run("transform", "run", *MODULE, "update_mart").out


def test_a_body_of_three_dots_is_declared_and_refused_when_it_runs(world: World) -> None:
    world.module(s.IMPORTS, s.EVENTS, s.CRON)
    assert "*/5 * * * *" in world.run("list", *MODULE).out
    found = world.flow("run", *MODULE, "ingest")
    assert found.code == 2
    assert "pipeline `ingest` must return SQL text or a frame; its function returned NoneType" in found.err
    assert world.relations() == ["raw.customers", "raw.events"]


@pytest.mark.parametrize("pipeline", [s.APPEND, s.INCREMENTAL, s.APPEND.replace("append", "merge")])
def test_sync_with_keys(pipeline: str, world: World) -> None:
    world.module(s.IMPORTS, s.EVENTS, pipeline)
    world.load()
    names: dict[str, object] = {}
    exec(s.PROGRAMMATIC, names)
    assert world.rows(EVENTS) == LOADED


def test_the_commands_of_the_document(minimum: World) -> None:
    assert "ingest_events" in minimum.run("list", *MODULE).out
    minimum.run("run", *MODULE, "ingest_events")
    assert "success" in minimum.run("runs", "list", *MODULE).out
    assert "warehouse" in minimum.run("connections", "list", *MODULE).out
    assert minimum.run("transform", "list", *MODULE).code == 0
