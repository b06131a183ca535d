"""What the Delta library raises, as errors of ours."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ematix_nb.connections.secret import censor, redact
from ematix_nb.errors import ConflictError, DataError, FlowError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFLICT = "another writer changed the table `{thing}` while this run was at work; nothing of this run was committed"
LONGEST = 300


@contextlib.contextmanager
def translated(thing: str) -> Iterator[None]:
    """Turn the library's errors into ours.

    Raises:
        ConflictError: When another writer was first.
        DataError: When the table does not take the rows.
        RunError: Otherwise.
    """
    from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError

    try:
        yield
    except FlowError:
        raise
    except CommitFailedError as exc:
        if "feature" in str(exc).lower():
            raise _refused(thing, exc) from exc
        raise ConflictError(CONFLICT.format(thing=thing), "run again") from exc
    except SchemaMismatchError as exc:
        message = f"the table `{thing}` does not take the columns: {_short(exc)}"
        raise DataError(message, "cast them in the SELECT, or write to another table") from exc
    except DeltaError as exc:
        if "already exists" in str(exc):
            raise ConflictError(CONFLICT.format(thing=thing), "run again") from exc
        raise _refused(thing, exc) from exc
    except (OSError, ValueError) as exc:
        raise _refused(thing, exc) from exc


def _refused(thing: str, exc: Exception) -> FlowError:
    text = _short(exc)
    words = ("constraint", "invariant", "non-nullable", "failed validation check")
    if any(word in text.lower() for word in words):
        return DataError(f"the table `{thing}` refuses the rows: {text}", "correct the rows in the SELECT")
    return RunError(f"the Delta library failed on `{thing}`: {text}", "check the place of the table and its rights")


def _short(exc: Exception) -> str:
    told = str(exc).partition("Preview of invalid data")[0]  # what follows are whole rows
    text = " ".join(str(redact(told or type(exc).__name__)).split())
    censor(exc)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
