"""Handing items to a thread: all arrive in order, a failure on either side ends both."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ematix_nb.backends import pump
from ematix_nb.backends.pump import pushed

if TYPE_CHECKING:
    from collections.abc import Iterator


def _senders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ematix-send"]


def test_everything_arrives_in_order() -> None:
    taken: list[int] = []
    pushed(range(1000), taken.append, [], 2)
    assert taken == list(range(1000))
    assert not _senders()


def test_items_are_made_while_others_are_taken() -> None:
    made, taking = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert taking.wait(10), "the first item was not taken while the second one was made"
        made.set()
        yield 2

    def take(item: int) -> None:
        taking.set()
        if item == 1:
            assert made.wait(10), "the second item was not made while the first one was taken"

    pushed(items(), take, [], 1)


def test_a_failure_of_the_taker_is_raised_and_ends_the_making() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1_000_000):
            made.append(number)
            yield number

    def take(item: int) -> None:
        if item == 3:
            raise ValueError(item)

    with pytest.raises(ValueError, match="3"):
        pushed(items(), take, [], 2)
    assert len(made) < 20
    assert not _senders()


def test_a_failure_of_the_last_item_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        pushed([1, 0], lambda item: 1 / item, [], 2)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_of_the_making_stops_what_the_taker_waits_for(error: type[BaseException]) -> None:
    stopped = threading.Event()
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert begun.wait(10)
        raise error

    def take(_: int) -> None:
        begun.set()
        assert stopped.wait(30), "nothing stopped the taker"

    with pytest.raises(error):
        pushed(items(), take, [stopped.set], 2)
    assert not _senders()


def test_more_force_when_the_first_stop_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "STOP_PATIENCE_S", 0.1)
    begun, stopped = threading.Event(), threading.Event()
    asked: list[str] = []

    def items() -> Iterator[int]:
        yield 1
        assert begun.wait(10)
        raise ValueError

    def take(_: int) -> None:
        begun.set()
        assert stopped.wait(30), "nothing stopped the taker"

    with pytest.raises(ValueError, match=r"^$"):
        pushed(items(), take, [lambda: asked.append("please"), stopped.set, lambda: asked.append("too much")], 2)
    assert asked == ["please"]
    assert not _senders()
