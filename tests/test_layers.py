"""The import contracts of pyproject.toml hold, and cover every part of the package."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
FACES = {
    "_core",
    "checks",
    "config",
    "normalize",
    "transforms",
    "types",
}  # re-export only, under the names users import


def _layers() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [contract for contract in settings["contracts"] if contract["type"] == "layers"]
    return re.findall(r"ematix_nb\.(\w+)", " ".join(contract["layers"]))


def test_every_part_has_its_layer() -> None:
    parts = {
        path.stem for path in (ROOT / "ematix_nb").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - {"__init__", "__main__"} - FACES - set(_layers()) == set()


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
