"""The state tables of the package that people come from are adopted: its watermark goes on, its history stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.crash.world import World, rows_after, run_child, second

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

OLDER = """
CREATE SCHEMA ematix_flow;
CREATE TABLE ematix_flow.run_history (
    run_id uuid PRIMARY KEY, pipeline_name text NOT NULL, target_schema text NOT NULL, target_table text NOT NULL,
    mode text NOT NULL, path text NOT NULL, started_at timestamptz NOT NULL, finished_at timestamptz,
    status text NOT NULL, rows_inserted bigint, rows_updated bigint, rows_unchanged bigint, error_message text,
    parent_run_id uuid, step_name text, metrics_json text);
CREATE TABLE ematix_flow.watermarks (
    pipeline_name text PRIMARY KEY, column_name text NOT NULL, last_value text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO ematix_flow.run_history VALUES
    (gen_random_uuid(), '{name}', 'public', '{table}', 'append', 'copy', now() - interval '2 days',
     now() - interval '2 days', 'success', 4, 0, 0, NULL, NULL, NULL, NULL),
    (gen_random_uuid(), '{name}', 'public', '{table}', 'append', 'copy', now() - interval '1 day',
     NULL, 'running', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO ematix_flow.watermarks (pipeline_name, column_name, last_value)
    VALUES ('{name}', 'ts', '2026-01-01 10:20:00');
CREATE TABLE {table} (id bigint, name text, amount double precision, ts timestamp);
INSERT INTO {table} VALUES (1, 'one', 1.5, '2026-01-01 10:00:00'), (2, 'two', 2.5, '2026-01-01 10:05:00'),
    (3, 'three', NULL, '2026-01-01 10:10:00'), (4, 'four', 4.5, '2026-01-01 10:20:00');
"""


def test_older_tables_are_adopted(
    pg_url: str, make_world: Callable[..., World], request: pytest.FixtureRequest
) -> None:
    world = make_world("postgres", "append", changes={"transforms_post": []})
    world.url = pg_url
    world.execute(OLDER.format(name=world.name, table=world.table))
    code, (first, again) = run_child(world.job(world.step(2), world.step(2)))
    assert code == 0
    assert (first["status"], again["status"]) == ("success", "success"), first
    assert (first["counts"]["rows_read"], first["counts"]["rows_inserted"]) == (5, 3)
    assert again["counts"]["rows_inserted"] == 0
    assert world.rows() == sorted(second("append"), key=repr) == sorted(rows_after("append", 2), key=repr)
    assert world.watermark() == "2026-01-01 11:00:00.000000"
    assert world.statuses() == ["success", "abandoned", "success", "success"]
    columns = world.execute(
        "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'ematix_flow'"
        " AND table_name = 'run_history' ORDER BY ordinal_position"
    )
    names = [row[0] for row in columns]
    assert names[:2] == ["run_id", "pipeline_name"]
    assert {"rows_read", "fingerprint", "slot", "watermark_after", "host"} <= set(names)
