"""Exported modules: no secret, no trace of the notebook, nothing at their import but declarations (X9, X17, X18)."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ematix_nb.errors import FlowError
from ematix_nb.export.module import export_notebook
from ematix_nb.verbs.export import export
from tests.security.source_code import ROOT
from tests.support.notebooks import notebook_cells as cells

if TYPE_CHECKING:
    from pathlib import Path

LAKE = '%%flow connection lake\nkind = "object_store_local"\npath = "data"\nformat = "csv"\n'
WH = '%%flow connection wh\nurl = "postgres://ann:${WH_PASSWORD}@db.example/wh"\n'
LOAD = '%%flow pipeline load --from lake --to wh:main.load --mode merge --keys id\nSELECT id FROM "orders.csv"\n'
PYTHON = (
    "from ematix_nb import ematix\n\n"
    '@ematix.pipeline(target="wh:main.two", source_connection="lake")\n'
    "def two(conn):\n    return 'SELECT id FROM \"orders.csv\"'\n"
)
EFFECTS = (
    "open('{out}', 'w').write('x')",
    "!touch {out}",
    "%run other.py",
    "import subprocess; subprocess.run(['touch', '{out}'])",
    "get_ipython().system('touch {out}')",
    "%%bash\ntouch {out}",
    "%%writefile {out}\nx",
    "print(%flow run load)",
    "r = %flow run load",
    "import os\nos.system('touch {out}')",
)
"""Cells with an effect, which an export neither runs nor takes along."""
KEYS = 'access_key_id = "hunter22-x"\nsecret_access_key = "hunter22-x"'
BOX = 'account = "a"\ncontainer = "c"\n'
IMPORT = """\
import builtins, socket, sys
events = []
WANTED = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "ftplib.", "urllib.")
def watch(event, arguments):
    if event.startswith(WANTED):
        events.append(event)
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        events.append(f"open {arguments[0]}")
sys.dont_write_bytecode = True
sys.modules["IPython"] = None
import ematix_nb
from ematix_nb import *
from ematix_nb.declare import registry
sys.addaudithook(watch)
import exported
print(sorted(registry.pipelines()), [event for event in events if event != "socket.gethostname"])
"""


def notebook(path: Path, *sources: str) -> None:
    """Write a notebook file."""
    code: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "source": text,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "id": f"c{number}",
        }
        for number, text in enumerate(sources)
    ]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": code}))


def test_an_export_runs_no_cell_and_its_module_does_nothing_but_declare(project: Path) -> None:
    out = project / "out"
    sources = (LAKE, WH, LOAD, PYTHON, *(text.replace("{out}", str(out)) for text in EFFECTS))
    notebook(project / "shop.ipynb", *sources)
    result = export("shop.ipynb", out="exported.py")
    assert sorted(result.exported.pipelines) == ["load", "two"]
    assert not out.exists()
    text = (project / "exported.py").read_text()
    for trace in ("IPython", "get_ipython", "%flow", "\n%", "!touch", "subprocess", "os.system", str(out)):
        assert trace not in text
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=False, cwd=project,
        env={"PYTHONPATH": f"{ROOT}:{project}", "HOME": str(project)},
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "['load', 'two'] []"), done.stderr
    assert not out.exists()


def test_a_module_holds_declarations_alone(project: Path) -> None:
    """No call at its top level but those that declare, no assignment of anything but literals."""
    assert project.is_dir()
    tree = ast.parse(export_notebook(cells(LAKE, WH, LOAD, PYTHON)).text)
    for node in tree.body:
        ok = isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))
        ok = ok or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        assert ok, ast.unparse(node)


@pytest.mark.parametrize(
    "text",
    [
        'SELECT 1 AS id -- """\nimport os; os.system("touch out") # """',
        "SELECT 1 AS id, '\\N{BULLET} {x} {0.__class__} %s \\x00 \\' AS t",
        "SELECT 1 AS id, '''\"\"\"''' AS t",
        'SELECT 1 AS "id\\"); import os #"',
        "SELECT 1 AS id -- \u202e\u2066",
        "SELECT 1 AS id -- \\",
        'SELECT 1 AS id -- f"{__import__(1)}"',
    ],
)
def test_a_query_stays_a_text(text: str, project: Path) -> None:
    assert project.is_dir()
    module = export_notebook(cells(LAKE, f"%%flow pipeline load --from lake --to lake:out\n{text}\n")).text
    tree = ast.parse(module)
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert calls <= {
        "ematix.pipeline",
        "dedent",
        "register_connection",
        "ObjectStoreLocalConnection",
        "ematix.connection",
    }
    returned = [node for node in function.body if isinstance(node, ast.Return)]
    assert len(returned) == 1
    assert isinstance(returned[0].value, ast.Constant)
    assert "os.system" not in {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize(
    "option",
    [
        "--to 'wh:main.x\"\"\"; import os'", "--schedule '\"\"\" + 1'", "--keys 'a\"b,c'", "--post '\"\"\"'",
        "--watermark '\\'", "--timezone 'UTC\"'",
    ],
)  # fmt: skip
def test_an_option_stays_a_text(option: str, project: Path) -> None:
    assert project.is_dir()
    try:
        module = export_notebook(
            cells(WH, f"%%flow pipeline load --from wh --to wh:main.t {option}\nSELECT 1 AS id\n")
        ).text
    except FlowError:
        return  # refused: as good
    imports = {
        ast.unparse(node) for node in ast.walk(ast.parse(module)) if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert all("ematix_nb" in line or "__future__" in line for line in imports)


@pytest.mark.parametrize(
    "setting",
    [
        'url = "postgres://ann:hunter22-x@db/wh"',
        'url = "postgres://db/wh?password=hunter22-x"',
        'kind = "postgres"\nhost = "h"\ndatabase = "d"\npassword = "hunter22-x"',
        f'kind = "object_store_s3"\nbucket = "b"\nregion = "r"\nformat = "csv"\n{KEYS}',
        f'kind = "delta_s3"\nbucket = "b"\nregion = "r"\n{KEYS}',
        f'kind = "object_store_azure"\n{BOX}format = "csv"\nsas_token = "sv=1&sig=hunter22-x"',
        f'kind = "object_store_azure"\n{BOX}format = "csv"\naccount_key = "hunter22-x"',
        'kind = "kafka"\nbootstrap_servers = "h:1"\nsasl_plain_username = "u"\nsasl_plain_password = "hunter22-x"',
        'kind = "schema_registry"\nurl = "http://h:1"\nbasic_auth_password = "hunter22-x"',
        'kind = "rabbitmq"\namqp_url = "amqps://u:hunter22-x@h/v"',
    ],
)
def test_no_literal_secret_is_exported(setting: str, project: Path) -> None:
    assert project.is_dir()
    with pytest.raises(FlowError, match="holds a secret in plain text") as caught:
        export_notebook(cells(f"%%flow connection secret\n{setting}\n", LAKE, LOAD.replace("wh:", "secret:")))
    assert "hunter22" not in str(caught.value)
