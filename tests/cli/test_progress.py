"""Progress: lines where nobody watches, one moving line on a terminal."""

from __future__ import annotations

import io
from typing import Any

from ematix_nb.cli.progress import Progress
from ematix_nb.events import BatchRead, PhaseStarted, RunFinished, RunStarted, SchemaChanged, Warned

FACTS: dict[str, Any] = {"run_id": "0123456789ab", "pipeline": "orders"}
EVENTS = [
    RunStarted(**FACTS, target="wh:a.b", mode="merge"),
    PhaseStarted(**FACTS, phase="read"),
    BatchRead(**FACTS, rows=1000, bytes=2_000_000),
    SchemaChanged(**FACTS, change="create table a.b"),
    Warned(**FACTS, message="odd \x1b[31m"),
    RunFinished(**FACTS, status="success", counts={"rows_read": 1000}, seconds=1.25),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_each_phase_is_a_line() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        for event in EVENTS:
            progress.on_event(event)
    assert stream.getvalue().splitlines() == [
        "orders -> wh:a.b (merge): started, run 01234567",
        "orders: read",
        "orders: create table a.b",
        "orders: warning: odd \\x1b[31m",
        "orders: success, 1,000 rows read, 1.2 s",
    ]


def test_on_a_terminal_one_line_moves() -> None:
    stream = Terminal()
    with Progress(stream) as progress:
        for event in EVENTS:
            progress.on_event(event)
    text = stream.getvalue()
    assert "orders: warning: odd \\x1b[31m" in text
    assert "orders: success, 1,000 rows read, 1.2 s" in text
    assert "started, run" not in text


def test_a_closed_stream_stops_nothing() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    stream.close()
    for event in EVENTS:
        progress.on_event(event)
