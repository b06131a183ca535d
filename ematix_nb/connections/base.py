"""What all connections have in common: checks, masking, and variables filled in at use."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.errors import ConfigError, DeclarationError, did_you_mean, known_names

from .interpolate import interpolate, is_reference, variables
from .secret import Secret, redact_url, reveal
from .urlparts import fill_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_SECRET_FIELD = re.compile(
    r"(?:^|_)(?:password|passwd|pwd|secret|token|passphrase|private_key|api_key|access_key|access_key_id|account_key|key_password)(?:_|$)"
)
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_TYPE_WORDS = {"str": "text", "int": "a whole number", "bool": "true or false", "tuple[str, ...]": "a list of texts"}


def _frames() -> Any:
    """Loading is above connections: it is looked up by name, when somebody asks for it."""
    return importlib.import_module("ematix_nb.df")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Connection:
    """A name and a description of a system; never an open socket.

    Values may hold ``${VAR}`` (see `ematix_nb.connections.interpolate`); they are
    filled in by `resolved` or `reveal`, when somebody connects. A secret is a
    `Secret`: whatever prints, pickles or copies a connection shows ``***``.

    Raises:
        DeclarationError: A setting is unknown, missing, of the wrong type or not
            one of the values it may have.
    """

    kind: ClassVar[str] = ""
    """The word for it in settings: ``postgres``, ``duckdb``, ..."""
    required: ClassVar[tuple[str, ...]] = ()
    """Settings that must be given."""
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The values that a setting may have, where they are a closed set."""

    name: str = ""
    """What pipelines call it."""

    def __new__(cls, **settings: object) -> Self:
        """Refuse unknown settings before the constructor does, with a suggestion."""
        check_keys(cls, settings, f"connection `{settings.get('name', '')}`")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check the settings, and hide what is secret."""
        if not _NAME.fullmatch(str(self.name)):
            what = f"`{self.name}` is not a name for a connection"
            raise DeclarationError(what, hint="use letters, digits and `_`, `-` or `.`; begin with a letter or `_`")
        self._settle(literal=False)

    def _settle(self, *, literal: bool) -> None:
        """Check and hide; ``literal`` means that ``${`` has no meaning any more."""
        object.__setattr__(self, "_literal", literal)
        for setting, annotation in setting_types(type(self)).items():
            value = getattr(self, setting)
            checked = self._checked(setting, annotation, value)
            object.__setattr__(self, setting, self._hidden(setting, checked))
        for setting in self.required:
            if getattr(self, setting) in ("", None):
                what = f"connection `{self.name}` ({self.kind}): `{setting}` is required and missing"
                raise DeclarationError(what, hint=f"add `{setting} = ...`")
        self._check()

    def _check(self) -> None:
        """Check what concerns several settings at once; for subclasses."""

    def _checked(self, setting: str, annotation: str, value: object) -> object:
        """The value when it has the declared type, a list as a tuple."""
        if isinstance(value, str) and self._is_open(value):
            variables(reveal(value), self._where(setting))
            return value
        options = annotation.split(" | ")
        if "tuple[str, ...]" in options:
            value = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
        if not any(_has_type(value, option) for option in options):
            words = " or ".join(_TYPE_WORDS.get(option, option) for option in options if option != "None")
            shown = "***" if is_secret_setting(setting) else redact_url(repr(value))[:80]
            what = f"{self._where(setting)} is {shown} ({type(value).__name__}), expected {words}"
            raise DeclarationError(what, hint=f"correct `{setting}`")
        allowed = self.choices.get(setting)
        if allowed and value not in (None, "") and value not in allowed:
            what = f"{self._where(setting)} is `{value}`, expected one of {', '.join(allowed)}"
            raise DeclarationError(what, hint=did_you_mean(str(value), allowed) or f"correct `{setting}`")
        return value

    def _hidden(self, setting: str, value: object) -> object:
        """The value as it may be stored: a `Secret` when it is or holds one."""
        if not isinstance(value, str) or isinstance(value, Secret) or not value:
            return value
        if is_secret_setting(setting):
            return value if not self._literal and is_reference(value) else Secret(value)
        shown = redact_url(value)
        return value if shown == value else Secret(value, shown)

    def _is_open(self, value: object) -> bool:
        """True when a value still has a variable in it."""
        return not self._literal and isinstance(value, str) and "${" in reveal(value)

    def _where(self, setting: str) -> str:
        return f"connections.{self.name}.{setting}"

    @property
    def is_resolved(self) -> bool:
        """True when all variables are filled in."""
        return self._literal

    def reveal(self, setting: str, environ: Mapping[str, str] | None = None) -> str:
        """Give one text setting in plain, its variables filled in: the only way to a secret.

        An absent setting is the empty text.

        Args:
            setting: ``password``, ``url``, ...
            environ: The variables; None for those of the process.

        Raises:
            ConfigError: A variable is not set; names it and the setting.

        Example:
            >>> from ematix_nb.connections import PostgresConnection
            >>> PostgresConnection(name="wh", host="db", database="d", password="hunter22").reveal("password")
            'hunter22'
        """
        value = getattr(self, setting)
        if value is None:
            return ""
        text = reveal(value) if isinstance(value, str) else str(value)
        if self._literal or "${" not in text:
            return text
        if setting == "url" or setting.endswith("_url"):
            return fill_url(text, self._where(setting), environ)
        return interpolate(text, self._where(setting), environ)

    def resolved(self, environ: Mapping[str, str] | None = None) -> Self:
        """A copy with every variable filled in, once; secrets in it are given by `reveal`.

        Args:
            environ: The variables; None for those of the process.

        Raises:
            ConfigError: A variable is not set; names it and the setting.
            DeclarationError: A value that came out of a variable does not fit.
        """
        if self._literal:
            return self
        copy = object.__new__(type(self))
        object.__setattr__(copy, "name", self.name)
        object.__setattr__(copy, "_literal", True)
        for setting, annotation in setting_types(type(self)).items():
            value = getattr(self, setting)
            if isinstance(value, str) and "${" in reveal(value):
                value = from_text(self.reveal(setting, environ), annotation, self._where(setting))
            object.__setattr__(copy, setting, value)
        copy._settle(literal=True)
        return copy

    def variables(self) -> tuple[str, ...]:
        """Names of the environment variables it needs, in order, each once."""
        found: dict[str, None] = {}
        for setting, value in self._texts():
            if not self._literal:
                found.update(dict.fromkeys(variables(reveal(value), self._where(setting))))
        return tuple(found)

    def literal_secrets(self) -> tuple[str, ...]:
        """Settings that hold a secret in plain instead of ``${VAR}``; an export refuses them."""
        return tuple(setting for setting, value in self._texts() if isinstance(value, Secret))

    def read_df(self, sql: str, prefer: str = "auto", *, limit: int | None = None, **options: Any) -> Any:
        """The rows of a SELECT as a frame; see `ematix_nb.df.read_df`."""
        return _frames().read_df(self, sql, prefer, limit=limit, **options)

    def write_df(self, frame: Any, table: str, *, mode: str = "append", **options: Any) -> Any:
        """Load a frame into a table; see `ematix_nb.df.write_df`."""
        return _frames().write_df(self, frame, table, mode=mode, **options)

    def settings(self) -> dict[str, Any]:
        """The settings that differ from their defaults, without the name; secrets are `Secret`."""
        defaults = {field.name: field.default for field in fields(self)}
        return {s: getattr(self, s) for s in setting_types(type(self)) if getattr(self, s) != defaults[s]}

    def summary(self) -> str:
        """One line that says where it leads, without secrets."""
        return ", ".join(f"{setting}={value}" for setting, value in self.settings().items())

    def _texts(self) -> Iterator[tuple[str, str]]:
        for setting in setting_types(type(self)):
            value = getattr(self, setting)
            if isinstance(value, str):
                yield setting, value

    def _values(self) -> tuple[object, ...]:
        return (self.name, *(getattr(self, setting) for setting in setting_types(type(self))))

    # Written once here: a method that dataclasses generates for each of the kinds costs start-up time.
    def __eq__(self, other: object) -> bool:
        """Equal to a connection of the same kind, name and settings, secrets included."""
        return isinstance(other, Connection) and type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        """A hash that fits the equality and tells nothing of a secret."""
        return hash((self.kind, self._values()))

    def __repr__(self) -> str:
        """The constructor call, secrets masked."""
        shown = {"name": self.name} | self.settings()
        texts = (f"{k}={_bare(v)!r}" for k, v in shown.items())
        return f"{type(self).__name__}({', '.join(texts)})"

    def _repr_html_(self) -> str:
        import html

        return f"<code>{html.escape(repr(self))}</code>"

    if TYPE_CHECKING:
        _literal: ClassVar[bool]


def _bare(value: object) -> object:
    """What a secret shows, as an ordinary text."""
    return str.__str__(value) if isinstance(value, Secret) else value


def is_secret_setting(setting: str) -> bool:
    """True when a setting's name says that its value is secret.

    Example:
        >>> is_secret_setting("sasl_plain_password"), is_secret_setting("secret_access_key"), is_secret_setting("path")
        (True, True, False)
    """
    return _SECRET_FIELD.search(setting) is not None


def setting_types(cls: type[Connection]) -> dict[str, str]:
    """The settings of a kind with their annotations as text, without the name."""
    return {field.name: str(field.type) for field in fields(cls) if field.name != "name"}


def check_keys(cls: type[Connection], settings: Mapping[str, object], whose: str, where: str = "") -> None:
    """Refuse settings that a kind does not have.

    Raises:
        DeclarationError: Names the setting and the nearest one that exists.
    """
    known = ["name", *setting_types(cls)]
    for setting in settings:
        if setting not in known:
            what = f"{whose} has the unknown setting `{setting}` (kind {cls.kind})"
            raise DeclarationError(what, hint=known_names(setting, known, "settings"), where=where)


def from_text(text: str, annotation: str, where: str) -> object:
    """Turn a text (of a variable, a URL query or a command line) into a setting's type.

    Raises:
        ConfigError: The text is no number or truth value where one is wanted.
    """
    options = annotation.split(" | ")
    if "tuple[str, ...]" in options:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if "str" in options:
        return text
    if "int" in options and re.fullmatch(r"[+-]?[0-9]+", text.strip()):
        return int(text)
    if "bool" in options and text.strip().lower() in _TRUTH:
        return _TRUTH[text.strip().lower()]
    words = " or ".join(_TYPE_WORDS.get(option, option) for option in options if option != "None")
    what = f"{where} is `{text[:80]}`, expected {words}"
    raise ConfigError(what, hint=f"give {words}")


def _has_type(value: object, option: str) -> bool:
    if option == "None":
        return value is None
    if option == "str":
        return isinstance(value, str)
    if option == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if option == "bool":
        return isinstance(value, bool)
    if option == "tuple[str, ...]":
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    return isinstance(value, Connection) and type(value).__name__ == option
