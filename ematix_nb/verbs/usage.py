"""Help texts, written from the table of verbs; the same on every terminal and Python version."""

from __future__ import annotations

from ematix_nb.verbs.grammar import DEFAULT_ACTIONS, GLOBALS, VERBS, Argument, actions, arguments, verbs

_INDENT = 28


def help_text(verb: str, *, prog: str = "flow") -> str:
    """The help of a verb, or (for ``""``) the list of all.

    Example:
        >>> help_text("transform run").splitlines()[0]
        'usage: flow transform run NAME...'
    """
    if not verb:
        return _overview(prog)
    help_line = VERBS[verb][0]
    lines = [f"usage: {usage(verb, prog)}", "", f"{help_line[0].upper()}{help_line[1:]}."]
    if below := actions(verb):
        lines += ["", "actions:", *(_line(action, VERBS[f"{verb} {action}"][0]) for action in below)]
        lines += ["", f"Without an action: {DEFAULT_ACTIONS[verb]}."]
    own = arguments(verb, prog)
    if positional := [one for one in own if not one[0].startswith("-")]:
        lines += ["", "arguments:", *(_line(form, text) for form, _, _, text in positional)]
    if options := [one for one in own if one[0].startswith("-")]:
        lines += ["", "options:", *(_line(one[0], described(one)) for one in options)]
    lines += ["", "options of every verb:", *(_line(one[0], described(one)) for one in GLOBALS)]
    return "\n".join(lines)


def usage(verb: str, prog: str = "flow") -> str:
    """One line: the verb and what it takes.

    Example:
        >>> usage("runs"), usage("preview")
        ('flow runs [list|show] ...', 'flow preview NAME [--limit N] [--as-of T]')
    """
    if below := actions(verb):
        return f"{prog} {verb} [{'|'.join(below)}] ..."
    own = arguments(verb, prog)
    forms = [form for form, *_ in own if not form.startswith("-")]
    forms += [f"[{form}]" for form, *_ in own if form.startswith("-")]
    return " ".join([prog, verb, *forms])


def described(argument: Argument) -> str:
    """The help of an option with its values and its default."""
    _, kind, default, text = argument
    if kind.startswith("choice:"):
        text = f"{text}: {kind.removeprefix('choice:').replace('|', ', ')}"
    return text if default in (None, False, (), 0.0, ".") else f"{text} (default: {default})"


def _overview(prog: str) -> str:
    return "\n".join(
        [
            f"usage: {prog} VERB ...",
            "",
            "Data pipelines that are declared in a notebook or a module, and run by cron.",
            "",
            "verbs:",
            *(_line(verb, VERBS[verb][0]) for verb in verbs()),
            "",
            "options of every verb:",
            *(_line(one[0], described(one)) for one in GLOBALS),
            _line("--version", "show the version"),
            "",
            "exit codes: 0 ok, 1 failed, 2 wrong usage, 3 partly done, 4 locked, 5 warnings with --strict",
            f"more: {prog} help VERB",
        ]
    )


def _line(left: str, right: str) -> str:
    gap = " " * max(2, _INDENT - 2 - len(left))
    return f"  {left}{gap}{right}"
