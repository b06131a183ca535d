"""Who publishes, reads and prunes at the same moment; answers of a store that got lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb.backends.base import Manifest
from ematix_nb.backends.files import manifests
from ematix_nb.backends.files.io import FolderSession
from ematix_nb.backends.files.local import LocalStorage
from ematix_nb.backends.files.manifests import Published
from ematix_nb.errors import LockedError, RunError, TransientError

from .test_round_trip import lake

if TYPE_CHECKING:
    from pathlib import Path

    from ematix_nb.backends.files.storage import Entry


class Vanishing(LocalStorage):
    """Manifests that somebody prunes just before they are read, so many times."""

    times = 0
    read_too_late = 0

    def read(self, name: str) -> bytes:
        if self.read_too_late < self.times:
            self.read_too_late += 1
            raise FileNotFoundError(name)
        return super().read(name)


def test_a_manifest_that_goes_while_it_is_read_is_looked_for_again(tmp_path: Path) -> None:
    manifests.publish(LocalStorage(tmp_path), "t", Published(1, state={"a": 1}))
    storage = Vanishing(tmp_path)
    storage.times = 2
    found = manifests.newest(storage, "t")
    assert found is not None
    assert (found.seq, found.state, storage.read_too_late) == (1, {"a": 1}, 2)
    storage.read_too_late, storage.times = 0, 3
    with pytest.raises(RunError, match="the manifests of `t` change faster than they can be read"):
        manifests.newest(storage, "t")


def test_a_manifest_that_was_read_is_not_read_again(tmp_path: Path) -> None:
    storage = Vanishing(tmp_path)
    known: dict[Entry, Published] = {}
    manifests.publish(storage, "t", Published(1))
    first = manifests.newest(storage, "t", known)
    storage.times = 9
    assert manifests.newest(storage, "t", known) is first
    storage.times = 0
    manifests.publish(storage, "t", Published(2, state={"b": 1}), first)
    second = manifests.newest(storage, "t", known)
    assert second is not None
    assert (second.seq, list(known.values())) == (2, [second])


def test_who_read_long_ago_does_not_take_a_number_that_was_pruned(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    for seq in range(1, 26):
        session.publish("t", Manifest(seq))
    with pytest.raises(LockedError, match="somebody else published manifest 4 of `t` first"):
        manifests.publish(session.storage, "t", Published(4), before=Published(3, by="then"))
    assert manifests.numbers(session.storage, "t") == list(range(6, 26))
    with pytest.raises(LockedError, match="somebody else published manifest 5 of `t` first"):
        manifests.publish(session.storage, "t", Published(5), before=Published(4, by="then"))
    assert manifests.numbers(session.storage, "t") == list(range(6, 26))


class Lossy(LocalStorage):
    """A store that says of the first creation that nobody knows how it ended."""

    arrives = True
    """Whether it happened nevertheless."""
    told = 0

    def create(self, name: str, body: bytes) -> bool:
        self.told += 1
        if self.told > 1:
            return super().create(name, body)
        if self.arrives:
            super().create(name, body)
        raise TransientError("the answer was lost", "")


class Repeating(LocalStorage):
    """A client that asks twice by itself, and hears of the second time only."""

    def create(self, name: str, body: bytes) -> bool:
        super().create(name, body)
        return super().create(name, body)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_lost_answer_is_asked_for(tmp_path: Path, *, arrives: bool) -> None:
    storage = Lossy(tmp_path)
    storage.arrives = arrives
    assert manifests.publish(storage, "t", Published(1)) == [1]
    assert storage.told == (1 if arrives else 2)


def test_a_manifest_of_ours_that_is_there_already_is_ours(tmp_path: Path) -> None:
    assert manifests.publish(Repeating(tmp_path), "t", Published(1)) == [1]


def test_a_lost_answer_to_somebody_slower_is_a_loss(tmp_path: Path) -> None:
    """Ours did not arrive, and another one's did before we asked again."""

    class Slower(Lossy):
        arrives = False

        def create(self, name: str, body: bytes) -> bool:
            if self.told == 0:
                manifests.publish(LocalStorage(tmp_path), "t", Published(1, state={"by": "other"}))
            return super().create(name, body)

    with pytest.raises(LockedError, match="somebody else published manifest 1"):
        manifests.publish(Slower(tmp_path), "t", Published(1))
    session = FolderSession(LocalStorage(tmp_path), lake(tmp_path, "csv").config)
    assert session.manifest("t") == Manifest(1, (), {"by": "other"})


def test_a_number_must_be_the_next(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    with pytest.raises(RunError, match="manifest 2 of `t` cannot follow 0"):
        manifests.publish(storage, "t", Published(2))
    with pytest.raises(LockedError, match="somebody else published manifest 0"):
        manifests.publish(storage, "t", Published(0))
    manifests.publish(storage, "t", Published(1))
    with pytest.raises(RunError, match="manifest 3 of `t` cannot follow 1"):
        manifests.publish(storage, "t", Published(3))
    assert manifests.numbers(storage, "t") == [1]


def test_what_a_crashed_publisher_left_is_revealed_or_removed(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    (tmp_path / "t").mkdir()
    for name in (".a.csv.tmp", ".b.csv.tmp", "b.csv", "c.csv", ".other.csv.tmp"):
        (tmp_path / "t" / name).write_text(name)
    found = manifests.reveal(storage, "t", ["a.csv", "b.csv", "c.csv"])
    assert {name: (tmp_path / "t" / name).read_text() for name in found} == {
        "a.csv": ".a.csv.tmp",
        "b.csv": "b.csv",
        "c.csv": "c.csv",
        ".other.csv.tmp": ".other.csv.tmp",
    }
    assert manifests.reveal(storage, "t", ["a.csv"]).keys() == found.keys()
    manifests.remove(storage, "t", [])
    manifests.remove(storage, "t", ["c.csv", "other.csv"])
    assert sorted(manifests.present(storage, "t")) == ["a.csv", "b.csv"]
