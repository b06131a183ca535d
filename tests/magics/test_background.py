from __future__ import annotations

import threading
from typing import Any

import pytest

from ematix_nb.errors import CancelledError, LockedError, RunError, UsageError
from ematix_nb.events import BatchRead, PhaseStarted, RunFinished, RunStarted
from ematix_nb.magics.progress import Progress
from tests.widgets.test_static import checked

GATED = """
import pyarrow
from ematix_nb import ematix

@ematix.pipeline(target="tgt:gated", source_connection="src")
def gated(conn):
    entered.set()
    gate.wait(20)
    return pyarrow.table({"id": [1, 2, 3]})
"""


@pytest.fixture
def gate(notebook: Any) -> threading.Event:
    """Opens the way for the pipeline `gated`, whose function waits for it."""
    event = threading.Event()
    notebook.shell.user_ns["gate"] = event
    notebook.shell.user_ns["entered"] = threading.Event()
    notebook.cell(GATED)
    return event


def test_a_background_run_leaves_the_notebook_free(notebook: Any, gate: threading.Event) -> None:
    _, shown = notebook.run("r = %flow run gated --bg")
    assert "gated: running in the background" in shown
    handle = notebook.shell.user_ns["r"]
    assert handle.status == "running"
    with pytest.raises(UsageError, match="`gated` is still running"):
        _ = handle.result
    with pytest.raises(RunError, match="still running after 0 s"):
        handle.wait(timeout=0)
    gate.set()
    assert handle.wait(timeout=20).rows_inserted == 3
    assert handle.status == "success"
    assert "gated -> tgt:gated: success" in repr(handle)


def test_the_cell_again_shows_the_live_run_and_starts_no_second(notebook: Any, gate: threading.Event) -> None:
    first = notebook.cell("%flow run gated --bg")
    assert notebook.cell("%flow run gated --bg") is first
    result, _ = notebook.run("%flow run gated")
    assert isinstance(result.error_in_exec, LockedError)
    gate.set()
    first.wait(timeout=20)
    again = notebook.cell("%flow run gated --bg")
    assert again is not first
    again.wait(timeout=20)


def test_cancel_stops_it_and_writes_nothing(notebook: Any, gate: threading.Event) -> None:
    handle = notebook.cell("%flow run gated --bg")
    assert notebook.shell.user_ns["entered"].wait(20)
    assert notebook.cell("%flow cancel gated") is handle
    assert handle.status == "cancelling"
    gate.set()
    with pytest.raises(CancelledError, match="nothing was written"):
        handle.wait(timeout=20).raise_for_status()
    assert handle.status == "cancelled"


def test_cancel_takes_the_handle_too(notebook: Any, gate: threading.Event) -> None:
    notebook.cell("r = %flow run gated --bg")
    handle = notebook.shell.user_ns["r"]
    assert notebook.cell("%flow cancel r") is handle
    gate.set()
    with pytest.raises(CancelledError, match="nothing was written"):
        handle.wait(timeout=20).raise_for_status()


def test_the_button_of_the_card_cancels(notebook: Any, gate: threading.Event) -> None:
    notebook.cell("%config FlowMagics.widgets = 'on'")
    try:
        handle = notebook.cell("%flow run gated --bg")
        assert notebook.shell.user_ns["entered"].wait(20)
        card = handle._card
        assert "gated" in card.state.value
        card.button.click()
        assert handle.status == "cancelling"
        assert '<span class="ef-warn">cancelling</span>' in card.state.value
        gate.set()
        with pytest.raises(CancelledError):
            handle.wait(timeout=20).raise_for_status()
    finally:
        notebook.cell("%config FlowMagics.widgets = 'auto'")


def test_a_run_outlives_the_extension(notebook: Any, gate: threading.Event) -> None:
    handle = notebook.cell("%flow run gated --bg")
    notebook.cell("%reload_ext ematix_nb")
    assert notebook.cell("%flow run gated --bg") is handle
    gate.set()
    handle.wait(timeout=20)


def test_a_run_that_cannot_start_keeps_its_error(notebook: Any) -> None:
    notebook.cell("%%flow pipeline lost --from nowhere --to tgt:lost\nSELECT 1 AS id\n")
    handle = notebook.cell("%flow run lost --bg")
    with pytest.raises(UsageError, match="nowhere"):
        handle.wait(timeout=20)
    assert handle.status == "failed"
    assert "nowhere" in repr(handle)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (9, []),
        (
            25,
            [
                "orders -> wh:orders: running, apply: 10,000 rows, 1,000 rows/s in 10.0 s",
                "orders -> wh:orders: running, apply: 20,000 rows, 1,000 rows/s in 20.0 s",
                "orders -> wh:orders: success: 25,000 rows, 1,000 rows/s in 25.0 s",
            ],
        ),
    ],
)
def test_an_execution_that_nobody_watches_tells_of_long_runs_only(seconds: int, expected: list[str]) -> None:
    now = [0.0]
    shown: list[str] = []
    progress = Progress(lambda state: shown.append(state.text()), lambda: now[0], interval=10.0, quiet=10.0)
    ids: dict[str, Any] = {"run_id": "1", "pipeline": "orders"}
    progress.on_event(RunStarted(**ids, target="wh:orders", mode="append"))
    progress.on_event(PhaseStarted(**ids, phase="apply"))
    for second in range(1, seconds + 1):
        now[0] = float(second)
        progress.on_event(BatchRead(**ids, rows=1000 * second, bytes=0))
    progress.on_event(RunFinished(**ids, status="success"))
    assert shown == expected


def test_a_headless_run_leaves_its_result_alone(notebook: Any) -> None:
    _, shown = notebook.run("r = %flow run orders")
    assert shown.strip() == ""
    _, shown = notebook.run("%flow run orders")
    assert shown.count("orders -> tgt:orders: success") == 1
    assert "apply" not in shown


def test_progress_is_shown_four_times_a_second_at_most() -> None:
    now = [0.0]
    shown: list[str] = []
    progress = Progress(lambda state: shown.append(state.text()), clock=lambda: now[0])
    ids: dict[str, Any] = {"run_id": "1", "pipeline": "orders"}
    progress.on_event(RunStarted(**ids, target="wh:orders", mode="append"))
    progress.on_event(PhaseStarted(**ids, phase="read"))
    for step in range(1, 101):
        now[0] = step / 100
        progress.on_event(BatchRead(**ids, rows=1000 * step, bytes=10_000 * step))
    progress.on_event(RunFinished(**ids, status="success"))
    assert shown == [
        "orders -> wh:orders: running: 0 rows in 0.0 s",
        "orders -> wh:orders: running, read: 25,000 rows, 0.2 MB, 100,000 rows/s in 0.2 s",
        "orders -> wh:orders: running, read: 50,000 rows, 0.5 MB, 100,000 rows/s in 0.5 s",
        "orders -> wh:orders: running, read: 75,000 rows, 0.8 MB, 100,000 rows/s in 0.8 s",
        "orders -> wh:orders: running, read: 100,000 rows, 1.0 MB, 100,000 rows/s in 1.0 s",
        "orders -> wh:orders: success: 100,000 rows, 1.0 MB, 100,000 rows/s in 1.0 s",
    ]


def test_a_card_shows_phase_pace_share_and_a_line_of_the_rate() -> None:
    now = [0.0]
    progress = Progress(lambda _: None, clock=lambda: now[0])
    ids: dict[str, Any] = {"run_id": "1", "pipeline": "<b>"}
    progress.on_event(RunStarted(**ids, target="wh:<i>", mode="append"))
    progress.on_event(PhaseStarted(**ids, phase="read"))
    for step in range(1, 200):
        now[0] = step
        progress.on_event(BatchRead(**ids, rows=100 * step, bytes=0, expected=40_000))
    shown = progress.to_html()
    assert "<b> -> wh:<i>" in checked(shown)
    assert "19,900 rows of about 40,000 (49 %), 100 rows/s, about 3 min left in 199.0 s" in shown
    assert shown.count("<svg") == 2
    assert len(shown) < 10_000
    assert shown == progress.to_html()
