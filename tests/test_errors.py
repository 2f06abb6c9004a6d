"""The exception tree: every way a job can stop has its exit code and its place."""

from batch import errors
from batch.errors import BatchError, ExitCode

KINDS = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, BatchError)
}  # fmt: skip


def test_exit_codes() -> None:
    """The exit codes are those of the contract."""
    expected = {
        "OK": 0,
        "FIX_ROWS": 1,
        "COULD_NOT_START": 2,
        "RUN_AGAIN": 3,
        "BUG": 4,
        "BUSY": 5,
        "KEY_REFUSED": 6,
        "WOULD_CHANGE": 10,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }
    assert expected == {code.name: code.value for code in ExitCode}


def test_every_error_has_its_exit_code() -> None:
    """What could not start exits 2, what stopped half-way 3, a bug 4, a busy input 5."""
    expected = {
        "BatchError": 2,
        "UsageError": 2,
        "InputError": 2,
        "TitleError": 2,
        "NotationError": 2,
        "HeaderError": 2,
        "UnmatchedError": 2,
        "SettingsError": 2,
        "CredentialError": 2,
        "FolderError": 2,
        "MachineError": 2,
        "Declined": 2,
        "StoppedError": 3,
        "BusyError": 5,
        "JournalError": 3,
        "AlreadyFinished": 0,
        "CancelledError": 130,
        "CountMismatchError": 4,
    }
    assert expected == {name: kind.exit_code for name, kind in KINDS.items()}


def test_tree_is_drawn() -> None:
    """The module's docstring draws the tree as it is, with the exit codes."""
    drawn = [line for line in (errors.__doc__ or "").splitlines() if "── " in line]
    found = {}
    for line in drawn:
        name, _, rest = line.split("── ")[1].partition(" ")
        found[name] = int(rest.strip()[1:].partition(")")[0].partition(",")[0]) if rest.strip().startswith("(") else 2
    assert {name: kind.exit_code for name, kind in KINDS.items() if kind is not BatchError} == found


def test_what_could_not_start_is_a_usage_error() -> None:
    """Everything that says that nothing was sent can be caught as one kind."""
    not_started = {name for name, kind in KINDS.items() if kind.exit_code == ExitCode.COULD_NOT_START}
    not_started -= {"BatchError"}
    assert not_started == {name for name, kind in KINDS.items() if issubclass(kind, errors.UsageError)}


def test_message() -> None:
    """What the person reads is the message as it was written."""
    assert "x.csv: it is empty." == str(errors.InputError("x.csv: it is empty."))
