"""A connection of kind ``object_store_azure`` as a storage, and where its key comes from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ematix_nb.connections.secret import Secret, SecretDict
from ematix_nb.errors import DeclarationError

from .obstores import MACHINE_TIMES, RETRIES, TIMES, ObstoreStorage, driver, opened

if TYPE_CHECKING:
    from collections.abc import Mapping


def open_azure(connection: Any) -> ObstoreStorage:
    """The container of a resolved connection.

    Raises:
        ConnectError: When it cannot be listed.
        MissingDriverError: When obstore is not installed.
    """
    obstore = driver("azure")
    config: dict[str, Any] = {"account_name": connection.account}
    if connection.endpoint:
        config["endpoint"] = connection.endpoint.rstrip("/")
    given: dict[str, Any] = {}
    credential = find_credential(connection)
    if credential is not None:
        given["credential_provider"] = lambda: SecretDict(credential, expires_at=None)
    elif connection.endpoint:  # a store of one's own: the machine's metadata service has no token for it
        config["skip_signature"] = True
    times = TIMES if credential is not None or connection.endpoint else MACHINE_TIMES
    where = f"connection `{connection.name}`"
    prefix = connection.prefix.strip("/")
    try:
        store = obstore.store.AzureStore(
            connection.container,
            prefix=prefix or None,
            config=config,
            client_options={**times, "allow_http": connection.endpoint.startswith("http://")},
            retry_config=RETRIES,
            **given,
        )
    except (ValueError, obstore.exceptions.BaseError) as exc:
        message = f"{where}: account, container or endpoint cannot be used ({type(exc).__name__})"
        raise DeclarationError(message, "correct them; a container's name has 3 to 63 characters") from exc
    identity = "/".join(part for part in (f"az://{connection.account}/{connection.container}", prefix) if part)
    if connection.endpoint:
        identity += f" at {connection.endpoint}"
    return opened(ObstoreStorage(store, identity, where))


def find_credential(connection: Any, environ: Mapping[str, str] | None = None) -> dict[str, str] | None:
    """The account key or the token of the connection or of the environment; None for the machine's own login."""
    environ = os.environ if environ is None else environ
    if connection.account_key:
        return SecretDict(access_key=connection.reveal("account_key"))
    if connection.sas_token:
        return SecretDict(sas_token=connection.reveal("sas_token").removeprefix("?"))
    for name, field in (
        ("AZURE_STORAGE_ACCOUNT_KEY", "access_key"),
        ("AZURE_STORAGE_KEY", "access_key"),
        ("AZURE_STORAGE_SAS_TOKEN", "sas_token"),
    ):
        if environ.get(name):
            Secret(environ[name])  # masked from now on
            return SecretDict({field: environ[name].removeprefix("?")})
    return None
