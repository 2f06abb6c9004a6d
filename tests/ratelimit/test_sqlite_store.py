"""The store that all processes of one user on one host share: the conformance suite, and what can befall a file."""

import math
import os
import resource
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from batch.errors import FolderError
from batch.ratelimit import LimiterStore, StoreLostError
from batch.ratelimit.sqlite_store import BUSY_SECONDS, FRESH, NO_FILE, SqliteStore
from batch.ratelimit.store import StoreClock
from tests.ratelimit.store_conformance import POLICY, StoreConformance, lease, refuse, release, seen

NAME = "limiter-2.sqlite"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on both event loops, in real time."""
    return str(request.param)


class TestSqliteStore(StoreConformance):
    """The store of one host."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def make(self) -> LimiterStore:
        return SqliteStore(lambda: self.path)

    def beside(self, store: LimiterStore) -> LimiterStore:
        return self.make()

    def set_back(self, seconds: float) -> None:
        """Have the clock of the host be behind what it was when the key was used last."""
        with closing(sqlite3.connect(self.path / NAME)) as db, db:
            db.execute("UPDATE limiter SET last = last + ?", [seconds])

    async def test_two_see_the_same(self) -> None:
        """What one process books another one sees at once, and a pause within a millisecond."""
        one, other = self.make(), self.make()
        await refuse(one, "key", {"Retry-After": "60"})
        assert await seen(one, "key") == await seen(other, "key")
        before = other.revision("key")
        assert one.revision("key") == before
        assert await refuse(one, "key", {"Retry-After": "600"}) == 2
        await anyio.sleep(FRESH)
        assert other.revision("key") == one.revision("key") == before + 1

    async def test_file_is_private(self) -> None:
        """Nobody else may read it, and no key is in it."""
        await refuse(self.make(), "key")
        assert {oct(one.stat().st_mode & 0o777) for one in self.path.iterdir()} == {"0o600"}

    async def test_deleted_file_is_made_anew_by_all(self) -> None:
        """When the file is deleted while processes use it, they go on together with a new one."""
        one, other = self.make(), self.make()
        await refuse(one, "key")
        await refuse(other, "key")
        for path in self.path.iterdir():
            path.unlink()
        assert await refuse(one, "key") == 1
        assert await refuse(other, "key") == 2

    async def test_file_that_was_deleted_is_known_to_be_gone(self) -> None:
        """The first file of a folder has lost nothing; who finds one in the place of another knows since when."""
        first = self.make()
        await refuse(first, "key")
        assert -math.inf == first.began("key")
        for path in self.path.glob(f"{NAME}*"):
            path.unlink()
        for one in (self.make(), self.make()):
            await refuse(one, "key")
            assert 0 <= one.now("key") - one.began("key") < 5
        (witness,) = self.path.glob("*.made")
        os.utime(witness, (time.time() + 3600,) * 2)  # a clock that was set back since
        one = self.make()
        assert one.began("key") <= one.now("key")

    async def test_replaced_file_is_taken_up(self) -> None:
        """When another file has its name, that one is used."""
        one = self.make()
        await refuse(one, "key")
        os.rename(self.path / NAME, self.path / "away")
        os.rename(self.path / f"{NAME}-wal", self.path / "away-wal")
        os.unlink(self.path / f"{NAME}-shm")
        other = self.make()
        assert [await refuse(other, "key"), await refuse(one, "key")] == [1, 2]

    async def test_log_that_was_deleted_alone_is_noticed(self) -> None:
        """A process that has a deleted log open does not go on writing to what nobody else sees."""
        one = self.make()
        await refuse(one, "key")
        os.unlink(self.path / f"{NAME}-wal")
        count = await refuse(one, "key")
        other = self.make()
        assert [await refuse(other, "key"), await refuse(one, "key")] == [count + 1, count + 2]

    @pytest.mark.parametrize("text", [b"this is no database at all" * 100, b"SQLite format 3\0" + b"x" * 5000])
    async def test_damaged_file_is_put_aside(self, text: bytes) -> None:
        """A file that is no database any more is kept under another name, and a new one is begun."""
        (self.path / NAME).write_bytes(text)
        store = self.make()
        assert await refuse(store, "key") == 1
        assert (self.path / f"{NAME}.damaged").read_bytes() == text

    async def test_file_that_is_damaged_meanwhile_is_put_aside(self) -> None:
        """So is one that comes to be damaged while it is used; all who use it go on together."""
        one, other = self.make(), self.make()
        await refuse(one, "key")
        store_bytes = (self.path / NAME).stat().st_size
        one.close()
        other.close()
        (self.path / NAME).write_bytes(b"y" * store_bytes)
        assert [await refuse(one, "key"), await refuse(other, "key")] == [1, 2]

    async def test_lock_that_is_held_keeps_nobody_from_the_event_loop(self) -> None:
        """While another process keeps the file locked, other tasks go on; then the step takes effect."""
        store, ticks = self.make(), 0
        await refuse(store, "key")
        holder = sqlite3.connect(self.path / NAME, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")

        async def tick() -> None:
            nonlocal ticks
            while True:
                await anyio.sleep(0.005)
                ticks += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            reached = store.revision("key")
            tasks.start_soon(refuse, store, "key")
            with anyio.fail_after(BUSY_SECONDS):
                while ticks <= 20:  # noqa: ASYNC110 - it stands for whatever else goes on
                    await anyio.sleep(0.005)
            assert store.revision("key") == reached
            holder.execute("COMMIT")
            holder.close()
            with anyio.fail_after(30):
                while store.revision("key") == reached:  # noqa: ASYNC110 - nobody tells when
                    await anyio.sleep(0.005)
            assert store.revision("key") == reached + 1
            tasks.cancel_scope.cancel()

    async def test_lock_that_stays_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a frozen process keeps the file locked, the store counts as lost, and says why."""
        monkeypatch.setattr("batch.ratelimit.sqlite_store.BUSY_SECONDS", 0.05)
        store = self.make()
        await refuse(store, "key")
        holder = sqlite3.connect(self.path / NAME, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLostError, match=rf"^{self.path / NAME}: another process keeps it locked$"):
            await refuse(store, "key")
        holder.close()
        assert await refuse(store, "key") == 2

    async def test_full_disk_is_told(self) -> None:
        """What cannot be written is not granted; when there is room again it goes on."""
        store = self.make()
        await refuse(store, "key")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(StoreLostError, match=rf"^{self.path / NAME}: disk I/O error$") as raised:
                await refuse(store, "key")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert raised.value.to_do
        assert await refuse(store, "key") == 2

    async def test_folder_that_cannot_be_made_is_told(self) -> None:
        """Without a folder there is no store."""

        def none() -> Path:
            raise FolderError("There is no place for it.")

        with pytest.raises(StoreLostError, match=r"^There is no place for it\.$"):
            SqliteStore(none)

    async def test_host_that_slept_knows_who_holds_and_wrote_a_record(self) -> None:
        """However much later it is by the wall clock, a lease goes on, and a write is told to who comes next."""
        one = self.make()
        held, over = await lease(one, "key", "held", "a", 60), await lease(one, "key", "written", "a", 60)
        assert held is not None
        assert over is not None
        await release(one, "key", "written", "a", over.epoch, wrote=True)
        with closing(sqlite3.connect(self.path / NAME)) as db, db:
            db.execute("UPDATE record SET wall = wall - 3600")  # it sleeps for an hour
        other = self.make()
        assert await lease(other, "key", "held", "b", 60) is None
        found = await lease(other, "key", "written", "b", 60)
        assert found is not None
        assert math.isfinite(found.written)

    async def test_records_that_nobody_needs_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A record that was written, or held, longer ago than anybody needs to know is deleted."""
        monkeypatch.setattr("batch.ratelimit.sqlite_store.WRITES_KEPT", 0.05)
        one = self.make()
        for name, seconds in (("over", 0.01), ("held", 60)):
            assert await lease(one, "key", name, name, seconds) is not None
        written = await lease(one, "key", "written", "a", 60)
        assert written is not None
        await release(one, "key", "written", "a", written.epoch, wrote=True)
        await anyio.sleep(0.1)
        await lease(self.make(), "key", "other", "b", 60)
        with closing(sqlite3.connect(self.path / NAME)) as db:
            found = [holder for (holder,) in db.execute("SELECT holder FROM record ORDER BY id")]
        assert found == ["held", "b"]

    async def test_limits_of_an_earlier_version_may_have_been_used(self) -> None:
        """Where its file was there, the first run of this version counts as one whose file is gone."""
        (self.path / "limiter-1.made").touch()
        assert math.isfinite(self.make().began("key"))

    async def test_a_file_that_is_gone_as_it_is_opened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was deleted before it was known which file it is, is not written to."""
        with monkeypatch.context() as patch:
            patch.setattr("batch.ratelimit.sqlite_store._inode", lambda path: NO_FILE)
            store = self.make()
        for path in self.path.glob(f"{NAME}*"):
            path.unlink()
        await refuse(store, "key")
        assert (self.path / NAME).exists()

    async def test_a_revision_counts_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file is not asked for each start."""
        monkeypatch.setattr("batch.ratelimit.sqlite_store.FRESH", 60.0)
        one, other = self.make(), self.make()
        await refuse(other, "key")
        before = other.revision("key")
        await refuse(one, "key", {"Retry-After": "9"})
        assert (before, before + 1) == (other.revision("key"), one.revision("key"))

    async def test_records_are_looked_through_bit_by_bit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What nobody needs is deleted in the end, though only a few records are looked at each time."""
        for name, value in {"WRITES_KEPT": 0.0, "CLEAN_EVERY": 0, "LOOKED_THROUGH": 2}.items():
            monkeypatch.setattr(f"batch.ratelimit.sqlite_store.{name}", value)
        store = self.make()
        for number in range(10):
            assert await lease(store, "key" if number else "other", f"{number}", "a", 0.0) is not None
        await anyio.sleep(0.01)
        for _ in range(20):
            assert await lease(store, "key", "held", "b", 60) is not None
        with closing(sqlite3.connect(self.path / NAME)) as db:
            assert [("a",), ("b",)] == db.execute("SELECT holder FROM record ORDER BY id").fetchall()

    async def test_many_records_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """More are leased together than old versions of SQLite take variables."""
        connect = sqlite3.connect

        def limited(*arguments: Any, **options: Any) -> sqlite3.Connection:
            db = connect(*arguments, **options)
            db.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
            return db

        monkeypatch.setattr("batch.ratelimit.sqlite_store.sqlite3.connect", limited)
        store = self.make()
        steps: list[Any] = [(f"{number}", lambda one, now: one.lease("a", now, 60)) for number in range(1_100)]
        for epoch in (1, 2):
            assert {epoch} == {one.epoch for one in await store.on_records("key", steps)}

    async def test_process_that_is_killed_in_the_middle_holds_nobody_up(self) -> None:
        """A lock ends with its process, and what it had begun is undone."""
        store = self.make()
        await refuse(store, "key")
        code = (
            "import os, signal, sqlite3, sys\n"
            "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "db.execute('BEGIN IMMEDIATE'); db.execute('DELETE FROM limiter')\n"
            "print(1, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        )
        command = [sys.executable, "-c", code, str(self.path / NAME)]
        subprocess.run(command, capture_output=True, check=False)  # noqa: ASYNC221 - nothing else is to go on
        assert await refuse(store, "key") == 2


def test_clock_goes_on_over_a_restart_of_the_host() -> None:
    """A host's clock begins at 0 again: the store's goes on, by as much as the wall clock says has passed."""
    before = StoreClock().at(50_000, 1_700_000_000)
    after = before.at(20, 1_700_000_600)
    assert (after.last, after.at(30, 1_700_000_610).last) == (50_600, 50_610)


@pytest.mark.parametrize("wall", [1_600_000_000, 1_700_000_000, 1_900_000_000])
def test_wall_clock_that_is_set_moves_nothing(wall: float) -> None:
    """While the host runs, its own clock alone counts, whatever somebody does to the time of day."""
    assert StoreClock().at(50_000, 1_700_000_000).at(50_001, wall).last == 50_001


def test_clock_never_goes_back() -> None:
    """Where both clocks went back, time stands still, and then goes on."""
    before = StoreClock().at(50_000, 1_700_000_000)
    after = before.at(20, 1_600_000_000)
    assert (after.last, after.at(25, 1_600_000_005).last) == (50_000, 50_005)


def test_policy_of_the_suite_has_buckets() -> None:
    """The suite books on documented buckets: without any it would try nothing."""
    assert POLICY.per_second(POLICY.new_state()) == 0.01
