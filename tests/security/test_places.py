"""Files: where they lie, who may read them, and what settings cannot do (X11, X12, X13, X19, X24)."""

from __future__ import annotations

import os
import ssl
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from ematix_nb import ematix
from ematix_nb.backends.mysql.config import Settings, tls_options
from ematix_nb.backends.postgres.config import secured
from ematix_nb.backends.scratch import scratch_folder
from ematix_nb.connections import (
    connection_from_settings,
    get_connection,
    list_connections,
    redact,
    register_connection,
)
from ematix_nb.connections.urlparts import fill_url, split_url
from ematix_nb.connections.writing import set_connection
from ematix_nb.df import read_df, write_df
from ematix_nb.errors import ConfigError, FlowError
from ematix_nb.verbs.dispatch import prepare
from ematix_nb.verbs.grammar import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def open_mask() -> Iterator[None]:
    """A process whose files anybody may read and write unless told otherwise."""
    old = os.umask(0)
    yield
    os.umask(old)


def mode(path: Path) -> int:
    """The permissions."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("open_mask")
def test_files_that_hold_logins_are_their_owners(project: Path) -> None:
    set_connection("a", kind="duckdb", path="x")
    user = Path.home() / ".ematix-flow"
    assert (mode(user), mode(user / "connections.toml")) == (0o700, 0o600)
    (user / "connections.toml").chmod(0o666)
    set_connection("b", url="postgres://u:hunter22@h/d")
    assert mode(user / "connections.toml") == 0o600
    set_connection("c", to_file=project / "own.toml", url="postgres://u:hunter22@h/d")
    assert mode(project / "own.toml") == 0o600
    prepare(parse(["init", "fresh"])).run()
    assert mode(project / "fresh" / ".ematix-flow.toml") == 0o600
    left = [path for folder in (user, project) for path in folder.iterdir() if path.name.startswith(".own")]
    assert [path for path in left if mode(path) & 0o077] == []


@pytest.mark.usefixtures("open_mask")
def test_scratch_folders_are_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = Path(scratch_folder("scan"))
    assert (mode(folder), folder.parent) == (0o700, tmp_path)


@pytest.mark.usefixtures("open_mask")
def test_a_wrong_link_in_the_place_of_a_scratch_folder_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folder of a dead process is removed; a link with such a name leads to somebody's files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "ematix-nb-scan-999999999-x").symlink_to(tmp_path / "kept")
    scratch_folder("scan")
    assert (tmp_path / "kept" / "file").read_text() == "x"


@pytest.mark.parametrize(
    "value",
    [
        "${OTHER}",
        "$${OTHER}",
        '"\n[connections.evil]\nkind = "duckdb"',
        "a\nb",
        "'; DROP TABLE v; --",
        "\\u0000",
        "{x}",
    ],
)
def test_a_variable_is_a_value_and_is_read_once(value: str, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """X11: no second expansion, no new keys, no new connections."""
    monkeypatch.setenv("VALUE", value)
    monkeypatch.setenv("OTHER", "expanded")
    text = '[connections.a]\nkind = "postgres"\nhost = "h"\ndatabase = "d"\nuser = "u"\npassword = "${VALUE}"\n'
    (project / ".ematix-flow.toml").write_text(text)
    (project / ".ematix-flow.toml").chmod(0o600)
    assert get_connection("a").resolved().reveal("password") == value
    assert [info.name for info in list_connections()] == ["a"]


@pytest.mark.parametrize(
    "value", ["p@ss:/?#", "@evil.example", "x@evil.example:1/d?sslmode=disable#", "%40", "a b&c=d"]
)
def test_a_variable_cannot_lead_a_url_elsewhere(value: str) -> None:
    filled = fill_url("postgres://u:${PW}@good.example:5432/d?application_name=${PW}", "c.url", {"PW": value})
    parts = split_url(filled, "c.url")
    assert parts.password is not None
    assert (parts.host, parts.port, parts.path, parts.user) == ("good.example", 5432, "d", "u")
    assert parts.password.reveal() == value
    assert parts.query == {"application_name": value}


@pytest.mark.parametrize("value", ["evil.example/", "evil.example?x", "u@evil.example", "evil.example#"])
def test_a_variable_for_the_host_stays_in_its_place(value: str) -> None:
    filled = fill_url("postgres://${HOST}:5432/d", "c.url", {"HOST": value})
    try:
        parts = split_url(filled, "c.url")
    except ConfigError:
        return
    assert (parts.port, parts.path, parts.query) == (5432, "d", {})


@pytest.mark.parametrize(
    "text",
    [
        'kind = "duckdb"\npath = "x"\ncommand = "touch out"',
        'kind = "duckdb"\npath = "x"\npassword_command = "cat secret"',
        'kind = "duckdb"\npath = "x"\nallow_external = true',
        'kind = "python"\npath = "x.py"',
        'kind = "duckdb"\npath = {exec = "touch out"}',
    ],
)
def test_settings_name_no_command(text: str, project: Path) -> None:
    (project / ".ematix-flow.toml").write_text(f"[connections.a]\n{text}\n")
    (project / ".ematix-flow.toml").chmod(0o600)
    with pytest.raises(FlowError):
        get_connection("a")
    assert not (project / "out").exists()


def test_a_connection_that_takes_the_place_of_another_is_told(project: Path) -> None:
    """X12: the settings of a working directory take over names of the user's own, and `connections list` says so."""
    set_connection("wh", kind="duckdb", path="mine.duckdb")
    (project / ".ematix-flow.toml").write_text('[connections.wh]\nkind = "duckdb"\npath = "theirs.duckdb"\n')
    first, second = [info for info in list_connections() if info.name == "wh"]
    assert (first.shadowed_by, second.shadowed_by) == (None, first.source)
    assert ".ematix-flow.toml" in first.source
    assert "connections.toml" in second.source


@pytest.mark.parametrize(
    "host", ["db.example", "10.0.0.1", "192.168.1.2", "::2", "127.example", "localhost.evil.example"]
)
def test_another_machine_has_to_show_a_certificate(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """X13, the defaults."""
    for name in ("PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    assert secured({"host": host})["sslmode"] == "verify-full"
    context = tls_options(Settings(name="a", host=host, port=1, user="u", database="d"))["ssl"]
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_need_not(host: str) -> None:
    assert "sslmode" not in secured({"host": host})
    assert tls_options(Settings(name="a", host=host, port=1, user="u", database="d")) == {}


@pytest.mark.parametrize(
    "thing", ["../x", "/etc/x", "a/../../x", "~/x", "..\\x", "file:///x", "C:\\x", "a\0b", "a\nb", ".."]
)
def test_no_thing_leaves_the_folder_of_its_connection(thing: str, project: Path) -> None:
    """X19, for everything that takes the name of a thing."""
    (project / "inside").mkdir()
    (project / "x").write_text("id\n1\n")
    lake = register_connection(
        connection_from_settings("lake", {"kind": "object_store_local", "path": "inside", "format": "csv"})
    )
    before = sorted(path.name for path in project.rglob("*"))
    quoted = thing.replace('"', '""')
    rows = pa.table({"id": [1]})
    line = prepare(parse(["preview", f"lake:{thing}"]), registry_ready=True)
    declare = ematix.pipeline(name="p", target=f"lake:{thing}", source_connection="lake")
    attempts: list[Callable[[], object]] = [
        lambda: read_df(lake, f'SELECT * FROM "{quoted}"'),
        lambda: write_df(lake, rows, thing).raise_for_status(),
        line.run,
        lambda: declare(lambda _: "SELECT 1 AS id").sync(),
    ]
    for attempt in attempts:
        with pytest.raises(FlowError):
            attempt()
    assert sorted(path.name for path in project.rglob("*")) == before


def test_a_signed_address_is_masked_wherever_its_parts_stand() -> None:
    connection = connection_from_settings(
        "az",
        {"kind": "object_store_azure", "account": "a", "container": "box", "format": "csv",
         "sas_token": "sv=1&sig=abcDEF%2F123%3D&se=2030"},
    )  # fmt: skip
    assert connection.literal_secrets() == ("sas_token",)
    told = "GET /box?restype=container&amp;se=2030&amp;sig=abcDEF%2F123%3D&amp;sv=1 or abcDEF/123= alone"
    assert "abcDEF" not in redact(told)
