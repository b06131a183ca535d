"""Which profile is active, and which settings files apply here."""

from __future__ import annotations

import os

from ematix_nb.errors import UnknownNameError, known_names

from .toml_files import SettingsFile, project_file, read_settings, user_file

PROFILE_VARIABLE = "EMATIX_FLOW_PROFILE"

_chosen: str | None = None


def settings_files() -> list[SettingsFile]:
    """The settings files that exist, the one of the working directory first.

    Raises:
        ConfigError: One of them cannot be read or understood.
    """
    found = [read_settings(project_file(), check_owner=True), read_settings(user_file())]
    return [settings for settings in found if settings is not None]


def use_profile(name: str | None) -> None:
    """Make a profile active in this process, before variable and files have their say.

    Args:
        name: The profile; None returns the choice to variable and files.

    Raises:
        UnknownNameError: No settings file defines it.
    """
    global _chosen  # noqa: PLW0603 - one process has one active profile
    if name is not None:
        _check_profile(name, settings_files(), "chosen here")
    _chosen = name


def active_profile() -> str | None:
    """The active profile: chosen by `use_profile`, EMATIX_FLOW_PROFILE, or ``profile =`` in a settings file.

    Raises:
        UnknownNameError: No settings file defines it.
    """
    files = settings_files()
    name, source = _active(files)
    if name is not None:
        _check_profile(name, files, source)
    return name


def known_profiles() -> tuple[str, ...]:
    """Names of all profiles that the settings files define, sorted."""
    return tuple(sorted({name for settings in settings_files() for name in settings.profiles}))


def _active(files: list[SettingsFile]) -> tuple[str | None, str]:
    if _chosen is not None:
        return _chosen, "chosen by use_profile"
    if os.environ.get(PROFILE_VARIABLE):
        return os.environ[PROFILE_VARIABLE], f"from {PROFILE_VARIABLE}"
    for settings in files:
        if settings.profile:
            return settings.profile, f"from {settings.place_of('', 'profile')}"
    return None, ""


def _check_profile(name: str, files: list[SettingsFile], source: str) -> None:
    known = sorted({profile for settings in files for profile in settings.profiles})
    if name not in known:
        what = f"no settings file defines the profile `{name}` ({source})"
        raise UnknownNameError(what, hint=known_names(name, known, "profiles"))
