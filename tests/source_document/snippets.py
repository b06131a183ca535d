"""The complete batch programs of the source document, under this package's import name.

What one of them takes from another (imports, the table that it loads) stands in a part of its own, so that a test can
put a whole module together as a reader would.
"""

from __future__ import annotations

IMPORTS = """\
from typing import Annotated
from ematix_nb import ematix, pk
from ematix_nb.types import BigInt, Text, TimestampTZ
"""

WAREHOUSE = """\
@ematix.connection
class warehouse:
    kind = "postgres"
    url = "${WAREHOUSE_DSN}"
"""

KAFKA = """\
@ematix.connection
class kafka_prod:
    kind = "kafka"
    bootstrap_servers = "${KAFKA_BOOTSTRAP}"
    group_id = "ematix-flow"
    sasl_plain_username = "${KAFKA_USER}"
    sasl_plain_password = "${KAFKA_PASS}"
"""

REGISTRY = """\
@ematix.connection
class sr_prod:
    kind = "schema_registry"
    url = "${SR_URL}"

@ematix.connection
class kafka_avro:
    kind = "kafka"
    bootstrap_servers = "${KAFKA_BOOTSTRAP}"
    payload_format = "avro"
    schema_registry = "sr_prod"
"""

TYPED = """\
from ematix_nb import PostgresConnection, register_connection

warehouse = register_connection(
    PostgresConnection(name="warehouse", url="postgres://localhost/wh"),
)
"""

SETTINGS = """\
[connections.warehouse]
url = "postgres://user:${WAREHOUSE_PASSWORD}@host/wh"

[connections.kafka_prod]
kind = "kafka"
bootstrap_servers = "${KAFKA_BOOTSTRAP}"
group_id = "ematix-flow"
"""

EVENTS = """\
@ematix.table(schema="analytics")
class Events:
    event_id: Annotated[BigInt, pk()]
    name: Text | None
    received_at: TimestampTZ
"""

INGEST_EVENTS = """\
@ematix.pipeline(
    target=Events,
    target_connection="warehouse",
    schedule="*/5 * * * *",
    mode="append",
)
def ingest_events(conn):
    return "SELECT event_id, name, received_at FROM raw.events"
"""

CUSTOMER_DIM = """\
from ematix_nb.normalize import lower, trim, empty_to_null, parse_timestamp
from ematix_nb.types import String

@ematix.table(schema="analytics")
class CustomerDim:
    customer_id: Annotated[BigInt, pk()]
    email: Annotated[String[256] | None, lower(), trim(), empty_to_null()]
    name: Text | None
    updated_at: Annotated[TimestampTZ, parse_timestamp()]
"""

WIRING = """\
@ematix.pipeline(
    target=CustomerDim,
    source_connection="raw_db",
    target_connection="warehouse",
    schedule="0 * * * *",
    mode="scd2",
    compare_columns=["email", "name"],
)
def sync_customers(conn):
    return "SELECT customer_id, email, name, updated_at FROM customers"
"""

STATIC = """\
@ematix.pipeline(
    target=CustomerDim,
    target_connection="warehouse",
    source_table="raw.customers",
    column_map={"target_col": "source_col"},
    mode="merge",
    schedule="0 * * * *",
)
def sync_customers():
    pass
"""

FAN_OUT = """\
from ematix_nb import Target

@ematix.pipeline(
    targets=[
        Target(table=CustomerDim,    connection="warehouse"),
        Target(table=CustomerArchive, connection="lake"),
    ],
    source_connection="raw_db",
    schedule="0 * * * *",
    mode="merge",
)
def sync_customers(conn):
    return "SELECT customer_id, email, name, updated_at FROM customers"
"""

APPEND = """\
@ematix.pipeline(target=Events, mode="append", schedule="*/5 * * * *")
def ingest(conn):
    return "SELECT event_id, name, received_at FROM raw.events"
"""

MERGE = """\
@ematix.pipeline(
    target=CustomerDim,
    mode="merge",
    compare_columns=["email", "name"],
    schedule="0 * * * *",
)
def sync(conn):
    return "SELECT customer_id, email, name FROM raw.customers"
"""

SCD2 = """\
@ematix.pipeline(
    target=CustomerDim,
    mode="scd2",
    compare_columns=["email", "name"],
    event_timestamp_column="updated_at",
    ttl_seconds=86_400 * 30,
    schedule="0 * * * *",
)
def sync(conn):
    return "SELECT customer_id, email, name, updated_at FROM raw.customers"
"""

INCREMENTAL = """\
@ematix.pipeline(
    target=Events,
    mode="append",
    incremental=True,
    watermark_column="received_at",
    schedule="*/5 * * * *",
)
def ingest(conn):
    return "SELECT event_id, name, received_at FROM raw.events"
"""

TRANSFORMS = """\
from ematix_nb.transforms import deduplicate_by, filter_where

@ematix.pipeline(
    target=Events,
    mode="merge",
    transforms_pre=[
        deduplicate_by(keys=("event_id",), order_by="received_at desc"),
        filter_where("name IS NOT NULL"),
    ],
    transforms_post=[
        "ANALYZE analytics.events",
        ematix.transform_ref("update_mart"),
    ],
    continue_on_failure_post=True,
    schedule="*/5 * * * *",
)
"""

CRON = """\
@ematix.pipeline(target=Events, mode="append", schedule="*/5 * * * *")
def ingest(conn): ...
"""

PROGRAMMATIC = """\
from my_pipelines import ingest
ingest.sync(keys=("event_id",))
"""
