"""What a shell offers while a command is typed."""

import pytest

from tests.shell import Shell


def offered(offline: Shell, typed: str) -> list[str]:
    """What bash is told for the last word of what was typed."""
    words = typed.split(" ")
    asked = {"_BATCH_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    ended = offline.here(env=asked)
    assert (0, "") == (ended.code, ended.err)
    return ended.out.splitlines()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("batch up", ["plain,update"]),
        ("batch update sheet", ["file,sheet"]),
        ("batch update -e v", ["plain,vayu.customers"]),
        ("batch endpoints d", ["plain,dualentry.customers"]),
        ("batch update --resu", ["plain,--results-xlsx", "plain,--resume-within"]),
        ("batch update --out ru", ["dir,ru"]),
        ("batch update --token-file k", ["file,k"]),
        ("batch update --config b", ["file,b"]),
        ("batch plan --hidden s", ["plain,skip"]),
        ("batch undo sheet.b", ["file,sheet.b"]),
        ("batch status sheet.b", ["dir,sheet.b"]),
        ("/opt/batch/bin/batch up", ["plain,update"]),
    ],
)
def test_offered(offline: Shell, typed: str, expected: list[str]) -> None:
    """Commands, options, endpoints, choices, and the files and folders of the shell."""
    assert expected == offered(offline, typed)


@pytest.mark.parametrize("started", ["batch", "/opt/batch/bin/batch-update", "./run.sh"])
def test_script(offline: Shell, started: str) -> None:
    """Whatever it was started as, the program gives the script for its name, and does nothing else."""
    ended = offline.here(env={"_BATCH_COMPLETE": "bash_source", "BATCH_COMMAND": started})
    assert (0, "") == (ended.code, ended.err)
    assert f"complete -o nosort -F _{shell_name(started)}_completion {started.split('/')[-1]}\n" in ended.out


def shell_name(started: str) -> str:
    return started.split("/")[-1].replace("-", "_").replace(".", "")


def test_a_shell_that_is_not_known(offline: Shell) -> None:
    """It gets nothing, and no command is run for it."""
    ended = offline.here("sandbox", env={"_BATCH_COMPLETE": "tcsh_source"})
    assert (1, "", "") == (ended.code, ended.out, ended.err)
