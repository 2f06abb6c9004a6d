"""Machines with next to nothing: no HOME, a user that nobody knows, a read-only root, no shell, in bubblewrap."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.installed.conftest import do, tool
from tests.shell import ROOT

pytestmark = pytest.mark.long
UPDATE = ["update", "customers.csv", "-e", "dualentry.customers", "--sandbox", "--json"]
HERE = "/mnt"
"""Where the data is, inside."""


def inside(root: Path | str, data: Path, *more: str) -> list[str]:
    """The start of a command on a machine whose root is `root`, read-only, and where only the data can be written."""
    bwrap = tool("bwrap")
    user = [
        "--unshare-user",
        "--uid",
        "12345",
        "--gid",
        "12345",
        "--cap-drop",
        "ALL",
        "--die-with-parent",
        "--clearenv",
    ]
    made = [bwrap, "--ro-bind", str(root), "/", "--bind", str(data), HERE, "--proc", "/proc", "--dev", "/dev"]
    tried = subprocess.run([*made, *user, "/bin/true"], capture_output=True, text=True, check=False)
    if tried.returncode and "true" not in tried.stderr:
        pytest.skip(f"bubblewrap cannot make a machine here: {tried.stderr.strip()}")
    return [*made, *user, "--chdir", HERE, *more]


def started(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, env={}, timeout=120)


def test_nothing_set(installed: Path, data: Path) -> None:
    """No HOME, no name of the user, no place but the data to write to: the job is done, and the run is listed."""
    batch = str(installed / "bin" / "batch")
    ended = started([*inside("/", data), batch, *UPDATE])
    assert (0, 8) == (ended.returncode, json.loads(ended.stdout)["rows"]), ended.stderr
    assert 1 == len(json.loads(started([*inside("/", data), batch, "runs", "--json"]).stdout)["runs"])


def test_nowhere_to_write(installed: Path, data: Path) -> None:
    """Where there is no folder for temporary files, it says which variable to set; with that it goes on."""
    words = ["update", f"{HERE}/customers.csv", *UPDATE[2:]]
    command = [*inside("/", data, "--chdir", "/"), str(installed / "bin" / "batch"), *words]
    ended = started(command)
    said = json.loads(ended.stdout)["stopped"]
    assert (2, "machine") == (ended.returncode, said["reason"])
    assert "No folder for temporary files can be written here: name one, such as TMPDIR=/data/tmp." == said["message"]
    (data / "temporary").mkdir()
    at = command.index("--chdir")
    ended = started([*command[:at], "--setenv", "TMPDIR", f"{HERE}/temporary", *command[at:]])
    assert 0 == ended.returncode, ended.stderr


def test_read_only_input(installed: Path, data: Path, tmp_path: Path) -> None:
    """An input that lies where nothing can be written has its runs where --out says, and is told so before."""
    (tmp_path / "out").mkdir()
    command = [*inside("/", tmp_path / "out"), str(installed / "bin" / "batch"), "update", str(data / "customers.csv")]
    ended = started([*command, *UPDATE[2:]])
    assert (2, True) == (
        ended.returncode,
        "Name another place with --out." in json.loads(ended.stdout)["stopped"]["message"],
    )
    ended = started([*command, *UPDATE[2:], "--out", HERE])
    assert 0 == ended.returncode, ended.stderr


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an image: Debian with Python and nothing else, made by mmdebstrap."""
    mmdebstrap = tool("mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("only root can make the root of an image")
    root = tmp_path_factory.mktemp("image") / "root"
    do([mmdebstrap, "--quiet", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", root])
    return root


def test_image(debian: Path, wheel: Path, data: Path) -> None:
    """In the root of an image, filled as the Containerfile says, the program runs read-only and without a shell."""
    image = data.parent / "image"
    do(["cp", "-a", debian, image])
    do(["chroot", image, "python3", "-m", "venv", "/opt/batch"])
    libraries = next((image / "opt" / "batch" / "lib").glob("python3.*/site-packages"))
    version = libraries.parent.name.removeprefix("python")
    asked = ["--python-version", version, "--only-binary=:all:", "--target", libraries, "-c", ROOT / "constraints.txt"]
    do([sys.executable, "-m", "pip", "install", "-q", *asked, wheel])
    for shell in ("sh", "dash", "bash"):
        for folder in ("bin", "usr/bin"):
            (image / folder / shell).unlink(missing_ok=True)
    kept = ["--setenv", "XDG_STATE_HOME", f"{HERE}/.state", "--tmpfs", "/tmp"]  # noqa: S108 - of the image
    command = [*inside(image, data, *kept), "/opt/batch/bin/python", "-P", "-m", "batch", *UPDATE]
    ended = started(command)
    assert (0, 8) == (ended.returncode, json.loads(ended.stdout)["rows"]), ended.stderr
    assert (data / ".state" / "batch").is_dir()


def test_containerfile_is_built(debian: Path, tmp_path: Path) -> None:
    """buildah builds the image of the Containerfile on that root, and what is in it starts."""
    buildah = [tool("buildah"), "--root", str(tmp_path / "store"), "--runroot", str(tmp_path / "run")]
    around = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    made = do([*buildah, "from", "scratch"], env=around).stdout.strip()
    do([*buildah, "add", made, debian, "/"], env=around)
    do([*buildah, "commit", made, "debian-python"], env=around)
    words = ["--network", "host", "--build-arg", "PYTHON_IMAGE=localhost/debian-python", "--tag", "batch:0.1.0"]
    file = ROOT / "samples" / "pipelines" / "Containerfile"
    do([*buildah, "build", *words, "-v", "/etc/ssl/certs:/etc/ssl/certs:ro", "--file", file, ROOT], env=around)
    image = do([*buildah, "from", "localhost/batch:0.1.0"], env=around).stdout.strip()
    root = do([*buildah, "mount", image], env=around).stdout.strip()
    data = tmp_path / "data"
    shutil.copytree(ROOT / "samples", data, ignore=shutil.ignore_patterns("*.batch", "pipelines"))
    ended = started([*inside(root, data), "/opt/batch/bin/batch", *UPDATE])
    assert (0, 8) == (ended.returncode, json.loads(ended.stdout)["rows"]), ended.stderr
