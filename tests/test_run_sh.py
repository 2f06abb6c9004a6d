"""`run.sh`: sets up what is missing, quietly, and then is `batch`."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batch import __version__
from tests.shell import ROOT, Shell

HEAVY = {
    "polars", "httpx", "pydantic", "anyio", "xlsxwriter", "fastexcel", "batch.sandbox", "starlette",
    "uvicorn", "httptools", "uvloop",
}  # fmt: skip


def run(script: Path | str, *arguments: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_STATE_HOME": str(folder)} | environment
    return subprocess.run(
        [script, *arguments], cwd=folder, env=kept, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.fixture
def no_pip(tmp_path: Path) -> Path:
    """A copy of the start-up, whose virtual environment has no pip and no way to make another."""
    here = tmp_path / "copy"
    here.mkdir()
    for name in ("run.sh", "requirements.lock"):
        shutil.copy(ROOT / name, here)
    python = here / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    paths = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{paths}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    lock = (here / "requirements.lock").read_text()
    (here / ".venv" / "run.stamp").write_text(f"{here}\n{lock}")
    return here


def test_from_elsewhere_and_by_a_link(no_pip: Path, tmp_path: Path) -> None:
    """It works from another folder and by a link to its folder or to itself, and installs nothing a second time."""
    (tmp_path / "link").symlink_to(no_pip, target_is_directory=True)
    (tmp_path / "batch").symlink_to("link/run.sh")
    for script in (no_pip / "run.sh", tmp_path / "link" / "run.sh", tmp_path / "batch"):
        ended = run(script, "--version", folder=tmp_path)
        assert (0, f"batch, version {__version__}\n", "") == (ended.returncode, ended.stdout, ended.stderr)
    assert ["batch", "copy", "link"] == sorted(path.name for path in tmp_path.iterdir())


def test_command_name(no_pip: Path, tmp_path: Path) -> None:
    """Help shows the command as it was typed."""
    ended = run("./run.sh", "update", "--help", folder=no_pip)
    assert ended.stdout.startswith("Usage: ./run.sh update [OPTIONS] INPUT...\n")


@pytest.mark.parametrize(("words", "code"), [(("--version",), 0), (("check", "nothing.csv", "-e", "no"), 2)])
def test_window_waits(no_pip: Path, words: tuple[str, ...], code: int) -> None:
    """With BATCH_WINDOW=1 a terminal keeps the last screen until Enter; the exit code stays the same."""
    master, slave = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(no_pip), "TERM": "xterm", "BATCH_WINDOW": "1"}
    process = subprocess.Popen(
        ["./run.sh", *words], cwd=no_pip, env=environment, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    said = b""
    while not said.endswith(b"Press Enter to close this window. "):
        assert select.select([master], [], [], 30.0)[0], said
        said += os.read(master, 4096)
    assert process.poll() is None
    os.write(master, b"\n")
    assert code == process.wait(30)
    os.close(master)
    assert (b"batch, version" if code == 0 else b"there is nothing of this name") in said


def test_no_window_waits_in_a_pipeline(no_pip: Path) -> None:
    """Without a terminal nothing waits, since nobody could press Enter."""
    ended = run("./run.sh", "--version", folder=no_pip, BATCH_WINDOW="1")
    assert (0, f"batch, version {__version__}\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_exit_codes_and_streams(no_pip: Path, tmp_path: Path) -> None:
    """Exit codes, standard input and standard output pass through."""
    with (tmp_path / "in.csv").open("w+") as file:
        file.write("id,name\nx,y\n")
        file.seek(0)
        command = [no_pip / "run.sh", "check", "-", "-e", "dualentry.customers", "--json"]
        ended = subprocess.run(command, stdin=file, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (1, 1, "") == (ended.returncode, json.loads(ended.stdout)["exit_code"], ended.stderr)


def test_old_python(tmp_path: Path) -> None:
    """A Python that is too old, or that is none, is refused with a sentence, and nothing is made."""
    here = tmp_path / "copy"
    here.mkdir()
    for name in ("run.sh", "requirements.lock"):
        shutil.copy(ROOT / name, here)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "mkdir", "rm", "cat", "head", "tail", "sleep"):
        (tools / name).symlink_to(shutil.which(name) or name)
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # as `sys.exit(sys.version_info < (3, 11))` does there
    old.chmod(0o755)
    ended = run(here / "run.sh", "--help", folder=tmp_path, PATH=str(tools), BATCH_PYTHON=str(old))
    message = (
        "batch needs Python 3.11 or newer, and found none. Install it, or name it:  "
        "BATCH_PYTHON=/path/to/python3 ./run.sh\n"
    )
    assert (2, "", message) == (ended.returncode, ended.stdout, ended.stderr)
    assert ["requirements.lock", "run.sh"] == sorted(path.name for path in here.iterdir())


def test_extra(no_pip: Path, tmp_path: Path) -> None:
    """What few need is installed when it is asked for, from its lock file with hashes, and keeps up with that."""
    pip = "-m pip install --quiet --disable-pip-version-check --no-input --require-hashes --no-deps -r"
    python, lock = no_pip / ".venv" / "bin" / "python", no_pip / "requirements-few.lock"
    python.write_text(f'#!/bin/sh\n[ "$2" = pip ] && echo "$*" >>{tmp_path}/log || {python.read_text()[10:]}')
    lock.write_text("few==1 --hash=sha256:0\n")
    assert 0 == run("./run.sh", "--version", folder=no_pip).returncode
    assert not (tmp_path / "log").exists()
    for _ in range(2):
        ended = run("./run.sh", "extra", "few", folder=no_pip)
        assert (0, "", "") == (ended.returncode, ended.stdout, ended.stderr)
    assert f"{pip} {lock}\n" == (tmp_path / "log").read_text()
    lock.write_text("few==2 --hash=sha256:0\n")
    for _ in range(2):
        assert 0 == run("./run.sh", "--version", folder=no_pip).returncode
    assert f"{pip} {lock}\n" * 2 == (tmp_path / "log").read_text()
    ended = run("./run.sh", "extra", "none", folder=no_pip)
    assert (2, 'There is no extra "none".\n') == (ended.returncode, ended.stderr)


@pytest.mark.parametrize("arguments", [["--help"], ["update", "--help"], ["--version"], ["check"]])
def test_start_is_cheap(offline: Shell, arguments: list[str]) -> None:
    """Help imports nothing of what reads files or talks HTTP."""
    program = (
        "import sys, json\n"
        "from batch.cli import main\n"
        f"sys.argv = ['batch', *{arguments!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    command = [sys.executable, "-P", "-c", program]
    ended = subprocess.run(command, env=offline.environment, capture_output=True, text=True, check=True)
    modules = set(json.loads(ended.stdout.splitlines()[-1]))
    assert set() == HEAVY & modules


def test_lock_names_no_host() -> None:
    """The lock files pin every package with hashes, and name no host."""
    extras = sorted(ROOT.glob("requirements-*.lock"))
    assert extras
    for path in (ROOT / "requirements.lock", *extras, *(ROOT / "tests").glob("requirements*.lock")):
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith((" ", "#"))]
        assert lines
        assert all("==" in line for line in lines)
        assert len(lines) <= path.read_text().count("--hash=sha256:")
        assert "://" not in path.read_text()
        assert "index-url" not in path.read_text()


def test_ci_does_what_the_readme_says() -> None:
    """What a landing must pass is the set-up of the README, command by command."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.partition("## Set-up")[2].partition("```console\n")[2].partition("```")[0]
    told = [line.partition("#")[0].strip() for line in block.splitlines()]
    done = [
        line.removeprefix("exec ") for line in (ROOT / ".ci" / "run").read_text().splitlines() if "./run.sh" in line
    ]
    assert (2, told) == (len(told), done)


@pytest.mark.long
def test_fresh_clone(tmp_path: Path) -> None:
    """On a fresh clone one command sets up and does the main job; the second start installs nothing."""
    clone = tmp_path / "clone"
    git = shutil.which("git") or "git"
    subprocess.run([git, "clone", "-q", str(ROOT), str(clone)], check=True, capture_output=True)
    command = ["update", "samples/customers.csv", "-e", "dualentry.customers", "--sandbox", "--json"]
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP", "http"))}
    kept["HOME"] = os.environ["HOME"]
    first = run(clone / "run.sh", *command, folder=clone, **kept)
    assert (0, 8) == (first.returncode, json.loads(first.stdout)["rows"]), first.stderr
    stamp = (clone / ".venv" / "run.stamp").stat().st_mtime_ns
    second = run(clone / "run.sh", "--help", folder=tmp_path, PIP_NO_INDEX="1")
    assert (0, "", stamp) == (second.returncode, second.stderr, (clone / ".venv" / "run.stamp").stat().st_mtime_ns)
