"""From a name to a connection: variables, settings files, then what this process declared.

Highest rank first:

1. the variable ``EMATIX_FLOW_DSN_<NAME>``
2. the variable ``EMATIX_FLOW_DSN``, for the name ``default`` only
3. ``./.ematix-flow.toml``
4. ``~/.ematix-flow/connections.toml``
5. `register_connection`, ``@ematix.connection``, ``config.connect``

Entries of the active profile come before all other entries of both files: who asks
for ``prod`` must not get a ``dev`` connection because it stands in a nearer file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import ConfigError, FlowError, UnknownNameError, did_you_mean

from .profiles import active_profile, settings_files
from .registry import Registered, registered, registered_connections
from .secret import redact, reveal
from .toml_files import Entry, project_file, user_file
from .url import connection_from_settings, connection_from_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Connection

DSN_VARIABLE = "EMATIX_FLOW_DSN"


@dataclass(frozen=True, kw_only=True)
class ConnectionInfo:
    """One definition of a connection, as ``flow connections list`` shows it."""

    name: str
    kind: str
    """Empty when the definition is broken."""
    source: str
    """Variable, file and line, or place in the code."""
    summary: str
    """Where it leads; secrets are masked."""
    shadowed_by: str | None = None
    """Source of the definition that is used instead of this one; None when this one is used."""
    error: str = ""
    """Why it cannot be used; empty when it can."""


def dsn_variable(name: str) -> str:
    """The variable that overrides a connection.

    Example:
        >>> dsn_variable("warehouse"), dsn_variable("my-lake.eu")
        ('EMATIX_FLOW_DSN_WAREHOUSE', 'EMATIX_FLOW_DSN_MY_LAKE_EU')
    """
    return f"{DSN_VARIABLE}_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"


def get_connection(name: str) -> Connection:
    """Find the connection of that name.

    Variables in it are not filled in yet: that happens when a backend connects.

    Raises:
        UnknownNameError: Nothing defines it; says where it was looked for.
        ConfigError: Its definition is broken, or it refers to itself.
        DeclarationError: A setting of it is unknown, missing or wrong.
    """
    found = _find(name)
    _check_references(found, (name,))
    return found


def resolve(reference: str | Connection) -> Connection:
    """The connection that a name or a connection object means.

    A registered object may be overridden by variable and files, like its name.

    Raises:
        UnknownNameError: See `get_connection`.
    """
    if isinstance(reference, str):
        return get_connection(reference)
    known = registered(reference.name)
    if known is not None and known.connection is reference:
        return get_connection(reference.name)
    return reference


def list_connections() -> list[ConnectionInfo]:
    """Every definition of every connection, by name, the one in use first.

    A definition that is broken is listed with its error. Nothing is connected to.

    Raises:
        ConfigError: A settings file cannot be read or understood.
    """
    listed = []
    for name in sorted(_all_names()):
        in_use: str | None = None
        for source, definition in _definitions(name):
            listed.append(_info(name, source, definition, in_use))
            in_use = in_use or source
    return listed


def _find(name: str) -> Connection:
    """Build the highest definition of a name, whole or pieced together of profile and base."""
    overlay: Entry | None = None
    for source, definition in _definitions(name):
        if isinstance(definition, Entry):
            if definition.is_partial and overlay is None:
                overlay = definition
                continue
            return _from_entry(definition, overlay)
        if overlay is not None:
            break
        if isinstance(definition, Registered):
            return definition.connection
        return _from_variable(name, source, definition)
    if overlay is not None:
        return _from_entry(overlay, None)
    raise _unknown(name)


def _definitions(name: str) -> Iterator[tuple[str, str | Entry | Registered]]:
    """All definitions of a name with their sources, the highest first; text is a URL."""
    for variable in [dsn_variable(name)] + [DSN_VARIABLE] * (name == "default"):
        if variable in os.environ:
            yield f"env {variable}", os.environ[variable]
    files = settings_files()
    profile = active_profile()
    for wanted in [profile, None] if profile else [None]:
        for settings in files:
            entry = settings.entry(name, wanted)
            if entry is not None:
                yield entry.source, entry
    known = registered(name)
    if known is not None:
        yield f"registered in {known.place}", known


def _from_variable(name: str, source: str, url: str) -> Connection:
    variable = source.removeprefix("env ")
    if not url.strip():
        what = f"variable {variable} is set but empty, expected the URL of connection `{name}`"
        raise ConfigError(what, hint="give it a URL, or unset it")
    try:
        return connection_from_url(name, url, literal=True)
    except FlowError as error:
        raise type(error)(error.what, error.hint, error.where or f"variable {variable}") from None


def _from_entry(entry: Entry, overlay: Entry | None) -> Connection:
    settings: dict[str, Any] = entry.settings | (overlay.settings if overlay else {})
    try:
        return connection_from_settings(entry.name, settings)
    except FlowError as error:
        raise (overlay or entry).explain(error) from None


def _check_references(connection: Connection, path: tuple[str, ...]) -> None:
    """Follow the names that a connection refers to; they must exist and must not come back to it."""
    reference = getattr(connection, "schema_registry", None)
    if not isinstance(reference, str) or not reference or "${" in reveal(reference):
        return
    if reference in path:
        what = f"connections refer to each other in a circle: {' -> '.join([*path, reference])}"
        raise ConfigError(what, hint="`schema_registry` names a connection of kind schema_registry")
    found = _find(reference)
    _check_references(found, (*path, reference))
    if found.kind != "schema_registry":
        what = f"`schema_registry` of connection `{path[-1]}` names `{reference}`, which is of kind {found.kind}"
        raise ConfigError(what, hint="name a connection of kind schema_registry")


def _all_names() -> set[str]:
    files = settings_files()
    names = set(registered_connections())
    for settings in files:
        for profile in (None, active_profile()):
            names |= set(settings.entries(profile))
    taken = {dsn_variable(name) for name in names}
    prefix = f"{DSN_VARIABLE}_"
    names |= {v.removeprefix(prefix).lower() for v in os.environ if v.startswith(prefix) and v not in taken}
    return names | ({"default"} if DSN_VARIABLE in os.environ else set())


def _info(name: str, source: str, definition: str | Entry | Registered, in_use: str | None) -> ConnectionInfo:
    try:
        if isinstance(definition, Registered):
            built = definition.connection
        elif isinstance(definition, Entry):
            built = _find(name) if definition.is_partial and in_use is None else _from_entry(definition, None)
        else:
            built = _from_variable(name, source, definition)
    except FlowError as error:
        return ConnectionInfo(
            name=name, kind=_kind(definition), source=source, summary="", shadowed_by=in_use, error=redact(error.what)
        )
    return ConnectionInfo(
        name=name, kind=built.kind, source=source, summary=redact(built.summary()), shadowed_by=in_use
    )


def _kind(definition: str | Entry | Registered) -> str:
    if isinstance(definition, Entry):
        return str(definition.settings.get("kind", ""))
    return ""


def _unknown(name: str) -> UnknownNameError:
    variables = dsn_variable(name) + (f" and {DSN_VARIABLE}" if name == "default" else "")
    places = f"variable {variables}, {project_file()}, {user_file()}, the connections registered in this process"
    what = f"connection `{name}` is not configured; looked in: {places}"
    near = did_you_mean(name, _all_names())
    setting = f'add [connections.{name}] with a url to a settings file, or call config.connect(url=..., name="{name}")'
    return UnknownNameError(what, hint=near or setting)
