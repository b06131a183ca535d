"""The kinds of connection, one frozen class each, and the table of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ematix_nb.errors import DeclarationError, did_you_mean

from .attach import attached
from .base import Connection, check_keys
from .secret import Secret, reveal
from .urlparts import MAX_PORT, UrlParts, check_server_url, split_url

if TYPE_CHECKING:
    from collections.abc import Mapping

POSTGRES_SCHEMES = ("postgres", "postgresql")
MYSQL_SCHEMES = ("mysql", "mariadb")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
FILE_FORMATS = ("parquet", "csv", "jsonl", "json_lines", "orc")
PARQUET_COMPRESSIONS = ("zstd", "snappy", "gzip", "lz4", "brotli", "uncompressed")
ORC_COMPRESSIONS = ("zstd", "snappy", "zlib", "lz4", "uncompressed")
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*")
PAYLOAD_FORMATS = ("json", "raw_bytes", "avro", "protobuf")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _ServerConnection(Connection):
    """A database server: either ``url``, or the parts of one."""

    schemes: ClassVar[tuple[str, ...]] = ()

    url: str = ""
    host: str = ""
    port: int | None = None
    """1 to 65535; None means the usual one."""
    database: str = ""
    user: str = ""
    password: str | None = None
    connect_timeout: int | None = None
    """Seconds to wait for the server; None leaves it to the driver."""

    def _check(self) -> None:
        parts = [p for p in ("host", "port", "database", "user") if getattr(self, p) not in ("", None)]
        if self.url and parts:
            what = f"connection `{self.name}` has both `url` and `{parts[0]}`"
            raise DeclarationError(what, hint="give the URL or its parts, not both (`password` may stand beside a URL)")
        if not self.url and not self.host:
            what = f"connection `{self.name}` ({self.kind}): `url` is required and missing"
            raise DeclarationError(what, hint=f"add `url = {self.schemes[0]}://user@host/database`, or `host = ...`")
        if not self.url and not self.database:
            what = f"connection `{self.name}` ({self.kind}): `database` is required beside `host`"
            raise DeclarationError(what, hint="add `database = ...`")
        if self.url and not self._is_open(self.url):
            check_server_url(reveal(self.url), self._where("url"), self.schemes, database=True)
        _check_range(self, "port", 1, MAX_PORT)
        _check_range(self, "connect_timeout", 0, None)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class PostgresConnection(_ServerConnection):
    """A PostgreSQL database.

    Example:
        >>> PostgresConnection(name="wh", url="postgres://ann:hunter22@localhost/wh")
        PostgresConnection(name='wh', url='postgres://ann:***@localhost/wh')
    """

    kind: ClassVar[str] = "postgres"
    schemes: ClassVar[tuple[str, ...]] = POSTGRES_SCHEMES
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"sslmode": SSL_MODES}

    sslmode: str = ""
    """Empty: decided by whether the host is this machine."""
    read_only: bool = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class MySQLConnection(_ServerConnection):
    """A MySQL or MariaDB database."""

    kind: ClassVar[str] = "mysql"
    schemes: ClassVar[tuple[str, ...]] = MYSQL_SCHEMES
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"zero_dates": ("error", "null")}

    read_only: bool = False
    zero_dates: str = ""
    """What ``0000-00-00`` is when it is read: refused (empty, ``error``) or NULL (``null``)."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SQLiteConnection(Connection):
    """A SQLite file, or ``:memory:``."""

    kind: ClassVar[str] = "sqlite"
    required: ClassVar[tuple[str, ...]] = ("path",)

    path: str = ""
    read_only: bool = False
    busy_timeout_ms: int = 5000
    """Milliseconds to wait for another writer."""
    attach: tuple[str, ...] = ()
    """Databases to read beside it, each as ``name=path``."""

    def _check(self) -> None:
        attached(self)
        _check_range(self, "busy_timeout_ms", 0, None)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DuckDBConnection(Connection):
    """A DuckDB file, or ``:memory:``."""

    kind: ClassVar[str] = "duckdb"
    required: ClassVar[tuple[str, ...]] = ("path",)

    path: str = ""
    read_only: bool = False
    attach: tuple[str, ...] = ()
    """Databases to read beside it, each as ``name=path``."""

    def _check(self) -> None:
        attached(self)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _DeltaConnection(Connection):
    """A place with Delta tables, as they are or as they were; as they were, they can only be read."""

    version: int | None = None
    """The version of every table, from 0; None means the newest."""
    timestamp: str | None = None
    """Read every table as it was then: a time with its zone, ``2026-01-31T12:00:00Z``."""

    def _checked(self, setting: str, annotation: str, value: object) -> object:
        """Also takes the time that a TOML file or Python gives as one."""
        if setting == "timestamp" and isinstance(value, dt.datetime):
            value = value.isoformat()
        return super()._checked(setting, annotation, value)

    def _check(self) -> None:
        super()._check()
        where = f"connection `{self.name}` ({self.kind})"
        if self.version is not None and self.timestamp:
            what = f"{where} has both `version` and `timestamp`"
            raise DeclarationError(what, hint="give one of them, or none for the newest version")
        if isinstance(self.version, int):
            _check_range(self, "version", 0, None)
        if self.timestamp and not self._is_open(self.timestamp):
            _check_moment(self.timestamp, f"connections.{self.name}.timestamp")


def _check_moment(text: str, where: str) -> None:
    """A point in time, which a text without a zone is not."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as exc:
        what = f"{where} is `{text[:40]}`, expected a time"
        raise DeclarationError(what, hint="write it as 2026-01-31T12:00:00Z") from exc
    if moment.tzinfo is None:
        what = f"{where} is `{text[:40]}`, which has no zone"
        clock = "" if "T" in text or " " in text else "T00:00:00"
        raise DeclarationError(what, hint=f"write {text[:40]}{clock}Z for UTC")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DeltaLocalConnection(_DeltaConnection):
    """Delta tables below a local folder."""

    kind: ClassVar[str] = "delta_local"
    required: ClassVar[tuple[str, ...]] = ("path",)

    path: str = ""


def _check_place(connection: Connection, setting: str) -> None:
    """The bucket has the name of one, and the endpoint is the URL of a server."""
    bucket, endpoint = getattr(connection, setting), getattr(connection, "endpoint", "")
    where = f"connections.{connection.name}"
    if "${" not in bucket and bucket and not _BUCKET.fullmatch(bucket):
        what = f"{where}.{setting} is `{bucket[:80]}`, which no {setting} is called"
        raise DeclarationError(
            what, hint="its name has letters, digits, `.`, `-` and `_`; folders belong into `prefix`"
        )
    if endpoint and "${" not in reveal(endpoint):
        check_server_url(reveal(endpoint), f"{where}.endpoint", ("https", "http"), database=False)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _S3Connection(Connection):
    """A bucket; without keys the machine's own credentials are used."""

    required: ClassVar[tuple[str, ...]] = ("bucket",)

    bucket: str = ""
    prefix: str = ""
    region: str = ""
    """Required unless ``endpoint`` is given."""
    endpoint: str = ""
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None

    def _check(self) -> None:
        _check_place(self, "bucket")
        if not self.region and not self.endpoint:
            what = f"connection `{self.name}` ({self.kind}): `region` is required and missing"
            raise DeclarationError(what, hint="add `region = ...`, or `endpoint = ...` for a store of your own")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            missing = "access_key_id" if self.access_key_id is None else "secret_access_key"
            what = f"connection `{self.name}` ({self.kind}): `{missing}` is missing beside its other half"
            raise DeclarationError(what, hint="give both keys, or none to use the machine's own credentials")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DeltaS3Connection(_DeltaConnection, _S3Connection):
    """Delta tables in a bucket."""

    kind: ClassVar[str] = "delta_s3"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DeltaAzureConnection(_DeltaConnection):
    """Delta tables in a container of Azure Blob Storage; without a key the machine's own login is used."""

    kind: ClassVar[str] = "delta_azure"
    required: ClassVar[tuple[str, ...]] = ("account", "container")

    account: str = ""
    container: str = ""
    prefix: str = ""
    endpoint: str = ""
    account_key: str | None = None
    sas_token: str | None = None

    def _check(self) -> None:
        super()._check()
        if self.account_key is not None and self.sas_token is not None:
            what = f"connection `{self.name}` ({self.kind}) has both `account_key` and `sas_token`"
            raise DeclarationError(what, hint="give one of them")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DeltaGcsConnection(_DeltaConnection):
    """Delta tables in a bucket of Google Cloud Storage; without a service account the machine's own login is used."""

    kind: ClassVar[str] = "delta_gcs"
    required: ClassVar[tuple[str, ...]] = ("bucket",)

    bucket: str = ""
    prefix: str = ""
    service_account: str = ""
    """Path of the JSON key file of a service account."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _FileOptions(Connection):
    """How files are written and read; an option of another format than the declared one is refused."""

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "format": FILE_FORMATS,
        "parquet_compression": PARQUET_COMPRESSIONS,
        "orc_compression": ORC_COMPRESSIONS,
    }

    format: str = ""
    """parquet, csv, jsonl (also accepted: json_lines) or orc."""
    csv_delimiter: str | None = None
    """One character; None means a comma."""
    csv_header: bool | None = None
    """None means true."""
    csv_quote: str | None = None
    """One character; None means a double quote."""
    csv_null_value: str | None = None
    """The text that stands for NULL; None means an empty unquoted field."""
    csv_safe: bool | None = None
    """Whether a `'` stands before texts that a spreadsheet would take for a formula (read without it); None: no."""
    parquet_compression: str | None = None
    """None means zstd."""
    orc_compression: str | None = None
    """None means zstd."""
    partition_by: tuple[str, ...] = ()
    """Columns whose values become folders, outermost first."""

    def _check(self) -> None:
        if self.format == "json_lines":
            object.__setattr__(self, "format", "jsonl")
        if self._is_open(self.format):
            return
        options = (
            "csv_delimiter",
            "csv_header",
            "csv_quote",
            "csv_null_value",
            "csv_safe",
            "parquet_compression",
            "orc_compression",
        )
        for option in options:
            belongs_to = option.partition("_")[0]
            if getattr(self, option) is not None and belongs_to != self.format:
                what = f"connection `{self.name}`: `{option}` has no meaning for format `{self.format}`"
                raise DeclarationError(what, hint=f'remove it, or set `format = "{belongs_to}"`')
        for option in ("csv_delimiter", "csv_quote"):
            value = getattr(self, option)
            if value is not None and not self._is_open(value) and (len(value) != 1 or value in "\r\n"):
                what = f"connection `{self.name}`: `{option}` is {value!r}, expected one character"
                raise DeclarationError(what, hint=f"correct `{option}`")
        if self.csv_delimiter is not None and self.csv_delimiter == (self.csv_quote or '"'):
            what = f"connection `{self.name}`: `csv_delimiter` and `csv_quote` are the same character"
            raise DeclarationError(what, hint="choose two different ones")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ObjectStoreLocalConnection(_FileOptions):
    """Files below a local folder."""

    kind: ClassVar[str] = "object_store_local"
    required: ClassVar[tuple[str, ...]] = ("path", "format")

    path: str = ""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ObjectStoreS3Connection(_S3Connection, _FileOptions):
    """Files in a bucket."""

    kind: ClassVar[str] = "object_store_s3"
    required: ClassVar[tuple[str, ...]] = ("bucket", "format")

    profile: str = ""
    """A profile of the AWS tools; empty for the one that the environment names, or `default`."""

    def _check(self) -> None:
        _S3Connection._check(self)  # noqa: SLF001 - both parents check their own part
        _FileOptions._check(self)  # noqa: SLF001


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ObjectStoreAzureConnection(_FileOptions):
    """Files in a container of Azure Blob Storage; without a key the machine's own login is used."""

    kind: ClassVar[str] = "object_store_azure"
    required: ClassVar[tuple[str, ...]] = ("account", "container", "format")

    account: str = ""
    container: str = ""
    prefix: str = ""
    endpoint: str = ""
    account_key: str | None = None
    sas_token: str | None = None

    def _check(self) -> None:
        super()._check()
        _check_place(self, "container")
        if self.account_key is not None and self.sas_token is not None:
            what = f"connection `{self.name}` ({self.kind}) has both `account_key` and `sas_token`"
            raise DeclarationError(what, hint="give one of them")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ObjectStoreGcsConnection(_FileOptions):
    """Files in a bucket of Google Cloud Storage; without a service account the machine's own login is used."""

    kind: ClassVar[str] = "object_store_gcs"
    required: ClassVar[tuple[str, ...]] = ("bucket", "format")

    bucket: str = ""
    prefix: str = ""
    endpoint: str = ""
    service_account: str = ""
    """Path of the JSON key file of a service account."""
    anonymous: bool = False
    """No login at all, for public buckets."""

    def _check(self) -> None:
        super()._check()
        _check_place(self, "bucket")
        if self.anonymous and self.service_account:
            what = f"connection `{self.name}` ({self.kind}) has `service_account` and is `anonymous`"
            raise DeclarationError(what, hint="give one of them")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SchemaRegistryConnection(Connection):
    """A schema registry for Avro and Protobuf."""

    kind: ClassVar[str] = "schema_registry"
    required: ClassVar[tuple[str, ...]] = ("url",)

    url: str = ""
    basic_auth_user: str = ""
    basic_auth_password: str | None = None

    def _check(self) -> None:
        if not self._is_open(self.url):
            check_server_url(reveal(self.url), self._where("url"), ("http", "https"), database=False)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class KafkaConnection(Connection):
    """A Kafka cluster."""

    kind: ClassVar[str] = "kafka"
    required: ClassVar[tuple[str, ...]] = ("bootstrap_servers",)
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "payload_format": PAYLOAD_FORMATS,
        "sasl_scram_mechanism": ("sha-256", "sha-512"),
        "auto_offset_reset": ("earliest", "latest", "error"),
    }

    bootstrap_servers: str = ""
    group_id: str = ""
    payload_format: str = "json"
    schema_registry: str | SchemaRegistryConnection | None = None
    """Name of a schema_registry connection, or the connection itself."""
    schema_registry_url: str = ""
    sasl_plain_username: str = ""
    sasl_plain_password: str | None = None
    sasl_scram_username: str = ""
    sasl_scram_password: str | None = None
    sasl_scram_mechanism: str = ""
    msk_iam_region: str = ""
    auto_offset_reset: str = ""

    def _check(self) -> None:
        if self.schema_registry and self.schema_registry_url:
            what = f"connection `{self.name}` has both `schema_registry` and `schema_registry_url`"
            raise DeclarationError(what, hint="give one of them")
        ways = {
            "sasl_plain": self.sasl_plain_username or self.sasl_plain_password,
            "sasl_scram": self.sasl_scram_username or self.sasl_scram_password,
            "msk_iam": self.msk_iam_region,
        }
        given = [way for way, value in ways.items() if value]
        if len(given) > 1:
            what = f"connection `{self.name}` logs in by {' and '.join(given)}"
            raise DeclarationError(what, hint="choose one way to log in")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class RabbitMQConnection(Connection):
    """A RabbitMQ broker."""

    kind: ClassVar[str] = "rabbitmq"
    required: ClassVar[tuple[str, ...]] = ("amqp_url",)

    amqp_url: str = ""
    consumer_tag: str = ""

    def _check(self) -> None:
        if not self._is_open(self.amqp_url):
            check_server_url(reveal(self.amqp_url), self._where("amqp_url"), ("amqp", "amqps"), database=False)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class PubSubConnection(Connection):
    """Google Cloud Pub/Sub."""

    kind: ClassVar[str] = "pubsub"
    required: ClassVar[tuple[str, ...]] = ("project_id",)

    project_id: str = ""
    endpoint: str = ""
    anonymous_auth: bool = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class KinesisConnection(Connection):
    """An AWS Kinesis stream."""

    kind: ClassVar[str] = "kinesis"
    required: ClassVar[tuple[str, ...]] = ("stream_name",)

    stream_name: str = ""
    region: str = ""
    endpoint: str = ""
    access_key_id: str | None = None
    secret_access_key: str | None = None


KINDS: dict[str, type[Connection]] = {
    cls.kind: cls
    for cls in (
        PostgresConnection,
        MySQLConnection,
        SQLiteConnection,
        DuckDBConnection,
        DeltaLocalConnection,
        DeltaS3Connection,
        DeltaAzureConnection,
        DeltaGcsConnection,
        ObjectStoreLocalConnection,
        ObjectStoreS3Connection,
        ObjectStoreAzureConnection,
        ObjectStoreGcsConnection,
        KafkaConnection,
        RabbitMQConnection,
        PubSubConnection,
        KinesisConnection,
        SchemaRegistryConnection,
    )
}
"""Every kind by its word in settings."""


def kind_class(kind: object, name: str, where: str = "") -> type[Connection]:
    """The class for a kind.

    Raises:
        DeclarationError: The kind is missing or unknown; lists those that exist.
    """
    if kind in (None, ""):
        what = f"connection `{name}` has no `kind`"
        raise DeclarationError(what, hint=f"add `kind = ...`: {', '.join(KINDS)}; or a `url`", where=where)
    if not isinstance(kind, str) or kind not in KINDS:
        what = f"connection `{name}` has the unknown kind `{str(kind)[:80]}`"
        near = did_you_mean(str(kind), KINDS)
        raise DeclarationError(what, hint=near or f"known kinds: {', '.join(KINDS)}", where=where)
    return KINDS[kind]


def build_connection(
    name: str, settings: Mapping[str, object], where: str = "", *, literal: bool = False
) -> Connection:
    """Build a connection from settings with a ``kind``.

    Args:
        name: What pipelines call it.
        settings: ``kind`` and its settings; may hold ``${VAR}``.
        where: File and line, for messages.
        literal: True when ``${`` has no meaning in the values.

    Raises:
        DeclarationError: See `Connection`.
    """
    cls = kind_class(settings.get("kind"), name, where)
    rest = {key: value for key, value in settings.items() if key != "kind"}
    check_keys(cls, rest, f"connection `{name}`", where)
    if literal:
        return cls(name=name, **cast("dict[str, Any]", _escaped(rest))).resolved({})
    return cls(name=name, **cast("dict[str, Any]", rest))


def _escaped(settings: Mapping[str, object]) -> dict[str, object]:
    """Settings in which ``${`` stands for itself."""
    return {k: v.replace("${", "$${") if isinstance(v, str) else v for k, v in settings.items()}


def server_parts(connection: PostgresConnection | MySQLConnection) -> UrlParts:
    """The parts of a resolved server connection, whether it was given as a URL or in parts.

    Args:
        connection: The connection; it is resolved first when it is not.

    Raises:
        ConfigError: A variable is not set, or the URL cannot be split.
    """
    ready = connection.resolved()
    password = Secret(ready.reveal("password")) if ready.password else None
    if ready.url:
        parts = split_url(ready.reveal("url"), f"connections.{ready.name}.url")
        return dataclasses.replace(parts, password=password or parts.password)
    return UrlParts(
        scheme=ready.schemes[0],
        user=ready.user,
        password=password,
        host=ready.host,
        port=ready.port,
        path=ready.database,
        query={},
    )


def _check_range(connection: Connection, setting: str, low: int, high: int | None) -> None:
    value = getattr(connection, setting)
    if isinstance(value, int) and (value < low or (high is not None and value > high)):
        span = f"{low} to {high}" if high is not None else f"{low} or more"
        what = f"connections.{connection.name}.{setting} is {value}, expected {span}"
        raise DeclarationError(what, hint=f"correct `{setting}`")
