"""What a target must hold after each run, worked out from `docs/modes.md` and `docs/concepts.md` in plain Python.

It knows nothing of the engine and imports nothing of it. A row is a dictionary; a column that it lacks is NULL. What
the target got carries the time of the run that wrote it under ``LOADED``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
LOADED = "_loaded_at"
FROM, TO, CURRENT = "valid_from", "valid_to", "is_current"


class RefusedError(Exception):
    """The run has to fail, and the target stays as it is."""


@dataclass(frozen=True)
class Rules:
    """One declaration, as far as it decides about rows."""

    mode: str
    keys: tuple[str, ...] = ()
    watermark: str | None = None
    overlap: Any = None
    """What is taken off the watermark: rows from there on are read again."""
    compare: tuple[str, ...] = ()
    """Columns that decide whether a row changed; none: all but the keys (and the event time)."""
    update: tuple[str, ...] = ()
    """Columns that an update writes; none: all but the keys."""
    newest_by: str | None = None
    """Of rows with one key the one with the largest value counts (NULL is smallest), then the later one."""
    event: str | None = None
    """The column that says when a version begins."""
    deletes: bool = False
    """What the source does not have any more is deleted (merge) or closed (scd2)."""
    apply_empty: bool = False
    """A source without rows empties the target."""


@dataclass
class Oracle:
    """The target of one pipeline."""

    rules: Rules
    rows: list[Row] = field(default_factory=list)
    watermark: Any = None
    runs: int = 0

    def run(self, source: list[Row], columns: tuple[str, ...], now: Any, *, full: bool = False) -> None:
        """One run that commits.

        Args:
            source: All rows that the query gives, in order.
            columns: Their columns.
            now: When the run starts.
            full: Read everything, whatever the watermark says.

        Raises:
            RefusedError: Nothing is loaded, and nothing changed here.
        """
        mark = None if full else self.watermark
        read = [row for row in source if self._is_read(row, mark)]
        needed = (*self.rules.keys, *([self.rules.event] if self.rules.event else []))
        if any(row.get(name) is None for row in read for name in needed):
            raise RefusedError
        getattr(self, f"_{self.rules.mode}")(read, columns, now, full=full)
        self.runs += 1
        if self.rules.watermark:
            seen = [row[self.rules.watermark] for row in read if row[self.rules.watermark] is not None]
            self.watermark = max([*seen, *([] if mark is None else [mark])], default=self.watermark)

    def _is_read(self, row: Row, mark: Any) -> bool:
        if self.rules.watermark is None or mark is None:
            return True
        value = row[self.rules.watermark]
        return value is None or value >= mark - self.rules.overlap

    # -- append, truncate -------------------------------------------------------------------------------------

    def _append(self, read: list[Row], columns: tuple[str, ...], now: Any, *, full: bool) -> None:
        have: Counter[Any] = Counter()
        if self.rules.watermark and self.runs and not full:
            have = Counter(_picked(row, columns) for row in self.rows)
        for row in read:  # equal rows are told by how many there are: what the source has once more is one row more
            if have[_picked(row, columns)] > 0:
                have[_picked(row, columns)] -= 1
            else:
                self.rows.append({**row, LOADED: now})

    def _truncate(self, read: list[Row], columns: tuple[str, ...], now: Any, *, full: bool) -> None:
        del columns, full
        if read or self.rules.apply_empty:
            self.rows = [{**row, LOADED: now} for row in read]

    # -- merge ------------------------------------------------------------------------------------------------

    def _merge(self, read: list[Row], columns: tuple[str, ...], now: Any, *, full: bool) -> None:
        del full
        newest = self._newest(read)
        update = self.rules.update or self._others(columns)
        for key, row in newest.items():
            old = next((one for one in self.rows if self._key(one) == key), None)
            if old is None:
                self.rows.append({**row, LOADED: now})
            elif _picked(old, self.rules.compare or update) != _picked(row, self.rules.compare or update):
                old |= {**{name: row.get(name) for name in update}, LOADED: now}
        if self.rules.deletes and (read or self.rules.apply_empty):
            self.rows = [row for row in self.rows if self._key(row) in newest]

    def _key(self, row: Row) -> Any:
        return _picked(row, self.rules.keys)

    def _others(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in columns if name not in self.rules.keys)

    def _newest(self, read: list[Row]) -> dict[Any, Row]:
        """Of each key the row that counts."""
        order = self.rules.newest_by or self.rules.event or self.rules.watermark
        found: dict[Any, Row] = {}
        for row in read:
            old = found.get(self._key(row))
            if old is None or order is None or _rank(row[order]) >= _rank(old[order]):
                found[self._key(row)] = row
        return found

    # -- scd2 -------------------------------------------------------------------------------------------------

    def _scd2(self, read: list[Row], columns: tuple[str, ...], now: Any, *, full: bool) -> None:
        del full
        newest = self._newest(read)
        compare = self.rules.compare or tuple(name for name in self._others(columns) if name != self.rules.event)
        if self.rules.event:
            for key in newest:
                self._put_events(key, [row for row in read if self._key(row) == key], compare, now)
        current = {self._key(row): row for row in self.rows if row[CURRENT]}
        for key, row in newest.items():
            old = current.get(key)
            if old is not None and not self.rules.event and _picked(old, compare) != _picked(row, compare):
                _close(old, now)
                old = None
            if old is None and (not self.rules.event or self.rules.deletes):
                self.rows.append({**row, FROM: now, TO: None, CURRENT: True, LOADED: now})
        if self.rules.deletes and (read or self.rules.apply_empty):
            for key in set(current) - set(newest):
                _close(current[key], now)

    def _put_events(self, key: Any, events: list[Row], compare: tuple[str, ...], now: Any) -> None:
        """Put the versions of one key among those that are there; each ends where the next begins."""
        old = sorted((row for row in self.rows if self._key(row) == key), key=lambda row: row[FROM])
        gaps = [one[TO] for one, after in _with_next(old) if one[TO] and (not after or one[TO] < after[FROM])]
        # versions that are alike today differed when they were loaded: in a column that the source had then
        stay = {
            id(after) for one, after in _with_next(old) if after and _picked(one, compare) == _picked(after, compare)
        }
        chain = {row[FROM]: row for row in old}
        for begins, event in {event[str(self.rules.event)]: event for event in events}.items():  # the later one counts
            if begins not in chain or _picked(chain[begins], compare) != _picked(event, compare):
                chain[begins] = {**event, FROM: begins, LOADED: now}
        kept: list[Row] = []
        for begins, row in sorted(chain.items(), key=lambda item: item[0]):
            before = kept[-1] if kept else None
            apart = before is None or any(before[FROM] < gap <= begins for gap in gaps)
            if apart or id(row) in stay or before is None or _picked(before, compare) != _picked(row, compare):
                kept.append(row)
        for row, after in _with_next(kept):
            ends = [gap for gap in gaps if gap > row[FROM] and (not after or gap < after[FROM])]
            row[TO] = min(ends, default=after[FROM] if after else None)
            row[CURRENT] = row[TO] is None
        self.rows = [row for row in self.rows if self._key(row) != key] + kept


def _close(row: Row, now: Any) -> None:
    row[TO], row[CURRENT] = now, False


def _with_next(rows: list[Row]) -> list[tuple[Row, Row | None]]:
    return list(zip(rows, [*rows[1:], None], strict=True)) if rows else []


def _picked(row: Row, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in names)


def _rank(value: Any) -> tuple[bool, Any]:
    """NULL before every value."""
    return (value is not None, value if value is not None else 0)


def check_versions(rows: list[Row], keys: tuple[str, ...]) -> None:
    """At most one current version a key, none without length, none that overlaps another."""
    chains: dict[Any, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row[FROM]):
        chains.setdefault(_picked(row, keys), []).append(row)
    for versions in chains.values():
        for row, after in _with_next(versions):
            assert row[CURRENT] == (row[TO] is None)
            assert row[TO] is None or row[FROM] < row[TO]
            assert after is None or (row[TO] is not None and row[TO] <= after[FROM])


def valid_at(rows: list[Row], moment: Any) -> list[Row]:
    """The versions that held at a moment: from their begin on, up to their end, which is no part of them."""
    return [row for row in rows if row[FROM] <= moment and (row[TO] is None or moment < row[TO])]
