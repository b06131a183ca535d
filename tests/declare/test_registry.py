"""The registry, fingerprints, addresses and names."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare import registry
from ematix_nb.declare.address import Address, check_pipeline_name, parse_address, parse_table_name, suggested_name
from ematix_nb.declare.fingerprint import difference, fingerprint, short
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.declare.spec import TableRef
from ematix_nb.declare.tables import parse_table_cell
from ematix_nb.declare.transforms import build_transform
from ematix_nb.errors import DeclarationError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path


def build(**options: Any) -> Any:
    return build_pipeline(
        **{"name": "p", "sql": "SELECT 1 AS id\nFROM t", "target": "wh:s.t", "origin": "nb.ipynb", **options}
    )


def test_upsert_tells_what_changed() -> None:
    assert registry.register_pipeline(build()) == []
    assert registry.register_pipeline(build()) == []
    changed = build(
        mode="merge", keys=("id",), sql="SELECT 2 AS id\nFROM t", schedule="* * * * *", watermark_column="id"
    )
    assert registry.register_pipeline(changed) == [
        "SQL:",
        "  - SELECT 1 AS id",
        "  + SELECT 2 AS id",
        "incremental: false -> true",
        "watermark_column: none -> id",
        "schedule: none -> * * * * *",
        "mode: append -> merge",
        "keys: none -> id",
    ]
    assert registry.get_pipeline("p") == changed


def test_two_origins() -> None:
    registry.register_pipeline(build())
    with pytest.raises(DeclarationError, match=r"pipeline `p` is declared in nb\.ipynb and again in other\.py"):
        registry.register_pipeline(build(origin="other.py"))
    with registry.registering_from("a.py"):
        parse_table_cell("s.t", "id bigint")
    with registry.registering_from("b.py"):
        parse_table_cell("s.t", "id bigint")
        with pytest.raises(DeclarationError, match=r"table `s\.t` is declared in a\.py and again in b\.py"):
            parse_table_cell("s.t", "id text")
        assert build(origin="").origin == "b.py"


def test_table_changes() -> None:
    old = parse_table_cell("s.t", "id bigint pk\nname text\ngone text")
    new = parse_table_cell("s.t", "name text null lower\nid bigint pk\nadded date")
    assert registry.register_table(old) == [
        "column added: gone text",
        "column removed: added",
        "column name: nullable: true -> false",
        'column name: normalizers: [["lower", []]] -> none',
        "columns in another order: id, name, gone",
    ]
    assert new != old


def test_unknown_names_and_clear() -> None:
    registry.register_pipeline(build())

    def refresh(conn: object) -> None: ...

    registry.register_transform(build_transform(refresh))
    with pytest.raises(UnknownNameError, match=r"there is no pipeline `q`\nhint: known pipelines: p"):
        registry.get_pipeline("q")
    with pytest.raises(UnknownNameError, match="did you mean `refresh`"):
        registry.get_transform("refrseh")
    with pytest.raises(UnknownNameError, match="no tables are known"):
        registry.get_table("s.t")
    with registry.scratch():
        assert registry.pipelines() == {}
    assert list(registry.pipelines()) == ["p"]
    assert list(registry.transforms()) == ["refresh"]
    registry.clear()
    assert not registry.pipelines()
    assert not registry.tables()
    assert not registry.transforms()


def test_origins_of_code() -> None:
    assert registry.file_origin("/tmp/ipykernel_12/345.py") == "the notebook"
    assert registry.file_origin("<ipython-input-3-abc>") == "the notebook"
    assert registry.caller_origin() == __file__


def test_fingerprint_of_equal_declarations() -> None:
    class Typed:
        name = "wh"
        kind = "postgres"
        url = "secret"

    def p(conn: object) -> str:
        """Some words."""
        return """
            SELECT 1 AS id
            FROM t
            """

    cell = build()
    assert fingerprint(cell).startswith("sha256:")
    assert len(fingerprint(cell)) == 71
    assert len(short(fingerprint(cell))) == 12
    for same in (
        build_pipeline(p, target="wh:s.t"),
        build(target="s.t", target_connection=Typed()),
        build(origin="elsewhere.py", description="x", source_connection="wh"),
    ):
        assert fingerprint(same) == fingerprint(cell)
        assert difference(same, cell) == []


@pytest.mark.parametrize(
    "options",
    [
        {"sql": "SELECT 2"}, {"target": "wh:s.u"}, {"target": "lake:s.t"}, {"mode": "truncate"}, {"schedule": "@daily"},
        {"watermark_column": "id"}, {"source_connection": "raw"}, {"on_nul": "strip"}, {"transforms_post": ["ANALYZE"]},
        {"column_map": {"a": "b"}}, {"name": "q"}, {"mode": "merge", "keys": "id"}, {"allow_lossy": "id"},
        {"mode": "scd2", "keys": "id", "ttl": dt.timedelta(days=1)}, {"timezone": "Europe/Berlin"},
    ],
)  # fmt: skip
def test_fingerprint_of_other_declarations(options: dict[str, Any]) -> None:
    assert fingerprint(build(**options)) != fingerprint(build())
    assert difference(build(), build(**options)) != []


def test_an_older_word_for_a_policy_is_the_same_policy() -> None:
    assert fingerprint(build(on_drift="error")) == fingerprint(build(on_drift="freeze"))
    assert difference(build(on_drift="evolve"), build(on_drift="quarantine")) == ["on_drift: evolve -> quarantine"]


def test_fingerprint_does_not_depend_on_the_process(tmp_path: Path) -> None:
    module = tmp_path / "mod.py"
    module.write_text(
        textwrap.dedent("""
        from ematix_nb.declare.fingerprint import fingerprint
        from ematix_nb.declare.pipelines import build_pipeline

        def wrapper(**options):
            return lambda function: print(fingerprint(build_pipeline(function, **options)))

        if True:
            @wrapper(target="wh:s.t", allow_lossy={"a", "b", "c"})
            def dynamic(conn):
                '''Words.'''
                day = 'now'
                return f"SELECT {day}"
        """)
    )
    runs = {
        subprocess.run([sys.executable, module], capture_output=True, text=True, check=True).stdout for _ in range(2)
    }

    def dynamic(conn: object) -> str:
        day = "now"
        return f"SELECT {day}"

    spec = build_pipeline(dynamic, target="wh:s.t", allow_lossy=("c", "b", "a"))
    assert runs == {fingerprint(spec) + "\n"}


def test_addresses() -> None:
    assert parse_address("lake:orders/*.parquet") == Address("lake", "orders/*.parquet")
    assert parse_table_name("analytics.orders") == TableRef("analytics", "orders")
    assert parse_table_name('"a.b"') == TableRef(None, "a.b")
    assert parse_table_name("my table") == TableRef(None, "my table")
    for text, match in (
        ("orders", "names no connection"),
        ("wh:", "names nothing"),
        ("s3://b/x", "names no connection"),
    ):
        with pytest.raises(DeclarationError, match=match):
            parse_address(text)
    for text in ("", "a..b", "a.b.c", 'a."b', '"".b', "a."):
        with pytest.raises(DeclarationError, match=r"not the name of a table|3 parts|empty name"):
            parse_table_name(text)


def test_pipeline_names() -> None:
    for good in ("orders", "events-to-pg", "größe", "_x"):
        assert check_pipeline_name(good) == good
    assert [suggested_name(bad) for bad in ("my pipe", "1abc", "class", "***")] == [
        "my_pipe",
        "p_1abc",
        "class_",
        "pipeline",
    ]
    with pytest.raises(DeclarationError, match=r"`my pipe` is not a name for a pipeline\nhint: `my_pipe` is one"):
        check_pipeline_name("my pipe")
