"""Tab completion of `%flow ...` and of the first line of `%%flow ...`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_LINE = re.compile(r"^\s*(?:[A-Za-z_]\w*\s*=\s*)?%flow\s(?P<words>.*)$")
_CELL = re.compile(r"^%%flow\s(?P<words>.*)$")


def words_before(text: str, *, first_line: bool) -> tuple[list[str], bool] | None:
    """The words after `%flow` up to the cursor, the last one unfinished; None elsewhere.

    Returns:
        The words, and whether they belong to a cell magic.

    Example:
        >>> words_before("p = %flow preview or", first_line=False)
        (['preview', 'or'], False)
        >>> words_before("%%flow pipeline x --", first_line=True)
        (['pipeline', 'x', '--'], True)
        >>> words_before("print('%flow list')", first_line=True) is None
        True
    """
    cell = _CELL.match(text) if first_line else None
    found = cell or _LINE.match(text)
    if found is None:
        return None
    given = found["words"]
    words = given.split()
    return [*words, ""] if not words or given[-1].isspace() else words, cell is not None


def matcher(complete: Callable[[list[str], bool], list[str]]) -> Any:
    """A matcher for IPython; ``complete(words, is_cell)`` gives what may stand in place of the last word."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    def flow_matcher(context: Any) -> dict[str, Any]:
        found = words_before(context.text_until_cursor, first_line=context.cursor_line == 0)
        if found is None:
            return {"completions": []}
        words, is_cell = found
        completions = [SimpleCompletion(text=text, type="flow") for text in complete(words, is_cell)]
        return {"completions": completions, "suppress": True, "matched_fragment": words[-1]}

    return context_matcher(identifier="ematix_nb.flow")(flow_matcher)
