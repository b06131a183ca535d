"""The reference page is what the grammar says."""

from __future__ import annotations

from pathlib import Path

from ematix_nb.cli.docs import markdown
from ematix_nb.verbs.grammar import VERBS

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_as_generated() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), "run: python -m ematix_nb.cli.docs > docs/cli.md"


def test_every_verb_and_option_is_on_the_page() -> None:
    text = markdown()
    for verb, (_, _, arguments) in VERBS.items():
        assert f"# flow {verb}\n" in text
        assert all(f"| `{form}` |" in text for form, *_ in arguments)
