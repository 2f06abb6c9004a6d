"""How a sandbox is switched, started and stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batch.sandbox.__main__ import main
from batch.sandbox.options import OptionError, SandboxOptions, arguments_of
from batch.sandbox.process import SandboxError, SandboxProcess, start_process
from tests.sandbox.control import ControlledSandbox

ROOT = Path(__file__).resolve().parents[2]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_switch_survives_the_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a parent wants is what its child does."""
    options = SandboxOptions(
        port=1, keys=("k",), records=2, limits="fast", put="replace", replay="too-large", bare_lists=True,
        token_lifetime=3.5, latency=0.25, normalize="shown", read_lag=1.5, max_page=20, filters="last",
        pending="shown", rate_headers="empty", retry_after="7, 9",
        faults=("500=0.01", "drop-after=nth:1,2"), seed=4, stale_reads=5, ledger=Path("l"), ledger_writes_only=True,
        ledger_no_bodies=True, state=Path("s"), until_stdin_closes=True,
    )  # fmt: skip
    served: list[SandboxOptions] = []
    monkeypatch.setattr("batch.sandbox.__main__.serve", served.append)
    assert [main(arguments_of(options)), main([])] == [0, 0]
    assert served == [options, SandboxOptions()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limits", "none"], "--limits none: choose one of documented, fast, off"),
        (["--put", "x"], "--put x: choose one of merge, replace"),
        (["--port", "70000"], "--port 70000: must be from 0 to 65535"),
        (["--records", "-1"], "--records -1: must be from 0 to 1000000000"),
        (["--key", "a b"], "--key a b: each company needs a key of its own, of plain ASCII without blanks"),
        (["--key", "a", "--key", "a"],
         "--key a: each company needs a key of its own, of plain ASCII without blanks"),
        (["--key", "a", "--key", "b", "--state", "s"],
         "--state: it keeps the records of one company. Name one --key."),
        (["--fault", "500=2"],
         '--fault 500=2: "2" is neither a chance from 0 to 1 nor nth:1,2 nor id:… nor once:…'),
        (["--fault", "half=nth:a"],
         '--fault half=nth:a: "nth:a" is neither a chance from 0 to 1 nor nth:1,2 nor id:… nor once:…'),
        (["--fault", "404@list=1"],
         '--fault 404@list=1: "list" are no requests. Choose one of writes, reads, lists, logins, all'),
        (["--fault", "approval@reads=1"], "--fault approval@reads=1: only writes can meet approval"),
    ],
)  # fmt: skip
def test_a_wrong_switch_is_explained(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """Exit 2, and what may stand there."""
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"batch sandbox: {message}\n"


def test_an_unknown_fault_names_the_known_ones() -> None:
    """All kinds are listed."""
    with pytest.raises(OptionError) as raised:
        SandboxOptions(faults=("drop=1",))
    assert str(raised.value) == (
        '--fault drop=1: "drop" is no fault. Write KIND=0.01 or KIND=nth:1,2,3; kinds: a status from 400 to 599, '
        "the same with -after, drop-before, hang-before, drop-after, hang-after, reset, half, garbled, stray, "
        "stray-late, garbage, empty, queued, success-true, lie-drop-field, lie-other, approval, stale-read, "
        "success-false, 429-bare"
    )


def test_it_says_where_it_is_and_what_opens_it() -> None:
    """One line of JSON on standard output, and nothing else."""
    with subprocess.Popen(
        [sys.executable, "-m", "batch.sandbox"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        hello = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        rest = process.communicate()
    url, key = hello["url"], hello["dualentry"]["env"]["DUALENTRY_API_KEY"]
    assert len(key) == 32
    assert url.startswith("http://127.0.0.1:")
    assert hello == {
        "url": url,
        "dualentry": {"base_url": url, "env": {"DUALENTRY_API_KEY": key}},
        "vayu": {"base_url": url, "env": {"VAYU_API_TOKEN": key, "VAYU_CLIENT_ID": "sandbox-client"}},
        "pid": process.pid,
    }
    assert (process.returncode, rest) == (0, (b"", b""))


def test_a_taken_port_is_explained() -> None:
    """By the one who starts it, in a sentence."""
    with ControlledSandbox(SandboxOptions()) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(SandboxError) as raised:
            ControlledSandbox(SandboxOptions(port=port))
    assert str(raised.value) == (
        f"The sandbox did not start: batch sandbox: cannot listen on port {port}: Address already in use. "
        "Choose another, or --port 0 for a free one."
    )


def test_a_stopped_sandbox_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a zombie is left, and stopping twice does no harm."""
    monkeypatch.setattr("batch.sandbox.process.start_process", start_process)  # as users start it
    sandbox = ControlledSandbox(SandboxOptions())
    sandbox.stop()
    sandbox.stop()
    assert not is_alive(sandbox.pid)


def test_it_dies_with_a_killed_parent() -> None:
    """kill -9 closes the pipe that the sandbox listens on."""
    code = (
        "import time; from tests.sandbox.control import ControlledSandbox, SandboxOptions; "
        "print(ControlledSandbox(SandboxOptions()).pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    deadline = time.monotonic() + 10
    while is_alive(child) and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.monotonic() < deadline


def test_ctrl_c_on_the_terminal_does_not_reach_it() -> None:
    """It is in a session of its own, and stops when its parent says so."""
    with ControlledSandbox(SandboxOptions()) as sandbox:
        assert os.getsid(sandbox.pid) == sandbox.pid


def test_records_are_kept_from_one_sandbox_to_the_next(tmp_path: Path) -> None:
    """With a state file, readable by its owner alone."""
    options = SandboxOptions(state=tmp_path / "state.json")
    with ControlledSandbox(options) as first:
        first.edit("dualentry", 10001, {"phone": "1", "custom_fields": [{"Tier": "Bronze"}]})
        before = first.record("dualentry", 10001)
    with ControlledSandbox(options) as second:
        assert second.record("dualentry", 10001) == before
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


def test_each_start_has_another_key() -> None:
    """Also on the same port, so that nothing of an earlier sandbox is taken for this one's."""
    with SandboxProcess(SandboxOptions()) as first:
        port, keys = int(first.url.rpartition(":")[2]), set(first.environment().items())
    with SandboxProcess(SandboxOptions(port=port)) as second:
        same = keys & set(second.environment().items())
    assert first.url == second.url
    assert {("VAYU_CLIENT_ID", "sandbox-client")} == same


def test_a_broken_state_file_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is served from half a state."""
    state = tmp_path / "state.json"
    state.write_text("[]")
    assert main([f"--state={state}"]) == 2
    assert capsys.readouterr().err == f"batch sandbox: --state {state}: this is not a state that a sandbox saved\n"


def test_a_ledger_that_cannot_be_written_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is served."""
    assert main([f"--ledger={tmp_path}"]) == 2
    assert capsys.readouterr().err == f"batch sandbox: {tmp_path}: Is a directory\n"


def test_it_stops_while_an_answer_hangs() -> None:
    """What hangs is dropped."""
    with ControlledSandbox(SandboxOptions(faults=("hang-after=1",))) as sandbox:
        host, port = sandbox.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"PUT /customers/x HTTP/1.1\r\nHost: x\r\n\r\n")
            while sandbox.counts()["total"] == 0:
                pass
            sandbox.stop()
            assert client.recv(1) == b""
    assert sandbox.returncode == 0


def test_importing_it_is_cheap() -> None:
    """Neither a server nor pydantic comes with the switches."""
    code = (
        "import sys, batch.sandbox; sys.exit(bool({'starlette', 'uvicorn', 'pydantic', 'asyncio'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
