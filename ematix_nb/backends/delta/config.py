"""A Delta connection as settings: where the tables lie, and what the library needs to reach them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.connections.secret import SecretDict
from ematix_nb.errors import ConnectError, DeclarationError, known_names

from .capabilities import COMPRESSIONS, UNUSABLE, WRITE_OPTIONS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from .objects import Objects


@dataclass(frozen=True, kw_only=True)
class DeltaConfig:
    """Where the tables lie and how they are written."""

    name: str
    """The connection's name, for messages."""
    root: str
    """Absolute path, or the URL of bucket and prefix; without a closing slash."""
    objects: Objects = field(repr=False)
    """The small files beside the tables."""
    storage: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Options of the library for the store; holds secrets."""
    at: int | dt.datetime | None = None
    """The version of the tables, or the time as of which they are read; None for the newest."""
    partition_by: tuple[str, ...] = ()
    parquet_compression: str = "snappy"

    def uri(self, thing: str) -> str:
        """Where one table lies."""
        return f"{self.root}/{thing}"

    @property
    def is_local(self) -> bool:
        """Whether the tables lie in a folder of this machine."""
        return "://" not in self.root

    def with_options(self, options: Mapping[str, Any]) -> DeltaConfig:
        """The same place with the write options of a target.

        Raises:
            DeclarationError: When an option is unknown or has a wrong value.
        """
        chosen = {name: value for name, value in options.items() if value is not None}
        for name, value in chosen.items():
            if name not in WRITE_OPTIONS:
                message = f"`{name}` is not a write option of Delta tables"
                raise DeclarationError(message, known_names(name, WRITE_OPTIONS, "write options"))
            if name == "partition_by":
                chosen[name] = (value,) if isinstance(value, str) else tuple(value)
            elif value not in COMPRESSIONS:
                message = f"`parquet_compression` is `{value}`, expected one of {', '.join(COMPRESSIONS)}"
                raise DeclarationError(message, "choose one of them")
        return replace(self, **chosen)


def delta_config(connection: Any, *, create: bool = True) -> DeltaConfig:
    """The settings of a typed connection, its variables filled in."""
    resolved = connection.resolved() if hasattr(connection, "resolved") else connection
    makers = {"delta_local": _local, "delta_s3": _s3, "delta_azure": _azure, "delta_gcs": _gcs}
    return replace(makers[resolved.kind](resolved, create=create), at=_at(resolved))


def _at(connection: Any) -> int | dt.datetime | None:
    import datetime as dt

    if connection.version is not None:
        return int(connection.version)
    return dt.datetime.fromisoformat(connection.timestamp) if connection.timestamp else None


def _local(connection: Any, *, create: bool) -> DeltaConfig:
    from .objects import LocalObjects

    where = f"connection `{connection.name}`"
    root = Path(os.path.realpath(Path(str(connection.path)).expanduser()))
    bad = [letter for letter in UNUSABLE if letter in str(root)]
    if bad:
        message = f"{where}: the path `{root}` holds `{bad[0]}`, which the Delta library cannot read"
        raise ConnectError(message, "put the tables into a folder without such characters")
    if root.exists() and not root.is_dir():
        message = f"{where}: `{connection.path}` is a file where a folder is wanted"
        raise ConnectError(message, f"set `path` to its folder `{root.parent}`")
    if create and not root.parent.is_dir():
        message = f"{where}: the folder `{root.parent}` does not exist"
        raise ConnectError(message, f"make it (`mkdir -p {root}`), or correct `path`")
    return DeltaConfig(name=connection.name, root=str(root), objects=LocalObjects(root))


def _prefixed(base: str, prefix: str) -> str:
    inner = prefix.strip("/")
    return f"{base}/{inner}" if inner else base


def _storage(**settings: object) -> SecretDict:
    from .objects import library_limits

    given = {name: str(value) for name, value in settings.items() if value not in (None, "")}
    return SecretDict(library_limits() | given)


def _secret(connection: Any, name: str) -> str | None:
    return connection.reveal(name) if getattr(connection, name, None) else None


def _s3(connection: Any, *, create: bool) -> DeltaConfig:
    from .objects import s3_objects

    del create
    plain = connection.endpoint.startswith("http://")
    keys = SecretDict({n: _secret(connection, n) for n in ("access_key_id", "secret_access_key", "session_token")})
    region = connection.region or "us-east-1"
    storage = _storage(
        AWS_REGION=region,
        AWS_ENDPOINT_URL=connection.endpoint,
        AWS_ACCESS_KEY_ID=keys["access_key_id"],
        AWS_SECRET_ACCESS_KEY=keys["secret_access_key"],
        AWS_SESSION_TOKEN=keys["session_token"],
        AWS_ALLOW_HTTP="true" if plain else "",
    )
    objects = s3_objects(connection, region, keys, plain=plain)
    root = _prefixed(f"s3://{connection.bucket}", connection.prefix)
    return DeltaConfig(name=connection.name, root=root, objects=objects, storage=storage)


def _azure(connection: Any, *, create: bool) -> DeltaConfig:
    from .objects import azure_objects

    del create
    plain = connection.endpoint.startswith("http://")
    keys = SecretDict({name: _secret(connection, name) for name in ("account_key", "sas_token")})
    storage = _storage(
        account_name=connection.account,
        account_key=keys["account_key"],
        sas_token=keys["sas_token"],
        azure_storage_endpoint=connection.endpoint,
        allow_http="true" if plain else "",
        azure_storage_use_emulator="false" if plain else "",
    )
    objects = azure_objects(connection, keys, plain=plain)
    root = _prefixed(f"az://{connection.container}", connection.prefix)
    return DeltaConfig(name=connection.name, root=root, objects=objects, storage=storage)


def _gcs(connection: Any, *, create: bool) -> DeltaConfig:
    from .objects import gcs_objects

    del create
    storage = _storage(google_service_account=connection.service_account)
    root = _prefixed(f"gs://{connection.bucket}", connection.prefix)
    return DeltaConfig(name=connection.name, root=root, objects=gcs_objects(connection), storage=storage)
