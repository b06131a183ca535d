"""The command line reference, written from the grammar: ``python -m ematix_nb.cli.docs > docs/cli.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ematix_nb.verbs.grammar import DEFAULT_ACTIONS, GLOBALS, MAGIC_ARGUMENTS, VERBS, actions, arguments, verbs
from ematix_nb.verbs.usage import described, usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.verbs.grammar import Argument

_HEAD = """\
# The command line

<!-- written by `python -m ematix_nb.cli.docs` from the grammar; do not edit -->

`flow VERB ...` in a shell and `%flow VERB ...` in a notebook understand the same words, from one table. The result goes
to the standard output, progress and errors to the standard error. `--format json` prints one JSON document.

Pipelines are found in the modules that `--module` names: a dotted name (`pipelines.orders`), a file
(`pipelines/orders.py`) or a folder. The working directory can be imported from. Without `--module`, the list `modules`
of `.ematix-flow.toml` counts. In a notebook the names are those that its cells declared.
"""

_CODES = (
    (0, "all went well, or nothing was due"),
    (1, "a run failed, its target is as it was; or `validate`, `doctor` or `status` found something wrong"),
    (2, "the line, a declaration or a setting is wrong; nothing was done"),
    (3, "some of several pipelines, targets or post-transforms succeeded"),
    (4, "another run of the pipeline is alive (`--wait S` waits for it)"),
    (5, "warnings, or a module without pipelines, under `--strict`"),
    (130, "interrupted"),
)

_TAIL = """\
A full refresh of an incremental pipeline in mode `append` reads every row again and would append it a second time:
`flow run --full-refresh` asks before that, as `watermark set` and `watermark reset` do. Where there is no terminal to
ask at, such a line needs `--yes` and is refused without it (exit code 2).
"""


def markdown() -> str:
    """The whole page, ending in a line end."""
    parts = [_HEAD, "## Verbs\n", *_overview(), "## Options of every verb\n", _table(GLOBALS), "## Exit codes\n"]
    parts += ["| code | meaning |\n| --- | --- |\n" + "".join(f"| {code} | {text} |\n" for code, text in _CODES), _TAIL]
    for verb in verbs():
        parts += list(_section(verb))
    return "\n".join(parts)


def _overview() -> Iterator[str]:
    lines = "".join(f"| [`{verb}`](#flow-{verb}) | {_cell(VERBS[verb][0])} |\n" for verb in verbs())
    yield f"| verb | what it does |\n| --- | --- |\n{lines}"


def _section(verb: str) -> Iterator[str]:
    below = actions(verb)
    yield f"## flow {verb}\n"
    yield f"{_sentence(VERBS[verb][0])}\n"
    if not below:
        yield from _details(verb)
    for action in below:
        name = f"{verb} {action}"
        default = f" This is what `flow {verb}` alone does." if DEFAULT_ACTIONS[verb] == action else ""
        yield f"### flow {name}\n"
        yield f"{_sentence(VERBS[name][0])}{default}\n"
        yield from _details(name)


def _details(verb: str) -> Iterator[str]:
    yield f"```\n{usage(verb)}\n```\n"
    if own := arguments(verb):
        yield _table(own)
    for form, _, _, text in MAGIC_ARGUMENTS.get(verb, ()):
        yield f"In a notebook also `{form}`: {text}.\n"


def _table(own: tuple[Argument, ...]) -> str:
    lines = "".join(
        f"| `{form.replace('|', chr(92) + '|')}` | {_cell(described((form, rest[0], rest[1], rest[2])))} |\n"
        for form, *rest in own
    )
    return f"| argument | meaning |\n| --- | --- |\n{lines}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    print(markdown(), end="")
