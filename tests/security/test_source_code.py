"""What the package's own source does not do (X14, X15, X21, X34), looked for in every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from ematix_nb import ematix
from ematix_nb.declare.column_annotations import from_text
from ematix_nb.errors import DeclarationError
from ematix_nb.types import BigInt
from tests.security.source_code import MODULES, ROOT, called_names, imported_names

if TYPE_CHECKING:
    from pathlib import Path

RUNS_CODE = {
    "eval", "exec", "execfile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnv", "pty.spawn",
    "commands.getoutput", "subprocess.getoutput", "pickle.loads", "pickle.load", "marshal.loads", "shelve.open",
    "yaml.load", "yaml.unsafe_load", "pd.read_pickle", "pandas.read_pickle", "joblib.load", "dill.loads",
}  # fmt: skip
UNWANTED = {"pickle", "marshal", "shelve", "dill", "joblib", "yaml", "cPickle", "telnetlib", "ftplib", "xmlrpc"}
ALLOWED = {
    "gcs.py": {"requests"},  # the names of the errors of Google's client
    "alert_senders.py": {"http"},  # a webhook that the settings name
}
DIALS_OUT = {"requests", "httpx", "urllib3", "aiohttp", "http", "smtplib", "sentry_sdk", "posthog", "segment"}
RUNS_PROGRAMS = {"subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output"}


@pytest.mark.parametrize("path", MODULES, ids=[path.relative_to(ROOT).as_posix() for path in MODULES])
def test_a_module_runs_no_text_and_reads_no_pickle(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [(name, line) for name, line in called_names(tree) if name in RUNS_CODE] == []
    allowed = ALLOWED.get(path.name, set())
    assert imported_names(tree) & (UNWANTED | DIALS_OUT) == allowed
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [
        node.lineno for node in calls for keyword in node.keywords if keyword.arg == "shell" and is_true(keyword)
    ] == []
    programs = [node for node in calls if ast.unparse(node.func) in RUNS_PROGRAMS]
    assert [node.lineno for node in programs if not isinstance(node.args[0], (ast.List, ast.Name))] == []


def is_true(keyword: ast.keyword) -> bool:
    """Whether a keyword's value is True, or not known here; a name of the caller's own is handed on."""
    return isinstance(keyword.value, ast.Constant) and bool(keyword.value.value)


def test_no_verification_is_switched_off() -> None:
    """X13: where a certificate is not asked for, the user has said so; the one place that does it is looked at."""
    found = set()
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if "CERT_NONE" in text or "verify=False" in text or "check_hostname = False" in text:
            found.add(path.relative_to(ROOT).as_posix())
    assert found == {"ematix_nb/backends/mysql/config.py"}


@pytest.mark.parametrize(
    "annotation",
    [
        "__import__('os').system('touch {out}')",
        "open('{out}', 'w')",
        "(lambda: open('{out}', 'w'))()",
        "[open(x, 'w') for x in ['{out}']]",
        "Annotated[BigInt, open('{out}', 'w')]",
        "BigInt.__class__.__mro__[1].__subclasses__()",
        "BigInt if open('{out}', 'w') else BigInt",
        "String[open('{out}', 'w')]",
        "f\"{{open('{out}', 'w')}}\"",
        "(x := open('{out}', 'w'))",
        '\'__import__("os").system("touch {out}")\'',
    ],
)
def test_an_annotation_is_never_run(annotation: str, tmp_path: Path) -> None:
    """X15: texts are resolved to types and markers, name by name."""
    out = tmp_path / "out"
    text = annotation.format(out=out)
    names: dict[str, Any] = {"BigInt": BigInt, "Annotated": Annotated}
    with pytest.raises(DeclarationError):
        from_text(text, names) if not text.startswith("'") else resolved(text, names)
    made = type("Dim", (), {"__annotations__": {"id": text}, "__module__": __name__})
    with pytest.raises(DeclarationError):
        ematix.table(schema="main")(made)
    assert not out.exists()


def resolved(text: str, names: dict[str, Any]) -> Any:
    """An annotation whose text is a text again."""
    return from_text(from_text(text, names), names)


@pytest.mark.parametrize("text", ["{x.__class__}", "{0.__init__.__globals__}", "%(x)s %s", "{", "${PATH}", "{{}}"])
def test_no_template_of_a_user_is_formatted(text: str) -> None:
    """X34: what looks like a template in a step stays the text that it is."""
    from ematix_nb.declare.data_types import TEXT
    from ematix_nb.declare.spec import Column
    from ematix_nb.normalize import default, nullif, replace
    from ematix_nb.sql.normalizers import compile_normalizers

    for step in (default(text), replace(text, "x"), replace("x", text), nullif(text)):
        sql = compile_normalizers("duckdb", Column("a", TEXT, normalizers=(step,)), '"a"')
        assert "'" + text + "'" in sql


def test_importing_and_listing_connects_to_nobody(tmp_path: Path) -> None:
    """X21: no telemetry: an import, a help text and a list of pipelines open no socket at all."""
    code = (
        "import sys\n"
        "opened = []\n"
        "def watch(event, arguments):\n"
        "    if event.startswith('socket.connect'): opened.append(event)\n"
        "sys.addaudithook(watch)\n"
        "import ematix_nb\n"
        "from ematix_nb.cli.main import main\n"
        "main(['--help']); main(['list']); main(['connections']); main(['doctor'])\n"
        "sys.exit(len(opened))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
