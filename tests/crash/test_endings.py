"""A run that failed and cannot say so where its state is kept: the first error is told, and the next run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb.config import connect
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import TransientError
from ematix_nb.load.run import OpenTarget
from ematix_nb.state.delta_state import DeltaState
from ematix_nb.state.file_state import FileState
from ematix_nb.state.sql_state import SqlState
from ematix_nb.testing import install_from
from ematix_nb.verbs.run import run
from tests.crash.world import KINDS, World, rows_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ematix_nb.declare.spec import PipelineSpec

STATES = (SqlState, FileState, DeltaState)


@pytest.fixture(autouse=True)
def _no_failpoints() -> Iterator[None]:
    yield
    install_from("")


def second_load(world: World) -> PipelineSpec:
    """The second load, after the first one ran."""
    connect(world.url, name="target")
    connect(world.sources[0], name="source")
    spec = build_pipeline(**{**world.options(), "transforms_post": []})
    assert run(spec).status == "success"
    connect(world.sources[1], name="source")
    return spec


def fail_at(step: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From here on runs fail at a step, and cannot be closed either; the list tells who tried to close one."""
    tried: list[str] = []

    def close_failed(*_: object) -> bool:
        tried.append("close_failed")
        raise error

    for state in STATES:
        monkeypatch.setattr(state, "close_failed", close_failed)
    install_from(f"{step}=raise")
    return tried


@pytest.mark.parametrize("kind", KINDS)
def test_a_lease_that_was_not_given_back(
    kind: str, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(kind, "append")
    spec = second_load(world)
    tried = fail_at("before_commit", TransientError("the line is cut"), monkeypatch)
    result = run(spec)
    monkeypatch.undo()
    assert (result.status, tried) == ("failed", ["close_failed"] * 2)
    assert (world.lease(), world.statuses()) == (result.run_id, ["success", "running"])
    assert run(spec).status == "success"
    assert world.statuses() == ["success", "abandoned", "success"]
    assert world.rows() == sorted(rows_after("append", 2), key=repr)
    assert (world.lease(), world.leftovers()) == ("", [])


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgres", "mysql"])
def test_a_lease_of_which_only_the_answer_was_lost(
    kind: str, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(kind, "append")
    spec = second_load(world)
    take = SqlState.acquire

    def acquire(*arguments: object) -> None:
        take(*arguments)  # type: ignore[arg-type]
        message = "the line is cut"
        raise TransientError(message)

    monkeypatch.setattr(SqlState, "acquire", acquire)
    with pytest.raises(TransientError, match="the line is cut"):
        run(spec)
    monkeypatch.undo()
    assert run(spec).status == "success"
    assert world.statuses() == ["success", "abandoned", "success"]
    assert (world.lease(), world.leftovers()) == ("", [])


@pytest.mark.parametrize("kind", ["sqlite", "files", "delta"])
def test_an_error_while_a_failed_run_is_closed(
    kind: str, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(kind, "append")
    spec = second_load(world)
    tried = fail_at("stage_done", ValueError("cannot be closed"), monkeypatch)
    monkeypatch.setattr(OpenTarget, "reopen_state", lambda _: 1 / 0)
    result = run(spec)
    assert (result.status, tried) == ("failed", ["close_failed"])
    assert "made by a failpoint" in str(result.targets[0].error)
