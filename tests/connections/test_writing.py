from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from ematix_nb.connections import get_connection, lock, set_connection
from ematix_nb.errors import ConfigError, DeclarationError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Places


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_file(places: Places) -> None:
    built = set_connection("wh", url="postgres://u:set-literal@h/d")
    assert places.user.read_text() == '[connections.wh]\nurl = "postgres://u:set-literal@h/d"\n'
    assert (_mode(places.user), _mode(places.user.parent)) == (0o600, 0o700)
    assert get_connection("wh") == built
    assert os.listdir(places.user.parent) == ["connections.toml"]  # noqa: PTH208 - hidden drafts count too


def test_comments_and_other_entries_stay(places: Places) -> None:
    places.write_user(
        '# top\nprofile = "dev"\n\n[profiles.dev]\n\n[connections.a] # an a\nkind = "duckdb" # kind\n'
        'path = "old" # where\n\n[connections.b]\nurl = "duckdb:///b"\n'
    )
    places.user.chmod(0o644)
    set_connection("a", path='with "quotes" \\ and\nlines', read_only="true")
    assert places.user.read_text() == (
        '# top\nprofile = "dev"\n\n[profiles.dev]\n\n[connections.a] # an a\nkind = "duckdb" # kind\n'
        'path = "with \\"quotes\\" \\\\ and\\nlines" # where\nread_only = true\n\n[connections.b]\nurl = "duckdb:///b"\n'
    )
    assert _mode(places.user) == 0o600
    assert get_connection("a").settings() == {"path": 'with "quotes" \\ and\nlines', "read_only": True}


def test_texts_get_the_type_of_their_setting_and_none_removes(places: Places) -> None:
    set_connection("wh", kind="postgres", host="h", database="d", port="5433", password="${PW}")
    assert get_connection("wh").settings() == {"host": "h", "port": 5433, "database": "d", "password": "${PW}"}
    set_connection("wh", port=None)
    assert "port" not in places.user.read_text()


def test_a_url_replaces_dsn_and_kind(places: Places) -> None:
    places.write_user('[connections.wh]\ndsn = "postgres://u@h/d"\n')
    set_connection("wh", url="postgres://u@h/e")
    assert places.user.read_text() == '[connections.wh]\nurl = "postgres://u@h/e"\n'


def test_another_file_and_a_profile(places: Places) -> None:
    set_connection("wh", to_file=places.project, profile="prod", url="duckdb:///prod")
    assert places.project.read_text() == '[profiles.prod.connections.wh]\nurl = "duckdb:///prod"\n'


def test_a_wrong_setting_leaves_the_file_as_it_was(places: Places) -> None:
    before = '[connections.wh]\nkind = "duckdb"\npath = "x"\n'
    places.write_user(before)
    with pytest.raises(DeclarationError, match="did you mean `path`"):
        set_connection("wh", pth="y")
    with pytest.raises(ConfigError, match="read_only is `maybe`, expected true or false"):
        set_connection("wh", read_only="maybe")
    with pytest.raises(UsageError, match="no settings given"):
        set_connection("wh")
    assert places.user.read_text() == before


def test_a_broken_file_is_not_overwritten(places: Places) -> None:
    places.write_user("[connections.wh\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        set_connection("a", url="duckdb:///a")
    assert places.user.read_text() == "[connections.wh\n"


def test_two_writers_lose_nothing(places: Places) -> None:
    code = (
        "import sys\nfrom ematix_nb.connections import set_connection\n"
        "for n in range(50): set_connection(f'{sys.argv[1]}{n}', url=f'duckdb:///{n}')"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, name]) for name in ("a", "b")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    names = set(tomllib.loads(places.user.read_text())["connections"])
    assert names == {f"{name}{n}" for name in "ab" for n in range(50)}
    assert os.listdir(places.user.parent) == ["connections.toml"]  # noqa: PTH208 - hidden drafts count too


def test_a_writer_that_died_blocks_nobody_and_one_that_lives_is_waited_for(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places.user.with_name(".connections.toml.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("")
    set_connection("a", url="duckdb:///a")
    monkeypatch.setattr(lock, "WAIT_S", 0.1)
    with lock.locked(places.user), pytest.raises(ConfigError, match="is being written by another process"):
        set_connection("b", url="duckdb:///b")
    assert list(tomllib.loads(places.user.read_text())["connections"]) == ["a"]
    set_connection("b", url="duckdb:///b")


def test_importing_connections_is_cheap() -> None:
    heavy = ["tomlkit", "tempfile", "pyarrow", "duckdb", "psycopg", "sqlglot", "pandas", "polars", "IPython", "rich"]
    code = f"import sys, ematix_nb.connections; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
