"""Connections that were declared in this process: by decorator, by object or by ``connect``."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Any, TypeVar

from ematix_nb.errors import DeclarationError, UnknownNameError, known_names

from .base import Connection, setting_types
from .url import connection_from_settings

ConnectionT = TypeVar("ConnectionT", bound=Connection)
_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Registered:
    """A connection, and where it was declared."""

    connection: Connection
    origin: str
    """File, or ``notebook``, or ``interactive``."""
    line: int
    """Line in the file; 0 when it means nothing."""
    changed: tuple[str, ...] = ()
    """Settings that differ from those of the declaration that it replaced."""

    @property
    def place(self) -> str:
        """Origin and line."""
        return f"{self.origin}:{self.line}" if self.line else self.origin


_connections: dict[str, Registered] = {}
_lock = threading.Lock()


def register_connection(connection: ConnectionT) -> ConnectionT:
    """Make a connection known by its name; one of the same name is replaced.

    Returns:
        The connection itself.

    Raises:
        DeclarationError: It is no connection.

    Example:
        >>> from ematix_nb.connections import DuckDBConnection
        >>> register_connection(DuckDBConnection(name="scratch", path=":memory:")).name
        'scratch'
        >>> unregister_connection("scratch")
    """
    _register(connection, exclusive=False)
    return connection


def connection(declared: object = None, *, name: str | None = None) -> Any:
    """Turn a class of settings into a registered connection, ``@ematix.connection``.

    The name of the class is the name of the connection, unless ``name`` is given. The
    same definition from a second file is fine, a different one is an error.

    Args:
        declared: The class; its attributes are the settings, ``kind`` among them.
        name: Another name.

    Returns:
        The connection, in place of the class.

    Raises:
        DeclarationError: A setting is unknown, missing or of the wrong type, or another
            file declares another connection of that name.
    """
    if declared is None:
        return lambda cls: connection(cls, name=name)
    if not isinstance(declared, type):
        what = f"@ematix.connection stands above a {type(declared).__name__}, expected a class"
        raise DeclarationError(what, hint='write class warehouse: kind = "postgres"; url = "..."')
    called = name or declared.__name__
    built = connection_from_settings(called, _settings_of(declared, called))
    _register(built, exclusive=True)
    return built


def _settings_of(declared: type, name: str) -> dict[str, object]:
    settings: dict[str, object] = {}
    for cls in reversed(declared.__mro__[:-1]):
        settings |= {key: value for key, value in vars(cls).items() if not key.startswith("_")}
    for key, value in settings.items():
        if callable(value) or isinstance(value, property | staticmethod | classmethod):
            what = f"connection `{name}`: `{key}` is a function, expected a setting"
            raise DeclarationError(what, hint="a connection only holds settings")
    return settings


def registered(name: str) -> Registered | None:
    """The connection of that name with its origin, or None."""
    return _connections.get(name)


def registered_connections() -> dict[str, Registered]:
    """All connections declared in this process, by name, in order of their declaration."""
    with _lock:
        return dict(_connections)


def unregister_connection(name: str) -> None:
    """Forget one connection.

    Raises:
        UnknownNameError: None of that name is registered.
    """
    with _lock:
        if _connections.pop(name, None) is None:
            what = f"no connection `{name}` is registered in this process"
            raise UnknownNameError(what, hint=known_names(name, _connections, "registered connections"))


def clear_connections() -> None:
    """Forget all connections of this process; files and variables stay."""
    with _lock:
        _connections.clear()


def _register(new: object, *, exclusive: bool) -> None:
    if not isinstance(new, Connection):
        what = f"register_connection received a {type(new).__name__}, expected a connection"
        raise DeclarationError(what, hint='for example PostgresConnection(name="warehouse", url="...")')
    origin, line = _caller()
    with _lock:
        old = _connections.get(new.name)
        changed = _changed(old.connection, new) if old else ()
        if exclusive and old and changed and _are_two_files(old.origin, origin):
            what = f"connection `{new.name}` is declared differently in {old.place} and in {origin}:{line}"
            raise DeclarationError(what, hint="give one of the two another name", where=f"{origin}:{line}")
        _connections[new.name] = Registered(new, origin, line, changed)


def _changed(old: Connection, new: Connection) -> tuple[str, ...]:
    if type(old) is not type(new):
        return ("kind",)
    return tuple(s for s in setting_types(type(new)) if getattr(old, s) != getattr(new, s))


def _are_two_files(first: str, second: str) -> bool:
    return first != second and not {"notebook", "interactive"} & {first, second}


def _caller() -> tuple[str, int]:
    """File and line of the first frame outside this package."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads every source file
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    file = frame.f_code.co_filename
    if "ipykernel" in file or "IPython" in file or file.startswith("<ipython"):
        return "notebook", 0
    if file.startswith("<"):
        return "interactive", 0
    return file, frame.f_lineno
