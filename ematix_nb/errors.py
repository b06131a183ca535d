"""Errors that a user can meet, named after what the caller can do.

    FlowError
    ├── UsageError            the call or the text is wrong: correct it            (exit 2)
    │   ├── DeclarationError  a table, pipeline or connection is declared wrongly
    │   ├── ConfigError       a settings file, variable or URL is wrong
    │   ├── UnknownNameError  a name is not known (also a LookupError)
    │   └── SqlError          the source query is not one readable SELECT
    ├── RunError              a run did not commit                                 (exit 1)
    │   ├── ConnectError      a system cannot be reached or refuses us
    │   │   └── UnreachableError  nobody answers there just now: the same call may pass when tried again
    │   ├── TransientError    the same run may pass when tried again
    │   │   └── ConflictError another writer was first: plan anew, and try again
    │   ├── DataError         a value, key or row count is refused
    │   │   └── CheckFailedError a declared check does not hold
    │   ├── SchemaDriftError  the target does not fit the declaration
    │   ├── HeldError         a pipeline that it depends on did not succeed
    │   └── CancelledError    somebody asked the run to stop
    ├── LockedError           another run of the pipeline is alive                 (exit 4)
    └── MissingDriverError    a package has to be installed                        (exit 2)

Each error keeps its parts in ``args``, so it survives pickling, and prints as
``what`` with an optional ``hint`` (what to do next) on its own line.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_LOCKED = 4
EXIT_WARNINGS = 5

CANCELLED = "cancelled; nothing was written"
"""What a `CancelledError` says, whoever stopped what and in which system."""


class FlowError(Exception):
    """The root of every error that this package raises on purpose.

    Args:
        what: What was received and what was expected, one sentence.
        hint: What to do next, one sentence; empty when nothing is sensible.
        where: File, cell or line of the cause; empty when unknown.
    """

    code = "FLOW-000"
    exit_code = EXIT_FAILED
    told = False
    """Whether it stands in a log on the standard error already."""

    def __init__(self, what: str, hint: str = "", where: str = "") -> None:
        super().__init__(what, hint, where)

    @property
    def what(self) -> str:
        """What went wrong."""
        return str(self.args[0])

    @property
    def hint(self) -> str:
        """What to do next."""
        return str(self.args[1])

    @property
    def where(self) -> str:
        """Where the cause stands."""
        return str(self.args[2])

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        tail = f"\nhint: {self.hint}" if self.hint else ""
        return f"{self.code} {self.what}{place}{tail}"


class UsageError(FlowError):
    """A command, option or argument is wrong."""

    code = "FLOW-100"
    exit_code = EXIT_USAGE


class DeclarationError(UsageError, ValueError):
    """A table, pipeline, transform or connection is declared wrongly."""

    code = "FLOW-110"


class ConfigError(UsageError):
    """A settings file, an environment variable or a URL is wrong."""

    code = "FLOW-120"


class UnknownNameError(UsageError, LookupError):
    """A name was used that nothing defines."""

    code = "FLOW-130"


class SqlError(UsageError):
    """The source query is not one readable SELECT."""

    code = "FLOW-140"


class MissingDriverError(FlowError, ImportError):
    """A backend needs a package that is not installed."""

    code = "FLOW-150"
    exit_code = EXIT_USAGE


class RunError(FlowError):
    """A run did not commit; the target is as it was."""

    code = "FLOW-200"


class ConnectError(RunError):
    """A system cannot be reached, or refuses the login."""

    code = "FLOW-210"


class UnreachableError(ConnectError):
    """Nobody answers where a system should be, or it has no room for one more session; that may pass."""

    code = "FLOW-211"


class TransientError(RunError):
    """A failure that may pass when the same run is tried again."""

    code = "FLOW-220"


class ConflictError(TransientError):
    """Another writer changed the target first; a new plan on what is there now may pass."""

    code = "FLOW-221"


class DataError(RunError):
    """A value, a key or a row count is refused."""

    code = "FLOW-230"


class CheckFailedError(DataError):
    """A check that the pipeline declares does not hold; nothing was written."""

    code = "FLOW-231"


class SchemaDriftError(RunError):
    """The target table does not fit what the pipeline declares."""

    code = "FLOW-240"


class CancelledError(RunError):
    """Somebody asked the run to stop; nothing was written."""

    code = "FLOW-250"


MAY_PASS = (TransientError, UnreachableError)
"""The errors after which the same run is worth another try; all others stay until somebody changes something."""


class HeldError(RunError):
    """A pipeline that this one depends on did not succeed, so it was not started."""

    code = "FLOW-260"


class LockedError(FlowError):
    """Another run of this pipeline is alive."""

    code = "FLOW-300"
    exit_code = EXIT_LOCKED


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest known name.

    Example:
        >>> did_you_mean("pipline", ["pipeline", "preview"])
        'did you mean `pipeline`?'
        >>> did_you_mean("zzz", ["pipeline"])
        ''
    """
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def known_names(name: str, known: Iterable[str], kind: str) -> str:
    """Hint for an unknown name: the nearest one, or all of them.

    Example:
        >>> known_names("ordres", ["orders"], "pipelines")
        'did you mean `orders`?'
        >>> known_names("x", ["b", "a"], "pipelines")
        'known pipelines: a, b'
        >>> known_names("x", [], "pipelines")
        'no pipelines are known'
    """
    names = sorted(known)
    return did_you_mean(name, names) or (f"known {kind}: {', '.join(names)}" if names else f"no {kind} are known")
