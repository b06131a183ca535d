from __future__ import annotations

import subprocess
import sys
from typing import Any

from ematix_nb.errors import FlowError
from ematix_nb.magics.errors import render
from ematix_nb.verbs.results import LIVE_VIEWS


def state_of(shell: Any) -> dict[str, Any]:
    magics = shell.magics_manager
    return {
        "line": dict(magics.magics["line"]),
        "cell": dict(magics.magics["cell"]),
        "objects": set(magics.registry),
        "matchers": list(shell.Completer.custom_matchers),
        "transformers": list(shell.input_transformers_cleanup),
        "hooks": {name: list(found) for name, found in shell.events.callbacks.items()},
        "configurables": len(shell.configurables),
        "views": dict(LIVE_VIEWS),
        "short": hasattr(FlowError, "_render_traceback_"),
    }


def test_unloading_leaves_the_shell_as_it_was(bare: Any) -> None:
    bare.cell("%load_ext math")  # IPython loads its own magics for extensions at their first use
    bare.cell("%unload_ext math")
    before = state_of(bare.shell)
    bare.cell("%load_ext ematix_nb")
    assert state_of(bare.shell) != before
    bare.cell("%unload_ext ematix_nb")
    after = state_of(bare.shell)
    assert after == before


def test_loading_twice_is_loading_once(bare: Any) -> None:
    bare.cell("%load_ext ematix_nb")
    once = state_of(bare.shell)
    bare.cell("%reload_ext ematix_nb")
    bare.cell("import ematix_nb; ematix_nb.load_ipython_extension(get_ipython())")
    twice = state_of(bare.shell)
    bare.cell("%unload_ext ematix_nb")
    assert {name: twice[name] for name in ("objects", "configurables", "short")} == {
        name: once[name] for name in ("objects", "configurables", "short")
    }
    assert len(twice["matchers"]) == len(once["matchers"])
    assert {name: len(found) for name, found in twice["hooks"].items()} == {
        name: len(found) for name, found in once["hooks"].items()
    }


def test_a_magic_of_that_name_comes_back(bare: Any) -> None:
    bare.shell.register_magic_function(lambda line: f"mine {line}", "line", "flow")
    bare.cell("%load_ext ematix_nb")
    assert bare.cell("%flow list").kind == "table"
    bare.cell("%unload_ext ematix_nb")
    assert bare.cell("%flow list") == "mine list"
    del bare.shell.magics_manager.magics["line"]["flow"]


def test_loading_imports_no_engine() -> None:
    code = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "from traitlets.config import Config\n"
        "config = Config()\n"
        "config.HistoryManager.enabled = False\n"
        "shell = InteractiveShell.instance(config=config)\n"
        "shell.run_line_magic('load_ext', 'ematix_nb')\n"
        "heavy = 'pandas polars datafusion duckdb pyarrow psycopg sqlglot ipywidgets rich numpy'.split()\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_error_is_short_and_shows_no_secret_and_no_control_character() -> None:
    error = FlowError("cannot reach postgres://ann:hunter22@db/wh \x1b[31m", hint="start it")
    assert render(error) == [
        "FlowError: FLOW-000 cannot reach postgres://ann:***@db/wh \\x1b[31m",
        "hint: start it",
        "(%flow debug shows the traceback)",
    ]
