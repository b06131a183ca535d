"""Tab completion of `%flow ...` and `%%flow ...` cells: finds the words, and leaves the rest to others."""

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


def split_cell(lines: list[str]) -> tuple[int, str] | None:
    r"""Of a `%%flow` cell: how many lines its first line goes on for, and the whole of it; None for other cells.

    Example:
        >>> split_cell(["%%flow pipeline x \\", "  --to wh:x", "SELECT 1"])
        (2, 'pipeline x --to wh:x')
    """
    if not lines or not (found := _CELL.match(lines[0])):
        return None
    parts, count = [found["words"].rstrip()], 1
    while parts[-1].endswith("\\") and count < len(lines):
        parts[-1] = parts[-1][:-1].rstrip()
        parts.append(lines[count].strip())
        count += 1
    return count, " ".join(parts)


def matcher(complete: Callable[[list[str], str | None], list[str]], body: Callable[[str, str, str], Any]) -> Any:
    """A matcher for IPython.

    Args:
        complete: Gives what may stand in place of the last word of a line; the second argument is the body of a cell
            magic, None in a line magic.
        body: Gives a fragment and its choices, for the first line, the body before and the body behind the cursor.
    """
    from IPython.core.completer import context_matcher

    def flow_matcher(context: Any) -> dict[str, Any]:
        lines = context.full_text.split("\n")
        cell = split_cell(lines)
        if cell is not None and context.cursor_line >= cell[0]:
            line = lines[context.cursor_line]
            before = [*lines[cell[0] : context.cursor_line], line[: context.cursor_position]]
            after = [line[context.cursor_position :], *lines[context.cursor_line + 1 :]]
            found = body(cell[1], "\n".join(before), "\n".join(after))
            return _matches(found.fragment, found.choices)
        text = context.text_until_cursor
        if cell is not None and context.cursor_line:
            text = " ".join(
                [lines[0].rstrip()[:-1], *(one.strip().rstrip("\\") for one in lines[1 : context.cursor_line]), text]
            )
        words = words_before(text, first_line=cell is not None)
        if words is None:
            return {"completions": []}
        rest = "\n".join(lines[cell[0] :]) if cell is not None else None
        return _matches(words[0][-1], complete(words[0], rest))

    return context_matcher(identifier="ematix_nb.flow")(flow_matcher)


def _matches(fragment: str, choices: list[str]) -> dict[str, Any]:
    from IPython.core.completer import SimpleCompletion

    # without any completion IPython would offer Python's names, so what stands there already is offered
    completions = [SimpleCompletion(text=text, type="flow") for text in choices or filter(None, [fragment])]
    return {"completions": completions, "suppress": True, "matched_fragment": fragment}
