"""``flow``: understand the line, call the verb, print what it returns.

The result goes to the standard output, everything else (progress, warnings,
errors) to the standard error. A user's mistake is one message without a
traceback; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from ematix_nb.errors import EXIT_FAILED, EXIT_OK, FlowError
from ematix_nb.verbs.grammar import HelpRequested, Parsed, parse

if TYPE_CHECKING:
    from ematix_nb.verbs.dispatch import Call
    from ematix_nb.verbs.results import Result

IN_WORKER = frozenset(
    {
        "run",
        "run-due",
        "backfill",
        "dry-run",
        "check",
        "preview",
        "plan",
        "diff",
        "schema",
        "validate",
        "status",
        "quarantine replay",
    }
)
"""Verbs that may block in a driver: they work in a thread, so that Ctrl-C always gets through."""
_INTERRUPTED = 130
_YES = ("y", "yes")


def main(argv: list[str] | None = None) -> int:
    """Run one line and give the exit code; never raises for what a user did.

    Args:
        argv: The words after ``flow``; None takes those of the process.
    """
    if argv is None:
        return _left(_guarded(sys.argv[1:]))
    return _guarded(list(argv))


def _guarded(words: list[str]) -> int:
    """The exit code of a line, whatever happens in it."""
    debug = "--debug" in words
    try:
        return _flushed(_main(words))
    except HelpRequested as exc:
        return _safely(exc.text, sys.stdout if exc.exit_code == EXIT_OK else sys.stderr, exc.exit_code)
    except FlowError as exc:
        _trace(debug)
        return _failure(exc, words)
    except KeyboardInterrupt:
        return _safely("interrupted", sys.stderr, _INTERRUPTED)
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_OK
    except Exception as exc:  # noqa: BLE001 - the last place: one line instead of a traceback, which --debug shows
        _trace(debug)
        from ematix_nb.connections.secret import redact

        text = " ".join(redact(f"{type(exc).__name__}: {exc}").split())
        return _safely(f"internal error: {text}\nhint: run it with --debug and report it", sys.stderr, EXIT_FAILED)


def _left(code: int) -> int:
    """The exit code of the process; what was left behind in a thread must not keep it alive."""
    worker = sys.modules.get("ematix_nb.cli.worker")
    return worker.leave(code) if worker is not None else code


def _main(words: list[str]) -> int:
    if words == ["--version"]:
        from ematix_nb import __version__

        _print(f"flow {__version__}")
        return EXIT_OK
    parsed = parse(words)
    _quiet_warnings()
    call, result = _invoke(parsed)
    code = call.exit_code(result)
    if parsed.verb != "run-due" and not _logs_here(parsed):
        for note in call.notes:
            _say(f"note: {note}")
    _print(_rendered(result, parsed.format))
    return code


def _invoke(parsed: Parsed) -> tuple[Call, Result]:
    from ematix_nb.cli.progress import Progress
    from ematix_nb.verbs.dispatch import prepare

    progress = Progress(None if _logs_here(parsed) else sys.stderr)
    call = prepare(parsed, listener=progress)
    call.confirm = _confirm if _is_tty(sys.stdin) and _is_tty(sys.stderr) else None
    call.ask = _ask_secret if call.confirm is not None else None
    with progress:
        return call, _called(call)


def _logs_here(parsed: Parsed) -> bool:
    """Whether the standard error is a log of JSON lines."""
    return parsed.options.get("log_json") == "-"


def _called(call: Call) -> Result:
    needs_answer = call.options.get("full_refresh") and not call.options.get("yes")
    if call.parsed.verb not in IN_WORKER or (needs_answer and call.confirm is not None):
        return call.run()
    from ematix_nb.cli.worker import run_stoppable
    from ematix_nb.load.cancel import CancelToken

    call.token = CancelToken()
    return run_stoppable(call.run, call.token)


def _confirm(question: str) -> bool:
    """Ask on the terminal."""
    print(f"{question} Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in _YES


def _ask_secret(question: str) -> str:
    """Ask on the terminal; what is typed is not shown."""
    import getpass

    return getpass.getpass(question, sys.stderr)


def _rendered(result: Result, form: str) -> str:
    if form == "json":
        import json

        text = json.dumps(result.to_dict(), ensure_ascii=False, indent=2, default=str)
        return text if _fits(text) else json.dumps(result.to_dict(), ensure_ascii=True, indent=2, default=str)
    from ematix_nb.verbs.text import neutral

    return neutral(result.to_text())


def _fits(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _failure(exc: FlowError, words: list[str]) -> int:
    """Tell an error; as JSON on the standard output when that was asked for."""
    from ematix_nb.connections.secret import redact

    if _wants_json(words):
        import json

        parts = {"code": exc.code, "error": redact(exc.what), "hint": redact(exc.hint), "where": redact(exc.where)}
        _safely(json.dumps(parts, indent=2), sys.stdout, exc.exit_code)
    return exc.exit_code if exc.told else _safely(_neutral(redact(str(exc))), sys.stderr, exc.exit_code)


def _wants_json(words: list[str]) -> bool:
    return "--format=json" in words or ("--format", "json") in itertools.pairwise(words)


def _neutral(text: str) -> str:
    if text.isascii() and "\x1b" not in text:
        return text
    from ematix_nb.verbs.text import neutral

    return neutral(text)


def _trace(debug: bool) -> None:  # noqa: FBT001 - the one fact it needs
    if debug:
        import traceback

        from ematix_nb.connections.secret import redact

        print(redact(traceback.format_exc()), end="", file=sys.stderr)


def _quiet_warnings() -> None:
    """Warnings as one line, without the place in our code."""
    import warnings

    def show(message: Any, *_: Any, **__: Any) -> None:
        from ematix_nb.connections.secret import redact

        _say(f"warning: {_neutral(redact(message))}")

    if not sys.warnoptions and "PYTEST_CURRENT_TEST" not in os.environ:
        warnings.showwarning = show


def _say(text: str) -> None:
    _safely(text, sys.stderr, EXIT_OK)


def _print(text: str) -> None:
    _write(sys.stdout, text)


def _write(stream: TextIO | None, text: str) -> None:
    """Write a line; characters that the stream has no code for are spelled out. A closed descriptor has no stream."""
    if stream is None:
        return
    line = f"{text}\n"
    try:
        stream.write(line)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding))


def _safely(text: str, stream: TextIO | None, code: int) -> int:
    """Write a line where nobody may be listening any more."""
    try:
        _write(stream, text)
        if stream is not None:
            stream.flush()
    except (BrokenPipeError, ValueError):
        # closed by `| head`, or by the caller
        if stream is sys.stdout:
            _drop_stdout()
    return code


def _flushed(code: int) -> int:
    """Write out what is buffered, so that a reader that went away is noticed here and not at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    return code


def _drop_stdout() -> None:
    """Let the interpreter's last flush go nowhere."""
    try:
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, sys.stdout.fileno())
        os.close(handle)
    except (OSError, ValueError):
        # a captured or closed stream has no descriptor
        return


def _is_tty(stream: Any) -> bool:
    return stream is not None and not stream.closed and stream.isatty()
