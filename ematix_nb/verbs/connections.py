"""Connections and profiles: what there is, whether it answers, and how to change it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ematix_nb import connections as known
from ematix_nb.errors import EXIT_FAILED, EXIT_OK, FlowError, UsageError
from ematix_nb.verbs.results import TableResult
from ematix_nb.words import counted

if TYPE_CHECKING:
    from ematix_nb.verbs.dispatch import Call

SERVER_QUERIES = {
    "postgres": "SHOW server_version",
    "mysql": "SELECT version()",
    "duckdb": "SELECT version()",
    "sqlite": "SELECT sqlite_version()",
}
"""What to ask a system for its version, by dialect."""


def listed(_: Call) -> TableResult:
    """Every definition of every connection, and which one is used; nothing is connected to."""
    rows = []
    for info in known.list_connections():
        used = f"shadowed by {info.shadowed_by}" if info.shadowed_by else "yes"
        rows.append((info.name, info.kind, info.error or info.summary, info.source, "no" if info.error else used))
    profile_name = known.active_profile()
    notes = (f"profile `{profile_name}` is active",) if profile_name else ()
    return TableResult(
        "",
        ("name", "kind", "leads to", "source", "used"),
        tuple(rows),
        "no connections are configured; add [connections.NAME] to .ematix-flow.toml",
        notes,
    )


def check(call: Call) -> TableResult:
    """Connect, read-only, and say how long it took.

    Raises:
        ConnectError: One connection was named and it cannot be reached.
    """
    names = call.options["names"]
    if len(names) == 1:
        return _checked([reach(names[0])], EXIT_OK)
    wanted = names or [info.name for info in known.list_connections() if not info.shadowed_by]
    rows, code = [], EXIT_OK
    for name in wanted:
        try:
            rows.append(reach(name))
        except FlowError as exc:
            rows.append((name, "", exc.what, None, ""))
            code = EXIT_FAILED
    return _checked(rows, code)


def _checked(rows: list[tuple[Any, ...]], code: int) -> TableResult:
    columns = ("name", "kind", "result", "milliseconds", "server")
    return TableResult("", columns, tuple(rows), "no connections are configured", code=code)


def reach(name: str) -> tuple[Any, ...]:
    """Connect read-only: name, kind, ``ok``, milliseconds, server.

    Raises:
        FlowError: It is not configured or cannot be reached.
    """
    from ematix_nb.backends.registry import backend_for

    connection = known.resolve(name)
    backend = backend_for(connection.kind)
    backend.open(connection, read_only=True, create=False).close()  # the driver is imported now
    start = time.perf_counter()
    session = backend.open(connection, read_only=True, create=False)
    try:
        server = _server(session)
        spent = round(1000 * (time.perf_counter() - start), 1)
    finally:
        session.close()
    return (name, connection.kind, "ok", spent, server)


def _server(session: Any) -> str:
    """The system and its version; for files, how many things are there."""
    if not session.capabilities.has_sql:
        return counted(len(session.tables()), "readable thing")
    dialect = session.dialect.name
    query = SERVER_QUERIES.get(dialect)
    return f"{dialect} {session.fetch(query)[0][0]}" if query else dialect


def change(call: Call) -> TableResult:
    """Write settings of a connection; ``--profile`` writes those of the profile."""
    options = call.options
    if not options["settings"]:
        raise UsageError("no settings are given", hint="flow connections set NAME key=value ...")
    built = known.set_connection(
        options["name"], to_file=options["file"], profile=call.parsed.profile, **options["settings"]
    )
    place = options["file"] or "~/.ematix-flow/connections.toml"
    notes = [f"written to {place} with mode 0600"]
    shadow = _shadow(options["name"], str(place))
    notes += [shadow] if shadow else []
    literal = built.literal_secrets()
    if literal:
        notes.append(f"the file holds {', '.join(literal)} in plain; ${{VAR}} takes it from the environment")
    rows = ((built.name, built.kind, known.redact(built.summary())),)
    return TableResult("", ("name", "kind", "leads to"), rows, notes=tuple(notes))


def _shadow(name: str, place: str) -> str:
    """Say when what was written is not what will be used."""
    try:
        used = next((info for info in known.list_connections() if info.name == name), None)
    except FlowError:
        # another settings file is broken; that is told when it is used
        return ""
    from pathlib import Path

    written = str(Path(place).expanduser().resolve())
    if used is None or used.source.startswith(written):
        return ""
    return f"another definition is used instead: {used.source}"


def profile(call: Call) -> TableResult:
    """The profiles of the settings files; with a name, use it in this process from now on.

    Raises:
        UnknownNameError: No settings file defines it.
    """
    name = call.options["name"]
    if name is not None:
        known.use_profile(name)
    active = known.active_profile()
    rows = tuple((one, "active" if one == active else "") for one in known.known_profiles())
    notes = []
    if name is not None and call.trigger == "manual":
        notes.append("it holds for this process; --profile NAME, or EMATIX_FLOW_PROFILE, chooses it for a command")
    return TableResult("", ("profile", "state"), rows, "no profiles are defined", tuple(notes))
