"""Copies of a run's record where all workers see them (`--store`), so that another machine goes on from one.

    <store>/<run of an input for a company, by its fingerprint>.sqlite

Promises: a copy is whole, as the record was at one moment, and replaces the one before it at once. Whether the place
can be written is known before anything is sent; a copy that fails later, for whatever reason, is told, and neither
ends the run nor changes an outcome, and a place that never answers holds no run up, at its beginning, either: who goes
on from an older copy reads the records that it says nothing of before it writes. Who does the run no more writes none.
"""

import hashlib
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import current_token

from batch.addresses import Address, is_address
from batch.credentials import Company
from batch.errors import FolderError, JournalError
from batch.extras import ensure_extra
from batch.files import NewFile, check_name, make_writable, os_reason
from batch.journal import copy_from
from batch.remote import ObjectStore, RemoteError, StorageAccess
from batch.run.remote_input import EXTRA, MODULE

COPY_SECONDS: Final = 10.0
"""How long after a copy the next one is made."""
SPARED: Final = 10
"""So many times what a copy took it waits at least, so that a large record does not slow down the run."""
LAST_SECONDS: Final = 15.0
"""Within which the last copy of a start is written."""
SILENT_SECONDS: Final = 15.0
"""How long a folder is waited for at the start that does not answer, or not go on."""
PIECE: Final = 4 << 20
"""Bytes that are copied, and then on the disk, as one."""
COPYING: Final = "batch copies its record"
"""Name of the threads that do it."""
OLDER: Final = "The run goes on; another machine would go on from an older copy."


@dataclass(slots=True)
class JournalCopies:
    """Where the copies of one run's journal are; `name` tells it from all others."""

    place: str
    access: StorageAccess
    name: str
    run: Callable[..., Any] = field(repr=False)
    """Runs an async function to its end."""
    note: Callable[[str], None] = field(repr=False)
    _store: ObjectStore | None = None
    _trouble: str = ""

    def __post_init__(self) -> None:
        if is_address(self.place):
            ensure_extra(EXTRA, MODULE, "copies of the record at an address", self.note)
            try:
                self._store = ObjectStore(Address.parse(self.place, "--store "), self.access)
            except RemoteError as error:
                raise FolderError(f"--store {error}") from None

    def fetch(self, path: Path) -> bool:
        """Put the copy at `path`; return whether there is one. Raises FolderError where that cannot be told."""
        try:
            if self._store is not None:
                self.run(self._read, self._store, path)
            else:
                self.run(_in_thread_of_its_own, partial(self._get, path), SILENT_SECONDS)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise FolderError(f"--store {self.place}: {os_reason(error)}.") from None
        except RemoteError as error:
            if error.is_missing:
                return False
            raise FolderError(f"--store {error}") from None
        return True

    async def _read(self, store: ObjectStore, path: Path) -> None:
        _, pieces = await store.read(self._key(store))
        async with await anyio.open_file(path, "wb", opener=_private) as file:
            async for piece in pieces:
                await file.write(piece)

    def _get(self, path: Path, tell: Callable[[], None]) -> None:
        check_name(Path(self.place))
        copy_file(Path(self.place) / self.name, path, tell)

    def _key(self, store: ObjectStore) -> str:
        return "/".join(filter(None, (store.address.key.strip("/"), self.name)))

    async def begin(self, journal: Path) -> None:
        """Write the first copy; raises FolderError where none can be written."""
        try:
            await self._write(journal, SILENT_SECONDS)
        except (RemoteError, OSError, JournalError) as error:
            raise FolderError(self._told(error)) from None

    async def keep(self, journal: Path, may_write: Callable[[], bool]) -> None:
        """Write a copy every few seconds, while this process still does the run; run it as a task of its own."""
        pause = COPY_SECONDS
        while True:
            await anyio.sleep(pause)
            began = time.monotonic()
            if may_write():
                await self._try(journal)
            pause = max(COPY_SECONDS, SPARED * (time.monotonic() - began))

    def end(self, journal: Path) -> None:
        """Write the last copy of a start."""
        with suppress(KeyboardInterrupt):  # the second one
            self.run(self._last, journal)

    async def _last(self, journal: Path) -> None:
        with anyio.move_on_after(LAST_SECONDS) as limit:
            await self._try(journal)
        if limit.cancelled_caught:
            self.note(f"--store {self.place}: it does not answer within {LAST_SECONDS:g} s. {OLDER}")

    async def _try(self, journal: Path) -> None:
        try:
            await self._write(journal)
        except Exception as error:  # whatever it is, no copy is worth the run
            told = self._told(error)
            if told != self._trouble:
                self.note(f"{told} {OLDER}")
            self._trouble = told
        else:
            self._trouble = ""

    async def _write(self, journal: Path, silence: float = math.inf) -> None:
        with tempfile.TemporaryDirectory(prefix="batch-copy-") as folder:
            made = Path(folder, self.name)
            await anyio.to_thread.run_sync(copy_from, journal, made)
            if self._store is not None:
                await self._store.write(self._key(self._store), made)
            else:
                await _in_thread_of_its_own(partial(self._put, made), silence)

    def _put(self, made: Path, tell: Callable[[], None]) -> None:
        check_name(Path(self.place))
        make_writable(Path(self.place))
        file = NewFile(Path(self.place) / self.name, is_shared=True)
        try:
            copy_file(made, file.made, tell)
            if made.exists():  # else nobody waits for it any more, and there may be a newer one
                file.keep()
        finally:
            file.discard()

    def _told(self, error: Exception) -> str:
        why = os_reason(error) if isinstance(error, OSError) else str(error).rstrip(".")
        return f"--store {why}." if isinstance(error, RemoteError) else f"--store {self.place}: {why}."


async def _in_thread_of_its_own(work: Callable[[Callable[[], None]], None], silence: float) -> None:
    """Do what may hang for ever, as on a network file system whose server is gone: nobody waits for it at the end.

    Raises TimeoutError after `silence` seconds in which `work` did not call what it is given, nor end.
    """
    is_over, errors, token = anyio.Event(), list[BaseException](), current_token()

    def wait_longer() -> None:
        limit.deadline = anyio.current_time() + silence

    def try_it() -> None:
        try:
            work(partial(anyio.from_thread.run_sync, wait_longer, token=token))
        except BaseException as error:  # for whoever waits
            errors.append(error)
        with suppress(anyio.RunFinishedError):
            anyio.from_thread.run_sync(is_over.set, token=token)

    with anyio.move_on_after(silence) as limit:
        threading.Thread(target=try_it, name=COPYING, daemon=True).start()
        await is_over.wait()
    if limit.cancelled_caught:
        raise TimeoutError(f"it does not answer within {silence:g} s")
    if errors:
        raise errors[0]


def copy_file(source: Path, target: Path, tell: Callable[[], None]) -> None:
    """Copy a file, and tell of each piece that is on the disk; the new file is for its owner alone."""
    with source.open("rb") as read, open(target, "wb", opener=_private) as write:
        while piece := read.read(PIECE):
            write.write(piece)
            write.flush()
            os.fsync(write.fileno())
            tell()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def copy_name(identity: str, company: Company) -> str:
    """Name the copies of the runs of one input and meaning, or of a shard of it, for a company."""
    return hashlib.sha256(f"copy {identity} {company.fingerprint}".encode()).hexdigest()[:32] + ".sqlite"
