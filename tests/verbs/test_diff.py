"""The rows that a run would change, and how many: the counts are those of a dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.connections import Connection, connection_from_settings
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import UsageError
from ematix_nb.verbs.diff import DiffResult, diff
from ematix_nb.verbs.read import query
from ematix_nb.verbs.run import run
from tests.widgets.test_static import checked

if TYPE_CHECKING:
    from ematix_nb.declare.spec import PipelineSpec


@pytest.fixture(params=["duckdb", "sqlite", "postgres", "mysql", "delta_local"])
def target(request: pytest.FixtureRequest, tmp_path: Any) -> Connection:
    """Where the rows go."""
    if request.param in ("postgres", "mysql"):
        url = request.getfixturevalue("pg_url" if request.param == "postgres" else "mysql_url")
        return connection_from_settings("wh", {"kind": request.param, "url": url})
    path = tmp_path / ("wh" if request.param == "delta_local" else "wh.db")
    path.mkdir() if request.param == "delta_local" else None
    return connection_from_settings("wh", {"kind": request.param, "path": str(path)})


def pipeline(tmp_path: Any, target: Connection, sql: str, mode: str) -> PipelineSpec:
    source = connection_from_settings("src", {"kind": "duckdb", "path": ":memory:"})
    keys = {"keys": ("id",)} if mode in ("merge", "scd2") else {}
    options: dict[str, Any] = {"target_connection": target, "source_connection": source, "mode": mode, **keys}
    return build_pipeline(name="p", sql=sql, target="wh:p", **options)


FIRST = "SELECT i AS id, 'name ' || i AS name, CAST(i AS DECIMAL(9, 2)) AS amount FROM range(10) r(i)"
SECOND = (
    "SELECT i AS id, CASE WHEN i % 3 = 0 THEN NULL ELSE 'name ' || i END AS name,"
    " CAST(i AS DECIMAL(9, 2)) AS amount FROM range(2, 14) r(i)"
)


def test_rows_that_a_merge_would_change(tmp_path: Any, target: Connection) -> None:
    run(pipeline(tmp_path, target, FIRST, "merge")).raise_for_status()
    spec = pipeline(tmp_path, target, SECOND, "merge")
    found = diff(spec)
    assert found.counts == run(spec, dry=True).counts
    assert (found.inserts, found.updates) == (4, 3)
    changes = found.targets[0].changes
    assert sorted((row["change"], row["key"]["id"]) for row in changes) == [
        ("insert", 10), ("insert", 11), ("insert", 12), ("insert", 13), ("update", 3), ("update", 6), ("update", 9),
    ]  # fmt: skip
    lines = found.to_text().splitlines()
    assert "  ~ id=3: name name 3 -> NULL" in lines
    assert lines[-1] == "  all 7 changed rows shown"
    assert query(target, "SELECT count(*) AS n FROM p").to_pylist() == [{"n": 10}]


def test_only_the_shown_rows_are_limited_and_it_says_so(tmp_path: Any) -> None:
    target = connection_from_settings("wh", {"kind": "duckdb", "path": str(tmp_path / "wh.db")})
    sql = "SELECT i AS id, i AS x FROM range(3000) r(i)"
    run(pipeline(tmp_path, target, sql, "merge")).raise_for_status()
    spec = pipeline(tmp_path, target, "SELECT i AS id, i + CAST(i >= 2200 AS INT) AS x FROM range(3000) r(i)", "merge")
    found = diff(spec, limit=3)
    assert (found.updates, len(found.targets[0].changes)) == (800, 3)
    assert "  3 of 800 changed rows shown (--limit shows more)" in found.to_text().splitlines()
    assert "3 of 800 changed rows shown" in found.to_html()


def test_many_keys_are_asked_for_in_parts(tmp_path: Any) -> None:
    target = connection_from_settings("wh", {"kind": "sqlite", "path": str(tmp_path / "wh.db")})
    run(pipeline(tmp_path, target, "SELECT i AS id, i AS x FROM range(900) r(i)", "merge")).raise_for_status()
    found = diff(pipeline(tmp_path, target, "SELECT i AS id, i + (i >= 890)::INT AS x FROM range(900) r(i)", "merge"))
    assert [row["key"]["id"] for row in found.targets[0].changes] == list(range(890, 900))
    assert found.updates == 10


def test_append_and_truncate_show_what_comes(tmp_path: Any) -> None:
    target = connection_from_settings("wh", {"kind": "duckdb", "path": str(tmp_path / "wh.db")})
    for mode in ("append", "truncate"):
        found = diff(pipeline(tmp_path, target, FIRST, mode), limit=4)
        assert found.inserts == 10
        assert [row["change"] for row in found.targets[0].changes] == ["insert"] * 4


def test_of_rows_with_one_key_the_last_is_compared(tmp_path: Any) -> None:
    target = connection_from_settings("wh", {"kind": "duckdb", "path": str(tmp_path / "wh.db")})
    sql = "SELECT i % 1200 AS id, i AS x FROM range(2400) r(i) ORDER BY i"
    run(pipeline(tmp_path, target, sql, "merge")).raise_for_status()
    again = diff(pipeline(tmp_path, target, sql, "merge"))
    assert again.counts["rows_deduplicated"] == 1200
    assert (again.updates, again.targets[0].changes) == (0, ())
    assert again.to_text().splitlines()[-1] == "  no row would be inserted or updated"


def test_the_history_of_one_key(tmp_path: Any, target: Connection) -> None:
    for name in ("old", "middle"):
        run(pipeline(tmp_path, target, f"SELECT 5 AS id, '{name}' AS name", "scd2")).raise_for_status()
    found = diff(
        pipeline(tmp_path, target, "SELECT i AS id, 'new' AS name FROM range(9) r(i)", "scd2"), key={"id": "5"}
    )
    (change,) = found.targets[0].changes
    assert (change["change"], change["before"]["name"], change["after"]["name"]) == ("new version", "middle", "new")
    versions = found.targets[0].versions
    assert versions is not None
    assert [(row["name"], row["valid_to"] is None) for row in versions] == [("old", False), ("middle", True)]
    assert "versions in the target" in found.to_text()
    timeline = checked(found.to_html()).partition("versions in the target")[2]
    assert timeline.startswith("fromuntilvalues that changed")
    assert [word in timeline for word in ("old", "middle", "now")] == [True, True, True]


@pytest.mark.parametrize(
    ("key", "message"), [({"nmae": "1"}, "`nmae` is no key column of `p`"), ({"id": "x"}, "`x` is no bigint")]
)
def test_a_key_that_does_not_fit(tmp_path: Any, key: dict[str, str], message: str) -> None:
    target = connection_from_settings("wh", {"kind": "duckdb", "path": str(tmp_path / "wh.db")})
    with pytest.raises(UsageError, match=message):
        diff(pipeline(tmp_path, target, FIRST, "merge"), key=key)


def test_what_is_shown_is_escaped_and_small(tmp_path: Any) -> None:
    target = connection_from_settings("wh", {"kind": "duckdb", "path": str(tmp_path / "wh.db")})
    columns = ", ".join(f"'<script>{n}' || repeat('&', 500) AS c{n}" for n in range(60))
    found = diff(pipeline(tmp_path, target, f"SELECT i AS id, {columns} FROM range(500) r(i)", "merge"), limit=400)
    html = found.to_html()
    checked(html)
    assert len(html.encode()) < 61_000
    assert f"{html.count('<tr>') - 1:,} of 500 changed rows shown" in html
    assert html == diff_again(found)
    assert found.to_dict()["targets"][0]["changes"][0]["change"] == "insert"


def diff_again(found: DiffResult) -> str:
    return DiffResult(found.pipeline, found.targets, found.limit, found.key).to_html()
