"""Rows that are put aside one by one: keys that are NULL, and checks of single values (``on_fail="quarantine"``)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import DataError
from ematix_nb.load.checks import bound_value
from ematix_nb.load.conversions import caster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from ematix_nb.declare.checks import Check
    from ematix_nb.declare.data_types import DataType


def null_key(name: str) -> Callable[[pa.Array, int], Iterator[tuple[int, str]]]:
    """Finds the rows whose key is NULL."""
    return functools.partial(_absent, f"key column `{name}` is NULL")


def finders(
    check: Check, sources: dict[str, DataType], targets: dict[str, DataType]
) -> Iterator[tuple[str, Callable[[pa.Array, int], Iterator[tuple[int, str]]]]]:
    """What finds the rows that break a check: pairs (column, finder).

    Args:
        check: ``not_null`` or ``between``.
        sources: The types of the columns as they are read.
        targets: And as the target holds them: what the bounds are compared with.
    """
    for name in check.columns:
        if check.name == "not_null":
            yield name, functools.partial(_absent, f"check `{check}`: `{name}` is NULL")
        else:
            cast = caster(name, sources[name], targets[name])
            yield name, functools.partial(_outside, check, name, cast, targets[name])


def _absent(words: str, values: pa.Array, _before: int) -> Iterator[tuple[int, str]]:
    import pyarrow.compute as pc

    yield from ((row, words) for row in pc.indices_nonzero(values.is_null()).to_pylist())


def _outside(
    check: Check,
    name: str,
    cast: Callable[[pa.Array, int], pa.Array],
    kind: DataType,
    values: pa.Array,
    before: int,
) -> Iterator[tuple[int, str]]:
    """The values beyond the bounds; one that is no value of the column's type is left to its cast."""
    low, high = (None if bound is None else bound_value(check, bound, kind) for bound in (check.low, check.high))
    for start, typed in _typed(values, cast, before):
        if _all_inside(typed, low, high):
            continue
        for row, value in enumerate(typed.to_pylist()):
            if value is not None and _is_beyond(value, low, high):
                yield start + row, f"check `{check}`: column `{name}`, row {before + start + row + 1} is {value}"


def _typed(values: pa.Array, cast: Callable[[pa.Array, int], pa.Array], before: int) -> Iterator[tuple[int, pa.Array]]:
    """The values in the target's type, whole or, where one does not fit, one by one; with the place of the first."""
    try:
        yield 0, _plain(cast(values, before))
    except DataError:
        for row in range(len(values)):
            try:
                typed = _plain(cast(values.slice(row, 1), before + row))
            except DataError:
                continue
            yield row, typed


def _plain(typed: pa.Array) -> pa.Array:
    """Nanoseconds, for which Python has no type, as microseconds."""
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_timestamp(typed.type) and typed.type.unit == "ns":
        return typed.cast(pa.timestamp("us", tz=typed.type.tz), safe=False)
    return typed


def _all_inside(typed: pa.Array, low: Any, high: Any) -> bool:
    """Whether the least and the largest value are inside, which takes no look at each."""
    import pyarrow.compute as pc
    import pyarrow.types as pt

    if pt.is_floating(typed.type) and pc.any(pc.is_nan(typed)).as_py():
        return False
    ends = pc.min_max(typed).as_py()
    return ends["min"] is None or not (_is_beyond(ends["min"], low, high) or _is_beyond(ends["max"], low, high))


def _is_beyond(value: Any, low: Any, high: Any) -> bool:
    """NaN is larger than every number, as in databases."""
    if value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return high is not None
    return (low is not None and value < low) or (high is not None and value > high)
