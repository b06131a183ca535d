"""A connection from one URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ematix_nb.errors import ConfigError, DeclarationError, known_names

from .base import from_text, setting_types
from .kinds import KINDS, MYSQL_SCHEMES, POSTGRES_SCHEMES, build_connection
from .secret import redact_url
from .urlparts import fill_url, split_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .base import Connection

SERVER_SCHEMES = {
    **dict.fromkeys(POSTGRES_SCHEMES, ("postgres", "url")),
    **dict.fromkeys(MYSQL_SCHEMES, ("mysql", "url")),
    **dict.fromkeys(("amqp", "amqps"), ("rabbitmq", "amqp_url")),
}
"""Schemes whose URL stays as it is: kind and the setting that holds it."""
FILE_SCHEMES = {
    "sqlite": "sqlite",
    "duckdb": "duckdb",
    "file": "object_store_local",
    "delta": "delta_local",
    "s3": "object_store_s3",
    "az": "object_store_azure",
    "gs": "object_store_gcs",
}
"""Schemes whose URL is taken apart into settings."""
BUCKETS = {"s3": "bucket", "az": "container", "gs": "bucket"}
"""Schemes whose host is the name of a bucket: the setting that holds it."""
_KINDS_WITH_URL = {"postgres": "url", "mysql": "url", "rabbitmq": "amqp_url", "schema_registry": "url"}


def connection_from_url(name: str, url: str, *, literal: bool = False) -> Connection:
    """Build the connection that a URL describes.

    ``postgres://``, ``mysql://``, ``amqp://`` lead to servers; ``sqlite:///relative.db``,
    ``sqlite:////absolute.db``, ``duckdb://:memory:``, ``file:///folder?format=parquet``, ``delta:///folder``,
    ``s3://bucket/prefix?format=csv&region=eu-west-1``, ``az://container/prefix?account=name&format=orc`` and
    ``gs://bucket/prefix?format=jsonl`` to files.

    Args:
        name: What pipelines call it.
        url: May hold ``${VAR}``.
        literal: True when ``${`` has no meaning in the URL.

    Raises:
        ConfigError: The URL is wrong; says which part.
        DeclarationError: A parameter of the URL is unknown or does not fit.

    Example:
        >>> connection_from_url("lake", "file:///data?format=csv&csv_header=false")
        ObjectStoreLocalConnection(name='lake', format='csv', csv_header=False, path='/data')
    """
    return connection_from_settings(name, {"url": url}, literal=literal)


def connection_from_settings(name: str, settings: Mapping[str, object], *, literal: bool = False) -> Connection:
    """Build a connection from the settings of a file, a cell or a decorated class.

    ``kind`` may be left out beside a ``url`` (also called ``dsn``). A URL whose scheme
    stands in a variable is filled in now, to learn the kind.

    Raises:
        ConfigError: The URL is wrong, or a variable that is needed now is not set.
        DeclarationError: See `Connection`.
    """
    where = f"connections.{name}.url"
    given = _with_url(name, settings)
    kind, url = given.get("kind"), given.get("url")
    if not isinstance(url, str) or not url or (kind in _KINDS_WITH_URL and _KINDS_WITH_URL[str(kind)] == "url"):
        return build_connection(name, given, literal=literal)
    scheme = _scheme(url, where, literal=literal)
    if scheme in SERVER_SCHEMES:
        found, holder = SERVER_SCHEMES[scheme]
        rest = {key: value for key, value in given.items() if key != "url"} | {holder: url}
    else:
        filled = url if literal else fill_url(url, where)
        found, parsed = _from_file_url(scheme, filled, where)
        both = sorted(set(parsed) & set(given))
        if both:
            what = f"connection `{name}` gives `{both[0]}` twice: in its URL and beside it"
            raise DeclarationError(what, hint="give it once")
        rest = {key: value for key, value in given.items() if key != "url"}
        rest |= {k: v if literal else _escape(v) for k, v in parsed.items()}
    if kind not in (None, "", found):
        what = f"connection `{name}` is of kind `{kind}`, but its URL begins with `{scheme}://`"
        raise DeclarationError(what, hint=f'remove the URL, or set `kind = "{found}"`')
    return build_connection(name, rest | {"kind": found}, literal=literal)


def _with_url(name: str, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings with ``dsn`` under its other name ``url``."""
    given = dict(settings)
    if "dsn" in given:
        if "url" in given:
            what = f"connection `{name}` has both `url` and `dsn`"
            raise DeclarationError(what, hint="they mean the same: keep `url`")
        given["url"] = given.pop("dsn")
    return given


def _scheme(url: str, where: str, *, literal: bool) -> str:
    """The scheme of a URL; asks the environment only when a variable holds it."""
    scheme, separator, _ = url.partition("://")
    if not literal and (not separator or "${" in scheme):
        try:
            url = fill_url(url, where)
        except ConfigError as error:
            raise ConfigError(error.what, hint=f"{error.hint}; with `kind = ...` it is needed at use only") from None
        scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        what = f"{where} is not a URL: got `{redact_url(url)[:80]}`, expected `scheme://...`"
        raise ConfigError(what, hint="for example postgres://user@host/database or duckdb:///file.duckdb")
    if scheme not in SERVER_SCHEMES and scheme not in FILE_SCHEMES:
        what = f"{where} has the unknown scheme `{scheme[:40]}`"
        raise ConfigError(what, hint=known_names(scheme, [*SERVER_SCHEMES, *FILE_SCHEMES], "schemes"))
    return scheme


def _from_file_url(scheme: str, url: str, where: str) -> tuple[str, dict[str, object]]:
    """Kind and settings of a URL that leads to files."""
    kind = FILE_SCHEMES[scheme]
    if url.lower().startswith(f"{scheme}://:memory:"):
        url = f"{scheme}:///:memory:" + url[len(scheme) + len("://:memory:") :]
    parts = split_url(url, where)
    settings: dict[str, object] = {}
    if scheme in BUCKETS:
        settings = {BUCKETS[scheme]: parts.host, "prefix": parts.path}
    else:
        settings = {"path": _file_path(scheme, parts.host, parts.path, where)}
    types = setting_types(KINDS[kind])
    for key, text in parts.query.items():
        if key not in types:
            what = f"{where} has the unknown parameter `{key}` (kind {kind})"
            raise DeclarationError(what, hint=known_names(key, types, "parameters"))
        settings[key] = from_text(text, types[key], f"{where}?{key}")
    if scheme == "file" and "format" not in settings:
        what = f"{where} names no format: `{redact_url(url)[:80]}`"
        raise ConfigError(what, hint=f"add ?format=parquet, csv or jsonl: {url.partition('?')[0]}?format=parquet")
    return kind, settings


def _file_path(scheme: str, host: str, path: str, where: str) -> str:
    """The path of a file URL: ``///`` is relative for databases and absolute for folders."""
    if host in {".", ".."}:
        return f"{host}/{path}"
    if host:
        what = f"{where} names the host `{host}`, but {scheme}:// leads to a local file"
        raise ConfigError(what, hint=f"write three slashes before the path: {scheme}:///{host}/{path}".rstrip("/"))
    if not path:
        what = f"{where} names no path"
        raise ConfigError(
            what, hint=f"write {scheme}:///path" + (" or :memory:" if scheme in ("sqlite", "duckdb") else "")
        )
    return f"/{path}" if scheme in ("file", "delta") else path


def _escape(value: object) -> object:
    """A value in which ``${`` stands for itself."""
    return value.replace("${", "$${") if isinstance(value, str) else value
