"""Whether the run that holds a lease is still alive, as far as this process can tell."""

from __future__ import annotations

import functools
import os
import socket
from collections import deque
from pathlib import Path

ENDED = ("Z", "X")
"""States of a process that ended and whose parent has not asked how: in a container often nobody ever does."""
_over: deque[str] = deque(maxlen=1000)
"""Runs of this process that did not commit; they may not have been able to say so where their lease is kept."""


@functools.cache
def host_name() -> str:
    """This host, with its process namespace where the system tells one: two containers of one name differ."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink()).removeprefix("pid:")
    except OSError:
        namespace = ""
    return socket.gethostname() + namespace


def process_token() -> str:
    """This process: its pid and start time (pids are used again). Not cached: a fork changes it."""
    pid = os.getpid()
    return f"{pid}:{_start_time(pid)}"


def _start_time(pid: int) -> str:
    return _stat(pid)[1]


def _stat(pid: int) -> tuple[str, str]:
    """State letter and start time of a process; empty where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "", ""
    parts = stat.rpartition(")")[2].split()
    return parts[0], parts[19]


def ended(run_id: str) -> None:
    """A run of this process is over: whatever its lease says, nothing of it is to come."""
    _over.append(run_id)


def is_over(run_id: str, host: str, process: str) -> bool:
    """True only when a run certainly ended: this process saw its end, or the run's process is no more.

    Example:
        >>> is_over("r1", host_name(), process_token())
        False
        >>> ended("r1")
        >>> is_over("r1", host_name(), process_token())
        True
    """
    return run_id in _over or is_dead(host, process)


def is_dead(host: str, process: str) -> bool:
    """True only when the process certainly ended: it was on this host and is no more.

    Example:
        >>> is_dead("another-host", "1:1")
        False
        >>> is_dead(host_name(), process_token())
        False
    """
    if host != host_name():
        return False
    pid_text, _, started = process.partition(":")
    try:
        os.kill(int(pid_text), 0)
    except ProcessLookupError:
        return True
    except (ValueError, PermissionError):
        return False
    state, now_started = _stat(int(pid_text))
    if state in ENDED:
        return True
    return bool(started and now_started and started != now_started)
