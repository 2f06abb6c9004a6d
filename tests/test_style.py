"""The checks that every commit passes: lint, format and types."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache", "batch", "tests"],
        ["ruff", "format", "--check", "--no-cache", "batch", "tests"],
        ["mypy", "--no-error-summary"],
    ],
    ids=["lint", "format", "types"],
)
def test_clean(command: list[str]) -> None:
    """There is nothing to say about the code."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, "" if done.returncode == 0 else done.stdout + done.stderr)
