"""Whose limits a job shares, and what it says of that: of this host by default, of a Redis, or nobody's."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from trio.testing import MockClock

from batch.engine.api_session import SharedLimits
from batch.engine.shutdown import Shutdown
from batch.errors import ExitCode, FolderError, SettingsError, StopCause, StoppedError
from batch.ratelimit import StoreLostError
from batch.ratelimit.sqlite_store import MAKE_ROOM
from batch.run import limiter_store
from batch.run.limiter_store import open_store
from batch.settings import COMMAND_LINE, ENVIRONMENT, Layer, as_options, merge_layers
from tests.job_fixture import VAYU, VAYU_1, JobFixture
from tests.redis_server import RedisServer, require_redis, set_back
from tests.shell import Api, Shell, outcomes, update

SECRET = "a-password-for-tests"  # noqa: S105 - of a server that this test starts
SHEET = f"id,legalName\n{VAYU_1},Acme\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    require_redis()
    one = RedisServer(tmp_path, "--requirepass", SECRET)
    one.start()
    yield one
    one.kill()


def test_jobs_share_limits_on_this_host_with_nothing_to_set(job: JobFixture) -> None:
    """The file in the state folder has the limits, and neither the key nor an id of a record."""
    ended = job.update(job.sheet(SHEET), VAYU)
    path = job.folder / "state" / "batch" / "limiter-2.sqlite"
    assert ("host", 0o600) == (ended.summary.limiter, path.stat().st_mode & 0o777)
    with sqlite3.connect(path) as db:
        found = [db.execute("SELECT * FROM limiter").fetchall(), db.execute("SELECT * FROM record").fetchall()]
    db.close()
    secrets = [value for name, value in job.environment.variables.items() if "KEY" in name or "TOKEN" in name]
    shown = [one for one in (VAYU_1, "Acme", *secrets) if one in repr(found)]
    assert ([1, 1], []) == ([len(rows) for rows in found], shown)


def test_limits_that_are_kept_anew_begin_without_a_burst(job: JobFixture) -> None:
    """A first run on a host has its burst; where the file was there and is gone, a line says why there is none."""
    job.update(job.sheet(SHEET), VAYU, max_per_second=None)
    before = [one for one in job.reporter.notes if "burst" in one]
    for path in (job.folder / "state" / "batch").glob("limiter-2.sqlite*"):
        path.unlink()
    job.update(job.sheet(SHEET.replace("Acme", "Other")), VAYU, max_per_second=None)
    said = (
        "What was sent with this key a moment ago is not known, since the limits that other runs share are kept anew: "
        "for 1 s it goes at the steady rate, without a burst."
    )
    assert ([], [said]) == (before, [one for one in job.reporter.notes if "burst" in one])


def test_without_a_state_folder_the_limits_are_the_job_s_own(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said in one line, and in the summary."""

    def none() -> Path:
        raise FolderError("/state: it cannot be written.")

    monkeypatch.setattr(limiter_store, "state_folder", none)
    ended = job.update(job.sheet(SHEET), VAYU)
    said = "The API's limits are kept for this process alone, and shared with no other run: "
    assert ("process", 0) == (ended.summary.limiter, ended.summary.exit_code)
    assert [said + "/state: it cannot be written."] == [one for one in job.reporter.notes if "limits" in one]


def test_file_that_others_keep_locked_is_no_reason_for_limits_of_one_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the limits are kept, and cannot be opened, nothing begins: the others go by them."""
    monkeypatch.setattr(limiter_store, "state_folder", lambda: tmp_path)
    monkeypatch.setattr("batch.ratelimit.sqlite_store.OPEN_SECONDS", 0.05)
    open_store(None, print).close()
    path, notes = tmp_path / "limiter-2.sqlite", list[str]()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoppedError) as caught:
        open_store(None, notes.append)
    holder.close()
    why = "another process keeps it locked. Nothing is sent without the limits that other runs share."
    assert (f"{path}: {why}", ExitCode.RUN_AGAIN, []) == (str(caught.value), caught.value.exit_code, notes)


def test_job_shares_limits_by_a_redis(job: JobFixture, server: RedisServer) -> None:
    """With --limiter the limits are there, and the next command names it without the password."""
    address = server.url.replace("redis://", f"redis://:{SECRET}@")
    ended = job.update(job.sheet(SHEET), VAYU, limiter=address)
    assert ("redis", 0) == (ended.summary.limiter, ended.summary.exit_code)
    written = b"".join(path.read_bytes() for path in ended.folder.rglob("*") if path.is_file())
    assert SECRET.encode() not in written


def test_redis_whose_clock_was_set_back_holds_nobody_up(job: JobFixture, server: RedisServer) -> None:
    """A run that writes its record whole leases it, reads it, and writes it, as one before the clock was set."""
    address = server.url.replace("redis://", f"redis://:{SECRET}@")
    requests = list[int]()
    for name in ("Before", "After"):
        size = job.sandbox.ledger_size()
        ended = job.update(job.sheet(SHEET.replace("Acme", name)), VAYU, limiter=address)
        assert (0, name) == (ended.summary.exit_code, job.record(VAYU_1, VAYU)["legalName"])
        requests.append(sum(line["by"] == "client" for line in job.sandbox.read_ledger(size)))
        set_back(address, 3600)
    assert requests[0] == requests[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (f"redis://:not-{SECRET}@127.0.0.1:{{port}}/0", "it does not accept the user or password"),
        (f"redis://:{SECRET}@127.0.0.1:{{port}}/99", "it refuses what it is asked (ResponseError)"),
        (f"redis://:{SECRET}@no-such-host.invalid/0", "the host name was not found"),
    ],
)
def test_redis_that_never_will_answer_ends_the_start(
    shell: Shell, api: Api, server: RedisServer, given: str, said: str
) -> None:
    """Where only somebody's hand helps nothing is sent, no other store takes its place, and nothing is left behind."""
    address = given.format(port=server.port)
    ended = shell.here(*update(api, shell.sheet(api.names(1)), "--limiter", address))
    shown = "redis://…" + address[address.index("@") :]
    nothing = "Nothing is sent without the limits that all hosts share."
    assert (2, [], []) == (ended.code, api.lines(), shell.runs()), ended.err
    assert f"--limiter {shown}: {said}. {nothing}" in ended.err


@pytest.mark.parametrize("part", [[], ["--shard", "1/1"]])
def test_redis_that_is_not_there_yet_is_waited_for(
    shell: Shell, api: Api, server: RedisServer, part: list[str]
) -> None:
    """It may be just starting: a run waits up to --max-wait, says so, and ends with 3; the same command goes on."""
    server.kill()
    address = server.url.replace("redis://", f"redis://:{SECRET}@")
    words = update(api, shell.sheet(api.names(2)), "--limiter", address, *part)
    waited = shell.here(*words, "--max-wait", "0.3")
    assert (3, []) == (waited.code, api.lines())
    at = f"redis://…@127.0.0.1:{server.port}/0: it cannot be reached."
    assert f"Nothing is sent while the limits that other runs share cannot be asked: {at}" in waited.err
    assert f"The limits that other runs share could not be asked for 0 s (--max-wait): {at}" in waited.err
    later = threading.Timer(0.2, server.start)
    later.start()
    ended = shell.here(*words)
    later.join()
    assert (0, 2) == (ended.code, len(api.applied())), ended.err
    parent = "sheet.batch/shard-1-of-1" if part else "sheet.batch"
    assert ["updated", "updated"] == outcomes(shell.only_run(parent))


@pytest.mark.parametrize("url", [f"http://:{SECRET}@host", f"redis://:{SECRET}@", f"redis://:{SECRET}@h:port", ""])
def test_address_that_is_none_is_not_shown(url: str) -> None:
    """What is wrong with it is told without it, since it may hold a password."""
    with pytest.raises(SettingsError) as raised:
        merge_layers([Layer(COMMAND_LINE, {"limiter": url})])
    said = "--limiter …: it should be an address such as redis://host:6379/0, or rediss:// with encryption."
    assert said == str(raised.value)


@pytest.mark.parametrize(
    ("source", "url", "options"),
    [
        (COMMAND_LINE, "redis://host:6379/0", ["--limiter", "redis://host:6379/0"]),
        (COMMAND_LINE, f"rediss://u:{SECRET}@host/1", ["--limiter", "rediss://…@host/1"]),
        (ENVIRONMENT, "redis://host", []),
        (ENVIRONMENT, f"redis://:{SECRET}@host", []),
        ("own.toml", f"redis://:{SECRET}@host", []),
    ],
)
def test_next_command_never_has_the_password(source: str, url: str, options: list[str]) -> None:
    """It repeats the address without it, unless the environment or a file has it for the next command, too."""
    settings = merge_layers([Layer(source, {"limiter": url})])
    assert options == as_options(settings, for_same_input=True)
    assert SECRET not in repr(settings) + repr(settings.pace)


def test_limits_that_are_lost_stop_the_run_after_max_wait() -> None:
    """It is said once that nothing is sent meanwhile, and at last that the same command goes on."""

    async def lose() -> tuple[list[str], Shutdown]:
        notes, shutdown = list[str](), Shutdown()
        told = SharedLimits(notes.append, shutdown, 30)
        since = anyio.current_time()
        for _ in range(29):
            told.lost(since, StoreLostError("x: it cannot be reached"))
            await anyio.sleep(1)
        assert not shutdown.requested
        await anyio.sleep(1)
        told.lost(since, StoreLostError("x: it cannot be reached"))
        return notes, shutdown

    notes, shutdown = anyio.run(lose, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
    said = "Nothing is sent while the limits that other runs share cannot be asked: x: it cannot be reached."
    assert ([said], True, StopCause.WAIT) == (notes, shutdown.requested, shutdown.cause)


def test_full_disk_under_the_limits_stops_the_run_soon() -> None:
    """Nobody makes room within --max-wait unasked: it ends after seconds, and says what to do."""

    async def lose() -> tuple[float, Shutdown]:
        shutdown, since = Shutdown(), anyio.current_time()
        told = SharedLimits(lambda text: None, shutdown, 300)
        while not shutdown.requested:
            told.lost(since, StoreLostError("/x: disk I/O error", to_do=MAKE_ROOM))
            await anyio.sleep(1)
        return anyio.current_time() - since, shutdown

    took, shutdown = anyio.run(lose, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
    assert (True, StopCause.SET_UP) == (took < 10, shutdown.cause)
    assert "/x: disk I/O error. The disk takes no more there. Make room" in str(shutdown.as_error(""))


def test_pause_of_another_run(shell: Shell, api: Api) -> None:
    """A run does not wait for an hour that another one was asked to wait: it ends as that did, and asks nothing."""
    words = update(api, shell.sheet(api.names(1)), "--json", "--no-compare")
    api.sandbox.set_faults("429=1.0")
    api.sandbox.behave(retry_after="3600")
    try:
        first, asked = shell.here(*words), len(api.lines())
        again = shell.here(*words)
    finally:
        api.sandbox.behave(retry_after="")
    assert (3, 3, asked) == (first.code, again.code, len(api.lines()))
    told = again.json
    assert ("max-wait", True) == (told["stopped"]["reason"], 3500 < told["retry_after"] < 3900)
    asked_for = told["stopped"]["message"].split()[5]  # a little more than was asked for
    said = f"The API asks to wait {asked_for} min, as another run with this key was told, longer than --max-wait 300."
    assert said == told["stopped"]["message"]
