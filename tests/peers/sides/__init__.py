"""What other tools are asked to do, each in a process of its own; the Python that runs them has the tool, not us.

A job is one JSON text as the only argument. The process says `ready` once it has imported what it needs, waits for a
line, does the job and answers with one line of JSON. What the tool prints goes to the standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Job = dict[str, Any]
"""Of a load: ``source``, ``target`` (URLs), ``folder`` (its own), ``table``, ``sql`` or ``rows``, ``mode``, ``keys``,
and what a case wants beside."""


class NotPossibleError(Exception):
    """The tool has nothing for this; the text says what is missing."""


def serve(operations: dict[str, Callable[[Job], Any]], *modules: str) -> None:
    """Do the job of the command line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job: Job = json.loads(sys.argv[1], object_hook=_plain)
    for module in modules:
        importlib.import_module(module)
    print("ready", file=answers, flush=True)
    sys.stdin.readline()
    print(json.dumps(_answer(operations, job), default=str), file=answers, flush=True)


def _plain(found: dict[str, Any]) -> Any:
    """A decimal, which JSON has not, is written `{"decimal": "0.1"}`."""
    return Decimal(found["decimal"]) if set(found) == {"decimal"} else found


def _answer(operations: dict[str, Callable[[Job], Any]], job: Job) -> dict[str, Any]:
    if job["do"] not in operations:
        return {"status": "not possible", "said": "it has nothing of the kind"}
    try:
        return {"status": "done", "said": operations[job["do"]](job)}
    except NotPossibleError as error:
        return {"status": "not possible", "said": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever the tool raises is its answer
        return {"status": "failed", "said": _reason(error)}


def _reason(error: BaseException) -> str:
    """The text of the first error of the chain: those after it tell where it was met."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return f"{type(error).__name__}: {error}"
