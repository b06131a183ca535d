"""The tables of the state in an SQL target, their version, and how older ones are adopted."""

from __future__ import annotations

from ematix_nb.declare.data_types import BIGINT, DOUBLE, TEXT, TIMESTAMPTZ, UUID
from ematix_nb.declare.spec import Column

VERSION = 3

WATERMARKS = (
    Column("pipeline_name", TEXT, nullable=False, primary_key=True),
    Column("column_name", TEXT),
    Column("last_value", TEXT),
    Column("updated_at", TIMESTAMPTZ),
    Column("value_type", TEXT),
    Column("run_id", TEXT),
    Column("horizon", TEXT),
)

RUN_HISTORY = (
    Column("run_id", UUID, nullable=False, primary_key=True),
    Column("pipeline_name", TEXT),
    Column("target_schema", TEXT),
    Column("target_table", TEXT),
    Column("mode", TEXT),
    Column("path", TEXT),
    Column("started_at", TIMESTAMPTZ),
    Column("finished_at", TIMESTAMPTZ),
    Column("status", TEXT),
    Column("rows_inserted", BIGINT),
    Column("rows_updated", BIGINT),
    Column("rows_unchanged", BIGINT),
    Column("error_message", TEXT),
    Column("parent_run_id", UUID),
    Column("step_name", TEXT),
    Column("metrics_json", TEXT),
    Column("rows_read", BIGINT),
    Column("rows_closed", BIGINT),
    Column("rows_deleted", BIGINT),
    Column("rows_deduplicated", BIGINT),
    Column("rows_filtered", BIGINT),
    Column("fingerprint", TEXT),
    Column("trigger_kind", TEXT),
    Column("slot", TIMESTAMPTZ),
    Column("watermark_before", TEXT),
    Column("watermark_after", TEXT),
    Column("host", TEXT),
    Column("process", TEXT),
    Column("rows_quarantined", BIGINT),
)

LEASE = (
    Column("pipeline_name", TEXT, nullable=False, primary_key=True),
    Column("epoch", BIGINT, nullable=False),
    Column("run_id", TEXT, nullable=False),
    Column("host", TEXT, nullable=False),
    Column("process", TEXT, nullable=False),
    Column("acquired_at", DOUBLE, nullable=False),
    Column("expires_at", DOUBLE, nullable=False),
)

SLOTS = (
    Column("pipeline_name", TEXT, nullable=False, primary_key=True),
    Column("slot", TIMESTAMPTZ, nullable=False, primary_key=True),
    Column("run_id", TEXT, nullable=False),
)

STATE_VERSION = (Column("version", BIGINT, nullable=False, primary_key=True),)

TABLES: dict[str, tuple[Column, ...]] = {
    "watermarks": WATERMARKS,
    "run_history": RUN_HISTORY,
    "lease": LEASE,
    "schedule_slots": SLOTS,
    "state_version": STATE_VERSION,
}
"""Name -> columns. New columns go to the end: an older table is adopted by adding them."""
