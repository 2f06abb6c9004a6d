"""An input at an address -> files of this machine, which the ordinary readers read.

A single object becomes one file; a folder (an address that ends with a slash, or that names no object but the beginning
of others) a folder with all that lies in it, so that what a folder means is decided in one place; a pattern the objects
of such names, with what tells the folders of runs from others.
"""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import anyio

from batch.addresses import Address, shown
from batch.files import os_reason
from batch.http.download import NotDownloaded, download
from batch.http.url import is_loopback
from batch.machine import Room
from batch.own_files import JOURNAL, PLAN, SUMMARY
from batch.remote.failures import RemoteError
from batch.remote.object_store import ObjectStore, RemoteObject, StorageAccess

MOST_OBJECTS: Final = 10_000
"""Of one input; more are hardly meant."""
AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class CopiedInput:
    """Where the copy lies: a file, a folder, or a pattern of files."""

    argument: str
    top: Path
    """The folder that the copy was made into."""


async def copy_input(address: Address, folder: Path, access: StorageAccess) -> CopiedInput:
    """Copy what lies at `address` into `folder`, which is there and empty; raises RemoteError."""
    room = _Room(folder, address)
    try:
        if address.is_web:
            return await _copy_from_web(address, folder, room)
        return await _copy_objects(ObjectStore(address, access), folder, room)
    except OSError as error:
        raise RemoteError(f"{address}: it cannot be copied to {folder}: {os_reason(error)}.") from None


class _Room(Room):
    """The room for the copies of what lies at an address."""

    def __init__(self, folder: Path, address: Address) -> None:
        super().__init__(folder)
        self.address = address

    def begin(self, size: int | None) -> None:
        """See that something of so many bytes fits; raises RemoteError."""
        if size is not None and not self.has(size):
            raise RemoteError(
                f"{self.address}: {self.free >> 20:,} MB are free in {self.folder}, and it has {size >> 20:,} MB. Make "
                "room there, or name another place with --out or --work-dir."
            )

    def write(self, piece: bytes, file: IO[bytes]) -> None:
        """Write a piece; raises RemoteError where nothing more fits."""
        if not self.take(len(piece)):
            raise RemoteError(
                f"{self.address}: after {self.written >> 20:,} MB there is no more room in {self.folder}, and it does "
                "not end. Make room there, or name another place with --out or --work-dir."
            )
        file.write(piece)


# -- https:// -------------------------------------------------------------------------------------------------------


async def _copy_from_web(address: Address, folder: Path, room: _Room) -> CopiedInput:
    target = folder / address.name
    with target.open("xb") as file:

        def begin(size: int | None) -> None:
            file.seek(0)
            file.truncate()
            room.begin(size)

        def write(piece: bytes) -> None:
            room.write(piece, file)

        found = await download(address.full, begin, write)
    if found is not None:
        raise RemoteError(f"{address}: {_why(found)}.")
    return CopiedInput(str(target), folder)


def check_encrypted(address: Address, access: StorageAccess) -> None:
    """Raise RemoteError where what lies at `address` would come without encryption, and that is not permitted."""
    host = address.store.partition("://")[2].rpartition("@")[2]
    host = re.sub(r":\d*$", "", host).strip("[]")
    if address.scheme == "http" and not (is_loopback(host) or host == access.allow_http):
        raise RemoteError(
            f"{address}: its rows would come without encryption. Use https://, or permit it:  --allow-http {host}"
        )


def _why(found: NotDownloaded) -> str:
    if found.failure is not None:
        return f"it could not be read: {found.failure.cause}"
    if found.has_no_length:
        return (
            "the server does not say how long its answer is, so it cannot be told whether it is whole. Download it, "
            "and give the file's name"
        )
    match found.status:
        case 401 | 403:
            why = "the server does not permit it: an address with a key in it may have expired, or lack a part"
        case 404 | 410:
            why = "there is nothing at this address: check the name"
        case status if found.sends_to:
            to = shown(found.sends_to)
            return f"the server sends elsewhere ({status}), to {to}. If that is right, give that address"
        case _:
            why = "the server does not give it"
    return f"{why} ({found.status})"


# -- object stores --------------------------------------------------------------------------------------------------


async def _copy_objects(store: ObjectStore, folder: Path, room: _Room) -> CopiedInput:
    address = store.address
    if address.is_pattern:
        return await _copy_pattern(store, folder, room)
    if address.key and not address.key.endswith("/"):
        try:
            await _copy(store, address.key, folder / address.name, room, None)
        except RemoteError as error:
            if not error.is_missing:
                raise
            missing = error
        else:
            return CopiedInput(str(folder / address.name), folder)
    else:
        missing = RemoteError(f"{address}: there is nothing in this folder.")
    prefix = address.key.rstrip("/")
    listed = await _listed(store.list(prefix), address)
    if not listed:
        raise missing
    top = folder / address.name
    await _copy_all(store, listed, lambda one: top / _below(one.key, prefix, address), room)
    return CopiedInput(str(top), folder)


async def _copy_pattern(store: ObjectStore, folder: Path, room: _Room) -> CopiedInput:
    key = store.address.key
    fixed = re.split(r"[*\[]", key)[0].rpartition("/")[0]
    listed = await _listed(store.list(fixed), store.address)
    is_meant = _pattern(key)
    found = [one for one in listed if is_meant.fullmatch(one.key)]
    if not found:
        raise RemoteError(f"{store.address}: no object has such a name.")
    folders = {one.key.rpartition("/")[0] for one in found}
    marks = [
        one for one in listed
        if one.key.rpartition("/")[0] in folders and one.key.rpartition("/")[2] in (JOURNAL, PLAN, SUMMARY)
    ]  # fmt: skip
    top = folder / "objects"
    both = list(dict.fromkeys([*found, *marks]))
    await _copy_all(store, both, lambda one: top / _below(one.key, fixed, store.address), room)
    return CopiedInput(str(top / key.removeprefix(fixed).lstrip("/")), folder)


def _pattern(key: str) -> re.Pattern[str]:
    """Return what tells the keys that a pattern means: `*` and `[…]` stay within a part, `**` goes through parts."""
    found = ""
    for part in re.split(r"(\*\*/|\*+|\[!?[^\]/]+\])", key):
        if part == "**/":
            found += "(?:.*/)?"
        elif part.startswith("*"):
            found += "[^/]*"
        elif part.startswith("[") and part.endswith("]"):
            inner = part[1:-1]
            negated = inner.startswith("!")
            found += f"[{'^/' if negated else ''}{re.escape(inner[negated:]).replace(chr(92) + '-', '-')}]"
        else:
            found += re.escape(part)
    return re.compile(found, re.DOTALL)


async def _listed(objects: AsyncIterator[RemoteObject], address: Address) -> list[RemoteObject]:
    found = list[RemoteObject]()
    async for one in objects:
        if len(found) == MOST_OBJECTS:
            raise RemoteError(f"{address}: more than {MOST_OBJECTS:,} objects lie there. Name a folder with fewer.")
        if not one.key.endswith("/") and (one.size or "." in one.key.rpartition("/")[2]):  # else a mark for a folder
            found.append(one)
    return found


def _below(key: str, prefix: str, address: Address) -> Path:
    """Return where an object goes below the copy's folder; raises RemoteError where it would not be below it."""
    below = Path(key.removeprefix(prefix).lstrip("/"))
    if below.is_absolute() or any(part in ("..", ".", "") or "\0" in part for part in key.split("/")):
        raise RemoteError(f"{address}: {key!r} in it cannot be the name of a file here.")
    return below


async def _copy_all(
    store: ObjectStore, objects: list[RemoteObject], place: Callable[[RemoteObject], Path], room: _Room
) -> None:  # fmt: skip
    """Copy objects, some at a time; the first that fails ends it."""
    room.begin(sum(one.size for one in objects))
    waiting = list(reversed(objects))
    failed: list[Exception] = []

    async def work() -> None:
        while waiting and not failed:
            one = waiting.pop()
            try:
                target = place(one)
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                await _copy(store, one.key, target, room, one)
            except (RemoteError, OSError) as error:
                failed.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(min(AT_ONCE, len(objects))):
            group.start_soon(work)
    if failed:
        raise failed[0]


async def _copy(store: ObjectStore, key: str, target: Path, room: _Room, listed: RemoteObject | None) -> None:
    """Copy an object whole, as it was when it was listed; raises RemoteError."""
    found, pieces = await store.read(key)
    changed = RemoteError(f"{store.at(key)}: it was changed while it was copied. Run the same command again.")
    if listed is not None and (listed.size, listed.etag) != (found.size, found.etag):
        raise changed
    room.begin(found.size)
    try:
        with target.open("xb") as file:
            written = await _write(pieces, file, room)
    except FileExistsError:
        raise RemoteError(f"{store.at(key)}: another object's name is the same for this disk.") from None
    if written != found.size:
        raise changed


async def _write(pieces: AsyncIterator[bytes], file: IO[bytes], room: _Room) -> int:
    written = 0
    async for piece in pieces:
        room.write(piece, file)
        written += len(piece)
    return written
