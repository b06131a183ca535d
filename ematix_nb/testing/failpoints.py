"""Actions at failpoints, written as text: ``stage_write=kill;fetch@2=raise``.

An entry is ``STEP[@N]=ACTION[:ARGUMENT]``; it acts the first time (or the N-th
time, counted from 1) that its step is reached, and entries are parted by ``;``.

==========  =========================================================================
kill        SIGKILL to the own process
stop        SIGSTOP to the own process: it hangs until somebody sends SIGCONT
term        SIGTERM to the own process
interrupt   raises KeyboardInterrupt, as Ctrl-C does
raise       raises RunError (``raise:memory`` MemoryError, ``raise:user`` ValueError)
sleep       waits for the seconds of its argument
barrier     ``barrier:FOLDER:COUNT`` waits until COUNT files are in FOLDER, its own among them
note        ``note:FILE`` creates FILE and goes on
hold        ``hold:FILE`` creates FILE and waits until it is gone
==========  =========================================================================
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ematix_nb.errors import RunError, UsageError, known_names
from ematix_nb.load import failpoints

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "FLOW_FAILPOINT"
PATIENCE_S = 30.0
"""Seconds that a barrier or a hold waits before the test fails."""
_POLL_S = 0.005


@dataclass(frozen=True)
class Action:
    """What happens at one failpoint."""

    step: str
    kind: str
    argument: str = ""
    count: int = 1
    """At which visit of the step, from 1."""


def parse_actions(text: str) -> tuple[Action, ...]:
    """Read the text form.

    Raises:
        UsageError: An unknown step or action, or an entry that is none.

    Example:
        >>> parse_actions("fetch@2=sleep:0.5")
        (Action(step='fetch', kind='sleep', argument='0.5', count=2),)
    """
    return tuple(_action(entry.strip()) for entry in text.split(";") if entry.strip())


def _action(entry: str) -> Action:
    place, found, what = entry.partition("=")
    step, _, count = place.partition("@")
    kind, _, argument = what.partition(":")
    if not found or not (count or "1").isdigit():
        message = f"`{entry}` is no failpoint"
        raise UsageError(message, hint="write STEP=ACTION, such as commit=kill")
    if step not in (known := (*failpoints.STEPS, failpoints.ASIDE)):
        raise UsageError(f"unknown step `{step}`", hint=known_names(step, known, "steps"))
    if kind not in _KINDS:
        raise UsageError(f"unknown action `{kind}`", hint=known_names(kind, tuple(_KINDS), "actions"))
    return Action(step, kind, argument, int(count or 1))


def install_from(text: str) -> Counter[str]:
    """Install the actions of a text in this process (none for an empty one).

    Returns:
        How often each step was reached; filled while runs go on.
    """
    actions = parse_actions(text)
    visits: Counter[str] = Counter()

    def reached(step: str) -> None:
        visits[step] += 1
        for action in actions:
            if action.step == step and action.count == visits[step]:
                _KINDS[action.kind](action.argument)

    failpoints.install(reached)
    return visits


def _signal(number: signal.Signals) -> Callable[[str], None]:
    def send(_: str) -> None:
        os.kill(os.getpid(), number)

    return send


def _interrupt(_: str) -> None:
    raise KeyboardInterrupt


def _raise(argument: str) -> None:
    if argument == "memory":
        raise MemoryError("made by a failpoint")
    if argument == "user":
        raise ValueError("made by a failpoint")
    raise RunError("made by a failpoint")


def _sleep(argument: str) -> None:
    time.sleep(float(argument))


def _barrier(argument: str) -> None:
    folder, _, count = argument.rpartition(":")
    (Path(folder) / f"{os.getpid()}").touch()
    _wait_until(lambda: len(list(Path(folder).iterdir())) >= int(count), f"barrier {folder}")


def _note(argument: str) -> None:
    Path(argument).touch()


def _hold(argument: str) -> None:
    Path(argument).touch()
    _wait_until(lambda: not Path(argument).exists(), f"hold {argument}")


def _wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            message = f"{what}: nobody came for {PATIENCE_S} s"
            raise TimeoutError(message)
        time.sleep(_POLL_S)


_KINDS: dict[str, Callable[[str], None]] = {
    "kill": _signal(signal.SIGKILL),
    "stop": _signal(signal.SIGSTOP),
    "term": _signal(signal.SIGTERM),
    "interrupt": _interrupt,
    "raise": _raise,
    "sleep": _sleep,
    "barrier": _barrier,
    "note": _note,
    "hold": _hold,
}
