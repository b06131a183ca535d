"""Retries: what is tried again, how often, how that is recorded, and what is never tried again."""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import SQLiteConnection, register_connection
from ematix_nb.api import declared
from ematix_nb.declare import cells, registry
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.declare.pipelines import build_pipeline, override
from ematix_nb.errors import CancelledError, DeclarationError, FlowError, TransientError
from ematix_nb.events import Recorder, Warned
from ematix_nb.export.flow_cells import pipeline_code
from ematix_nb.load.cancel import CancelToken
from ematix_nb.verbs.grammar import invoke, parse
from ematix_nb.verbs.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.events import Event


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sqlite3.connect(tmp_path / "w.sqlite").close()
    with registry.scratch():
        register_connection(SQLiteConnection(name="lite", path=str(tmp_path / "w.sqlite"), busy_timeout_ms=50))
        yield tmp_path


def pipeline(**options: Any) -> PipelineSpec:
    spec = build_pipeline(
        **{"name": "p", "sql": "SELECT 1 AS n", "target": "lite:p", "retries": 2, "retry_backoff": "0s", **options}
    )
    declared(spec)
    return spec


class OnWarning(Recorder):
    """Does something when the run says that it tries again."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act = act

    def on_event(self, event: Event) -> None:
        super().on_event(event)
        if isinstance(event, Warned):
            self._act()

    @property
    def messages(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


def rows(place: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(place / "w.sqlite")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


HISTORY = "SELECT status, step_name, parent_run_id FROM ematix_flow_run_history ORDER BY started_at, rowid"


@pytest.fixture
def locked(place: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who writes into the target and does not end."""
    run(pipeline(name="before", target="lite:before"))
    connection = sqlite3.connect(place / "w.sqlite", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def test_keyword_cell_and_export_say_the_same_and_the_fingerprint_is_that_of_the_load() -> None:
    cell = cells.parse_cell("pipeline p --to lite:p --retries 3 --retry-backoff 30s", "SELECT 1 AS n")
    by_cell = cells.build_cell_pipeline(cell)
    assert (by_cell.retries, by_cell.retry_backoff) == (3, dt.timedelta(seconds=30))
    assert 'retries=3,\n    retry_backoff="30s",' in pipeline_code(cell, "p", None)
    plain = build_pipeline(name="p", sql="SELECT 1 AS n", target="lite:p")
    assert fingerprint(by_cell) == fingerprint(plain)
    assert override(by_cell, retries=5).retry_backoff == dt.timedelta(seconds=30)
    assert override(by_cell, retry_backoff=5).retries == 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"retries": -1}, "retries is a whole number from 0 to 20, got -1"),
        ({"retries": 21}, "from 0 to 20, got 21"),
        ({"retries": True}, "got True"),
        ({"retries": "3"}, "got '3'"),
        ({"retries": 1, "retry_backoff": "soon"}, "retry_backoff is a duration, got 'soon'"),
        ({"retries": None, "retry_backoff": "1s"}, "retry_backoff needs retries"),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(DeclarationError, match=match):
        pipeline(**options)


def test_an_error_that_passes_is_tried_again_and_each_attempt_is_recorded(
    place: Path, locked: sqlite3.Connection
) -> None:
    tries = []

    def release_at_the_second() -> None:
        tries.append(1)
        if len(tries) == 2:
            locked.execute("ROLLBACK")

    heard = OnWarning(release_at_the_second)
    result = run(pipeline(), listener=heard)
    assert (result.status, rows(place, "SELECT n FROM p")) == ("success", [(1,)])
    assert heard.messages[0].endswith(": tried again in 0 s (attempt 2 of 3)")
    assert heard.messages[1].endswith(": tried again in 0 s (attempt 3 of 3)")
    found = [row for row in rows(place, HISTORY) if row[2] or row[0] != "success"]
    assert [(status, step) for status, step, _ in found][-1] == ("success", "attempt 3")
    assert found[-1][2], "the retry names the run that it tries again"
    assert "p > attempt 3" in invoke(parse(["runs", "p"]), registry_ready=True).to_text()


def test_after_the_last_retry_the_first_error_counts(locked: sqlite3.Connection) -> None:
    heard = OnWarning(lambda: None)
    with pytest.raises(FlowError) as caught:
        run(pipeline(), listener=heard).raise_for_status()
    assert isinstance(caught.value, TransientError)
    assert len(heard.messages) == 2


def test_without_retries_there_is_one_attempt(locked: sqlite3.Connection) -> None:
    heard = OnWarning(lambda: None)
    with pytest.raises(TransientError):
        run(pipeline(retries=0), listener=heard).raise_for_status()
    assert heard.messages == []


def test_pauses_double_up_to_a_quarter_of_an_hour(locked: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def wait(_: CancelToken, seconds: float) -> bool:
        waited.append(seconds)
        return False

    monkeypatch.setattr(CancelToken, "wait", wait)
    with pytest.raises(TransientError):
        run(pipeline(retries=6, retry_backoff="2m")).raise_for_status()
    assert waited == [120, 240, 480, 900, 900, 900]
    waited.clear()
    with pytest.raises(TransientError):
        run(pipeline(retries=2, retry_backoff=None)).raise_for_status()
    assert waited == [10, 20]


@pytest.mark.parametrize(
    "options",
    [
        {"sql": "SELECT n FROM nowhere"},
        {"sql": "SELECT CAST(NULL AS integer) AS n", "mode": "merge", "keys": ("n",)},
        {"sql": "SELECT 1; DROP TABLE x"},
        {"source_connection": SQLiteConnection(name="gone", path="/nowhere/at/all.sqlite")},
    ],
    ids=["no such table", "NULL key", "two statements", "no such file"],
)
def test_a_mistake_is_never_tried_again(options: dict[str, Any]) -> None:
    heard = OnWarning(lambda: None)
    with pytest.raises(FlowError) as caught:
        run(pipeline(retries=5, retry_backoff="1h", **options), listener=heard).raise_for_status()
    assert not isinstance(caught.value, TransientError)
    assert heard.messages == []


def test_a_dry_run_is_not_tried_again(locked: sqlite3.Connection) -> None:
    heard = OnWarning(lambda: None)
    with pytest.raises(TransientError):
        run(pipeline(retries=5, retry_backoff="1h"), dry=True, listener=heard).raise_for_status()
    assert heard.messages == []


def test_a_pause_can_be_cancelled(locked: sqlite3.Connection) -> None:
    token = CancelToken()
    result = run(pipeline(retries=5, retry_backoff="1h"), token=token, listener=OnWarning(token.cancel))
    assert result.status == "cancelled"
    with pytest.raises(CancelledError, match="cancelled; nothing was written"):
        result.raise_for_status()


def test_only_the_target_that_failed_is_tried_again(place: Path, locked: sqlite3.Connection) -> None:
    register_connection(SQLiteConnection(name="other", path=str(place / "other.sqlite")))
    sqlite3.connect(place / "other.sqlite").close()

    def release() -> None:
        if locked.in_transaction:
            locked.execute("ROLLBACK")

    heard = OnWarning(release)
    spec = build_pipeline(
        name="both",
        sql="SELECT 1 AS n",
        targets=[build_target("other"), build_target("lite")],
        source_connection="other",
        retries=2,
        retry_backoff="0s",
    )
    assert run(spec, listener=heard).status == "success"
    connection = sqlite3.connect(place / "other.sqlite")
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    connection.close()
    assert rows(place, "SELECT count(*) FROM t") == [(1,)]


def build_target(connection: str) -> Any:
    from ematix_nb import Target

    return Target(table=f"{connection}:t", mode="append")
