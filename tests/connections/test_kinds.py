from __future__ import annotations

import dataclasses
import datetime as dt
import re

import pytest

from ematix_nb.connections import (
    KINDS,
    Connection,
    DuckDBConnection,
    KafkaConnection,
    ObjectStoreLocalConnection,
    PostgresConnection,
    SchemaRegistryConnection,
    SQLiteConnection,
    build_connection,
    connection_from_url,
)
from ematix_nb.errors import ConfigError, DeclarationError, UsageError

MINIMAL: dict[str, dict[str, object]] = {
    "postgres": {"url": "postgres://localhost/wh"},
    "mysql": {"url": "mysql://u@h/d"},
    "sqlite": {"path": "x.db"},
    "duckdb": {"path": ":memory:"},
    "delta_local": {"path": "lake"},
    "delta_s3": {"bucket": "b", "region": "r"},
    "delta_azure": {"account": "a", "container": "c"},
    "delta_gcs": {"bucket": "b"},
    "object_store_local": {"path": "lake", "format": "parquet"},
    "object_store_s3": {"bucket": "b", "region": "r", "format": "csv"},
    "object_store_azure": {"account": "a", "container": "c", "format": "orc"},
    "object_store_gcs": {"bucket": "b", "format": "jsonl"},
    "kafka": {"bootstrap_servers": "h:9092"},
    "rabbitmq": {"amqp_url": "amqp://h/v"},
    "pubsub": {"project_id": "p"},
    "kinesis": {"stream_name": "s"},
    "schema_registry": {"url": "http://h:8081"},
}


def test_every_kind_is_covered_here() -> None:
    assert set(MINIMAL) == set(KINDS)


@pytest.mark.parametrize("kind", MINIMAL)
def test_a_minimal_connection_of_each_kind(kind: str) -> None:
    built = build_connection("c", {"kind": kind, **MINIMAL[kind]})
    assert (type(built), built.name, built.kind) == (KINDS[kind], "c", kind)
    assert built == dataclasses.replace(built)
    assert built.resolved().settings() == built.settings() == MINIMAL[kind]


@pytest.mark.parametrize("kind", MINIMAL)
def test_required_settings(kind: str) -> None:
    with pytest.raises(DeclarationError, match=r"connection `c` .*`\w+` is required and missing"):
        build_connection("c", {"kind": kind})


def test_connections_are_frozen_and_hashable() -> None:
    connection = DuckDBConnection(name="d", path="x")
    with pytest.raises(dataclasses.FrozenInstanceError, match="path"):
        connection.path = "y"  # type: ignore[misc]
    assert len({connection, DuckDBConnection(name="d", path="x")}) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # 55: unknown key
        (
            {"kind": "kafka", "bootstrap_server": "h"},
            "unknown setting `bootstrap_server` (kind kafka)\nhint: did you mean `bootstrap_servers`?",
        ),
        # 56: wrong type
        (
            {"kind": "postgres", "host": "h", "database": "d", "port": "x"},
            "connections.c.port is 'x' (str), expected a whole number",
        ),
        ({"kind": "duckdb", "path": 5}, "connections.c.path is 5 (int), expected text"),
        ({"kind": "duckdb", "path": "x", "read_only": 1}, "connections.c.read_only is 1 (int), expected true or false"),
        (
            {"kind": "postgres", "host": "h", "database": "d", "password": 123456},
            "connections.c.password is *** (int), expected text",
        ),
        (
            {"kind": "object_store_local", "path": "p", "format": "csv", "partition_by": [1]},
            "partition_by is (1,) (tuple), expected a list of texts",
        ),
        # 57, 58: kind
        ({"kind": "postgress"}, "unknown kind `postgress`\nhint: did you mean `postgres`?"),
        ({"kind": "zzz"}, "unknown kind `zzz`\nhint: known kinds: postgres, mysql, sqlite"),
        ({"kind": 5}, "unknown kind `5`"),
        ({}, "connection `c` has no `kind`\nhint: add `kind = ...`: postgres, mysql"),
        # closed sets
        (
            {"kind": "object_store_local", "path": "p", "format": "xml"},
            "connections.c.format is `xml`, expected one of parquet, csv, jsonl",
        ),
        (
            {"kind": "postgres", "url": "postgres://h/d", "sslmode": "verify_full"},
            "hint: did you mean `verify-full`?",
        ),
        # combinations that have no meaning
        (
            {"kind": "object_store_local", "path": "p", "format": "csv", "parquet_compression": "zstd"},
            "`parquet_compression` has no meaning for format `csv`",
        ),
        (
            {"kind": "object_store_local", "path": "p", "format": "parquet", "csv_header": False},
            "`csv_header` has no meaning for format `parquet`",
        ),
        (
            {"kind": "object_store_local", "path": "p", "format": "csv", "csv_delimiter": ";;"},
            "`csv_delimiter` is ';;', expected one character",
        ),
        (
            {"kind": "object_store_local", "path": "p", "format": "csv", "csv_delimiter": '"'},
            "`csv_delimiter` and `csv_quote` are the same character",
        ),
        ({"kind": "postgres", "url": "postgres://h/d", "host": "h"}, "has both `url` and `host`"),
        ({"kind": "postgres", "host": "h"}, "`database` is required beside `host`"),
        ({"kind": "postgres", "url": "postgres://h/d", "connect_timeout": -1}, "connect_timeout is -1"),
        ({"kind": "postgres", "host": "h", "database": "d", "port": 70000}, "port is 70000, expected 1 to 65535"),
        ({"kind": "sqlite", "path": "x", "busy_timeout_ms": -1}, "busy_timeout_ms is -1, expected 0 or more"),
        # 71: buckets
        ({"kind": "delta_s3", "region": "r"}, "`bucket` is required"),
        ({"kind": "delta_s3", "bucket": "b"}, "`region` is required"),
        (
            {"kind": "delta_s3", "bucket": "b", "region": "r", "access_key_id": "k-only"},
            "`secret_access_key` is missing",
        ),
        (
            {"kind": "delta_local", "path": "p", "version": 1, "timestamp": "2026-01-01T00:00:00Z"},
            "connection `c` (delta_local) has both `version` and `timestamp`",
        ),
        ({"kind": "delta_local", "path": "p", "version": -1}, "connections.c.version is -1, expected 0 or more"),
        ({"kind": "delta_s3", "bucket": "b", "region": "r", "version": "1"}, "expected a whole number"),
        (
            {"kind": "delta_gcs", "bucket": "b", "timestamp": "yesterday"},
            "connections.c.timestamp is `yesterday`, expected a time",
        ),
        (
            {"kind": "delta_azure", "account": "a", "container": "c", "timestamp": "2026-01-01"},
            "`2026-01-01`, which has no zone\nhint: write 2026-01-01T00:00:00Z for UTC",
        ),
        (
            {"kind": "delta_azure", "account": "a", "container": "c", "account_key": "k", "sas_token": "s"},
            "has both `account_key` and `sas_token`",
        ),
        (
            {
                "kind": "kafka",
                "bootstrap_servers": "h",
                "sasl_plain_username": "u",
                "sasl_scram_username": "u",
            },
            "logs in by sasl_plain and sasl_scram",
        ),
        (
            {"kind": "kafka", "bootstrap_servers": "h", "schema_registry": "a", "schema_registry_url": "http://h"},
            "has both `schema_registry` and `schema_registry_url`",
        ),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(message)):
        build_connection("c", settings)


def test_a_misspelt_keyword_of_a_constructor() -> None:
    with pytest.raises(DeclarationError, match=r"unknown setting `pth` \(kind duckdb\)\nhint: did you mean `path`"):
        DuckDBConnection(name="d", pth="x")  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["", "1abc", "a b", "a:b", "ü", "a/b"])
def test_bad_names(name: str) -> None:
    with pytest.raises(DeclarationError, match="is not a name for a connection"):
        DuckDBConnection(name=name, path="x")


def test_the_time_of_delta_tables() -> None:
    moment = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
    given = build_connection("c", {"kind": "delta_local", "path": "p", "timestamp": moment})
    assert given.settings()["timestamp"] == "2026-01-31T12:00:00+00:00"
    assert connection_from_url("c", "delta:///p?version=3").settings()["version"] == 3
    later = build_connection("c", {"kind": "delta_local", "path": "p", "version": "${V}"})
    assert later.resolved({"V": "4"}).settings()["version"] == 4


def test_file_options() -> None:
    files = ObjectStoreLocalConnection(name="f", path="p", format="json_lines", partition_by=["a", "b"])  # type: ignore[arg-type]
    assert (files.format, files.partition_by) == ("jsonl", ("a", "b"))
    assert ObjectStoreLocalConnection(name="f", path="p", format="orc").format == "orc"


def test_a_schema_registry_may_be_given_as_an_object() -> None:
    registry = SchemaRegistryConnection(name="sr", url="http://h:8081")
    assert KafkaConnection(name="k", bootstrap_servers="h", schema_registry=registry).schema_registry is registry


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u@h:5433/d?sslmode=require", {"url": "postgres://u@h:5433/d?sslmode=require"}),
        ("postgresql:///d?host=/var/run/postgresql", {"url": "postgresql:///d?host=/var/run/postgresql"}),
        ("postgres://u@h1:1,h2:2/d", {"url": "postgres://u@h1:1,h2:2/d"}),
        ("postgres://u@[::1]:5432/d", {"url": "postgres://u@[::1]:5432/d"}),
        ("mysql://u@h/d", {"url": "mysql://u@h/d"}),
        ("amqp://h/v", {"amqp_url": "amqp://h/v"}),
        ("sqlite:///x.db", {"path": "x.db"}),
        ("sqlite:////tmp/x%20y.db?busy_timeout_ms=10", {"path": "/tmp/x y.db", "busy_timeout_ms": 10}),
        ("sqlite://:memory:", {"path": ":memory:"}),
        ("duckdb:///x.duckdb?read_only=true", {"path": "x.duckdb", "read_only": True}),
        ("duckdb://:memory:", {"path": ":memory:"}),
        ("duckdb:///:memory:", {"path": ":memory:"}),
        ("file:///data/in?format=parquet", {"path": "/data/in", "format": "parquet"}),
        ("file://./in?format=csv&partition_by=a,b", {"path": "./in", "format": "csv", "partition_by": ("a", "b")}),
        ("s3://b/p/q?format=csv&region=r", {"bucket": "b", "prefix": "p/q", "format": "csv", "region": "r"}),
    ],
)
def test_connection_from_url(url: str, expected: dict[str, object]) -> None:
    assert connection_from_url("c", url).settings() == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        # 62: which part
        ("postgres://u@h", "connections.c.url names no database"),
        ("postgres://u@h/", "connections.c.url names no database"),
        ("postgres:///d", "connections.c.url names no host"),
        ("postgres://u@/d", "connections.c.url names no host"),
        ("postgres://u@h:x/d", "the port in connections.c.url is `x`, expected a number from 1 to 65535"),
        ("postgres://u@h:99999/d", "is `99999`, expected a number from 1 to 65535"),
        ("postgres://u:hunter/d", "the port in connections.c.url is `***`"),
        ("postgres://u@h1:1,h2:y/d", "is `y`, expected a number"),
        ("postgrse://u@h/d", "unknown scheme `postgrse`\nhint: did you mean `postgres`?"),
        ("zzz://u@h/d", "unknown scheme `zzz`\nhint: known schemes: amqp"),
        ("localhost/d", "connections.c.url is not a URL: got `localhost/d`"),
        ("host=h dbname=d password=hunter-x", "is not a URL: got `host=h dbname=d password=***`"),
        ("sqlite://", "connections.c.url names no path"),
        ("sqlite://dir/x.db", "names the host `dir`"),
        ("duckdb:///", "names no path"),
        ("file:///d", "names no format"),
        ("file:///d?format=parquet&fromat=csv", "unknown parameter `fromat` (kind object_store_local)"),
        ("az://c/p?format=csv", "connection `c` (object_store_azure): `account` is required and missing"),
        ("az://c?account=a&format=csv&account_key=hun1&sas_token=hun2", "has both `account_key` and `sas_token`"),
        ("gs://b/p", "connection `c` (object_store_gcs): `format` is required and missing"),
        ("gs://b?format=csv&anonymous=true&service_account=k", "has `service_account` and is `anonymous`"),
        ("s3://a%20b?format=csv&region=r", "which no bucket is called"),
        ("s3://b?format=csv&endpoint=localhost", "connections.c.endpoint is not a URL"),
        ("duckdb:///x?read_only=maybe", "is `maybe`, expected true or false"),
        ("duckdb:///x?read_only=on&read_only=off", "gives the parameter `read_only` twice"),
        # 63: unescaped characters in the password
        ("postgres://u:hun@ter@h/d", "holds an unescaped `@` (postgres://***)\nhint: write `@` as `%40`"),
        ("postgres://u:hun/ter@h/d", "unescaped `/`"),
        ("postgres://u:1/ter@h/d", "unescaped `/`"),
        ("postgres://u:hun?ter@h/d", "unescaped `?`"),
        ("postgres://u:hun#ter@h/d", "unescaped `#`"),
        ("postgres://u:hun%ter@h/d", "unescaped `%` (postgres://***)\nhint: write `%` as `%25`"),
    ],
)
def test_wrong_urls(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        connection_from_url("c", url)
    assert "hun" not in str(caught.value)


def test_a_password_with_a_colon_needs_no_escape() -> None:
    assert connection_from_url("c", "postgres://u:a:b@h/d").reveal("url") == "postgres://u:a:b@h/d"


@pytest.mark.parametrize("cls", [PostgresConnection])
def test_a_url_of_the_wrong_system_is_refused(cls: type[Connection]) -> None:
    with pytest.raises(ConfigError, match=r"has the scheme `mysql`, expected postgres or postgresql"):
        cls(name="c", url="mysql://u@h/d")  # type: ignore[call-arg]


def test_html_is_escaped() -> None:
    html = SQLiteConnection(name="a", path="<script>")._repr_html_()
    assert html == "<code>SQLiteConnection(name=&#x27;a&#x27;, path=&#x27;&lt;script&gt;&#x27;)</code>"
