"""The magics `%flow` and `%%flow`: the verbs of the command line, for cells."""

from __future__ import annotations

import functools
import shlex
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Enum, Int, TraitError, observe, validate
from traitlets.config.configurable import Configurable

from ematix_nb.errors import EXIT_OK, FlowError, RunError, UsageError
from ematix_nb.widgets import frontend

from .errors import last_traceback
from .handles import RUNS, RunHandle
from .metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from ematix_nb.declare.cases import Case
    from ematix_nb.events import Listener
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.verbs.grammar import Parsed
    from ematix_nb.verbs.results import Result

PROG = "%flow"
TRIGGER = "notebook"
_RUNS = ("run", "dry-run", "run-due", "quarantine replay")
"""Verbs whose failure is the cell's failure, even though they give a result."""
_LIMITED = ("preview", "diff")
"""Verbs whose `--limit` is the trait of that name when the line says nothing."""
_LOOKING_BACK = ("runs list",)
"""Verbs that also take the name of what is declared no more."""


@magics_class
class FlowMagics(Magics, Configurable):
    """`%flow VERB ...` gives a result; `%%flow connection|table|pipeline|check` declares, `%%flow query` reads."""

    widgets = Enum(
        ("auto", "on", "off", "grid"),
        "auto",
        help="live views: where a front end is there, always, never; or there, with rows that scroll (extra grid)",
    ).tag(config=True)
    limit = Int(50, min=1, max=100_000, help="rows that preview and diff show when the line has no --limit").tag(
        config=True
    )

    def __init__(self, shell: Any, **settings: Any) -> None:
        super().__init__(shell=shell, **settings)  # nosec B604
        self.runs = RUNS
        self.metadata = Metadata()
        self._own: dict[str, Callable[[list[str]], Any]] = {"debug": self._debug, "cancel": self._cancel}
        frontend.set_mode(frontend.mode_named(self.widgets))
        frontend.use_grid(self.widgets == "grid")

    @validate("widgets")
    def _widgets_wanted(self, proposal: dict[str, Any]) -> str:
        from importlib.util import find_spec

        if proposal["value"] == "grid" and find_spec("anywidget") is None:
            raise TraitError('the grid needs the package `anywidget`: pip install "ematix-nb[grid]"')
        return str(proposal["value"])

    @observe("widgets")
    def _widgets_changed(self, change: dict[str, Any]) -> None:
        frontend.set_mode(frontend.mode_named(change["new"]))
        frontend.use_grid(change["new"] == "grid")

    @line_cell_magic("flow")  # type: ignore[arg-type]  # IPython declares it for no function at all
    @no_var_expand
    def flow(self, line: str, cell: str | None = None) -> Any:
        """Preview, run and export data pipelines; `%flow` alone lists the verbs."""
        if cell is not None:
            return self._cell(line, cell)
        words = split(line)
        if words and words[0] in self._own:
            return self._own[words[0]](words[1:])
        return self._verb(words)

    def _cell(self, line: str, body: str) -> Result:
        from .cells import declare, parse_cell

        parsed = parse_cell(line, body)
        if parsed.case is not None:
            return _tested(parsed.case)
        if parsed.kind == "query":
            from .frames import query

            return query(parsed, frontend.current_shell().user_ns)
        return declare(parsed, frontend.current_shell().user_ns)

    def _verb(self, words: list[str]) -> Any:
        from ematix_nb.verbs.grammar import HelpRequested, parse

        try:
            parsed = parse(words, prog=PROG)
        except HelpRequested as asked:
            return _shown(asked.text if words else f"{asked.text}\n{_NOTEBOOK_HELP}")
        if parsed.verb in _LIMITED and not any(word.partition("=")[0] == "--limit" for word in words):
            parsed.options["limit"] = self.limit
        if (library := parsed.options.pop("into", None)) is not None:
            from .frames import pipeline_frame

            _check_names(parsed)
            return pipeline_frame(parsed, library)
        if parsed.options.pop("bg", False):
            return self._background(parsed)
        return self._foreground(parsed)

    def _foreground(self, parsed: Parsed) -> Any:
        from .progress import listener

        if parsed.verb == "preview":
            from .frames import frame_preview

            looked = frame_preview(parsed, frontend.current_shell().user_ns)
            if looked is not None:
                return looked.to_dict() if parsed.format == "json" else looked
        _check_names(parsed)
        work = functools.partial(_invoke, parsed, secret=_secret(parsed))
        names = tuple(parsed.options.get("names") or ())
        if parsed.verb == "run" and names:
            result, cancelled = self.runs.run(names, work, listener())
        else:
            result, cancelled = _in_worker(work, listener())
        if parsed.verb in _RUNS:
            self.metadata.forget()  # a run may have made a table
            _raise_failure(result, cancelled=cancelled)
        return result.to_dict() if parsed.format == "json" else result

    def _background(self, parsed: Parsed) -> Any:
        names: tuple[str, ...] = tuple(parsed.options.get("names") or ())
        if len(names) != 1:
            what = f"--bg runs one pipeline, got {len(names)}"
            raise UsageError(what, hint=f"usage: {PROG} run NAME --bg")
        _check_names(parsed)  # an unknown name fails here and now, not in the background
        return self.runs.start(names[0], functools.partial(_invoke, parsed))

    def _cancel(self, words: list[str]) -> Any:
        if len(words) != 1:
            raise UsageError(f"cancel takes one pipeline, got {len(words)}", hint=f"usage: {PROG} cancel NAME")
        given = frontend.current_shell().user_ns.get(words[0])
        return self.runs.cancel(given.names[0] if isinstance(given, RunHandle) else words[0])

    def _debug(self, words: list[str]) -> None:
        if words:
            raise UsageError(f"debug takes nothing, got `{words[0]}`", hint=f"usage: {PROG} debug")
        _shown(last_traceback())

    def complete(self, words: list[str], body: str | None) -> list[str]:
        """What the last word may become, for the matcher; never raises on a user's half line.

        Args:
            words: After `%flow`, the last one unfinished.
            body: Of a cell magic; None in a line magic.
        """
        from ematix_nb.verbs.grammar import complete, names_of

        from .sql_completion import complete_address, complete_option

        self.metadata.begin()
        known = set(names_of(None, "connection"))
        if ":" in words[-1] and words[-1].partition(":")[0] in known:
            return complete_address(words[-1], self.metadata)
        if body is not None:
            from .cells import complete_cell

            found = complete_option(words, body, self.metadata) if len(words) > 1 else None
            return complete_cell(words) if found is None else found
        if words and words[0] == "cancel" and len(words) > 1:
            return [name for name in self.runs.names() if name.startswith(words[-1])]
        own = [word for word in self._own if len(words) == 1 and words[0] and word.startswith(words[0])]
        return sorted({*own, *complete(words)})

    def complete_body(self, head: str, before: str, after: str) -> Any:
        """What may stand at the cursor in the body of a cell; see `sql_completion.complete_body`."""
        from .sql_completion import complete_body

        self.metadata.begin()
        return complete_body(head, before, after, self.metadata, frontend.current_shell().user_ns)


_NOTEBOOK_HELP = """
in a notebook only:
  run NAME --bg             run in the background; the card has a button to cancel
  preview FRAME             look at a frame (Arrow, polars, pandas) in a variable
  run NAME --into LIBRARY   its rows as a frame (polars, pandas, arrow, pyspark); nothing is written
  cancel NAME               stop a run that goes on in the background
  debug                     show the traceback of the last error
  %%flow connection NAME    a cell of TOML settings declares a connection
  %%flow table NAME         a cell with a column a line declares a table
  %%flow pipeline NAME ...  a cell of SQL declares a pipeline
  %%flow check NAME         a cell with a check a line: what has to hold before a load commits
  %%flow test NAME          a cell with a test of a pipeline: rows given, rows expected
  %%flow query NAME ...     a cell of SQL, whose rows go into a frame in the variable NAME; --into preview shows them"""


def split(line: str) -> list[str]:
    """The words of a line, as a shell would read them.

    Raises:
        UsageError: A quote is not closed.

    Example:
        >>> split("preview 'lake:my orders/*.parquet' --limit 5")
        ['preview', 'lake:my orders/*.parquet', '--limit', '5']
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"the line cannot be read: {error}", hint="close the quote") from None


def _check_names(parsed: Parsed) -> None:
    """Refuse an unknown pipeline in the words of a notebook; lines with `--module` are left to the verb.

    Raises:
        UnknownNameError: With the nearest name, or how to declare one.
    """
    from ematix_nb.declare import registry
    from ematix_nb.errors import UnknownNameError
    from ematix_nb.verbs.grammar import arguments

    kinds = {kind for form, kind, *_ in arguments(parsed.verb) if not form.startswith("-")}
    if parsed.module or "pipeline" not in kinds or parsed.verb in _LOOKING_BACK:
        return
    names = parsed.options.get("names") or ((name,) if (name := parsed.options.get("name")) else ())
    for name in names:
        if not registry.pipelines():
            hint = "declare one: %%flow pipeline NAME --to CONNECTION:TABLE"
            raise UnknownNameError(f"there is no pipeline `{name}`; this notebook declares none", hint)
        registry.get_pipeline(name)


def _invoke(parsed: Parsed, listener: Listener, token: CancelToken, *, secret: str | None = None) -> Result:
    from ematix_nb.verbs.grammar import invoke

    ask = None if secret is None else lambda _: secret
    return invoke(parsed, listener=listener, token=token, trigger=TRIGGER, registry_ready=True, ask=ask)


def _secret(parsed: Parsed) -> str | None:
    """What the user types for `--ask-secret`: only the main thread can ask. None where nobody can be asked."""
    if not parsed.options.get("ask_secret"):
        return None
    import getpass

    try:
        return getpass.getpass(f"password of {parsed.options['name']}: ")
    except (EOFError, NotImplementedError, RuntimeError):  # an execution that nobody watches
        return None


def _tested(case: Case) -> Result:
    """Run a test; one that fails is shown and fails the cell."""
    from IPython.display import display

    from ematix_nb.declare import registry
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.verbs.cases import failure, run_case

    from .working import wait_for

    spec, token = registry.get_pipeline(case.pipeline), CancelToken()
    result = wait_for(lambda: run_case(case, spec, token), token)
    if (error := failure(result)) is not None:
        display(result)  # type: ignore[no-untyped-call]
        raise error
    return result


def _in_worker(work: Callable[..., Result], listener: Listener) -> tuple[Result, bool]:
    """Work while the main thread stays open for an interrupt; the result, and whether it was cancelled."""
    from ematix_nb.load.cancel import CancelToken

    from .working import wait_for

    token = CancelToken()
    return wait_for(lambda: work(listener, token), token), token.cancelled


def _shown(text: str) -> None:
    print(text)  # noqa: T201 - the cell's output


def _raise_failure(result: Any, *, cancelled: bool) -> None:
    """Fail the cell when a run did: show the whole result, raise its first error."""
    if result.exit_code == EXIT_OK:
        return
    from IPython.display import display

    from ematix_nb.errors import CANCELLED, CancelledError

    display(result)  # type: ignore[no-untyped-call]
    if cancelled:
        raise CancelledError(CANCELLED)
    raise _first_error(result) or RunError(f"the run ended with exit code {result.exit_code}")


def _first_error(result: Any) -> FlowError | None:
    """The first error anywhere in a result."""
    for name in ("targets", "results", "ran"):
        for part in getattr(result, name, ()):
            error = getattr(part, "error", None) or _first_error(part)
            if isinstance(error, FlowError):
                return error
    for entry in getattr(result, "failed", ()):
        if isinstance(entry, dict):
            return RunError(f"{entry['pipeline']}: {entry['error']}")
        if isinstance(entry, tuple) and isinstance(entry[1], FlowError):
            return entry[1]
    for step in getattr(result, "transforms", ()):
        if step.get("error"):
            return RunError(f"the load is committed, but the step `{step['name']}` failed: {step['error']}")
    return None
