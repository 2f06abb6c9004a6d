"""The wheel: what is in it, installed by pip and by uv, and started where nothing is set."""

import json
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from batch import __version__
from tests.installed.conftest import UV, bare, do, tool
from tests.shell import ROOT

UPDATE = ["update", "samples/customers.csv", "-e", "dualentry.customers", "--sandbox", "--json"]


def test_constraints() -> None:
    """The constraints are the versions of the lock files, without the hashes that pip would want of the wheel, too."""
    pinned = {
        line.removesuffix("\\").strip()
        for lock in [ROOT / "requirements.lock", *ROOT.glob("requirements-*.lock")]
        for line in lock.read_text().splitlines()
        if line[:1] not in ("", " ", "#")
    }
    written = (ROOT / "constraints.txt").read_text().splitlines()
    assert (sorted(pinned), True) == (written[1:], written[0].startswith("# "))


def test_metadata() -> None:
    """It has a licence and both scripts, and names no address."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert ("MIT", False) == (project["license"], "urls" in project)
    assert {"batch": "batch.cli:main", "batch-update": "batch.cli:main"} == project["scripts"]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")


@pytest.mark.long
def test_contents(wheel: Path) -> None:
    """All that the program reads is in it, and nothing of the tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"batch-{__version__}.dist-info/METADATA").decode()
    tracked = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "batch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set() == tracked - names
    assert {"batch", f"batch-{__version__}.dist-info"} == {name.partition("/")[0] for name in names}
    assert {"batch/py.typed", "batch/endpoints/dualentry/labels.toml"} <= names
    assert "Project-URL" not in metadata.partition("\n\n")[0]


@pytest.mark.long
@pytest.mark.parametrize("script", ["batch", "batch-update", "python"])
def test_installed_by_pip(installed: Path, data: Path, script: str) -> None:
    """It does the main job from an empty folder with nothing set, by each of its names."""
    words = ["-P", "-m", "batch"] if script == "python" else []
    data.rename(data.with_name("samples"))
    ended = do([installed / "bin" / script, *words, *UPDATE], cwd=data.parent, env={})
    assert (8, True) == ((told := json.loads(ended.stdout))["rows"], told["sandbox"])


@pytest.mark.long
def test_extra(installed: Path, data: Path) -> None:
    """The command that is told for an extra is right: after it the same command reads the file."""
    file = data / "sheet.ods"
    shutil.copy(ROOT / "tests" / "corpus" / "xlsx" / "opendocument.ods", file)
    words = [installed / "bin" / "batch", "check", file, "-e", "dualentry.customers", "--hidden", "include", "--json"]
    around = {"cwd": data, "env": bare(), "capture_output": True, "text": True, "check": False}
    refused = subprocess.run(words, **around)
    said = json.loads(refused.stdout)["stopped"]["message"]
    assert 2 == refused.returncode
    do(["sh", "-c", said.partition("Install it:  ")[2]], env=bare())
    assert "needs is not installed" not in subprocess.run(words, **around).stdout


@pytest.mark.long
def test_installed_by_uv(wheel: Path, data: Path, tmp_path: Path) -> None:
    """`uv tool install` of the wheel gives both scripts."""
    around = bare(UV_TOOL_DIR=str(tmp_path / "tools"), UV_TOOL_BIN_DIR=str(tmp_path / "bin"), HOME=str(tmp_path))
    do([*UV, "tool", "install", "-q", wheel, "-c", ROOT / "constraints.txt"], env=around)
    data.rename(data.with_name("samples"))
    ended = do([tmp_path / "bin" / "batch-update", *UPDATE], cwd=data.parent, env={})
    assert 8 == json.loads(ended.stdout)["rows"]


COMPLETED = {
    "bash": 'eval "$(_BATCH_COMPLETE=bash_source batch)"; COMP_WORDS=(batch upd); COMP_CWORD=1; '
    '_batch_completion batch; echo "${COMPREPLY[@]}"',
    "zsh": 'autoload -Uz compinit; compinit -u; eval "$(_BATCH_COMPLETE=zsh_source batch)"; '
    'whence -w _batch_completion; print "${_comps[batch]}"',
    "fish": "_BATCH_COMPLETE=fish_source batch | source; complete -C 'batch upd'",
}
SAID = {"bash": "update\n", "zsh": "_batch_completion: function\n_batch_completion\n", "fish": "update\t"}


@pytest.mark.long
@pytest.mark.parametrize("shell", COMPLETED)
def test_completion(installed: Path, shell: str, tmp_path: Path) -> None:
    """Each shell takes the script that it asks for, and completes by it."""
    around = bare(PATH=f"{installed}/bin:/usr/bin:/bin", HOME=str(tmp_path))
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    ended = do([tool(shell), *quiet, "-c", COMPLETED[shell]], env=around, seconds=60)
    assert ended.stdout.startswith(SAID[shell]), ended.stdout + ended.stderr
