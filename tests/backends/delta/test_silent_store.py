"""A store that takes requests and never answers: an interrupt gets through, and a run ends by itself."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ematix_nb.backends.delta import objects
from ematix_nb.backends.files import obstores, s3
from ematix_nb.connections import DeltaS3Connection, ObjectStoreS3Connection
from ematix_nb.errors import CancelledError, FlowError
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.source import open_reader
from ematix_nb.verbs.background import GRACE_SECONDS, run_in_worker
from tests.support.silent import silent_server

if TYPE_CHECKING:
    from ematix_nb.connections.base import Connection

KEYS = {"access_key_id": "tester", "secret_access_key": "tester-secret"}
SHORT = {"connect_timeout": "1s", "timeout": "1s"}
KINDS = ["delta", "files"]


def place(kind: str, url: str) -> Connection:
    """A bucket of the server."""
    if kind == "delta":
        return DeltaS3Connection(name="lake", bucket="b", region="r", endpoint=url, **KEYS)  # type: ignore[arg-type]
    return ObjectStoreS3Connection(name="lake", bucket="b", region="r", endpoint=url, format="parquet", **KEYS)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_gets_through(kind: str) -> None:
    """The times of a request, which are longer than this test may take, are those of every run."""
    with silent_server() as (url, came):

        def interrupt() -> None:
            came.wait(60)
            signal.pthread_kill(main, signal.SIGINT)
            interrupted.append(time.monotonic())

        main, interrupted = threading.main_thread().ident or 0, list[float]()
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(CancelledError, match="did not stop within 2 s and ends by itself without committing"):
            run_in_worker(lambda: open_reader(place(kind, url)).fetch("SELECT * FROM t"), CancelToken())
        assert time.monotonic() - interrupted[0] < GRACE_SECONDS * 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_ends(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "TIMES", SHORT)
    monkeypatch.setattr(objects, "RETRIES", 1)
    monkeypatch.setattr(s3, "TIMES", SHORT)
    monkeypatch.setattr(s3, "RETRIES", {**obstores.RETRIES, "max_retries": 1})
    with silent_server() as (url, came):
        with pytest.raises(FlowError, match=r"cannot be used|does not answer"):
            open_reader(place(kind, url)).fetch("SELECT * FROM t")
        assert came.is_set()
