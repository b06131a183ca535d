"""The grammar: what a line means, and what it may become."""

from __future__ import annotations

import importlib

import pytest

from ematix_nb.errors import UsageError
from ematix_nb.verbs.grammar import DEFAULT_ACTIONS, VERBS, HelpRequested, Parsed, actions, complete, parse, verbs

NAMES = {"pipeline": ["orders", "stock"], "connection": ["lake"], "transform": ["tally"], "profile": ["prod"]}


def test_a_line_becomes_plain_options() -> None:
    assert parse(["run", "orders", "--wait", "5", "stock", "--full-refresh"]) == Parsed(
        "run",
        {
            "names": ("orders", "stock"),
            "wait": 5.0,
            "full_refresh": True,
            "continue": False,
            "with_parents": False,
            "log_json": None,
            "no_checks": False,
            "sandbox": False,
            "yes": False,
            "strict": False,
        },
    )


def test_options_of_every_verb_stand_anywhere() -> None:
    parsed = parse(["--format", "json", "--module", "a", "runs", "--profile=prod", "orders", "-m", "b.py", "--debug"])
    options = {"name": "orders", "last": 20, "connection": None}
    assert parsed == Parsed("runs list", options, "json", True, "prod", ("a", "b.py"))


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        ("runs", "runs list"),
        ("runs list", "runs list"),
        ("runs orders --last 3", "runs list"),
        ("runs show ab", "runs show"),
        ("watermark orders", "watermark show"),
        ("quarantine orders", "quarantine list"),
        ("quarantine purge orders --yes", "quarantine purge"),
        ("connections", "connections list"),
        ("transform", "transform list"),
        ("plan orders", "plan"),
    ],
)
def test_actions(words: str, verb: str) -> None:
    assert parse(words.split()).verb == verb


def test_only_a_notebook_runs_in_the_background() -> None:
    assert parse(["run", "orders", "--bg"], prog="%flow").options["bg"] is True
    with pytest.raises(UsageError, match="unknown option `--bg`"):
        parse(["run", "orders", "--bg"])


def test_settings_are_pairs() -> None:
    options = parse(["connections", "set", "wh", "kind=duckdb", "path=a=b", "password="]).options
    assert options == {"name": "wh", "settings": {"kind": "duckdb", "path": "a=b", "password": None}, "file": None}


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["run", "--help"], ["help", "run"], ["help"]])
def test_help_is_asked_for(words: list[str]) -> None:
    with pytest.raises(HelpRequested, match="usage: %flow") as asked:
        parse(words, prog="%flow")
    assert asked.value.exit_code == (0 if words else 2)


def test_options_alone_are_no_line() -> None:
    with pytest.raises(UsageError, match="no verb is given"):
        parse(["--format", "json"])


@pytest.mark.parametrize("verb", [name for name, spec in VERBS.items() if spec[1]])
def test_every_verb_has_its_function(verb: str) -> None:
    module, _, function = VERBS[verb][1].partition(":")
    assert callable(getattr(importlib.import_module(f"ematix_nb.verbs.{module}"), function))


def test_every_verb_with_actions_has_a_default() -> None:
    assert {verb for verb in verbs() if actions(verb)} == set(DEFAULT_ACTIONS)
    assert all(DEFAULT_ACTIONS[verb] in actions(verb) for verb in DEFAULT_ACTIONS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pre"], ["preview"]),
        (["runs", "s"], ["show", "stock"]),
        (["run", "orders", "s"], ["stock"]),
        (["preview", "l"], ["lake:"]),
        (["preview", "orders", ""], []),
        (["preview", "orders", "--l"], ["--limit"]),
        (["run", "--full-refresh", "--f"], ["--format"]),
        (["run", "--format", ""], ["json", "text"]),
        (["run-due", "--catch-up", "l"], ["latest"]),
        (["--profile", "p"], ["prod"]),
        (["connections", "check", "la"], ["lake"]),
        (["transform", "run", ""], ["tally"]),
        (["help", "wat"], ["watermark"]),
        (["preview", "--limit", ""], []),
    ],
)
def test_completion(words: list[str], expected: list[str]) -> None:
    assert complete(words, NAMES) == expected
