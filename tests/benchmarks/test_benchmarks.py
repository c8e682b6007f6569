"""Every benchmark program runs in its short form (`pytest -m benchmark`; no part of the normal run)."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROGRAMS = sorted(
    path.stem for path in HERE.glob("*.py") if path.stem not in ("__init__", "timing", "summary", "test_benchmarks")
)


@pytest.mark.benchmark
@pytest.mark.parametrize("program", PROGRAMS)
def test_short_form_prints_a_line_a_row(program: str) -> None:
    """In a process of its own, as a user starts it: the number of threads is set before anything is imported."""
    command = [sys.executable, "-m", f"tests.benchmarks.{program}", "--short"]
    done = subprocess.run(command, cwd=HERE.parent.parent, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert lines
    assert all(": " in line and " s [" in line for line in lines), done.stdout
