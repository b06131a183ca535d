"""Who hears of failures and lateness: the tables ``[alerts]`` and ``[alerts.NAME]`` of the settings files, checked."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ematix_nb.connections import Secret, settings_files
from ematix_nb.connections.interpolate import interpolate
from ematix_nb.declare import values
from ematix_nb.declare.pipelines import NO_ALERTS
from ematix_nb.errors import ConfigError, DeclarationError, UnknownNameError, known_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.connections.toml_files import SettingsFile

EVENTS = ("failure", "late")
LATE_AFTER = dt.timedelta(minutes=5)
TIMEOUT_SECONDS = 10.0
MAX_TIMEOUT_SECONDS = 120
_SHARED = ("on", "late_after", "timeout_seconds")
"""What ``[alerts]`` says for every channel that does not say it itself."""
_WAYS = ("command", "webhook")


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One receiver of alerts."""

    name: str
    """Empty: the one that hears of every pipeline that names no other."""
    command: tuple[str, ...] = ()
    """A program and its arguments; started without a shell, the alert as JSON on its standard input."""
    webhook: Secret | None = None
    """An http(s) URL that takes the alert as a POST of JSON; secret, because such a URL is often the only key."""
    on: tuple[str, ...] = EVENTS
    late_after: dt.timedelta = LATE_AFTER
    """How long after its slot a pipeline is late."""
    timeout_seconds: float = TIMEOUT_SECONDS
    """How long the receiver may take."""

    def __str__(self) -> str:
        return f"[alerts.{self.name}]" if self.name else "[alerts]"


class Told(Protocol):
    """What alerts speak of: a pipeline, or something else that fires."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def alerts(self) -> tuple[str, ...]:
        """Its channels; see `PipelineSpec`."""
        ...


def chosen(told: Told) -> tuple[str, ...]:
    """The names of the channels for a pipeline; none when it wants none, or the settings have no ``[alerts]``.

    Raises:
        ConfigError: A settings file cannot be read.
    """
    if told.alerts == (NO_ALERTS,):
        return ()
    return told.alerts or (("",) if _found("") is not None else ())


def find_channel(name: str) -> Channel:
    """A receiver by its name; the settings file of the working directory comes first.

    Raises:
        ConfigError: Its table is wrong, or one of its variables is not set.
        UnknownNameError: There is no such table.
    """
    found = _found(name)
    if found is None:
        what = f"no settings file has [alerts.{name}]" if name else "no settings file has [alerts]"
        raise UnknownNameError(what, known_names(name, [one for one in channel_names() if one], "channels"))
    settings, written = found
    shared = {key: value for key, value in settings.alerts.get("", {}).items() if key in _SHARED}
    return _checked(name, {**shared, **written}, settings)


def channel_names() -> list[str]:
    """The receivers of all settings files; an empty name is the one for everything."""
    return list(dict.fromkeys(name for settings in settings_files() for name in _names(settings)))


def _names(settings: SettingsFile) -> Iterator[str]:
    return (name for name, written in settings.alerts.items() if name or any(way in written for way in _WAYS))


def _found(name: str) -> tuple[SettingsFile, dict[str, Any]] | None:
    return next(((one, one.alerts[name]) for one in settings_files() if name in _names(one)), None)


def _checked(name: str, written: dict[str, Any], settings: SettingsFile) -> Channel:
    table = f"alerts.{name}" if name else "alerts"
    try:
        return Channel(name=name, **_receiver(table, written), **_rules(written))
    except DeclarationError as error:
        key = next((key for key in written if error.what.startswith(key)), "")
        raise ConfigError(error.what, error.hint, settings.place_of(table, key)) from None
    except ConfigError as error:
        raise ConfigError(error.what, error.hint, error.where or settings.place_of(table)) from None


def _receiver(table: str, written: dict[str, Any]) -> dict[str, Any]:
    given = [way for way in _WAYS if way in written]
    if len(given) != 1:
        what = f"[{table}] says {'both' if given else 'neither'} `command` {'and' if given else 'nor'} `webhook`"
        raise ConfigError(what, 'webhook = "${ALERT_URL}", or command = ["notify", "--json"]')
    if given == ["command"]:
        words = written["command"]
        if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
            hint = 'command = ["notify", "--json"]: no shell reads it'
            raise DeclarationError("command is a list of a program and its arguments", hint)
        return {"command": tuple(interpolate(word, f"{table}.command") for word in words)}
    url = Secret(interpolate(values.text("webhook", written["webhook"]), f"{table}.webhook"))
    if not url.reveal().startswith(("https://", "http://")):
        raise DeclarationError("webhook is no URL that begins with https:// or http://", "write it as a whole")
    return {"webhook": url}


def _rules(written: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "on" in written:
        found["on"] = values.names("on", written["on"], what="events")
        for event in found["on"]:
            if event not in EVENTS:
                raise DeclarationError(f"on names `{event}`", known_names(event, EVENTS, "events"))
    if "late_after" in written:
        found["late_after"] = values.duration("late_after", written["late_after"])
    if "timeout_seconds" in written:
        seconds = written["timeout_seconds"]
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= MAX_TIMEOUT_SECONDS:
            raise DeclarationError(f"timeout_seconds is a number up to {MAX_TIMEOUT_SECONDS}, got {seconds!r}")
        found["timeout_seconds"] = float(seconds)
    return found
