"""Several publishers of one folder: who loses tries again, and gives up at last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.errors import LockedError
from ematix_nb.state.file_state import TRIES
from tests.state.stores import THING, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.backends.base import Manifest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store("files", tmp_path)
    yield found
    found.session.close()


def loses(store: Store, monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Somebody else publishes the same number first, so many times; the numbers that were tried."""
    tried: list[int] = []
    real = store.session.publish

    def publish(thing: str, manifest: Manifest, *more: Any) -> Any:
        tried.append(manifest.seq)
        if len(tried) <= times:
            raise LockedError("somebody else was first", "")
        return real(thing, manifest, *more)

    monkeypatch.setattr(store.session, "publish", publish)
    return tried


def test_who_loses_reads_anew_and_tries_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = loses(store, monkeypatch, TRIES - 1)
    lease, record = store.begin()
    assert (len(tried), lease.epoch) == (TRIES, 1)
    assert store.state.running("p") == record.run_id
    assert store.session.manifest(THING).seq == 1


def test_who_loses_every_time_gives_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = loses(store, monkeypatch, TRIES + 1)
    with pytest.raises(LockedError, match="somebody else was first"):
        store.begin()
    assert len(tried) == TRIES
    assert store.state.history() == []
