"""Each call on a local folder fails in turn: no space, a failing disk, a lost right; then the same run again."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.files import local
from tests.crash.places import Fault, Trap, ended
from tests.crash.spread import SLACK, spread
from tests.crash.test_kill import ENGINE_MODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.crash.places import Places


def refusal(number: int) -> Callable[[], BaseException]:
    """What the system raises."""
    return lambda: OSError(number, os.strerror(number))


FAULTS = (
    Fault("full", refusal(errno.ENOSPC)),
    Fault("full-lasting", refusal(errno.ENOSPC), lasting=True),
    Fault("io", refusal(errno.EIO)),
    Fault("io-lasting", refusal(errno.EIO), lasting=True),
    Fault("io-after", refusal(errno.EIO), late=True),
    Fault("denied", refusal(errno.EACCES)),
    Fault("denied-lasting", refusal(errno.EACCES), lasting=True),
    Fault("interrupt", KeyboardInterrupt, raw=True),
)
CALLS = {
    ("files", "append", 1): 83,
    ("files", "append", 2): 89,
    ("files", "truncate", 1): 82,
    ("files", "truncate", 2): 85,
    ("delta", "append", 1): 59,
    ("delta", "append", 2): 67,
    ("delta", "truncate", 1): 59,
    ("delta", "truncate", 2): 58,
    ("delta", "merge", 1): 58,
    ("delta", "merge", 2): 63,
    ("delta", "scd2", 1): 58,
    ("delta", "scd2", 2): 57,
}
"""The calls of a run without a fault; `test_each_call_has_a_case` keeps them right."""
SHARE = {"files": (5, 1), "delta": (41, 4)}
BY_PATH = {Path: ("open", "unlink", "rename", "mkdir", "rmdir"), os: ("link", "scandir", "listdir")}
BY_FILE = ("fsync",)
"""Of `os`: calls whose file is not named; only our own code makes them during a run."""


def watch(root: Path, monkeypatch: pytest.MonkeyPatch) -> Trap:
    """What this process asks the system to do below a folder goes through a trap."""
    trap, below = Trap(drop=lambda found: hasattr(found, "close") and found.close()), os.path.realpath(root)

    def by_path(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(place: Any, *arguments: Any, **options: Any) -> Any:
            inside = str(place).startswith(below)
            return trap.call(plain, place, *arguments, **options) if inside else plain(place, *arguments, **options)

        return call

    def by_file(plain: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: trap.call(plain, *arguments)

    for owner, names in BY_PATH.items():
        for name in names:
            monkeypatch.setattr(owner, name, by_path(getattr(owner, name)))
    for name in BY_FILE:
        monkeypatch.setattr(os, name, by_file(getattr(os, name)))
    monkeypatch.setattr(local.LocalUpload, "write", by_file(local.LocalUpload.write))
    return trap


def cases() -> list[Any]:
    """(kind, mode, load, fault, number of the call)."""
    return spread(
        ((*place, fault.name, number), SHARE[place[0]])
        for place, calls in CALLS.items()
        for fault in FAULTS
        for number in range(1, calls + 1)
    )


@pytest.mark.parametrize(("kind", "mode", "load", "fault", "number"), cases())
def test_a_call_that_fails(
    kind: str, mode: str, load: int, fault: str, number: int, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places.get(kind, mode, load)
    made = next(one for one in FAULTS if one.name == fault)
    with monkeypatch.context() as patched:
        trap = watch(place.path, patched)
        trap.set(number, made)
        found = ended(place.spec)
    assert trap.fired, "the fault did not fire"
    place.try_again(found, raw=made.raw, deaf=made.lasting)


@pytest.mark.parametrize("load", [1, 2])
@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind in SHARE for mode in ENGINE_MODES[kind]])
def test_each_call_has_a_case(kind: str, mode: str, load: int, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    place = places.get(kind, mode, load)
    with monkeypatch.context() as patched:
        trap = watch(place.path, patched)
        assert ended(place.spec).status == "success"
    known = CALLS.get((kind, mode, load), 0)
    assert known <= trap.calls <= known + SLACK, f"correct the number in CALLS: {trap.calls}"
