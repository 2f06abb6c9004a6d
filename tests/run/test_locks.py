"""Which disk a folder is on, and that no run is kept on one of another machine."""

from pathlib import Path

import pytest

from batch.errors import FolderError
from batch.run import locks
from batch.run.locks import state_folder
from tests.shell import DUALENTRY, Api, Shell, outcomes

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/me/disk ext4 rw 0 0
//server/share /mnt/Shared\\040Files cifs rw 0 0
me@host:/ /mnt/ssh fuse.sshfs rw 0 0
C:\\134 /mnt/c 9p rw 0 0
systemd-1 /auto autofs rw 0 0
server:/auto /auto nfs rw 0 0
server:/below /over nfs rw 0 0
tmpfs /over tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", None),
        ("/data/x", None),
        ("/home", "nfs4"),
        ("/home/me/customers.batch", "nfs4"),
        ("/homeless", None),
        ("/home/me/disk/x", None),
        ("/home/me/diskette", "nfs4"),
        ("/mnt/Shared Files/x", "cifs"),
        ("/mnt/ssh", "fuse.sshfs"),
        ("/mnt/c/Users", "9p"),
        ("/auto/x", "nfs"),
        ("/over/x", None),
    ],
)
def test_network_kind(path: str, expected: str | None) -> None:
    """The innermost mount counts, and of several at one place the last."""
    assert expected == locks.network_kind(MOUNTS, path)


@pytest.mark.parametrize("text", ["", "\n", "x", "x y", "a b c d e f g", "\\999 \\999 nfs", "x /  "])
def test_odd_mounts(text: str) -> None:
    """A text that makes no sense says nothing."""
    assert None is locks.network_kind(text, "/data")


def test_no_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that does not tell its mounts is believed."""
    monkeypatch.setattr(locks, "MOUNTS", tmp_path / "nothing")
    assert None is locks.kind_of(tmp_path)


@pytest.fixture
def network(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the shell that counts as one on another machine."""
    (tmp_path / "mounts").write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {shell.folder}/net nfs4 rw 0 0\n")
    monkeypatch.setattr(locks, "MOUNTS", tmp_path / "mounts")
    (shell.folder / "net").mkdir()
    return shell.folder / "net"


def test_refused(shell: Shell, api: Api, network: Path) -> None:
    """An input on a network file system is not run beside itself: nothing is sent or left there, --out is proposed."""
    sheet = shell.sheet(api.names(1), "net/sheet.csv")
    ended = shell.here("update", sheet, "-e", DUALENTRY, *api.options)
    expected = (
        "net/sheet.batch: this is on a network file system (nfs4), where a run can neither be locked nor written down "
        "safely. Name a folder on a disk of this machine with --out; a run that is there already goes on when a "
        "copy of its folder lies in that one.\n"
    )
    assert (2, expected) == (ended.code, ended.err)
    assert ["sheet.csv"] == [path.name for path in network.iterdir()]
    assert [] == api.lines()


def test_out_is_the_way(shell: Shell, api: Api, network: Path) -> None:
    """With --out on a disk of this machine the same input is run."""
    sheet = shell.sheet(api.names(1), "net/sheet.csv")
    assert 0 == shell.here("update", sheet, "-e", DUALENTRY, *api.options, "--out", "here").code
    assert 2 == shell.here("update", sheet, "-e", DUALENTRY, *api.options, "--out", "net/here").code


@pytest.mark.parametrize("command", ["results", "undo", "purge"])
def test_nothing_is_locked_there(shell: Shell, api: Api, network: Path, command: str) -> None:
    """A run that is there already is neither changed nor removed."""
    shell.here("update", shell.sheet(api.names(1)), "-e", DUALENTRY, *api.options)
    shell.only_run().rename(network / "run")
    ended = shell.here(command, "net/run", *([] if command == "results" else ["--yes"]))
    assert 2 == ended.code
    assert "net/run: this is on a network file system (nfs4)" == ended.err.split(",")[0]


def test_copy_is_resumed(shell: Shell, api: Api, network: Path) -> None:
    """A copy of such a run on a disk of this machine goes on where it stopped."""
    sheet = shell.sheet(api.names(2))
    api.sandbox.set_faults("503=1")
    shell.here("update", sheet, "-e", DUALENTRY, *api.options, "--max-attempts", "1")
    (shell.folder / "copies").mkdir()
    shell.only_run().rename(shell.folder / "copies" / "copy")
    api.sandbox.set_faults()
    assert 0 == shell.here("update", sheet, "-e", DUALENTRY, *api.options, "--out", "copies").code
    assert ["updated"] * 2 == outcomes(shell.folder / "copies" / "copy")


def test_state_on_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks are never kept in a home on a network file system."""
    (tmp_path / "mounts").write_text(f"server:/x {tmp_path}/state nfs4 rw 0 0\n")
    monkeypatch.setattr(locks, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert tmp_path == state_folder().parent


@pytest.mark.parametrize("is_link", [True, False])
def test_state_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_link: bool) -> None:
    """In the folder for everybody nothing is kept where somebody else has put a link, or a folder of his own."""
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("os.getuid", lambda: 4321)
    folder = tmp_path / "batch-4321"
    folder.symlink_to(tmp_path) if is_link else folder.mkdir()
    with pytest.raises(FolderError) as told:
        state_folder()
    why = "somebody else has put this here, so no lock can be kept in it. Set XDG_STATE_HOME to a folder of yours."
    assert f"{folder}: {why}" == str(told.value)
