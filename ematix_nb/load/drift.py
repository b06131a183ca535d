"""What differs between the columns that a source gives and those that a target has, and what a policy makes of it.

``evolve`` adds columns and widens types; ``freeze`` refuses any difference that the target would see; ``quarantine``
changes nothing of the target, and rows that do not fit go elsewhere (`ematix_nb.load.quarantine`); ``warn`` changes
nothing either, and leaves new columns out.

A target remembers its own columns, not those of the source of yesterday. So a source whose type became smaller is no
difference: all its values fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ematix_nb.backends.base import Verdict
from ematix_nb.declare.spec import META_COLUMNS, SCD2_COLUMNS
from ematix_nb.errors import SchemaDriftError
from ematix_nb.load.conversions import conversion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.backends.base import TableInfo
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column

EVOLVE, FREEZE, QUARANTINE, WARN = "evolve", "freeze", "quarantine", "warn"
UNCHANGED = (QUARANTINE, WARN)
"""Policies under which a target keeps its columns, and rows are loaded nevertheless."""


def fits(source: DataType, target: DataType) -> bool:
    """Whether every value of a type goes into another one as it is.

    Example:
        >>> from ematix_nb.declare.data_types import BIGINT, INTEGER
        >>> fits(INTEGER, BIGINT), fits(BIGINT, INTEGER)
        (True, False)
    """
    found = conversion(source, target)
    return found.verdict in (Verdict.EXACT, Verdict.WIDENED) and not found.reason.startswith("each")


def missing(column: Column) -> str:
    """Words for a column that the target does not have."""
    return f"column `{column.name}` ({column.type}) is missing in the target"


def retyped(column: Column, existing: Column) -> str:
    """Words for a column of another type."""
    return f"column `{column.name}` is {existing.type} in the target and {column.type} in the source"


def not_given(wanted: Sequence[Column], found: TableInfo) -> tuple[str, ...]:
    """The columns of a target that the source gives no more, and that nothing else fills."""
    given = {column.name for column in wanted} | {*META_COLUMNS, *SCD2_COLUMNS} | found.generated | found.defaults
    return tuple(column.name for column in found.columns if column.name not in given)


def check_frozen(found: TableInfo, wanted: Sequence[Column], differences: Sequence[str]) -> None:
    """Refuse every difference, those of columns that are not given any more among them.

    Raises:
        SchemaDriftError: Names all of them.
    """
    gone = (f"column `{name}` of the target is not in the source" for name in not_given(wanted, found))
    if told := [*differences, *gone]:
        message = f"the target `{found.ref}` does not fit: " + "; ".join(told)
        raise SchemaDriftError(message, "change the table or the SELECT, or allow on_drift='evolve'")


def renamed(wanted: Sequence[Column], found: TableInfo) -> tuple[str, ...]:
    """A warning when columns come and others stay away: it may be one column under another name."""
    have = {column.name for column in found.columns}
    new = [column.name for column in wanted if column.name not in have]
    gone = not_given(wanted, found)
    if not new or not gone:
        return ()
    advice = f"if it was renamed, column_map={{'{gone[0]}': '{new[0]}'}} keeps one column"
    return (f"`{', '.join(new)}` is new and `{', '.join(gone)}` is not given any more; {advice}",)
