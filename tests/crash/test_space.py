"""No space, no right to write: a clear message, and the target as it was."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ematix_nb.backends.sqlite import io as sqlite_io
from ematix_nb.config import connect
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.verbs.run import run
from tests.crash.child import Step
from tests.crash.world import World, make_source, rows_after, run_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

LIMIT_BYTES = 200_000


def big_source(path: Path) -> str:
    rows = [(100 + n, hashlib.sha512(str(n).encode()).hexdigest(), 0.5, "2026-02-01 00:00:00") for n in range(4000)]
    return make_source(path, "duckdb", rows)


def test_full_database(make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world("sqlite", "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    before = world.rows()
    plain = sqlite_io._connect

    def limited(settings: object) -> object:
        connection = plain(settings)  # type: ignore[arg-type]
        (pages,) = connection.execute("PRAGMA main.page_count").fetchone()
        connection.execute(f"PRAGMA main.max_page_count = {pages + 10}")
        return connection

    monkeypatch.setattr(sqlite_io, "_connect", limited)
    connect(world.url, name="target")
    connect(big_source(world.folder / "big.duckdb"), name="source")
    result = run(build_pipeline(**world.options()))
    assert result.status == "failed"
    assert "database or disk is full" in str(result.targets[0].error)
    monkeypatch.undo()
    assert world.rows() == before == sorted(rows_after("append", 1), key=repr)
    assert world.statuses() == ["success", "failed"]
    assert (world.lease(), world.leftovers()) == ("", [])


def test_full_disk_under_files(make_world: Callable[..., World]) -> None:
    world = make_world("files", "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    job = world.job(Step(big_source(world.folder / "big.duckdb")), file_limit=LIMIT_BYTES)
    code, (report,) = run_child(job)
    assert (code, report["status"]) == (0, "failed")
    assert "no space left for staging" in report["error"]
    assert "the target is unchanged" in report["error"]
    assert world.rows() == sorted(rows_after("append", 1), key=repr)
    assert world.statuses() == ["success", "failed"]
    assert (world.lease(), world.leftovers()) == ("", [])


def test_role_that_may_only_read(make_world: Callable[..., World]) -> None:
    world = make_world("postgres", "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    role, owner = f"reader_{world.name}", world.url
    world.execute(
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA public, ematix_flow TO {role};"
        f" GRANT SELECT ON ALL TABLES IN SCHEMA public, ematix_flow TO {role}"
    )
    try:
        world.url = owner.replace("//postgres@", f"//{role}@").replace("//postgres:", f"//{role}:")
        code, (report,) = run_child(world.job(world.step(2)))
    finally:
        world.url = owner
        world.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert (code, report["status"]) == (0, "raised")
    assert "PostgreSQL refuses: permission denied for table" in report["error"]
    assert world.rows() == sorted(rows_after("append", 1), key=repr)
    assert world.statuses() == ["success"]
