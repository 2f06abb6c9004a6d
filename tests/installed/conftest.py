"""The wheel, built once, and environments with it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.shell import ROOT

UV = [sys.executable, "-m", "uv"]
INSTALLS = 1_800.0
"""Seconds that a download may take."""


def do(command: Sequence[object], *, seconds: float = INSTALLS, **around: object) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, and fail with what it said where it fails."""
    ended = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=seconds, check=False, **around
    )  # type: ignore[call-overload]  # what is around is given by name
    assert 0 == ended.returncode, ended.stdout[-3000:] + ended.stderr[-3000:]
    return ended  # type: ignore[no-any-return]  # it is text


def tool(name: str) -> str:
    """Return where a program is; skip where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def bare(**more: str) -> Mapping[str, str]:
    """An environment with nothing in it but the way to the packages."""
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_", "HTTP", "http"))
    }
    return kept | {"PATH": "/usr/local/bin:/usr/bin:/bin"} | more


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    do([*UV, "build", "-q", "--wheel", "-o", folder, ROOT])
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment into which pip installed the wheel, held to the constraints."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    do([sys.executable, "-m", "venv", venv])
    do([venv / "bin" / "python", "-m", "pip", "install", "-q", wheel, "-c", ROOT / "constraints.txt"])
    return venv


@pytest.fixture(scope="session")
def orchestrators(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the orchestrators, pandas, and the wheel with what recipes need beside it."""
    venv = tmp_path_factory.mktemp("orchestrators") / "venv"
    names = [f"requirements{of}.lock" for of in ("", "-cloud", "-redis")] + ["tests/requirements-pipelines.lock"]
    locks = [word for name in names for word in ("-r", ROOT / name)]
    do([*UV, "venv", "-q", "--python", sys.executable, venv])
    do([*UV, "pip", "install", "-q", "--python", venv / "bin" / "python", "--require-hashes", "--no-deps", *locks])
    do([*UV, "pip", "install", "-q", "--python", venv / "bin" / "python", "--no-deps", wheel])
    do([*UV, "pip", "check", "--python", venv / "bin" / "python"])
    return venv


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the samples, as a pipeline has them."""
    folder = tmp_path / "data"
    shutil.copytree(ROOT / "samples", folder, ignore=shutil.ignore_patterns("*.batch", "pipelines"))
    return folder
