from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import config
from ematix_nb.connections import (
    DuckDBConnection,
    KafkaConnection,
    PostgresConnection,
    active_profile,
    connection,
    get_connection,
    list_connections,
    register_connection,
    registered_connections,
    resolve,
    use_profile,
)
from ematix_nb.errors import ConfigError, DeclarationError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Places


def _path(name: str = "wh") -> object:
    return get_connection(name).settings().get("path")


def test_the_chain_from_the_lowest_to_the_highest(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    register_connection(DuckDBConnection(name="default", path="registered"))
    assert _path("default") == "registered"
    places.write_user('[connections.default]\nkind = "duckdb"\npath = "user"\n')
    assert _path("default") == "user"
    places.write_project('[connections.default]\nurl = "duckdb:///project"\n')
    assert _path("default") == "project"
    monkeypatch.setenv("EMATIX_FLOW_DSN", "duckdb:///dsn")
    assert _path("default") == "dsn"
    monkeypatch.setenv("EMATIX_FLOW_DSN_DEFAULT", "duckdb:///named")
    assert _path("default") == "named"
    listed = list_connections()
    assert [info.source.rpartition("/")[2] for info in listed] == [
        "env EMATIX_FLOW_DSN_DEFAULT",
        "env EMATIX_FLOW_DSN",
        ".ematix-flow.toml:1",
        "connections.toml:1",
        listed[4].source.rpartition("/")[2],
    ]
    assert listed[4].source.startswith(f"registered in {__file__}:")
    assert [info.shadowed_by for info in listed] == [None] + ["env EMATIX_FLOW_DSN_DEFAULT"] * 4


def test_the_plain_variable_is_for_default_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMATIX_FLOW_DSN", "duckdb:///dsn")
    with pytest.raises(UnknownNameError, match="connection `wh` is not configured"):
        get_connection("wh")


def test_an_unknown_name_says_where_it_was_looked_for(places: Places) -> None:
    places.write_user('[connections.warehouse]\nkind = "duckdb"\npath = "x"\n')
    with pytest.raises(UnknownNameError) as caught:
        get_connection("warehose")
    assert caught.value.what == (
        "connection `warehose` is not configured; looked in: variable EMATIX_FLOW_DSN_WAREHOSE, "
        f"{places.project}, {places.user}, the connections registered in this process"
    )
    assert caught.value.hint == "did you mean `warehouse`?"
    assert isinstance(caught.value, LookupError)


def test_a_url_in_a_variable_is_taken_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMATIX_FLOW_DSN_WH", "postgres://u:${NOT_SET}@h/d")
    assert get_connection("wh").reveal("url") == "postgres://u:${NOT_SET}@h/d"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "variable EMATIX_FLOW_DSN_WH is set but empty, expected the URL of connection `wh`"),
        ("postgres://u:env-literal@h", "names no database: `postgres://u:***@h` (variable EMATIX_FLOW_DSN_WH)"),
    ],
)
def test_a_wrong_variable(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    monkeypatch.setenv("EMATIX_FLOW_DSN_WH", value)
    with pytest.raises(ConfigError, match=re.escape(message)):
        get_connection("wh")


def test_an_unset_variable_breaks_only_its_own_connection(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    places.write_project('[connections.a]\nurl = "${URL_OF_A}"\n[connections.b]\nurl = "duckdb:///b"\n')
    assert _path("b") == "b"
    with pytest.raises(ConfigError, match=r"URL_OF_A is not set \(used in connections\.a\.url\) .*:2:1\)"):
        get_connection("a")
    assert [(info.name, info.kind, info.error) for info in list_connections()] == [
        ("a", "", "variable URL_OF_A is not set (used in connections.a.url)"),
        ("b", "duckdb", ""),
    ]
    monkeypatch.setenv("URL_OF_A", "postgres://u:in-variable@h/d")
    found = get_connection("a")
    assert repr(found) == "PostgresConnection(name='a', url='${URL_OF_A}')"
    assert found.resolved().reveal("url") == "postgres://u:in-variable@h/d"
    assert "in-variable" not in repr(found.resolved()) + repr(list_connections())


def test_the_key_dsn_of_older_files_works(places: Places) -> None:
    places.write_user('[connections.wh]\ndsn = "postgres://u@h/d"\n')
    assert repr(get_connection("wh")) == "PostgresConnection(name='wh', url='postgres://u@h/d')"


# 66
def test_one_name_in_two_files(places: Places) -> None:
    places.write_project('[connections.wh]\nurl = "duckdb:///project"\n')
    places.write_user('# mine\n[connections.wh]\nurl = "postgres://u:user-file-pw@h/d"\n')
    first, second = list_connections()
    assert (first.source, first.summary, first.shadowed_by) == (f"{places.project}:1", "path=project", None)
    assert (second.source, second.kind, second.shadowed_by) == (f"{places.user}:2", "postgres", f"{places.project}:1")
    assert second.summary == "url=postgres://u:***@h/d"


# 67
def test_a_circle_of_references(places: Places) -> None:
    places.write_project(
        '[connections.k]\nkind = "kafka"\nbootstrap_servers = "h"\nschema_registry = "k"\n'
        '[connections.a]\nkind = "kafka"\nbootstrap_servers = "h"\nschema_registry = "b"\n'
        '[connections.b]\nkind = "kafka"\nbootstrap_servers = "h"\nschema_registry = "a"\n'
        '[connections.c]\nkind = "kafka"\nbootstrap_servers = "h"\nschema_registry = "d"\n'
        '[connections.d]\nkind = "duckdb"\npath = "x"\n'
    )
    with pytest.raises(ConfigError, match="in a circle: k -> k"):
        get_connection("k")
    with pytest.raises(ConfigError, match="in a circle: a -> b -> a"):
        get_connection("a")
    with pytest.raises(ConfigError, match="names `d`, which is of kind duckdb"):
        get_connection("c")


PROFILES = """
[connections.wh]
url = "duckdb:///dev"
[connections.lake]
kind = "object_store_local"
path = "dev"
format = "csv"
[profiles.prod.connections.wh]
url = "duckdb:///prod"
[profiles.prod.connections.lake]
path = "/srv"
"""


def test_profiles(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    places.write_project(PROFILES)
    assert (active_profile(), _path()) == (None, "dev")
    use_profile("prod")
    assert (active_profile(), _path()) == ("prod", "prod")
    assert get_connection("lake").settings() == {"format": "csv", "path": "/srv"}
    lake = [info for info in list_connections() if info.name == "lake"]
    assert [(info.source, info.summary) for info in lake] == [
        (f"{places.project}:10 (profile prod)", "format=csv, path=/srv"),
        (f"{places.project}:4", "format=csv, path=dev"),
    ]
    use_profile(None)
    assert _path() == "dev"
    monkeypatch.setenv("EMATIX_FLOW_PROFILE", "prod")
    assert _path() == "prod"


def test_a_file_may_choose_the_profile(places: Places) -> None:
    places.write_project('profile = "prod"\n' + PROFILES)
    assert (active_profile(), _path()) == ("prod", "prod")


def test_the_profile_of_the_user_file_beats_the_base_of_the_project_file(places: Places) -> None:
    places.write_project('[connections.wh]\nurl = "duckdb:///dev"\n')
    places.write_user('[profiles.prod.connections.wh]\nurl = "duckdb:///prod"\n')
    use_profile("prod")
    assert _path() == "prod"


def test_an_unknown_profile(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    places.write_project(PROFILES)
    with pytest.raises(UnknownNameError, match=r"the profile `prdo` .*\nhint: did you mean `prod`\?"):
        use_profile("prdo")
    monkeypatch.setenv("EMATIX_FLOW_PROFILE", "nope")
    with pytest.raises(
        UnknownNameError, match=r"the profile `nope` \(from EMATIX_FLOW_PROFILE\)\nhint: known profiles"
    ):
        get_connection("wh")


def test_the_decorator() -> None:
    @connection
    class warehouse:  # noqa: N801 - the name of the connection
        """My warehouse."""

        kind = "postgres"
        url = "${WAREHOUSE_DSN}"

    declared: Any = warehouse
    found = resolve("warehouse")
    assert found is declared
    assert type(found) is PostgresConnection
    assert repr(found) == "PostgresConnection(name='warehouse', url='${WAREHOUSE_DSN}')"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"url": "${X}"}, "variable X is not set"),
        ({"path": "x"}, "has no `kind`"),
        ({"kind": "duckdb", "pth": "x"}, "did you mean `path`?"),
        ({"kind": "duckdb", "path": "x", "f": len}, "`f` is a function, expected a setting"),
    ],
)
def test_the_decorator_refuses(attributes: dict[str, object], message: str) -> None:
    with pytest.raises((DeclarationError, ConfigError), match=re.escape(message)):
        connection(type("wh", (), attributes))
    assert registered_connections() == {}


def test_the_decorator_above_a_function() -> None:
    with pytest.raises(DeclarationError, match="stands above a function, expected a class"):
        connection(lambda: None)


def _declare(file: Path, path: str) -> None:
    code = f'@connection\nclass wh:\n    kind = "duckdb"\n    path = "{path}"\n'
    exec(compile(code, str(file), "exec"), {"connection": connection, "__name__": "m"})


def test_two_files_that_declare_one_name_differently(tmp_path: Path) -> None:
    _declare(tmp_path / "a.py", "x")
    _declare(tmp_path / "a.py", "y")
    assert registered_connections()["wh"].changed == ("path",)
    _declare(tmp_path / "b.py", "y")
    with pytest.raises(DeclarationError, match=r"`wh` is declared differently in .*b\.py:1 and in .*c\.py:1"):
        _declare(tmp_path / "c.py", "z")
    assert _path() == "y"


def test_registering_again_replaces() -> None:
    register_connection(DuckDBConnection(name="wh", path="one"))
    second = register_connection(DuckDBConnection(name="wh", path="two"))
    assert get_connection("wh") is second
    with pytest.raises(DeclarationError, match="received a str, expected a connection"):
        register_connection("wh")  # type: ignore[type-var]


def test_resolve_takes_names_and_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    loose = DuckDBConnection(name="loose", path="x")
    assert resolve(loose) is loose
    known = register_connection(DuckDBConnection(name="known", path="x"))
    assert resolve(known) is known
    monkeypatch.setenv("EMATIX_FLOW_DSN_KNOWN", "duckdb:///other")
    assert resolve(known).settings() == {"path": "other"}


def test_one_registry_for_batch_and_streams() -> None:
    kafka = register_connection(KafkaConnection(name="k", bootstrap_servers="h"))
    assert config.get_connection("k") is kafka


def test_connect() -> None:
    assert config.connect(url="duckdb://:memory:") is get_connection("default")
    assert config.connect(url="postgres://localhost/wh", name="wh") is get_connection("wh")
