"""The settings files: ``./.ematix-flow.toml`` and ``~/.ematix-flow/connections.toml``."""

from __future__ import annotations

import os
import re
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import ConfigError, FlowError, known_names

from .base import is_secret_setting
from .interpolate import is_reference
from .secret import redact, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT_FILE = ".ematix-flow.toml"
USER_FILE = ".ematix-flow/connections.toml"
TRUST_VARIABLE = "EMATIX_FLOW_TRUST"
KNOWN_KEYS = ("connections", "profiles", "profile", "modules", "alerts")
"""The keys that a settings file may have at its top level."""
_PROFILE_KEYS = ("connections",)
ALERT_KEYS = ("command", "webhook", "on", "late_after", "timeout_seconds")
"""What ``[alerts]`` and each ``[alerts.NAME]`` may say."""
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_TWICE = re.compile(r"Cannot overwrite a value|Cannot declare .* twice|Cannot mutate|Duplicate")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_EVERYBODY = 0o077


class ConfigWarning(UserWarning):
    """A settings file works, but somebody should change something about it."""


@dataclass(frozen=True)
class Entry:
    """One connection as a file writes it."""

    name: str
    settings: dict[str, Any]
    """As in the file; values may hold ``${VAR}``."""
    file: SettingsFile
    table: str
    """Its table in the file: ``connections.wh`` or ``profiles.prod.connections.wh``."""
    profile: str | None = None

    @property
    def source(self) -> str:
        """File and line, with the profile when it has one."""
        profile = f" (profile {self.profile})" if self.profile else ""
        return f"{self.file.line_of(self.table)}{profile}"

    @property
    def is_partial(self) -> bool:
        """True when it only changes settings of an entry of lower rank (neither kind nor URL)."""
        return self.profile is not None and not {"kind", "url", "dsn"} & set(self.settings)

    def explain(self, error: FlowError) -> FlowError:
        """The same error with the file, line and column of the setting it talks about."""
        if error.where:
            return error
        named = [key for key in self.settings if _speaks_of(error.what, key)]
        place = self.file.place_of(self.table, named[0] if named else "")
        return type(error)(error.what, error.hint, place)


@dataclass(frozen=True)
class SettingsFile:
    """A settings file that was read and checked."""

    path: Path
    text: str = field(repr=False)
    data: dict[str, Any] = field(repr=False)

    def entry(self, name: str, profile: str | None = None) -> Entry | None:
        """The connection of that name, of a profile or (None) of the file itself."""
        return self.entries(profile).get(name)

    def entries(self, profile: str | None = None) -> dict[str, Entry]:
        """All connections of a profile, or (None) of the file itself, in file order."""
        holder = self.data if profile is None else self.data.get("profiles", {}).get(profile, {})
        prefix = "" if profile is None else f"profiles.{profile}."
        return {
            name: Entry(name, settings, self, f"{prefix}connections.{name}", profile)
            for name, settings in holder.get("connections", {}).items()
        }

    @property
    def profiles(self) -> tuple[str, ...]:
        """Names of the profiles it defines."""
        return tuple(self.data.get("profiles", {}))

    @property
    def profile(self) -> str | None:
        """The profile that it makes active, if any."""
        return self.data.get("profile")

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that hold pipelines: dotted names, or paths relative to the file's folder."""
        return tuple(self.data.get("modules", ()))

    @property
    def alerts(self) -> dict[str, dict[str, Any]]:
        """Channels by name, as written; the unnamed one, ``[alerts]`` itself, is there when it says anything."""
        written = self.data.get("alerts", {})
        own = {key: value for key, value in written.items() if not isinstance(value, dict)}
        named = {key: value for key, value in written.items() if isinstance(value, dict)}
        return ({"": own} if own else {}) | named

    def line_of(self, table: str) -> str:
        """``path:line`` of a table; the path alone when the line is not found."""
        return self.place_of(table).rpartition(":")[0] or str(self.path)

    def place_of(self, table: str, key: str = "") -> str:
        """``path:line:column`` of a table, or of a key in it; the path alone when it is not found."""
        line, column = _find(self.text, table, key)
        return f"{self.path}:{line}:{column}" if line else str(self.path)


_cache: dict[str, tuple[tuple[int, int, int], SettingsFile]] = {}
_warned: set[str] = set()
_warning = threading.Lock()


def project_file() -> Path:
    """The settings file of the working directory; it need not exist."""
    return Path.cwd() / PROJECT_FILE


def user_file() -> Path:
    """The settings file of this user; it need not exist."""
    return Path.home() / USER_FILE


def read_settings(path: Path, *, check_owner: bool = False) -> SettingsFile | None:
    """Read a settings file; a file that is as it was is not read again.

    Args:
        path: The file.
        check_owner: Refuse it when it belongs to another user than this one or root.

    Returns:
        The file, or None when there is none.

    Raises:
        ConfigError: It cannot be read, is not TOML, holds unknown keys, or belongs to somebody else.
    """
    try:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if check_owner:
            _refuse_foreign(path, status.st_uid)
        cached = _cache.get(str(path))
        if cached is not None and cached[0] == stamp:
            return cached[1]
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        what = f"the settings file cannot be read: {error.strerror}"
        raise ConfigError(what, hint="make it a file that this user may read", where=str(path)) from None
    settings = parse_settings(path, raw)
    if status.st_mode & _EVERYBODY and os.name == "posix":
        _warn_about_mode(settings, status.st_mode & 0o777)
    _cache[str(path)] = (stamp, settings)
    return settings


def parse_settings(path: Path, raw: bytes) -> SettingsFile:
    """Parse the bytes of a settings file. A byte order mark and Windows line ends are fine.

    Raises:
        ConfigError: See `read_settings`.
    """
    import tomllib

    text = _decoded(path, raw)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from None
    settings = SettingsFile(path, text, data)
    _check_shape(settings)
    return settings


def _decoded(path: Path, raw: bytes) -> str:
    if raw.startswith(_UTF16) or b"\0" in raw[:200]:
        what = "the settings file is encoded as UTF-16, expected UTF-8"
        raise ConfigError(what, hint="save it as UTF-8", where=str(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        what = f"the settings file is not UTF-8: byte 0x{raw[error.start]:02x}"
        raise ConfigError(what, hint="save it as UTF-8", where=f"{path}:{line}") from None


def _syntax_error(path: Path, text: str, message: str) -> ConfigError:
    match = _PLACE.search(message)
    lines = text.splitlines() or [""]
    line, column = len(lines), len(lines[-1]) + 1
    if match and match["line"]:
        line, column = int(match["line"]), int(match["column"])
    problem = _PLACE.sub("", message)
    where = f"{path}:{line}:{column}"
    if _TWICE.match(problem):
        key = lines[min(line, len(lines)) - 1].partition("=")[0].strip()
        return ConfigError(f"`{redact(key)}` is defined twice", hint="remove one of the two", where=where)
    return ConfigError(
        f"not valid TOML: {redact(problem)}", hint="correct the line; texts stand in quotes", where=where
    )


def _check_shape(settings: SettingsFile) -> None:
    _check_known(settings, settings.data, KNOWN_KEYS, "")
    _check_tables(settings, settings.data, "")
    for name, profile in _tables(settings, settings.data, "profiles", ""):
        _check_known(settings, profile, _PROFILE_KEYS, f"profiles.{name}")
        _check_tables(settings, profile, f"profiles.{name}.")
    _check_alerts(settings)
    modules = settings.data.get("modules", [])
    if not isinstance(modules, list) or not all(isinstance(module, str) for module in modules):
        what = "`modules` is not a list of texts"
        raise ConfigError(what, hint='write modules = ["pipelines.orders"]', where=settings.place_of("", "modules"))
    profile_name = settings.data.get("profile")
    if profile_name is not None and not isinstance(profile_name, str):
        what = "`profile` is not a text"
        raise ConfigError(what, hint='write profile = "dev"', where=settings.place_of("", "profile"))


def _check_alerts(settings: SettingsFile) -> None:
    if not isinstance(settings.data.get("alerts", {}), dict):
        place = settings.place_of("", "alerts")
        raise ConfigError("`alerts` is not a table", 'write [alerts] and below it webhook = "${ALERT_URL}"', place)
    for name, channel in settings.alerts.items():
        table = f"alerts.{name}" if name else "alerts"
        _check_known(settings, channel, ALERT_KEYS, table)


def _check_known(settings: SettingsFile, table: dict[str, Any], known: tuple[str, ...], prefix: str) -> None:
    for key in table:
        if key not in known:
            what = f"unknown key `{f'{prefix}.{key}'.lstrip('.')}`"
            place = settings.place_of(prefix, key)
            if place == str(settings.path):
                place = settings.place_of(f"{prefix}.{key}".lstrip("."))
            raise ConfigError(what, hint=known_names(key, known, "keys"), where=place)


def _check_tables(settings: SettingsFile, holder: dict[str, Any], prefix: str) -> None:
    for _ in _tables(settings, holder, "connections", prefix):
        pass


def _tables(
    settings: SettingsFile, holder: dict[str, Any], key: str, prefix: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tables below a table; anything else there is an error."""
    tables = holder.get(key, {})
    if not isinstance(tables, dict):
        what = f"`{prefix}{key}` is not a table"
        raise ConfigError(what, hint=f"write [{prefix}{key}.NAME]", where=settings.place_of(prefix.rstrip("."), key))
    for name, table in tables.items():
        if not isinstance(table, dict):
            what = f"`{prefix}{key}.{name}` is not a table"
            place = settings.place_of(f"{prefix}{key}", name)
            raise ConfigError(what, hint=f"write [{prefix}{key}.{name}] and its settings below", where=place)
        yield name, table


def _refuse_foreign(path: Path, owner: int) -> None:
    if os.name != "posix" or owner in (0, os.geteuid()) or os.environ.get(TRUST_VARIABLE) == "1":
        return
    what = f"{path} belongs to another user (uid {owner}), so its settings are not used"
    hint = f"look into it; if you trust it, set {TRUST_VARIABLE}=1, or make it yours with `chown`"
    raise ConfigError(what, hint=hint, where=str(path))


def _warn_about_mode(settings: SettingsFile, mode: int) -> None:
    """Say once in a process that others may read the secrets of a file, under whatever name and from any thread."""
    profiles: list[str | None] = [None, *settings.profiles]
    for profile in profiles:
        for entry in settings.entries(profile).values():
            if any(holds_secret(key, value) for key, value in entry.settings.items()):
                if not _first_time(settings.path):
                    return
                message = (
                    f"{settings.path} holds a secret (in [{entry.table}]) and others may read it (mode {mode:04o}); "
                    f"run: chmod 600 {settings.path}"
                )
                warnings.warn(message, ConfigWarning, stacklevel=2)
                return


def _first_time(path: Path) -> bool:
    place = os.path.realpath(path)
    with _warning:
        if place in _warned:
            return False
        _warned.add(place)
        return True


def holds_secret(key: str, value: object) -> bool:
    """True when a setting holds a secret in plain rather than as ``${VAR}``."""
    if not isinstance(value, str) or not value:
        return False
    if is_secret_setting(key):
        return not is_reference(value)
    return redact_url(value) != value


def _speaks_of(what: str, key: str) -> bool:
    return f"`{key}`" in what or f"unknown {key} `" in what or re.search(rf"\.{re.escape(key)}\b", what) is not None


def _find(text: str, table: str, key: str) -> tuple[int, int]:
    """Line and column (from 1) of a table's header, or of a key below it; (0, 0) when absent."""
    header = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
    assignment = re.compile(rf"(\s*)(?:{re.escape(key)}|\"{re.escape(key)}\"|'{re.escape(key)}')\s*=")
    inline = re.compile(rf"(\s*)[\"']?{re.escape(table.rpartition('.')[2])}[\"']?\s*[=.]") if table else None
    current, fallback = "", (0, 0)
    for number, line in enumerate(text.splitlines(), 1):
        found = header.match(line)
        if found:
            current = re.sub(r"[\"'\s]", "", found[1])
            if current == table:
                fallback = (number, line.index("[") + 1)
                if not key:
                    return fallback
            elif not fallback[0] and current.startswith(f"{table or key}."):
                fallback = (number, line.index("[") + 1)
        elif current == table and key and (match := assignment.match(line)):
            return number, len(match[1]) + 1
        elif inline and current == table.rpartition(".")[0] and (match := inline.match(line)):
            fallback = (number, len(match[1]) + 1)
    return fallback
