"""What a disk refuses while state is written: one clear error, the target as it was; what was published counts."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.files import local
from ematix_nb.config import connect
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.load import failpoints
from ematix_nb.verbs.run import run
from tests.crash.world import World, rows_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ematix_nb.verbs.results import RunResult

REFUSALS = {
    errno.ENOSPC: ("TransientError", "make room on that disk, and run again"),
    errno.EIO: ("RunError", "look after that disk, and run again"),
    errno.EACCES: ("ConnectError", "give this user the right to do so, and run again"),
}
LINK, SYNC_FOLDER = os.link, local.sync_folder


@pytest.fixture(autouse=True)
def _mended() -> Iterator[None]:
    yield
    failpoints.install(None)


class Disk:
    """Refuses links, or to make folders durable, from the commit of a run on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: str, number: int, *, once: bool) -> None:
        self.refused: list[str] = []
        self._error, self._once, self._is_on = number, once, False
        place: Any = os if call == "link" else local
        monkeypatch.setattr(place, call, self._instead_of(LINK if call == "link" else SYNC_FOLDER))
        failpoints.install(self._reached)

    def _reached(self, step: str) -> None:
        self._is_on |= step == "before_commit"

    def _instead_of(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*places: Any) -> Any:
            if self._is_on and not (self._once and self.refused):
                self.refused.append(str(places[-1]))
                raise OSError(self._error, os.strerror(self._error), str(places[-1]))
            return plain(*places)

        return call


def second_load(world: World) -> Callable[[], RunResult]:
    """Runs the second load; the first one ran."""
    connect(world.url, name="target")
    connect(world.sources[0], name="source")
    spec = build_pipeline(**world.options())
    assert run(spec).status == "success"
    connect(world.sources[1], name="source")
    return lambda: run(spec)


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize(("kind", "mode"), [("files", "append"), ("files", "truncate"), ("delta", "merge")])
def test_a_state_file_that_cannot_be_written(
    kind: str, mode: str, number: int, *, once: bool, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(kind, mode)
    load = second_load(world)
    disk = Disk(monkeypatch, "link", number, once=once)
    result = load()
    monkeypatch.undo()
    failpoints.install(None)
    assert disk.refused
    if result.status == "success":  # a full disk that has room when it is asked again
        assert (number, once, kind) == (errno.ENOSPC, True, "files")
    else:
        error, hint = REFUSALS[number]
        found = result.targets[0].error
        assert (type(found).__name__, getattr(found, "hint", "")) == (error, hint)
        assert f"cannot write `{disk.refused[0]}`: {os.strerror(number)}" in str(found)
        assert world.rows() == sorted(rows_after(mode, 1), key=repr)
        assert load().status == "success"
        ended = "failed" if once else "abandoned"
        assert world.statuses() == ["success", ended, "success"]
    assert world.rows() == sorted(rows_after(mode, 2), key=repr)
    assert (world.lease(), world.leftovers()) == ("", [])


@pytest.mark.parametrize("number", REFUSALS)
def test_what_was_published_before_the_error_counts(
    number: int, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world("files", "append")
    load = second_load(world)
    disk = Disk(monkeypatch, "sync_folder", number, once=True)
    result = load()
    assert (result.status, len(disk.refused)) == ("success", 1)
    told = "".join(result.targets[0].warnings)
    assert number == errno.ENOSPC or f"after the commit: cannot write `{disk.refused[0]}" in told
    assert world.statuses() == ["success", "success"]
    assert world.rows() == sorted(rows_after("append", 2), key=repr)
    assert load().status == "success"
    assert world.rows() == sorted(rows_after("append", 2), key=repr)
    assert (world.lease(), world.leftovers()) == ("", [])
