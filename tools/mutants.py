"""`mutmut`, with one mutant for each text instead of three, the fastest tests first, and many diffs at once.

mutmut also writes each text in capitals and in small letters. SQL means the same either way, so these mutants of
statements cannot be killed, and say nothing.
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

from mutmut.mutation import mutators
from mutmut.state import state
from mutmut.workers import isolation

if TYPE_CHECKING:
    from collections.abc import Iterable

    import libcst


def marked(node: libcst.BaseString) -> Iterable[libcst.BaseString]:
    """The text between two marks, the first mutant that mutmut makes of it."""
    return itertools.islice(mutators.operator_string(node), 1)


class FastestFirst(isolation.ForkServerRunner):
    """Most mutants fall to any test that meets them, so the fastest ones go first."""

    def submit(self, mutant_name: str, tests: list[str], cpu_time_limit: int, estimated_time: float) -> None:
        """Hand a mutant with its tests to the processes."""
        durations = state().duration_by_test
        ordered = sorted(tests, key=lambda test: (durations[test], test))
        super().submit(mutant_name, ordered, cpu_time_limit, estimated_time)


def show(names: list[str]) -> None:
    """Print mutants as diffs; `mutmut show` does it for one at a time."""
    from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant

    for name in names:
        print(f"# {name}\n{get_diff_for_mutant(name, path=find_mutant(name).path)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["show"]:
        sys.exit(show(sys.argv[2:]))
    operators = mutators.mutation_operators
    operators[:] = [(kind, marked if each is mutators.operator_string else each) for kind, each in operators]
    isolation.ForkServerRunner = FastestFirst
    from mutmut.__main__ import cli

    cli()
