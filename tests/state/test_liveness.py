"""Who still lives, and the thread that says so."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.errors import TransientError
from ematix_nb.load.heartbeat import Heartbeat
from ematix_nb.state import liveness
from ematix_nb.state.liveness import host_name, is_dead, process_token
from ematix_nb.state.model import Claim, Lease
from tests.state.stores import GONE

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 30


@pytest.fixture
def fresh_name() -> Iterator[None]:
    host_name.cache_clear()
    yield
    host_name.cache_clear()


def test_a_process_is_its_pid_and_when_it_began() -> None:
    pid, _, began = process_token().partition(":")
    assert pid == str(os.getpid())
    assert began == Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]


def test_a_host_is_its_name_and_its_processes(fresh_name: None) -> None:
    assert host_name() == socket.gethostname() + str(Path("/proc/self/ns/pid").readlink()).removeprefix("pid:")


def test_a_host_that_tells_nothing_of_processes(fresh_name: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> Path:
        raise OSError(self)

    monkeypatch.setattr(Path, "readlink", refuse)
    assert host_name() == socket.gethostname()


@pytest.mark.parametrize(
    ("process", "dead"),
    [
        (process_token(), False),
        (f"{os.getpid()}:", False),
        (str(os.getpid()), False),
        (f"{os.getpid()}:1", True),
        (GONE, True),
        ("no number:1", False),
        ("", False),
    ],
    ids=["this one", "no start", "pid alone", "the pid is another's now", "gone", "no pid", "nothing"],
)
def test_only_a_process_that_certainly_ended_is_dead(process: str, *, dead: bool) -> None:
    assert is_dead(host_name(), process) is dead


def test_nothing_is_known_of_other_hosts() -> None:
    assert is_dead(host_name() + "x", GONE) is False


def test_a_process_that_ended_and_was_not_asked_for_is_dead() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        assert liveness._stat(pid)[0] == "Z"
        assert is_dead(host_name(), f"{pid}:{liveness._start_time(pid)}") is True
    finally:
        os.waitpid(pid, 0)


def test_the_name_of_a_process_may_look_like_its_state(tmp_path: Path) -> None:
    program = tmp_path / "ä) Z 1 (b"
    shutil.copy2(str(shutil.which("cat")), program)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"x\n"  # it runs under its own name now
        assert Path(f"/proc/{process.pid}/comm").read_text(encoding="utf-8") == "ä) Z 1 (b\n"
        assert is_dead(host_name(), f"{process.pid}:{liveness._start_time(process.pid)}") is False
        process.stdin.close()


def test_a_run_is_over_when_its_end_was_seen_or_its_process_is_gone() -> None:
    here = (host_name(), process_token())
    assert liveness.is_over("seen by nobody", *here) is False
    assert liveness.is_over("seen by nobody", host_name(), GONE) is True
    liveness.ended("seen")
    assert liveness.is_over("seen", *here) is True
    assert liveness.is_over("seen", "elsewhere", GONE) is True
    assert liveness.is_over("seen by nobody", "elsewhere", GONE) is False


def test_a_process_of_somebody_else_is_believed_to_live(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        assert number == 0
        raise PermissionError(pid)

    monkeypatch.setattr(os, "kill", refuse)
    assert is_dead(host_name(), GONE) is False


def test_a_system_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **_: Any) -> str:
        raise FileNotFoundError(self)

    token = process_token()
    monkeypatch.setattr(Path, "read_text", refuse)
    assert process_token() == f"{os.getpid()}:"
    assert is_dead(host_name(), token) is False


# -- the heartbeat -----------------------------------------------------------------------------------------------


class Beats:
    """Counts renewals; stands where the store of the target stands."""

    def __init__(self, wanted: int, *, fails: int = 0) -> None:
        self.renewed: list[Lease] = []
        self.closed = 0
        self.done = threading.Event()
        self._wanted, self._fails = wanted, fails

    def open(self) -> tuple[Any, Any]:
        return self, self.close

    def renew(self, lease: Lease) -> bool:
        self.renewed.append(lease)
        if len(self.renewed) <= self._fails:
            raise TransientError("the line is cut", "")
        return True

    def close(self) -> None:
        self.closed += 1
        if self.closed >= self._wanted:
            self.done.set()


def lease_of(seconds: float) -> Lease:
    return Lease(Claim("p", "r", "h", "1:1", seconds), 1)


@pytest.mark.parametrize("fails", [0, 2], ids=["as it should", "after two beats that failed"])
def test_a_lease_is_renewed_again_and_again(fails: int) -> None:
    beats, lease = Beats(4, fails=fails), lease_of(0.03)
    heart = Heartbeat(lease, beats.open)
    with heart as entered:
        assert entered is heart
        assert heart._thread.daemon
        assert beats.done.wait(PATIENCE_S)
    heart._thread.join(PATIENCE_S)
    assert not heart._thread.is_alive()
    assert set(map(id, beats.renewed)) == {id(lease)}
    assert beats.closed == len(beats.renewed) >= 4


def test_a_beat_comes_three_times_in_a_lease() -> None:
    class Stopped(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            return True

    waited: list[float | None] = []
    heart = Heartbeat(lease_of(60), Beats(1).open)
    heart._stop = Stopped()
    heart._beat()
    assert waited == [20]
    assert heart._thread.name == "ematix-heartbeat"


def test_a_run_that_ends_before_the_first_beat_renews_nothing() -> None:
    beats = Beats(1)
    heart = Heartbeat(lease_of(3 * PATIENCE_S), beats.open)
    with heart:
        pass
    heart._thread.join(PATIENCE_S)
    assert not heart._thread.is_alive()
    assert beats.renewed == []


def test_a_beat_that_hangs_holds_nobody_up() -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def open_slowly() -> tuple[Any, Any]:
        hangs.set()
        assert goes_on.wait(PATIENCE_S)
        raise TransientError("gone meanwhile", "")

    heart = Heartbeat(lease_of(0.03), open_slowly)
    with heart:
        assert hangs.wait(PATIENCE_S)
    assert heart._thread.is_alive()
    goes_on.set()
    heart._thread.join(PATIENCE_S)
    assert not heart._thread.is_alive()
