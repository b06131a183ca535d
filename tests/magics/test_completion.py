from __future__ import annotations

from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter


def completed(notebook: Any, text: str) -> list[str]:
    """What Tab at the end of a text gives, as a kernel asks for it: the whole words that would stand there."""
    with provisionalcompleter():
        found = list(notebook.shell.Completer.completions(text, len(text)))
    return [text[text.rfind(" ") + 1 : one.start] + one.text for one in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%flow prev", ["preview"]),
        ("p = %flow preview or", ["orders"]),
        ("%flow preview orders --li", ["--limit"]),
        ("%flow run orders --b", ["--bg"]),
        ("%flow deb", ["debug"]),
        ("%flow run-due --catch-up ", ["all", "latest", "none"]),
        ("%flow connections check s", ["src"]),
        ("%%flow pi", ["pipeline"]),
        ("%%flow pipeline orders --mo", ["--mode"]),
        ("%%flow pipeline orders --mode s", ["scd2"]),
        ("%%flow pipeline orders --from t", ["tgt"]),
        ("%%flow pipeline orders --to t", ["tgt:"]),
    ],
)
def test_tab_completes(notebook: Any, text: str, expected: list[str]) -> None:
    assert completed(notebook, text) == expected


def test_a_text_that_only_looks_like_it_is_left_alone(notebook: Any) -> None:
    text = "print('%flow pre"
    assert "preview" not in completed(notebook, text)


def test_a_broken_settings_file_does_not_disturb_typing(notebook: Any, tmp_path: Any) -> None:
    (tmp_path / ".ematix-flow.toml").write_text("nonsense = [")
    assert completed(notebook, "%flow preview or") == ["orders"]
