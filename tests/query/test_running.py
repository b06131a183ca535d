"""A query that is stopped before it began."""

from __future__ import annotations

import gc
from typing import NoReturn

import pytest

from ematix_nb.errors import CancelledError
from ematix_nb.query.stream import Running


class Frame:
    """Must not be asked for rows."""

    def execute_stream(self) -> NoReturn:
        raise AssertionError


def test_a_query_that_is_stopped_before_its_thread_begins_leaves_nothing_behind() -> None:
    running = Running(Frame())
    running.stop()
    with pytest.raises(CancelledError):
        list(running)
    del running
    gc.collect()  # a task that nobody waited for would be told of here
