"""From words to options: the parser of one verb, built when that verb is on the line."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any, NoReturn

from ematix_nb.errors import UsageError, did_you_mean
from ematix_nb.verbs.grammar import GLOBALS, Argument, Parsed, arguments
from ematix_nb.verbs.usage import usage

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKED_LATER = frozenset({"pipeline", "address", "transform"})
"""Kinds whose absence is told when the names are known, so that the message can list them."""
_SHOWN = 80
_MAX_DIGITS = 18


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving."""

    def error(self, message: str) -> NoReturn:
        subject, _, problem = message.removeprefix("argument ").partition(": ")
        if "expected" in problem and "argument" in problem:
            message = f"`{subject.rpartition('/')[2]}` needs a value"
        elif problem.startswith("ignored explicit argument"):
            message = f"`{subject.rpartition('/')[2]}` takes no value"
        raise UsageError(f"{self.prog}: {message}", hint=f"usage: {self.usage}")


class _Once(argparse.Action):
    """Stores a value; a second, different one is refused."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest, None)
        if before is not None and before != values:
            what = f"{parser.prog}: `{option_string}` is given twice: {before}, {values}"
            raise UsageError(what, hint="give it once")
        setattr(namespace, self.dest, values)


def parse_verb(verb: str, words: list[str], prog: str) -> Parsed:
    """Understand the words after a verb.

    Raises:
        UsageError: An option is unknown, lacks its value, or its value is not one it may have.
    """
    table = (*arguments(verb, prog), *GLOBALS)
    parser = _build(verb, table, prog)
    found, rest = parser.parse_known_intermixed_args(words)
    _refuse_rest(verb, rest, table, prog)
    values = vars(found)
    options: dict[str, Any] = {}
    places = list(values.pop("_words", None) or [])
    for argument in table:
        form, kind, default, _ = argument
        key = key_of(form)
        if form.startswith("-"):
            given = values.get(key)
            options[key] = default if given is None or given is False else _value(form.partition(" ")[0], kind, given)
        else:
            options[key] = _positional(verb, argument, places, prog)
    if places:
        what = f"{prog} {verb}: `{places[0][:_SHOWN]}` was not expected"
        raise UsageError(what, hint=f"usage: {usage(verb, prog)}")
    options.pop("help")
    return Parsed(
        verb,
        format=options.pop("format"),
        debug=options.pop("debug"),
        profile=options.pop("profile"),
        module=tuple(options.pop("module")),
        options=options,
    )


def key_of(form: str) -> str:
    """The key of an argument in the options.

    Example:
        >>> key_of("--full-refresh"), key_of("[NAME...]"), key_of("--limit N"), key_of("KEY=VALUE...")
        ('full_refresh', 'names', 'limit', 'settings')
    """
    if form.startswith("-"):
        return form.split(maxsplit=1)[0].lstrip("-").replace("-", "_")
    if form.startswith("KEY=VALUE"):
        return "settings"
    name = form.strip("[]").lower()
    return f"{name.removesuffix('...')}s" if name.endswith("...") else name


def _build(verb: str, table: tuple[Argument, ...], prog: str) -> _Parser:
    parser = _Parser(prog=f"{prog} {verb}", usage=usage(verb, prog), add_help=False, allow_abbrev=False)
    for form, kind, _, _ in table:
        flags = [form.split()[0]]
        if not form.startswith("-") or flags == ["--help"]:
            continue
        if flags == ["--module"]:
            flags.insert(0, "-m")
        if kind == "flag":
            parser.add_argument(*flags, action="store_true", dest=key_of(form))
        else:
            parser.add_argument(*flags, action="append" if kind == "many" else _Once, dest=key_of(form))
    parser.add_argument("_words", nargs="*")
    return parser


def _refuse_rest(verb: str, rest: list[str], table: tuple[Argument, ...], prog: str) -> None:
    if not rest:
        return
    known = [form.split()[0] for form, *_ in table if form.startswith("-")]
    word = rest[0].partition("=")[0]
    hint = did_you_mean(word, known) or f"options: {', '.join(known)}"
    raise UsageError(f"{prog} {verb}: unknown option `{word[:_SHOWN]}`", hint=hint)


def _positional(verb: str, argument: Argument, places: list[str], prog: str) -> Any:
    """Take what an argument wants from the front of the words."""
    form, kind, default, _ = argument
    several = "..." in form
    taken, places[:] = (list(places), []) if several else (places[:1], places[1:])
    if not taken:
        if not form.startswith("[") and kind not in CHECKED_LATER:
            what = f"{prog} {verb}: {form.removesuffix('...')} is missing"
            raise UsageError(what, hint=f"usage: {usage(verb, prog)}")
        return default
    if kind == "pairs":
        return dict(_pair(word, verb, prog) for word in taken)
    return tuple(taken) if several else taken[0]


def _pair(word: str, verb: str, prog: str) -> tuple[str, str | None]:
    key, equals, value = word.partition("=")
    if not equals or not key.isidentifier():
        # the word may be a secret, so it is not repeated
        raise UsageError(f"{prog} {verb}: a setting is not of the form key=value", hint=f"usage: {usage(verb, prog)}")
    return key, value or None


def _value(option: str, kind: str, given: Any) -> Any:
    """The value of an option, checked."""
    word, _, rest = kind.partition(":")
    if word == "choice":
        allowed = rest.split("|")
        if given not in allowed:
            what = f"`{option}` is `{given[:_SHOWN]}`, expected one of {', '.join(allowed)}"
            raise UsageError(what, hint=did_you_mean(given, allowed) or f"for instance {option} {allowed[0]}")
        return given
    if word == "count":
        low, high = map(int, rest.split(":"))
        return _count(option, given, low, high)
    if word == "seconds":
        low, high = map(int, rest.split(":"))
        return _seconds(option, given, low, high)
    if word == "now":
        from ematix_nb.schedule.due import parse_now

        parse_now(given)
    if word == "interval":
        from ematix_nb.schedule.due import parse_interval

        return int(parse_interval(given).total_seconds())
    return given


def _count(option: str, text: str, low: int, high: int) -> int:
    digits = text.removeprefix("-")
    number = int(text) if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS else None
    if number is None or not low <= number <= high:
        what = f"`{option}` is `{text[:_SHOWN]}`, expected a whole number from {low} to {high}"
        raise UsageError(what, hint=f"for instance {option} {min(50, high)}")
    return number


def _seconds(option: str, text: str, low: int, high: int) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        what = f"`{option}` is `{text[:_SHOWN]}`, expected seconds from {low} to {high}"
        raise UsageError(what, hint=f"for instance {option} 60")
    return number
