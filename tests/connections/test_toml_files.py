from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ematix_nb.connections import ConfigWarning, get_connection, settings_files
from ematix_nb.connections.toml_files import parse_settings, read_settings
from ematix_nb.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from .conftest import Places


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # 53, 54: syntax, duplicates
        ("[connections.wh\nurl = 1\n", "not valid TOML"),
        ("[connections.wh]\nurl = postgres://h/d\n", "(settings.toml:2:7)"),
        ("[connections.wh]\nurl = 'a'\nurl = 'b'\n", "`url` is defined twice (settings.toml:3:"),
        ("[connections.wh]\n[connections.wh]\n", "`[connections.wh]` is defined twice (settings.toml:2:"),
        ("[connections.wh]\nurl = 'a", "(settings.toml:2:"),
        # keys at the top, shapes
        ("conections = {}\n", "unknown key `conections` (settings.toml:1:1)\nhint: did you mean `connections`?"),
        ("[conections.wh]\n", "unknown key `conections`"),
        ("[profiles.prod]\nmode = 1\n", "unknown key `profiles.prod.mode` (settings.toml:2:1)"),
        ("connections = 5\n", "`connections` is not a table (settings.toml:1:1)"),
        ("[connections]\nwh = 'postgres://h/d'\n", "`connections.wh` is not a table (settings.toml:2:1)"),
        ("modules = 'a'\n", "`modules` is not a list of texts (settings.toml:1:1)"),
        ("\nprofile = 5\n", "`profile` is not a text (settings.toml:2:1)"),
    ],
)
def test_broken_files(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_settings(Path("settings.toml"), text.encode())


# 55-58 and 62 with file, line and column
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[connections.k]\nkind = "kafka"\nbootstrap_server = "h"\n', ":3:1)\nhint: did you mean `bootstrap_servers`"),
        ('[connections.k]\nkind = "postgres"\nhost = "h"\n  port = "x"\n', ":4:3)"),
        ('[connections.k]\nkind = "postgress"\n', ":2:1)\nhint: did you mean `postgres`"),
        ("\n[connections.k]\n", ":2:1)\nhint: add `kind"),
        ('[connections.k]\nurl = "postgres://u@h"\n', "names no database: `postgres://u@h` ("),
        ('[connections.k]\nurl = "postgres://u@h"\n', ":2:1)"),
        ('[connections]\nk = { kind = "zzz" }\n', ":2:1)"),
    ],
)
def test_broken_connections_name_the_place(places: Places, text: str, message: str) -> None:
    path = places.write_project(text)
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        get_connection("k")
    assert caught.value.where.startswith(f"{path}:")


# 65
@pytest.mark.parametrize(
    "raw",
    [
        b'\xef\xbb\xbf[connections.d]\nkind = "duckdb"\npath = "x"\n',
        b'[connections.d]\r\nkind = "duckdb"\r\npath = "x"\r\n',
    ],
)
def test_byte_order_mark_and_windows_lines_are_fine(places: Places, raw: bytes) -> None:
    places.project.write_bytes(raw)
    assert get_connection("d").settings() == {"path": "x"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_named(places: Places, encoding: str) -> None:
    places.project.write_bytes("[connections.d]\n".encode(encoding))
    with pytest.raises(ConfigError, match="is encoded as UTF-16, expected UTF-8"):
        get_connection("d")


def test_latin1_is_named_with_its_line(places: Places) -> None:
    places.project.write_bytes(b"# ok\n# \xe4\n")
    with pytest.raises(ConfigError, match=r"is not UTF-8: byte 0xe4 \(.*:2\)"):
        get_connection("d")


# 64
@pytest.mark.parametrize(
    ("setting", "mode", "warned"),
    [
        ('url = "postgres://u:literal-pw@h/d"', 0o644, True),
        ('url = "postgres://u:literal-pw@h/d"', 0o640, True),
        ('url = "postgres://u:literal-pw@h/d"', 0o600, False),
        ('url = "postgres://u:${PW}@h/d"', 0o644, False),
        ('kind = "postgres"\nhost = "h"\ndatabase = "d"\npassword = "literal-pw"', 0o604, True),
        ('kind = "postgres"\nhost = "h"\ndatabase = "d"\npassword = "${PW}"', 0o644, False),
    ],
)
def test_a_secret_that_others_may_read_is_warned_about(
    places: Places, setting: str, mode: int, *, warned: bool
) -> None:
    path = places.write_project(f"[connections.wh]\n{setting}\n")
    path.chmod(mode)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings_files()
        settings_files()
    messages = [str(warning.message) for warning in caught if warning.category is ConfigWarning]
    assert len(messages) == int(warned)
    assert all(f"chmod 600 {path}" in message and "literal-pw" not in message for message in messages)


def test_the_warning_comes_once_in_a_process_whoever_reads_and_under_whatever_name(places: Places) -> None:
    places.write_project('[connections.wh]\nurl = "postgres://u:literal-pw@h/d"\n').chmod(0o644)
    link = places.project.parent / "link"
    link.symlink_to(places.project.parent, target_is_directory=True)
    code = (
        "import os, sys, threading, warnings\nfrom pathlib import Path\n"
        "from ematix_nb.connections import list_connections, toml_files\nwarnings.simplefilter('always')\n"
        "readers = [threading.Thread(target=list_connections) for _ in range(8)]\n"
        "[reader.start() for reader in readers]\n[reader.join() for reader in readers]\n"
        "Path('.ematix-flow.toml').touch()\nlist_connections()\n"
        "toml_files.read_settings(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(link / places.project.name)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=places.project.parent).stderr
    assert told.count("others may read it") == 1, told


# X12
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused_unless_trusted(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    path = places.write_project('[connections.d]\nkind = "duckdb"\npath = "x"\n')
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigError, match=r"belongs to another user \(uid 12345\).*\nhint: .*EMATIX_FLOW_TRUST=1"):
        get_connection("d")
    monkeypatch.setenv("EMATIX_FLOW_TRUST", "1")
    assert get_connection("d").name == "d"


def test_a_changed_file_is_read_again(places: Places) -> None:
    places.write_project('[connections.d]\nkind = "duckdb"\npath = "one"\n')
    first = read_settings(places.project)
    assert read_settings(places.project) is first
    places.write_project('[connections.d]\nkind = "duckdb"\npath = "other"\n')
    assert get_connection("d").settings() == {"path": "other"}


def test_a_folder_in_the_place_of_the_file(places: Places) -> None:
    places.project.mkdir()
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        get_connection("d")


def test_modules_and_profiles(places: Places) -> None:
    places.write_project('modules = ["a.b", "c.py"]\nprofile = "dev"\n[profiles.dev]\n[profiles.prod]\n')
    (settings,) = settings_files()
    assert (settings.modules, settings.profile, settings.profiles) == (("a.b", "c.py"), "dev", ("dev", "prod"))
