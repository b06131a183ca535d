"""Servers that are programs: found, started on a free port of 127.0.0.1, ended with the process that started them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.postgres import SUPERVISOR, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FOLDER_VARIABLE = "EMATIX_TEST_STORES"
START_TIMEOUT_S = 60.0
PORT_ATTEMPTS = 3


class ProgramMissingError(RuntimeError):
    """A program could not be found or started; the text says what to do."""


def folder() -> Path:
    """Where `tools/install_stores` puts what it installs."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path(sys.prefix) / "stores"


def missing(what: str) -> ProgramMissingError:
    """The error for a program that is not installed."""
    return ProgramMissingError(f"{what} is not in {folder()}; run `tools/install_stores {folder()}`")


@contextlib.contextmanager
def running(command: Callable[[int, Path], Sequence[str]], environment: dict[str, str] | None = None) -> Iterator[int]:
    """Starts a program with a fresh folder; gives its port.

    Args:
        command: The program and its arguments, for a port and a folder for its data.
        environment: Variables beside ours; ``{port}`` in them is filled in.

    Raises:
        ProgramMissingError: It ended, or did not listen in time; the message ends with what it wrote last.
    """
    place = Path(tempfile.mkdtemp(prefix="ematix-store-"))
    try:
        for _ in range(PORT_ATTEMPTS):
            port = free_port()
            extra = {name: text.replace("{port}", str(port)) for name, text in (environment or {}).items()}
            process = _start(command(port, place), place, extra)
            try:
                if _listens(process, port):
                    yield port
                    return
            finally:
                _stop(process)
        last = " / ".join((place / "log").read_text(errors="replace").splitlines()[-3:])
        message = f"{command(0, place)[0]} did not start: {last or 'it wrote nothing'}"
        raise ProgramMissingError(message)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _start(command: Sequence[str], place: Path, extra: dict[str, str]) -> subprocess.Popen[bytes]:
    with (place / "log").open("wb") as output:
        return subprocess.Popen(
            ["/bin/sh", "-c", SUPERVISOR, "sh", str(place), *command],
            cwd=place,
            env={**os.environ, "HOME": str(place), "TMPDIR": str(place), **extra},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the interrupt key is for the tests, not for their server
        )


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    pause_s = 0.05
    for _ in range(int(START_TIMEOUT_S / pause_s)):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(pause_s)
            return False
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"stop\n")
            process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait(5)
