"""What can be asked for: one table of verbs for the command line and the magics.

The table is plain tuples, so that ``flow --help`` costs nothing: options are
built for the one verb on the line, and a verb's module is imported when it is
called.

An argument is ``(form, kind, default, help)``. The form is ``NAME``,
``[NAME]``, ``NAME...`` or ``[NAME...]`` for what stands without a dash, and
``--limit N`` or ``--yes`` for options. The kind says what a value may be:
``text``, ``file``, ``flag``, ``many`` (may be repeated), ``count:LOW:HIGH``,
``seconds:LOW:HIGH``, ``choice:a|b``, ``now``, ``interval``, ``pairs``
(``key=value``), or what is completed: ``pipeline``, ``address``,
``connection``, ``transform``, ``profile``, ``verb``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ematix_nb.errors import EXIT_OK, EXIT_USAGE, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ematix_nb.events import Listener
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.verbs.results import Result

Argument = tuple[str, str, Any, str]

_STRICT: Argument = ("--strict", "flag", False, "warnings, and modules without pipelines, exit with 5")
_LOG: Argument = (
    "--log-json FILE",
    "file",
    None,
    "append what happens to FILE as JSON, one object a line; - is the standard error, in place of progress",
)
_YES: Argument = ("--yes", "flag", False, "do not ask")

GLOBALS: tuple[Argument, ...] = (
    ("--module MODULE", "many", (), "dotted name, .py file or folder of pipelines; may be repeated"),
    ("--profile NAME", "profile", None, "take connections from [profiles.NAME] first"),
    ("--format FORMAT", "choice:text|json", "text", "what stands on the standard output"),
    ("--debug", "flag", False, "show the traceback of an error"),
    ("--help", "flag", False, "show the options of a verb"),
)
"""Options of every verb; they may stand before or after it."""

_FROM_CONNECTION: Argument = ("--connection NAME", "connection", None, "all runs that this database has a history of")
_OF_RUN: Argument = ("--run ID", "text", None, "only rows that this run put there; its id, or the beginning of it")
_RUNS: tuple[Argument, ...] = (
    ("[NAME]", "pipeline", None, "only this pipeline"),
    ("--last N", "count:1:100000", 20, "how many of the newest runs"),
    _FROM_CONNECTION,
)

VERBS: dict[str, tuple[str, str, tuple[Argument, ...]]] = {
    "list": (
        "list the pipelines with their schedule and next time",
        "catalog:list_pipelines",
        (("--now T", "now", None, "count the next time from here (ISO 8601)"), _STRICT),
    ),
    "run": (
        "run pipelines now",
        "commands:run",
        (
            ("NAME...", "pipeline", (), "pipelines, each once, run in this order"),
            ("--wait S", "seconds:0:86400", 0.0, "wait so many seconds for another run of the pipeline to end"),
            (
                "--full-refresh",
                "flag",
                False,
                "read everything, whatever the watermark says; asks where mode append would double rows",
            ),
            ("--continue", "flag", False, "go on with the next pipeline when one fails"),
            ("--with-parents", "flag", False, "first run the pipelines that these depend on, and theirs"),
            ("--no-checks", "flag", False, "leave the declared checks out, this once; the history says so"),
            (
                "--sandbox",
                "flag",
                False,
                "load into a new local DuckDB copy of the target's schema; the target is only looked at",
            ),
            _LOG,
            _YES,
            _STRICT,
        ),
    ),
    "run-due": (
        "run what its schedule says is due, each slot once",
        "commands:run_due",
        (
            ("[NAME...]", "pipeline", (), "only these pipelines"),
            ("--now T", "now", None, "take this instant for now (ISO 8601; without a zone: UTC)"),
            ("--interval S", "interval", 60, "seconds between two calls of the scheduler, 1 to 86400"),
            ("--catch-up POLICY", "choice:latest|all|none", None, "missed slots: overrides what the pipelines say"),
            (
                "--failed ACTION",
                "choice:retry|skip",
                None,
                "slots that keep failing: try them now, or let those go that failed six times",
            ),
            _LOG,
            _STRICT,
        ),
    ),
    "backfill": (
        "load a range of the watermark column anew, in chunks; the watermark stays where it is",
        "backfill:command",
        (
            ("NAME", "pipeline", None, "an incremental pipeline"),
            ("--from X", "text", None, "the first value: ISO 8601 (without a zone: UTC) or digits"),
            ("--to Y", "text", None, "the first value after the range"),
            (
                "--chunk N",
                "text",
                None,
                "size of a chunk, each a run of its own: 1d, 12h, 1000; all at once without it",
            ),
            ("--dry-run", "flag", False, "show the chunks; reads no rows and writes nothing"),
            ("--wait S", "seconds:0:86400", 0.0, "wait so many seconds for another run of the pipeline to end"),
            _STRICT,
        ),
    ),
    "preview": (
        "show plan, rows and the changes a run would make; writes nothing",
        "commands:preview",
        (
            ("NAME", "address", None, "a pipeline, or connection:thing to look at a table or file"),
            ("--limit N", "count:1:100000", 50, "rows to sample, 1 to 100000"),
            (
                "--as-of T",
                "now",
                None,
                "of a target of mode scd2 the versions that held at T (ISO 8601; without a zone: UTC), nothing else",
            ),
        ),
    ),
    "dry-run": (
        "execute and roll back: exact counts; writes nothing",
        "commands:dry_run",
        (
            ("NAME...", "pipeline", (), "pipelines, each once"),
            ("--full-refresh", "flag", False, "read everything, whatever the watermark says"),
            ("--continue", "flag", False, "go on with the next pipeline when one fails"),
            _LOG,
        ),
    ),
    "check": (
        "execute, make every check that is declared, and roll back; exit 1 when one fails",
        "commands:check",
        (
            ("NAME...", "pipeline", (), "pipelines, each once"),
            ("--full-refresh", "flag", False, "read everything, whatever the watermark says"),
        ),
    ),
    "plan": (
        "show what a run would do, without reading rows",
        "commands:plan",
        (
            ("NAME", "pipeline", None, "a pipeline"),
            ("--full-refresh", "flag", False, "plan for reading everything"),
            ("--counts", "flag", False, "execute and roll back too, for the exact row counts"),
        ),
    ),
    "diff": (
        "show the rows that a run would change, old and new values side by side; executes and rolls back",
        "diff:command",
        (
            ("NAME", "pipeline", None, "a pipeline"),
            ("--limit N", "count:1:100000", 50, "changed rows to show; the counts are those of all rows"),
            ("--key COLUMN=VALUE", "many", (), "only this key, in mode scd2 with its versions; may be repeated"),
            ("--full-refresh", "flag", False, "read everything, whatever the watermark says"),
        ),
    ),
    "schema": (
        "show the columns of a table, or those of a pipeline's source beside its target's; writes nothing",
        "browse:schema",
        (("NAME", "address", None, "a pipeline, or connection:thing"),),
    ),
    "tables": (
        "list the tables of a connection, or its folders and files",
        "browse:tables",
        (
            ("CONNECTION", "connection", None, "the connection"),
            ("[PATTERN]", "text", None, "only what fits, in quotes in a shell: raw.* or *orders*"),
        ),
    ),
    "connect": (
        "show where a connection leads and where each setting came from, and try it",
        "connect:connect",
        (
            ("NAME", "connection", None, "the connection"),
            ("--set URL", "text", None, "first write its address, without a secret, to the user's settings"),
            ("--ask-secret", "flag", False, "ask for the password, and keep it in a variable of this process"),
        ),
    ),
    "replicate": (
        "copy many tables at once; keys and watermarks come from the catalogue",
        "replicate:command",
        (
            ("SOURCE", "text", None, "connection:pattern, for example src:raw.*"),
            ("--to TEMPLATE", "text", None, "connection:thing with {schema} and {table}, for example lake:raw/{table}"),
            ("--preview", "flag", False, "show what would be done to each table; writes nothing"),
            ("--include PATTERN", "many", (), "only tables that fit one of these; may be repeated"),
            ("--exclude PATTERN", "many", (), "not these; may be repeated"),
            (
                "--mode MODE",
                "choice:auto|append|truncate|merge|scd2",
                "auto",
                "auto: merge where the table has a key and the target can, else truncate",
            ),
            ("--parallel N", "count:1:32", 2, "tables at a time"),
            ("--views", "flag", False, "copy views too, as tables of their rows"),
            ("--schema-only", "flag", False, "make the tables, copy no rows"),
            (
                "--on-drift POLICY",
                "choice:evolve|freeze|quarantine|warn|error",
                "evolve",
                "what a changed schema of the source means",
            ),
            _YES,
            _STRICT,
        ),
    ),
    "validate": (
        "check declarations against the systems; writes nothing",
        "commands:validate",
        (("[NAME...]", "pipeline", (), "pipelines; all when none is named"), _STRICT),
    ),
    "runs": ("list the newest runs, or show one", "", _RUNS),
    "runs list": ("list the newest runs of all targets that the modules use", "history:list_runs", _RUNS),
    "runs show": (
        "show everything that is kept of one run",
        "history:show_run",
        (("ID", "text", None, "the run's id, or its first characters"), _FROM_CONNECTION),
    ),
    "show": (
        "show everything that is kept of one run; the same as `runs show`",
        "history:show_run",
        (("ID", "text", None, "the run's id, or its first characters"), _FROM_CONNECTION),
    ),
    "status": (
        "tell what is due, running, late, failed, held or stale; exits with 1 when something is wrong",
        "status:command",
        (
            ("[NAME...]", "pipeline", (), "only these pipelines"),
            ("--now T", "now", None, "judge by this instant (ISO 8601; without a zone: UTC)"),
            ("--grace S", "seconds:0:604800", None, "late is what is not done so many seconds after its slot; 300"),
            ("--stale-after N", "count:1:1000", 3, "stale is what saw so many slots pass since its last success"),
            ("--alert", "flag", False, "tell the channels of the settings what failed or is late, each once"),
        ),
    ),
    "connections": ("list, check or set connections", "", ()),
    "connections list": ("list every definition of every connection, and which one is used", "connections:listed", ()),
    "connections check": (
        "connect, and say how long it took",
        "connections:check",
        (("[NAME...]", "connection", (), "connections; all when none is named"),),
    ),
    "connections set": (
        "write settings of a connection into a settings file (mode 0600, comments kept)",
        "connections:change",
        (
            ("NAME", "connection", None, "the connection"),
            ("KEY=VALUE...", "pairs", (), "settings; an empty value removes one"),
            ("--file FILE", "file", None, "settings file instead of ~/.ematix-flow/connections.toml"),
        ),
    ),
    "transform": ("list named transforms, or run one", "", ()),
    "transform list": ("list the named transforms", "catalog:list_transforms", ()),
    "transform run": (
        "run named transforms now",
        "commands:transform_run",
        (("NAME...", "transform", (), "transforms, run in this order"),),
    ),
    "watermark": ("show, set or reset what an incremental pipeline has read up to", "", ()),
    "watermark show": (
        "show the stored watermark of each target",
        "watermark:show",
        (("[NAME]", "pipeline", None, "a pipeline; all incremental ones when none is named"),),
    ),
    "watermark set": (
        "set the watermark: the next run reads from there",
        "watermark:change",
        (
            ("NAME", "pipeline", None, "a pipeline"),
            (
                "VALUE",
                "text",
                None,
                "ISO 8601 for times, digits for numbers, a text as it is; of several columns a JSON list",
            ),
            _YES,
        ),
    ),
    "watermark reset": (
        "remove the watermark: the next run reads everything",
        "watermark:reset",
        (("NAME", "pipeline", None, "a pipeline"), _YES),
    ),
    "quarantine": ("look at rows that were not loaded, load them after all, or remove them", "", ()),
    "quarantine list": (
        "list the runs whose rows are in quarantine: how many, and why",
        "quarantine:listed",
        (("[NAME]", "pipeline", None, "a pipeline; all when none is named"),),
    ),
    "quarantine show": (
        "show rows in quarantine, with the reason of each",
        "quarantine:show",
        (
            ("NAME", "pipeline", None, "a pipeline"),
            _OF_RUN,
            ("--limit N", "count:1:100000", 20, "rows to show, 1 to 100000"),
        ),
    ),
    "quarantine replay": (
        "load rows in quarantine as the pipeline is declared now; those that still do not fit stay",
        "quarantine:replay",
        (
            ("NAME", "pipeline", None, "a pipeline"),
            _OF_RUN,
            ("--overwrite", "flag", False, "also where the target was given a newer row for the key since"),
        ),
    ),
    "quarantine purge": (
        "remove rows from quarantine without loading them",
        "quarantine:purge",
        (("NAME", "pipeline", None, "a pipeline"), _OF_RUN, _YES),
    ),
    "export": (
        "turn a notebook into a module",
        "commands:export",
        (
            ("[NOTEBOOK]", "file", None, "the .ipynb file"),
            ("--out FILE", "file", None, "the module to write; the standard output without it"),
            ("--check", "flag", False, "write nothing; exit 1 when the module is not what the notebook says"),
            ("--force", "flag", False, "overwrite hand edits"),
            ("--docs", "flag", False, "text cells above a pipeline become its docstring"),
            ("--tests FILE", "file", None, "with --out: write the %%flow test cells as tests of pytest there"),
        ),
    ),
    "schedule": (
        "print the entry that lets another scheduler call run-due",
        "catalog:schedule_entry",
        (
            ("--emit KIND", "choice:cron|systemd|k8s|github-actions", "cron", "for which scheduler"),
            ("--name NAME", "text", None, "name of the entry; the working directory's by default"),
            ("--workdir DIR", "file", None, "where to call it; the working directory by default"),
        ),
    ),
    "profile": (
        "show the profiles, or choose one for this process",
        "connections:profile",
        (("[NAME]", "profile", None, "the profile to use from now on"),),
    ),
    "init": (
        "write a small project to start from",
        "init:init",
        (
            ("[DIR]", "file", ".", "where; the working directory by default"),
            ("--force", "flag", False, "overwrite files that are there"),
        ),
    ),
    "doctor": ("check this machine: versions, settings, connections, modules, pipelines", "doctor:doctor", (_STRICT,)),
    "help": ("show the options of a verb", "", (("[VERB...]", "verb", (), "the verb"),)),
}
"""Verb -> (help line, ``module:function`` below `ematix_nb.verbs`, arguments). ``a b`` is action b of verb a."""

DEFAULT_ACTIONS = {
    "runs": "list",
    "connections": "list",
    "transform": "list",
    "watermark": "show",
    "quarantine": "list",
}
"""What a verb with actions does when none is named."""

MAGIC_ARGUMENTS: dict[str, tuple[Argument, ...]] = {
    "run": (
        ("--bg", "flag", False, "run in the background; the result arrives in the cell"),
        (
            "--into LIBRARY",
            "choice:polars|pandas|arrow|pyspark",
            None,
            "give the rows as a frame; target, watermark and history are left alone",
        ),
    ),
}
"""Options that only a notebook has (``prog`` begins with ``%``)."""

NO_MODULES = frozenset(
    {"connect", "connections list", "connections set", "tables", "export", "init", "doctor", "help", "profile"},
)
"""Verbs that need no pipelines; they load modules only when `--module` names some."""


class Parsed(NamedTuple):
    """One understood line."""

    verb: str
    """``run``, or ``runs show`` where a verb has actions."""
    options: dict[str, Any]
    """By argument: ``name`` (one), ``names`` (several), ``limit``, ``full_refresh``, ..."""
    format: str = "text"
    debug: bool = False
    profile: str | None = None
    module: tuple[str, ...] = ()


class HelpRequested(Exception):  # noqa: N818 - not an error: somebody asked
    """Somebody asked for help; the front end shows the text and stops."""

    def __init__(self, text: str, exit_code: int = EXIT_OK) -> None:
        super().__init__(text, exit_code)

    @property
    def text(self) -> str:
        """What to show."""
        return str(self.args[0])

    @property
    def exit_code(self) -> int:
        """0 when asked for, 2 when the line was empty."""
        return int(self.args[1])


def verbs() -> list[str]:
    """The verbs without their actions, in the order in which they are shown."""
    return [verb for verb in VERBS if " " not in verb]


def actions(verb: str) -> list[str]:
    """The actions of a verb.

    Example:
        >>> actions("runs"), actions("run")
        (['list', 'show'], [])
    """
    return [name.partition(" ")[2] for name in VERBS if name.startswith(f"{verb} ")]


def arguments(verb: str, prog: str = "flow") -> tuple[Argument, ...]:
    """The arguments of a verb itself, without the ones that every verb has."""
    extra = MAGIC_ARGUMENTS.get(verb, ()) if prog.startswith("%") else ()
    return (*VERBS[verb][2], *extra)


def parse(argv: list[str], *, prog: str = "flow") -> Parsed:
    """Understand one line.

    Args:
        argv: The words after the program's name.
        prog: ``flow`` or ``%flow``; the latter has a few more options, and help texts name it.

    Raises:
        UsageError: With the nearest verb, option or value.
        HelpRequested: When help is asked for, or the line is empty.

    Example:
        >>> parse(["preview", "orders", "--limit", "10"]).options
        {'name': 'orders', 'limit': 10, 'as_of': None}
    """
    from ematix_nb.verbs.usage import help_text

    verb, rest = _find_verb(argv, prog)
    if verb == "help":
        words = [word for word in rest if not word.startswith("-")]
        raise HelpRequested(help_text(_find_verb([*words, "--help"], prog)[0] if words else "", prog=prog))
    if not verb and not rest:
        raise HelpRequested(help_text("", prog=prog), EXIT_USAGE)
    if "--help" in rest or "-h" in rest:
        raise HelpRequested(help_text(verb, prog=prog))
    if not verb:
        raise UsageError(f"{prog}: no verb is given", hint=f"{prog} VERB ...; verbs: {', '.join(verbs())}")
    from ematix_nb.verbs.parsing import parse_verb

    return parse_verb(verb, rest, prog)


def invoke(
    parsed: Parsed,
    *,
    listener: Listener | None = None,
    token: CancelToken | None = None,
    trigger: str = "manual",
    registry_ready: bool = False,
    confirm: Callable[[str], bool] | None = None,
    ask: Callable[[str], str] | None = None,
) -> Result:
    """Do what a line says.

    Args:
        parsed: The line.
        listener: Hears the events of runs.
        token: Cancels runs.
        trigger: What the run history says: ``manual``, ``notebook``, ...
        registry_ready: Names are those of the live registry (a notebook); modules are loaded only when named.
        confirm: Asked before something destructive that has no `--yes`; without it such a line is refused.
        ask: Asks for a secret without showing it.

    Raises:
        FlowError: As the verb does.
    """
    from ematix_nb.verbs.dispatch import prepare

    call = prepare(parsed, listener=listener, token=token, trigger=trigger, registry_ready=registry_ready)
    call.confirm = confirm
    call.ask = ask
    return call.run()


def complete(words: list[str], registry: Any = None) -> list[str]:
    """What the last word may become: verbs, actions, options, values, names.

    Args:
        words: The words after ``flow``, the last one unfinished (``""`` for a new one).
        registry: Names by kind (``{"pipeline": [...], "connection": [...]}``), or None for what is declared.
    """
    from ematix_nb.verbs.completion import candidates

    return candidates(words, registry)


def _find_verb(argv: list[str], prog: str) -> tuple[str, list[str]]:
    """The verb with its action, and the other words; the verb is empty when there is none."""
    valued = {form.split()[0] for form, *_ in GLOBALS if " " in form} | {"-m"}
    index = 0
    while index < len(argv) and argv[index].startswith("-"):
        index += 2 if argv[index] in valued else 1
    if index >= len(argv):
        return "", list(argv)
    word, rest = argv[index], [*argv[:index], *argv[index + 1 :]]
    if word not in VERBS or " " in word:
        raise UsageError(
            f"{prog}: unknown verb `{word[:80]}`", hint=did_you_mean(word, verbs()) or f"verbs: {', '.join(verbs())}"
        )
    if not actions(word):
        return word, rest
    return _find_action(word, rest, index, prog)


def _find_action(verb: str, rest: list[str], index: int, prog: str) -> tuple[str, list[str]]:
    known = actions(verb)
    default = f"{verb} {DEFAULT_ACTIONS[verb]}"
    if index < len(rest) and not rest[index].startswith("-"):
        word = rest[index]
        if word in known:
            return f"{verb} {word}", [*rest[:index], *rest[index + 1 :]]
        takes_name = any(not form.startswith("-") for form, *_ in VERBS[default][2])
        if not takes_name:
            hint = did_you_mean(word, known) or f"actions: {', '.join(known)}"
            raise UsageError(f"{prog} {verb}: unknown action `{word[:80]}`", hint=hint)
    elif {"--help", "-h"} & set(rest):
        return verb, rest
    return default, rest


def names_of(registry: Any, kind: str) -> Iterable[str]:
    """Names of a kind for completion; see `complete`."""
    from ematix_nb.verbs.completion import known

    return known(registry, kind)
