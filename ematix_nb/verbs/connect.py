"""The verb ``connect``: where a connection leads, where each of its settings came from, and whether it answers."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ematix_nb import connections as known
from ematix_nb.connections.interpolate import variables
from ematix_nb.connections.secret import redact_url, reveal
from ematix_nb.errors import EXIT_FAILED, EXIT_OK, FlowError, UsageError
from ematix_nb.verbs.results import TableResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.verbs.dispatch import Call

_PARTS = ("host", "port", "database", "user", "password")


def connect(call: Call) -> TableResult:
    """Show a connection and try it; with ``--set`` its address is written to the user's settings before.

    Raises:
        UsageError: The address holds a secret, or there is no way to ask for one.
        FlowError: The connection is not known, or its settings are wrong.
    """
    name, url = call.options["name"], call.options["set"]
    notes = list(_set(call, name, url)) if url is not None else []
    if call.options["ask_secret"]:
        notes.append(_ask(call, name))
    connection = known.resolve(name)
    source = next((one.source for one in known.list_connections() if one.name == name and not one.shadowed_by), "")
    rows = [("kind", connection.kind, source), *_settings(connection, source)]
    code = EXIT_OK
    try:
        from ematix_nb.verbs.connections import reach

        _, _, _, spent, server = reach(name)
        rows += [("server", server, "asked"), ("latency", f"{spent} ms", "measured")]
    except FlowError as error:
        rows.append(("error", known.redact(error.what), ""))
        notes += [known.redact(error.hint)] if error.hint else []
        code = EXIT_FAILED
    return TableResult(f"connection {name}", ("setting", "value", "from"), tuple(rows), notes=tuple(notes), code=code)


def _settings(connection: known.Connection, source: str) -> Iterator[tuple[str, str, str]]:
    """Each setting with its place; secrets are masked, and addresses are taken apart."""
    given = connection.settings()
    if connection.kind in ("postgres", "mysql"):
        parts = known.server_parts(connection)  # type: ignore[arg-type]  # the two kinds that it takes
        found = {"host": parts.host, "port": parts.port, "database": parts.path, "user": parts.user}
        found["password"] = known.MASK if parts.password is not None else None
        place = _place(given["url"], f"url, {source}") if "url" in given else source
        for part in _PARTS:
            if found[part]:
                own = part in given
                yield part, str(found[part]), _place(given[part], source) if own else place
        given = {setting: value for setting, value in given.items() if setting not in (*_PARTS, "url")}
    ready = connection.resolved()
    for setting, value in given.items():
        yield setting, known.redact(str(getattr(ready, setting))), _place(value, source)


def _place(value: object, source: str) -> str:
    """Where a setting came from: its variables, or the place of the definition."""
    text = reveal(value) if isinstance(value, str) else ""
    named = variables(text, "") if "${" in text else []
    return f"variable {', '.join(named)}" if named else source


def _set(call: Call, name: str, url: str) -> Iterator[str]:
    if redact_url(url) != url:  # it stands in the cell by now, so it is not repeated
        what = "the address after --set holds a secret, which would stay in the notebook or the shell's history"
        raise UsageError(what, hint="take it out of the address, and add --ask-secret")
    settings: dict[str, Any] = {"url": url}
    if call.options["ask_secret"]:
        settings["password"] = f"${{{_variable(name)}}}"
    known.set_connection(name, profile=call.parsed.profile, **settings)
    yield "written to ~/.ematix-flow/connections.toml with mode 0600"


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", f"{name}_password").upper()


def _ask(call: Call, name: str) -> str:
    """Ask for the password that the connection takes from a variable, and set that for this process."""
    password = known.resolve(name).settings().get("password")
    text = reveal(password) if isinstance(password, str) else ""
    named = list(variables(text, "")) if "${" in text else []
    if len(named) != 1:
        hint = f'write password = "${{{_variable(name)}}}" in its settings'
        raise UsageError(f"connection `{name}` takes no password from a variable", hint)
    if call.ask is None:
        raise UsageError("nobody can be asked for a secret here", hint=f"set the variable {named[0]}")
    secret = call.ask(f"password of {name}: ")
    if not secret:
        raise UsageError("no password was given", hint="nothing was kept; try again")
    os.environ[named[0]] = secret
    return f"the password is kept in the variable {named[0]} of this process alone; set it where the pipelines run"
