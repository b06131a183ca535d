"""How long ``flow --help`` takes, and ``flow run-due`` with 100 pipelines and nothing due."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 9
MODULE = """
from ematix_nb import ematix

for number in range(100):
    @ematix.pipeline(
        name=f"daily_{number}", target=f"warehouse:daily_{number}", source_connection="warehouse", mode="append",
        schedule="0 3 1 1 *",
    )
    def load(conn):
        return "SELECT 1 AS n"
"""


def startup() -> dict[str, dict[str, float]]:
    """Medians of several starts, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "many.py").write_text(MODULE, encoding="utf-8")
        settings = '[connections.warehouse]\nkind = "duckdb"\npath = "w.duckdb"\n'
        (Path(folder) / ".ematix-flow.toml").write_text(settings, encoding="utf-8")
        flow = str(Path(sys.executable).with_name("flow"))
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "flow --help": [flow, "--help"],
            "flow run-due, 100 pipelines, none due": [
                flow,
                "run-due",
                "--module",
                "many",
                "--now",
                "2026-06-01T12:00Z",
            ],
        }
        return {name: _measure(command, folder) for name, command in commands.items()}


def _measure(command: list[str], folder: str) -> dict[str, float]:
    environment = {**os.environ, "HOME": folder, "XDG_CACHE_HOME": folder}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    walls, cpus = [], []
    for _ in range(ROUNDS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        walls.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"wall_ms": statistics.median(walls[1:]) * 1000, "cpu_ms": statistics.median(cpus[1:]) * 1000}
