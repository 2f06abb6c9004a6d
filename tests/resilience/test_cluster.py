"""Shards on several hosts and on a real Dask cluster, over a real Redis: judged by the ledger of the sandbox.

What is a host of its own here is a process with a state folder and a folder of runs of its own.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from batch.distributed.manifest import read_manifest
from batch.journal import peek
from batch.ratelimit.policy import RUN_LEASE
from batch.sandbox.options import SandboxOptions
from tests.redis_server import RedisServer, find_redis
from tests.sandbox.control import ControlledSandbox
from tests.shell import DUALENTRY, ROOT, Shell, until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_redis() is None, reason="redis-server is not installed (apt-get install redis-server)"),
]
NEEDS_CLUSTER = pytest.mark.skipif(find_spec("distributed") is None, reason="not installed: ./run.sh extra cluster")
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), Path("libfaketime.so.1"))
JOBS, SHARDS, ROWS = 8, 4, 40
KEYS = tuple(f"key-{number}" for number in range(1, JOBS + 1))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[ControlledSandbox]:
    options = SandboxOptions(keys=KEYS, ledger=tmp_path / "ledger.jsonl", records=200)
    with ControlledSandbox(options) as running:
        yield running


def rows(count: int) -> str:
    return "id,name\n" + "".join(f"{10001 + number},New name {number}\n" for number in range(count))


def writes(sandbox: ControlledSandbox) -> list[dict[str, Any]]:
    return [line for line in sandbox.read_ledger() if line["by"] == "client" and line["method"] == "PATCH"]


def read_ids(sandbox: ControlledSandbox, size: int) -> set[str]:
    """The records that were read since the ledger had this size, alone or by lists of ids."""
    lines = [one for one in sandbox.read_ledger(size) if one["by"] == "client" and one["method"] == "GET"]
    return {str(one["id"]) for one in lines if one["id"]} | {
        key for one in lines for key in parse_qs(one["query"]).get("id", [])
    }


def assert_each_applied_once(sandbox: ControlledSandbox, companies: int, count: int) -> None:
    """Every change was applied, none of them twice, and no record was sent two keys."""
    applied = Counter((line["company"], line["id"]) for line in writes(sandbox) if line["applied"])
    wanted = {(company, str(10001 + number)): 1 for company in range(1, companies + 1) for number in range(count)}
    assert wanted == dict(applied)


def most_over(times: Sequence[float], burst: float, per_second: float) -> float:
    """By how many starts a bucket is overdrawn at most, in any window."""
    worst = level = 0.0
    last = times[0] if times else 0.0
    for at in times:
        level = max(0.0, level - (at - last) * per_second) + 1
        worst, last = max(worst, level - burst), at
    return worst


@pytest.mark.parametrize("part", [["--shard", "1/1"], []])
@pytest.mark.parametrize(("told", "code"), [(None, 5), (signal.SIGTERM, 143)])
def test_frozen_past_its_lease(
    tmp_path: Path, redis: RedisServer, sandbox: ControlledSandbox, told: signal.Signals | None, code: int,
    part: list[str],
) -> None:  # fmt: skip
    """A worker that was frozen past its lease sends nothing when it wakes: another host did its run meanwhile.

    Nor does it put its own record over the copy that the other one has left (`--store`), also where it wakes to a
    signal.
    """
    (tmp_path / "work").mkdir()
    shell = Shell(tmp_path / "work")
    shell.sheet(rows(25))

    def command(host: str) -> list[object]:
        options = ["--base-url", sandbox.url, "--limiter", redis.url, *part, "--yes", "--store", "store"]
        return ["update", "sheet.csv", "-e", DUALENTRY, *options, "--out", host]

    def env(host: str) -> dict[str, str]:
        return {"XDG_STATE_HOME": str(tmp_path / host), "DUALENTRY_API_KEY": KEYS[0]}

    first = shell.start(*command("one"), env=env("one"))
    try:
        until(lambda: len(writes(sandbox)) >= 12, first)
        os.kill(first.pid, signal.SIGSTOP)
        began = time.monotonic()
        second = shell.start(*command("two"), env=env("two"))
        _, err = second.communicate(timeout=180)
        assert 0 == second.returncode, err.decode()
        assert RUN_LEASE - 1 < time.monotonic() - began
        before, (copy,) = len(sandbox.read_ledger()), (shell.folder / "store").iterdir()
        left = copy.read_bytes()
        if told is not None:
            os.kill(first.pid, told)
        os.kill(first.pid, signal.SIGCONT)
        _, err = first.communicate(timeout=60)
        assert (code, before) == (first.returncode, len(sandbox.read_ledger())), err.decode()
        assert told is not None or "Another start does this run by now" in err.decode()
        assert left == copy.read_bytes()
    finally:
        shell.end_all()
    assert_each_applied_once(sandbox, 1, 25)
    keys = {line["id"]: line["key"] for line in writes(sandbox)}
    assert 25 == len(keys) == len(set(keys.values()))


def test_killed_and_followed_elsewhere(
    tmp_path: Path, redis: RedisServer, sandbox: ControlledSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts that are killed one after the other go on from each other's copies: what is done is not read again."""
    monkeypatch.setattr("tests.shell.PATIENCE", 120.0)  # each waits until the lease of the one before has ended
    (tmp_path / "work").mkdir()
    shell, count = Shell(tmp_path / "work"), 40
    shell.sheet(rows(count))

    def start(host: str) -> "subprocess.Popen[bytes]":
        options = ["--base-url", sandbox.url, "--limiter", redis.url, "--shard", "1/1", "--yes", "--store", "store"]
        env = {"XDG_STATE_HOME": str(tmp_path / host), "DUALENTRY_API_KEY": KEYS[0]}
        return shell.start("update", "sheet.csv", "-e", DUALENTRY, *options, "--out", host, env=env)

    def applied() -> list[str]:
        return [line["id"] for line in writes(sandbox) if line["applied"]]

    try:
        for host, most in (("one", 22), ("two", 34)):
            killed = start(host)
            until(lambda most=most: len(applied()) >= most, killed)  # type: ignore[misc]  # a copy was made meanwhile
            killed.kill()
            killed.communicate()
        size = sandbox.ledger_size()
        last = start("three")
        _, err = last.communicate(timeout=180)
    finally:
        shell.end_all()
    assert 0 == last.returncode, err.decode()
    assert "Goes on from the copy of" in err.decode()
    assert 0 < len(read_ids(sandbox, size)) < count - 5
    assert_each_applied_once(sandbox, 1, count)


@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed (apt-get install faketime)")
def test_clocks_that_differ(tmp_path: Path, redis: RedisServer, sandbox: ControlledSandbox) -> None:
    """Hosts whose clocks are an hour ahead or a day behind share the limits of a key, and do each shard once."""
    (tmp_path / "work").mkdir()
    shell = Shell(tmp_path / "work")
    shell.sheet(rows(ROWS))
    started = []
    for number, clock in enumerate(("+0", "+1h", "-1d", "-5s"), 1):
        env = {
            "XDG_STATE_HOME": str(tmp_path / str(number)), "DUALENTRY_API_KEY": KEYS[0], "FAKETIME": clock,
            "LD_PRELOAD": str(FAKETIME), "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
        options = ["--base-url", sandbox.url, "--limiter", redis.url, "--shard", f"{number}/4", "--yes"]
        command = ["update", "sheet.csv", "-e", DUALENTRY, *options, "--out", str(number)]
        started.append(shell.start(*command, env=env, cold=True))
    try:
        for one in started:
            _, err = one.communicate(timeout=240)
            assert 0 == one.returncode, err.decode()
    finally:
        shell.end_all()
    assert_each_applied_once(sandbox, 1, ROWS)
    sent = writes(sandbox)
    assert 0 == sum(line["status"] == 429 for line in sent)
    assert most_over(sorted(line["t"] for line in sent), 10, 1) <= 1.5


def children(pid: int) -> list[int]:
    """The worker processes that a process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status, words = (entry / "status").read_text(), (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"PPid:\t{pid}\n" in status and b"spawn_main" in words:
                found.append(int(entry.name))
    return found


@NEEDS_CLUSTER
def test_many_jobs(
    tmp_path: Path,
    redis: RedisServer,
    sandbox: ControlledSandbox,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight jobs in four shards each: workers killed and frozen, Redis killed; nothing is lost, or applied twice."""
    monkeypatch.setattr("tests.shell.PATIENCE", 240.0)  # 32 shards begin
    (tmp_path / "work").mkdir()
    shell, chance = Shell(tmp_path / "work"), random.Random(19)  # noqa: S311 - moments, no secret
    shell.sheet(rows(ROWS))
    jobs = [
        f'[[job]]\nname = "job-{number}"\ninput = "sheet.csv"\ntoken_env = "KEY_{number}"\nshards = {SHARDS}\n'
        for number in range(1, JOBS + 1)
    ]
    head = (
        f'[defaults]\nendpoint = "{DUALENTRY}"\nbase_url = "{sandbox.url}"\nlimiter = "{redis.url}"\nreport = false\n'
    )
    (shell.folder / "jobs.toml").write_text(head + "".join(jobs))
    env = {f"KEY_{number}": key for number, key in enumerate(KEYS, 1)}
    command = ["submit", "jobs.toml", "--workers", "4", "--json"]
    log = (tmp_path / "log").open("wb")
    ended: list[int] = []
    told: dict[str, Any] = {}
    did: Counter[str] = Counter()
    for attempt in range(4):
        process = shell.start(*command, env=env, stderr=log)
        if attempt == 0:
            until(lambda: len(writes(sandbox)) >= 20, process)
            did = trouble(process, redis, chance)
        out, _ = process.communicate(timeout=400)
        ended.append(process.returncode)
        told = json.loads(out)
        if process.returncode == 0:
            break
    log.close()
    said = (tmp_path / "log").read_text()
    assert 0 == ended[-1], said
    assert JOBS * ROWS == told["rows"] == sum(told["outcomes"].values())
    assert JOBS * ROWS == told["outcomes"]["updated"] + told["outcomes"]["unchanged"]
    assert_each_applied_once(sandbox, JOBS, ROWS)
    lines = [line for line in sandbox.read_ledger() if line["by"] == "client"]
    refused = sum(line["status"] == 429 for line in lines)
    for company in range(1, JOBS + 1):
        times = sorted(line["t"] for line in lines if line["company"] == company and line["method"] == "PATCH")
        # the sandbox notes when a request arrived; also who begins right after the Redis forgot everything has no burst
        assert most_over(times, 10, 1) <= 1.5
    assert (1, True) == (did["redis killed"], did["workers killed"] >= 2)
    assert refused <= 0.05 * len(lines)
    record_property("proof", {"codes": ended, "requests": len(lines), "outcomes": told["outcomes"], **did})


def manifest(shell: Shell, name: str, sandbox: ControlledSandbox, jobs: int, **defaults: object) -> list[str]:
    """Write a manifest of jobs in two shards each, all with the same sheet; the words of the command that does them."""
    given = {"endpoint": DUALENTRY, "base_url": sandbox.url, "report": False, **defaults}
    head = "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items())
    tables = [
        f'[[job]]\nname = "job-{number}"\ninput = "sheet.csv"\ntoken_env = "KEY_{number}"\nshards = 2\n'
        for number in range(1, jobs + 1)
    ]
    (shell.folder / name).write_text(f"[defaults]\n{head}{''.join(tables)}")
    return ["submit", name, "--workers", "2", "--json"]


@NEEDS_CLUSTER
def test_redis_that_is_away_at_the_start(
    tmp_path: Path, redis: RedisServer, sandbox: ControlledSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards that begin without their Redis send nothing, say so, and go on when it is there, also where it goes again.

    Where it does not come within --max-wait they end with exit code 3, and the same command goes on.
    """
    monkeypatch.setattr("tests.shell.PATIENCE", 120.0)  # a line is told every ten seconds
    (tmp_path / "work").mkdir()
    shell, count = Shell(tmp_path / "work"), 20
    shell.sheet(rows(count))
    env = {f"KEY_{number}": key for number, key in enumerate(KEYS, 1)}
    redis.kill()
    ended = shell.run(*manifest(shell, "jobs.toml", sandbox, 2, limiter=redis.url, max_wait=2), env=env)
    assert (3, "unfinished", {"unsent": 2 * count}, []) == (
        ended.code, ended.json["state"], {k: n for k, n in ended.json["outcomes"].items() if n}, sandbox.read_ledger()
    ), ended.err  # fmt: skip
    assert f"could not be asked for 2 s (--max-wait): {redis.url}: it cannot be reached." in ended.err
    log = (tmp_path / "log").open("wb")
    process = shell.start(*manifest(shell, "jobs.toml", sandbox, 2, limiter=redis.url), env=env, stderr=log)
    said = (tmp_path / "log").read_text
    try:
        until(lambda: "job-1 waits: the limits that other runs share cannot be asked" in said(), process)
        redis.start()
        until(lambda: redis.keys() > 1, process)  # the first shard is claimed
        redis.kill()
        time.sleep(1)
        redis.start()
        out, _ = process.communicate(timeout=240)
    finally:
        shell.end_all()
        log.close()
    assert (0, 2 * count) == (process.returncode, json.loads(out)["outcomes"]["updated"]), said()
    assert_each_applied_once(sandbox, 2, count)
    sent = writes(sandbox)
    assert 0 == sum(line["status"] == 429 for line in sent)
    for company in (1, 2):
        assert most_over(sorted(line["t"] for line in sent if line["company"] == company), 10, 1) <= 1.5


@NEEDS_CLUSTER
def test_store_of_a_manifest(tmp_path: Path, redis: RedisServer, sandbox: ControlledSandbox) -> None:
    """With `store` in a manifest another host that is given it goes on from the copies that the first one left."""
    (tmp_path / "work").mkdir()
    shell, count = Shell(tmp_path / "work"), 60
    shell.sheet(rows(count))

    def submit(host: str) -> "subprocess.Popen[bytes]":
        words = manifest(
            shell, f"{host}.toml", sandbox, 1, limiter=redis.url, store="copies"
        )  # `out` is the host's own
        return shell.start(*words, env={"KEY_1": KEYS[0], "XDG_STATE_HOME": str(tmp_path / host)})

    try:
        first = submit("one")
        until(lambda: len(writes(sandbox)) >= 20, first)
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=60)
        assert 130 == first.returncode, err.decode()
        done, size = {line["id"] for line in writes(sandbox) if line["applied"]}, sandbox.ledger_size()
        assert 2 == len(list((shell.folder / "copies").iterdir()))
        second = submit("two")
        out, err = second.communicate(timeout=240)
    finally:
        shell.end_all()
    assert (0, count) == (second.returncode, json.loads(out)["outcomes"]["updated"]), err.decode()
    assert 20 <= len(done) < count
    assert {str(10001 + number) for number in range(count)} - done == read_ids(sandbox, size)
    assert_each_applied_once(sandbox, 1, count)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A Dask cluster of somebody else, without workers as yet, of which each does one task at a time."""
    from distributed import LocalCluster

    for number, key in enumerate(KEYS, 1):
        monkeypatch.setenv(f"KEY_{number}", key)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "workers"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with LocalCluster(
        n_workers=0, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, memory_limit=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}, silence_logs=50,
    ) as running:  # fmt: skip
        yield running


def submitted(words: Sequence[object], cluster: Any) -> list[object]:
    """The command that gives the jobs of a manifest to a cluster."""
    return [*words[:2], "--scheduler", cluster.scheduler_address, "--json"]


def start_worker(cluster: Any, log: Path, *options: str, env: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start a worker of a cluster that does two tasks at a time; what it says goes to `log`."""
    words = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--no-nanny"]
    words += ["--nthreads", "2", "--no-dashboard", "--local-directory", str(log.parent), *options]
    with log.open("wb") as said:
        return subprocess.Popen(words, cwd=log.parent, env={**os.environ, **env}, stderr=said)


MISSING = "import sys\nsys.modules['batch'] = None\n"
BROKEN = """\
from batch.distributed import shard_task
def update_unless_finished(*args, **options):
    raise KeyError("not-told")
shard_task.update_unless_finished = update_unless_finished
"""
OTHER = "import batch\nbatch.__version__ = '0.0.1'\n"


@NEEDS_CLUSTER
@pytest.mark.parametrize(
    ("preload", "code", "said"),
    [
        (MISSING, 2, "the worker cannot run it (ModuleNotFoundError: import of batch halted; None in sys.modules)."),
        (OTHER, 2, "the worker cannot run it (ImportError: the worker has batch 0.0.1, and this is "),
        (BROKEN, 4, "This is a bug in batch (KeyError at preload.py:3). Please report it"),
    ],
)
def test_workers_that_cannot_do_it(
    tmp_path: Path, sandbox: ControlledSandbox, cluster: Any, preload: str, code: int, said: str
) -> None:
    """What waiting does not mend is told with its own code, not as something to try again; no password is shown."""
    (tmp_path / "work").mkdir()
    shell = Shell(tmp_path / "work")
    shell.sheet(rows(4))
    (tmp_path / "preload.py").write_text(preload)
    worker = start_worker(cluster, tmp_path / "log", "--preload", str(tmp_path / "preload.py"), env={})
    try:
        words = submitted(manifest(shell, "jobs.toml", sandbox, 1), cluster)
        ended = shell.run(*words, env={"BATCH_LIMITER": "redis://:not-told@127.0.0.1:1"})
    finally:
        worker.kill()
        worker.wait()
    assert (code, []) == (ended.code, sandbox.read_ledger()), ended.err
    assert said in ended.err
    assert "not-told" not in ended.err + ended.out
    assert "not-told@" not in (tmp_path / "log").read_text()


@NEEDS_CLUSTER
def test_hosts_that_share_nothing(
    tmp_path: Path, sandbox: ControlledSandbox, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a Redis that both share a second host does nothing, also where it came later; BATCH_LIMITER names one.

    Its password is in no log of the cluster, nor on the screen.
    """
    monkeypatch.setattr("tests.shell.PATIENCE", 60.0)
    (tmp_path / "work").mkdir()
    shell = Shell(tmp_path / "work")
    shell.sheet(rows(16))
    redis = RedisServer(tmp_path, "--requirepass", "not-told")
    redis.start()

    def worker(host: str, address: str) -> "subprocess.Popen[bytes]":
        env = {"XDG_STATE_HOME": str(tmp_path / host)}
        return start_worker(cluster, tmp_path / f"{host}.log", "--host", address, env=env)

    started = [worker("host-1", "127.0.0.1")]
    try:
        words = submitted(manifest(shell, "jobs.toml", sandbox, 2), cluster)
        process = shell.start(*words)
        until(lambda: len(writes(sandbox)) >= 1, process)
        started.append(worker("host-2", "127.0.0.2"))
        _, err = process.communicate(timeout=120)
        ended = shell.run(*words)
        secret = redis.url.replace("redis://", "redis://:not-told@")
        with_redis = shell.run(*words, env={"BATCH_LIMITER": secret})
    finally:
        redis.kill()
        for one in started:
            one.kill()
            one.wait()
        shell.end_all()
    assert 2 == ended.code
    said = "the workers are on several hosts, which share neither the limits of a key nor who does which shard."
    assert f"job-1, job-2: {said}" in ended.err
    assert 2 == process.returncode, err.decode()
    assert 0 == with_redis.code, with_redis.err
    assert "not-told" not in with_redis.err + "".join(one.read_text() for one in tmp_path.glob("host-*.log"))


@NEEDS_CLUSTER
def test_stop_without_workers(
    tmp_path: Path, redis: RedisServer, sandbox: ControlledSandbox, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that no worker takes up say what they wait for, and end at Ctrl-C with their counts."""
    monkeypatch.setattr("tests.shell.PATIENCE", 60.0)
    (tmp_path / "work").mkdir()
    shell, log = Shell(tmp_path / "work"), (tmp_path / "log").open("wb")
    shell.sheet(rows(4))
    words = submitted(manifest(shell, "jobs.toml", sandbox, 1, limiter=redis.url), cluster)
    process = shell.start(*words, stderr=log)
    try:
        until(lambda: "job-1 waits: a free worker of the cluster" in (tmp_path / "log").read_text(), process)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    finally:
        shell.end_all()
        log.close()
    assert (130, "unfinished", []) == (process.returncode, json.loads(out)["state"], sandbox.read_ledger())


@NEEDS_CLUSTER
def test_stop_with_shards_in_the_queue(
    tmp_path: Path, redis: RedisServer, sandbox: ControlledSandbox, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At Ctrl-C the shard that has begun ends in order, and those in the cluster's queue do not begin any more."""
    monkeypatch.setattr("tests.shell.PATIENCE", 60.0)
    cluster.scale(1)
    (tmp_path / "work").mkdir()
    shell = Shell(tmp_path / "work")
    shell.sheet(rows(60))
    process = shell.start(*submitted(manifest(shell, "jobs.toml", sandbox, 2, limiter=redis.url), cluster))
    try:
        until(lambda: len(writes(sandbox)) >= 12, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        shell.end_all()
    assert (130, 1) == (process.returncode, len(list(shell.folder.glob("jobs.batch/*/shard-*")))), err.decode()
    assert json.loads(out)["outcomes"]["updated"] == sum(one["applied"] for one in writes(sandbox))


@NEEDS_CLUSTER
def test_what_had_finished_stands(tmp_path: Path, sandbox: ControlledSandbox) -> None:
    """The same manifest goes on with the job that stopped; of the others nothing is asked again, until all have ended.

    Then it is a new start, and what the first one changed can still be taken back.
    """
    (tmp_path / "work").mkdir()
    shell, count = Shell(tmp_path / "work"), 8
    shell.sheet(rows(count) + "99999,Nobody\n")
    command, env = manifest(shell, "jobs.toml", sandbox, 2), {"KEY_1": KEYS[0], "KEY_2": KEYS[1]}
    merged = shell.folder / "jobs.batch" / "job-1" / "merged"

    def submit(**other: str) -> list[tuple[int, int, int]]:
        ended = shell.run(*command, env={**env, **other})
        assert ended.out, ended.err
        return [
            (job["exit_code"], *(job["outcomes"][one] for one in ("updated", "rejected"))) for job in ended.json["jobs"]
        ]

    def asked(company: int) -> int:
        return sum(line["company"] == company for line in sandbox.read_ledger() if line["by"] == "client")

    key_1, key_2 = ({"DUALENTRY_API_KEY": key} for key in KEYS[:2])
    shard = ["--shard", "1/2", "--out", "jobs.batch/job-2", "--base-url", sandbox.url, "--yes", "--no-report"]
    ended = shell.run("update", "sheet.csv", "-e", DUALENTRY, *shard, env=key_2, cold=True)
    assert ended.code in (0, 1), ended.err  # as of a submit that was stopped then
    first = submit(KEY_2="no-key-of-anybody")
    assert (1, count, 1) == first[0]
    before, told = asked(1), (merged / "results.csv").read_bytes()
    failures = merged / "failures.csv"
    failures.write_text(failures.read_text().replace("Nobody", "Somebody"))  # who is correcting it
    second = submit()
    assert [(1, count, 1), (1, count, 1)] == second
    assert (before, told, False) == (
        asked(1),
        (merged / "results.csv").read_bytes(),
        merged.with_name("merged-2").exists(),
    )
    assert "Somebody" in failures.read_text()
    assert_each_applied_once(sandbox, 2, count)
    assert [(1, 0, 1), (1, 0, 1)] == submit()
    assert merged.with_name("merged-2").exists()
    (job, _) = shell.run(*command, "--sandbox").json["jobs"]  # a rehearsal stays apart
    assert [merged.parent / "sandbox" / "merged", False] == [
        Path(job["files"]["results"]).parent, merged.with_name("merged-3").exists()
    ]  # fmt: skip
    back = shell.run("undo", merged, "--base-url", sandbox.url, "--yes", "--json", env=key_1, cold=True)
    assert count == back.json["outcomes"]["updated"], back.err


@NEEDS_CLUSTER
@pytest.mark.parametrize("is_seen", [True, False])
def test_a_shard_that_another_start_holds(tmp_path: Path, sandbox: ControlledSandbox, is_seen: bool) -> None:
    """Where submit is stopped meanwhile, the rows of that shard are as its run says, or unknown, and never unsent.

    Nothing is put together without it, and the same command puts all together.
    """
    (tmp_path / "work").mkdir()
    shell, count = Shell(tmp_path / "work"), 16
    shell.sheet(rows(count))
    command, env = manifest(shell, "jobs.toml", sandbox, 1), {"KEY_1": KEYS[0]}
    out = shell.folder / "jobs.batch" / "job-1"
    where = ["--base-url", sandbox.url, "--out", out if is_seen else "elsewhere", "--max-per-second", 2]
    other = shell.start(
        "update", "sheet.csv", "-e", DUALENTRY, "--shard", "2/2", *where, "--yes", env={"DUALENTRY_API_KEY": KEYS[0]},
        cold=True,
    )  # fmt: skip
    try:
        until(lambda: len(writes(sandbox)) >= 3, other)
        os.kill(other.pid, signal.SIGSTOP)
        sent = {line["id"] for line in writes(sandbox)}
        process = shell.start(*command, env=env)
        until(lambda: any((out / "shard-1-of-2").glob("2*/results.csv")), process)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        said, err = process.communicate(timeout=60)
        os.kill(other.pid, signal.SIGCONT)
        other.communicate(timeout=60)
    finally:
        shell.end_all()
    (job,) = json.loads(said)["jobs"]
    counts = job["outcomes"]
    assert (130, "unfinished", count) == (process.returncode, job["state"], sum(counts.values())), err.decode()
    own = json.loads(next((out / "shard-1-of-2").glob("2*/summary.json")).read_text())["rows"]
    if is_seen:  # of what was sent by then the last answer may not have been read
        assert (own + len(sent), True) == (counts["updated"] + counts["unknown"], (out / "merged").exists())
    else:
        assert (own, count - own, 0, False) == (
            counts["updated"], counts["unknown"], counts["unsent"], (out / "merged").exists()
        )  # fmt: skip
        assert "The results are not put together before there are some of shard 2/2." in err.decode()
    ended = shell.run(*command, env=env)
    assert (0, count) == (ended.code, ended.json["rows"]), ended.err
    assert len((out / "merged" / "results.csv").read_text().splitlines()) == count + 1
    assert_each_applied_once(sandbox, 1, count)


@contextmanager
def dask_cluster(folder: Path, env: Mapping[str, str], *around: Sequence[str]) -> Iterator[str]:
    """A scheduler, whose process is in `scheduler.pid`, and a worker inside of each of these commands; its address."""
    file, dask = folder / "scheduler.json", [sys.executable, "-m", "dask"]
    here = ["--scheduler-file", str(file), "--no-dashboard"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *here]
    started = [subprocess.Popen(scheduler, cwd=folder, env=env)]
    (folder / "scheduler.pid").write_text(str(started[0].pid))
    try:
        until(file.exists, started[0])
        for one in around:
            worker = [*one, *dask, "worker", "--nthreads", "2", "--no-nanny", *here]
            started.append(subprocess.Popen(worker, cwd=folder, env=env))
        yield str(json.loads(file.read_text())["address"])
    finally:
        for process in started:
            process.kill()
            process.communicate()


@NEEDS_CLUSTER
def test_a_worker_that_nobody_follows(tmp_path: Path, sandbox: ControlledSandbox) -> None:
    """Where a cluster gives a shard up whose worker died, its rows are as its run says; the same command goes on."""
    (tmp_path / "work").mkdir()
    shell, count = Shell(tmp_path / "work"), 24
    shell.sheet(rows(count))
    env = {**shell.environment, "KEY_1": KEYS[0], "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    command, out = manifest(shell, "jobs.toml", sandbox, 1)[:2], shell.folder / "jobs.batch" / "job-1"
    with dask_cluster(tmp_path, env, [], []) as address:
        process = shell.start(*command, "--scheduler", address, "--json", env=env)
        shard: list[Path] = []

        def is_half_done() -> bool:
            shard[:] = (out / "shard-2-of-2").glob("2*/journal.sqlite")
            return bool(shard) and peek(shard[0]).final >= 2

        until(is_half_done, process)
        doomed = json.loads(shard[0].with_name("summary.json").read_text())["process"]
        os.kill(doomed, signal.SIGKILL)
        said, err = process.communicate(timeout=120)
    (job,) = json.loads(said)["jobs"]
    sent, counts = {line["id"] for line in writes(sandbox)}, job["outcomes"]
    assert (3, "unfinished", count) == (process.returncode, job["state"], sum(counts.values())), err.decode()
    assert "the cluster could not do it (KilledWorker: " in err.decode()
    assert (len(sent), count - len(sent)) == (counts["updated"] + counts["unknown"], counts["unsent"])
    assert counts["updated"] >= 2
    told = json.loads((out / "merged" / "summary.json").read_text())
    assert ("unfinished", counts) == (told["state"], told["outcomes"])
    ended = shell.run(*command, "--workers", "2", "--json", env=env)
    assert (0, count) == (ended.code, ended.json["outcomes"]["updated"]), ended.err
    assert_each_applied_once(sandbox, 1, count)


@NEEDS_CLUSTER
def test_a_scheduler_that_is_gone(tmp_path: Path, sandbox: ControlledSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the scheduler dies after rows were sent, theirs are not known, and the same command goes on elsewhere."""
    monkeypatch.setattr("tests.shell.PATIENCE", 60.0)
    (tmp_path / "work").mkdir()
    shell, count = Shell(tmp_path / "work"), 60
    shell.sheet(rows(count))
    env = {**shell.environment, "KEY_1": KEYS[0]}
    command = manifest(shell, "jobs.toml", sandbox, 1)[:2]
    with dask_cluster(tmp_path, env, []) as address:
        process = shell.start(*command, "--scheduler", address, "--json", env=env)
        until(lambda: len(writes(sandbox)) >= 8, process)
        os.kill(int((tmp_path / "scheduler.pid").read_text()), signal.SIGKILL)
        said, err = process.communicate(timeout=90)
    (job,) = json.loads(said)["jobs"]
    assert (3, "unfinished", None) == (process.returncode, job["state"], job["rows"]), err.decode()
    assert "the cluster could not do it (cancelled)" in err.decode()
    ended = shell.run(*command, "--workers", "2", "--json", env=env)
    assert (0, count) == (ended.code, ended.json["rows"]), ended.err
    assert_each_applied_once(sandbox, 1, count)


@NEEDS_CLUSTER
def test_workers_whose_folders_are_not_seen(tmp_path: Path, sandbox: ControlledSandbox) -> None:
    """Counts and exit code are right, a line says where the results are, and nothing is left in the way."""
    apart = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"']
    (tmp_path / "work").mkdir()
    shell, count = Shell(tmp_path / "work"), 8
    shell.sheet(rows(count))
    out, theirs = shell.folder / "jobs.batch", tmp_path / "theirs"
    for folder in (out, theirs):
        folder.mkdir()
    if subprocess.run([*apart, theirs, out, "true"], check=False).returncode:
        pytest.skip("no file systems can be mounted here")
    env = {**shell.environment, "KEY_1": KEYS[0]}
    with dask_cluster(tmp_path, env, [*apart, str(theirs), str(out)]) as address:
        ended = shell.run(*manifest(shell, "jobs.toml", sandbox, 1)[:2], "--scheduler", address, "--json", env=env)
    assert (0, count) == (ended.code, ended.json["outcomes"]["updated"]), ended.err
    assert "This machine does not see the results of shard 1/2, 2/2" in ended.err
    assert ([], ["shard-1-of-2", "shard-2-of-2"]) == (
        list(out.iterdir()), sorted(path.name for path in (theirs / "job-1").iterdir() if path.is_dir())
    )  # fmt: skip


@NEEDS_CLUSTER
@pytest.mark.parametrize("more", ["", "10190,One more\n"])
def test_input_that_changes_meanwhile(
    tmp_path: Path, redis: RedisServer, sandbox: ControlledSandbox, cluster: Any, more: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Where shards read several versions of the input that is said, and the same command does the newest one."""
    monkeypatch.setattr("tests.shell.PATIENCE", 60.0)
    cluster.scale(1)
    (tmp_path / "work").mkdir()
    shell = Shell(tmp_path / "work")
    shell.sheet(rows(16))
    words = submitted(manifest(shell, "jobs.toml", sandbox, 1, limiter=redis.url), cluster)
    try:
        first = shell.start(*words)
        until(lambda: writes(sandbox), first)
        shell.sheet(rows(16).replace("New", "Newer") + more)
        out, err = first.communicate(timeout=60)
        again = shell.run(*words)
    finally:
        shell.end_all()
    told = json.loads(out)
    assert (3, "unfinished", told["rows"]) == (first.returncode, told["state"], sum(told["outcomes"].values()))
    assert "sheet.csv changed while its shards were read" in err.decode()
    assert (0, "finished", 16 + bool(more)) == (again.code, again.json["state"], again.json["rows"]), again.err
    names = [sandbox.record("dualentry", 10001 + number)["name"] for number in range(16)]
    assert [f"Newer name {number}" for number in range(16)] == names


@NEEDS_CLUSTER
def test_shards_of_a_killed_submit(
    tmp_path: Path, redis: RedisServer, sandbox: ControlledSandbox, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next submit waits for shards that a killed one left behind, and its Ctrl-C stops them; the next goes on."""
    monkeypatch.setattr("tests.shell.PATIENCE", 60.0)
    cluster.new_spec["options"]["nthreads"] = 4
    cluster.scale(1)
    (tmp_path / "work").mkdir()
    shell, count = Shell(tmp_path / "work"), 60
    shell.sheet(rows(count))
    words = submitted(manifest(shell, "jobs.toml", sandbox, 1, limiter=redis.url), cluster)
    log = tmp_path / "log"
    try:
        first = shell.start(*words)
        until(lambda: len(writes(sandbox)) >= 12, first)
        first.kill()
        first.communicate()
        with log.open("wb") as said:
            second = shell.start(*words, stderr=said)
        until(lambda: "job-1: it goes on when this is over: Another run holds shard" in log.read_text(), second)
        second.send_signal(signal.SIGINT)
        second.communicate(timeout=30)
        assert 130 == second.returncode
        until(lambda: not list(shell.folder.rglob("*.holder")))  # they have ended
        before = len(writes(sandbox))
        assert before < count - 10
        time.sleep(3)
        assert before == len(writes(sandbox))
        last = shell.run(*words)
    finally:
        shell.end_all()
    assert (0, count) == (last.code, last.json["outcomes"]["updated"] + last.json["outcomes"]["unchanged"]), last.err
    assert_each_applied_once(sandbox, 1, count)


@NEEDS_CLUSTER
@pytest.mark.parametrize("shards", [1, 2])
def test_another_start_is_waited_for(
    tmp_path: Path, redis: RedisServer, sandbox: ControlledSandbox, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    """A shard that another start holds is waited for as long as that goes on, however often it has to be asked.

    What that one did is not done again.
    """
    from batch.distributed import submit

    monkeypatch.setattr("batch.distributed.submit.BUSY_SECONDS", 0.01)
    monkeypatch.setenv("KEY_1", KEYS[0])
    (tmp_path / "work").mkdir()
    shell, count, notes = Shell(tmp_path / "work"), 60, list[str]()
    monkeypatch.setenv("XDG_STATE_HOME", shell.environment["XDG_STATE_HOME"])  # the same machine
    shell.sheet(rows(count))
    manifest(shell, "jobs.toml", sandbox, 1, limiter=redis.url, out="runs")
    jobs = shell.folder / "jobs.toml"
    jobs.write_text(jobs.read_text().replace("shards = 2", f"shards = {shards}"))
    options = ["--base-url", sandbox.url, "--limiter", redis.url, "--yes", "--out", "runs"]
    words = ["update", "sheet.csv", "-e", DUALENTRY, *options, *(["--shard", "1/2"] if shards > 1 else [])]
    other = shell.start(*words, env={"DUALENTRY_API_KEY": KEYS[0]}, cold=True)  # as the workers are
    try:
        until(lambda: writes(sandbox), other)
        what = submit.Submission(read_manifest(jobs), workers=1, note=notes.append)
        found = submit.submit(what)
        _, err = other.communicate(timeout=60)
    finally:
        shell.end_all()
    assert (0, 0, count) == (other.returncode, found.exit_code, found.outcomes.updated), (err, notes)
    assert 1 == sum("it goes on when this is over" in note for note in notes), notes
    assert_each_applied_once(sandbox, 1, count)


def trouble(process: "subprocess.Popen[bytes]", redis: RedisServer, chance: random.Random) -> Counter[str]:
    """Kill workers at random moments, freeze one, and kill and start the Redis."""
    did: Counter[str] = Counter()
    for number in range(6):
        time.sleep(chance.uniform(1, 4))
        workers = children(process.pid)
        if process.poll() is not None or not workers:
            break
        if number == 2:
            redis.kill()
            time.sleep(2)
            redis.start()
            did["redis killed"] += 1
        elif number == 3:
            frozen = chance.choice(workers)
            os.kill(frozen, signal.SIGSTOP)
            time.sleep(RUN_LEASE + 5)
            try:
                os.kill(frozen, signal.SIGCONT)
                did["workers frozen"] += 1
            except ProcessLookupError:
                did["frozen workers that were killed"] += 1
        else:
            os.kill(chance.choice(workers), signal.SIGKILL)
            did["workers killed"] += 1
    return did
