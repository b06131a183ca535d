"""A connection of kind ``object_store_s3`` as a storage, and where its keys come from."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.connections.secret import Secret
from ematix_nb.errors import ConfigError, DeclarationError

from .obstores import MACHINE_TIMES, RETRIES, TIMES, ObstoreStorage, driver, opened

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Keys:
    """A pair of keys, and the token that may belong to it."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return "Keys(***)"


def open_s3(connection: Any) -> ObstoreStorage:
    """The bucket of a resolved connection.

    Raises:
        ConnectError: When it cannot be listed.
        ConfigError: When a profile is named that is not there or has no keys.
        MissingDriverError: When obstore is not installed.
    """
    obstore = driver("s3")
    config: dict[str, Any] = {"region": connection.region or os.environ.get("AWS_REGION") or "us-east-1"}
    if connection.endpoint:
        config["endpoint"] = connection.endpoint.rstrip("/")
    given: dict[str, Any] = {}
    keys = find_keys(connection)
    if keys is not None:
        given["credential_provider"] = _provider(keys)
    elif connection.endpoint:  # a store of one's own: the machine's metadata service has no keys for it
        config["skip_signature"] = True
    times = TIMES if keys is not None or connection.endpoint else MACHINE_TIMES
    where = f"connection `{connection.name}`"
    prefix = connection.prefix.strip("/")
    try:
        store = obstore.store.S3Store(
            connection.bucket,
            prefix=prefix or None,
            config=config,
            client_options={**times, "allow_http": connection.endpoint.startswith("http://")},
            retry_config=RETRIES,
            **given,
        )
    except (ValueError, obstore.exceptions.BaseError) as exc:
        message = f"{where}: bucket, region or endpoint cannot be used ({type(exc).__name__})"
        raise DeclarationError(message, "correct them") from exc
    identity = "/".join(part for part in (f"s3://{connection.bucket}", prefix) if part)
    if connection.endpoint:
        identity += f" at {connection.endpoint}"
    return opened(ObstoreStorage(store, identity, where))


def find_keys(connection: Any, environ: Mapping[str, str] | None = None) -> Keys | Any | None:
    """The keys to sign with: the connection's, the environment's, a profile's; None to ask the machine.

    A profile that logs in by other means (a role, single sign-on) needs boto3, whose provider is given then.

    Raises:
        ConfigError: When a profile is named that is not there or has no keys.
    """
    environ = os.environ if environ is None else environ
    if connection.access_key_id:
        token = connection.reveal("session_token") or None
        return Keys(connection.reveal("access_key_id"), connection.reveal("secret_access_key"), token)
    named = getattr(connection, "profile", "")
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret and not named:
        Secret(key), Secret(secret), Secret(environ.get("AWS_SESSION_TOKEN", ""))  # masked from now on
        return Keys(key, secret, environ.get("AWS_SESSION_TOKEN") or None)
    return _profile_keys(named or environ.get("AWS_PROFILE", ""), environ)


def _profile_keys(profile: str, environ: Mapping[str, str]) -> Keys | Any | None:
    home = Path(environ.get("HOME", "~")).expanduser()
    places = (
        (environ.get("AWS_SHARED_CREDENTIALS_FILE", str(home / ".aws" / "credentials")), profile or "default"),
        (environ.get("AWS_CONFIG_FILE", str(home / ".aws" / "config")), f"profile {profile}" if profile else "default"),
    )
    known = False
    for file, section in places:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as exc:
            message = f"the settings file `{file}` cannot be read: {type(exc).__name__}"
            raise ConfigError(message, "correct it") from exc
        if not parser.has_section(section):
            continue
        known = True
        found = dict(parser.items(section))
        if "aws_access_key_id" in found and "aws_secret_access_key" in found:
            keys = Keys(
                found["aws_access_key_id"], found["aws_secret_access_key"], found.get("aws_session_token") or None
            )
            Secret(keys.access_key_id), Secret(keys.secret_access_key), Secret(keys.session_token or "")
            return keys
    if not profile:
        return None
    if not known:
        message = f"there is no profile `{profile}` in the files of the AWS tools"
        raise ConfigError(message, f"looked in {' and '.join(file for file, _ in places)}")
    return _by_boto3(profile)


def _by_boto3(profile: str) -> Any:
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as exc:
        message = f"profile `{profile}` has no keys of its own"
        raise ConfigError(message, "give it keys, or install `boto3`, which knows its other ways to log in") from exc
    return Boto3CredentialProvider(boto3.Session(profile_name=profile))


def _provider(keys: Any) -> Any:
    """What obstore asks for keys: without one, it would mix ours with those of the environment."""
    if not isinstance(keys, Keys):
        return keys

    def give() -> dict[str, Any]:
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "token": keys.session_token,
            "expires_at": None,
        }

    return give
