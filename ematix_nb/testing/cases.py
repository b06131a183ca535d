"""Tests of pipelines that a notebook exported: ``check_case`` is all that they call."""

from __future__ import annotations

import functools
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@functools.cache
def _load(module: str) -> None:
    from ematix_nb.verbs.modules import load_modules

    load_modules((module,))


def check_case(module: Path, pipeline: str, body: str, *, name: str = "") -> None:
    """Try a pipeline on a few rows, in a DuckDB database of its own; no other system is asked.

    Args:
        module: The file that declares the pipeline; imported once in a process.
        pipeline: Its name.
        body: What stands below ``%%flow test`` in a notebook; its margin means nothing.
        name: Of the test, for the message.

    Raises:
        AssertionError: The target does not hold what is expected; lists the rows that differ.
        FlowError: The load fails, or the test is not understood.
    """
    from ematix_nb.declare import registry
    from ematix_nb.declare.cases import parse_case
    from ematix_nb.verbs.cases import run_case

    _load(str(module.resolve()))
    found = run_case(parse_case(pipeline, name, textwrap.dedent(body)), registry.get_pipeline(pipeline))
    if not found.passed:
        raise AssertionError(found.to_text())
