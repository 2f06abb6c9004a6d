"""What is packed, or can be read only once: read whole and once, or refused: no shorter table, no full disk."""

import gzip
import hashlib
import os
import shutil
import signal
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import polars as pl
import pytest
from backports import zstd

from batch import machine
from batch.errors import FolderError, InputError
from batch.sources import ReadOptions, copies, iter_frames, open_input, stage

CSV = b"id,name\n" + b"".join(b"%d,Acme %d\n" % (number, number) for number in range(10_001, 10_101))
PACK = {".gz": lambda data: gzip.compress(data, mtime=0), ".zst": zstd.compress}


def texts(argument: object, folder: Path) -> list[tuple[object, ...]]:
    """Stage an input; gives the texts of its rows."""
    staged = stage(open_input(str(argument), folder), folder, ReadOptions())
    return [row[1 : len(staged.headers) + 1] for frame in iter_frames(staged) for row in frame.rows()]


def refusal(argument: object, folder: Path) -> str:
    """Say why an input is refused; no copy is left."""
    with pytest.raises((InputError, FolderError)) as caught:
        open_input(str(argument), folder)
    assert [] == list(folder.glob("*-unpacked"))
    return str(caught.value)


@pytest.mark.parametrize("ending", PACK)
def test_packed(ending: str, tmp_path: Path) -> None:
    """A packed file is read as the file in it, and is the same input; also one of several parts."""
    plain = tmp_path / "a.csv"
    plain.write_bytes(CSV)
    for number, data in enumerate((PACK[ending](CSV), PACK[ending](CSV[:99]) + PACK[ending](CSV[99:]))):
        path, folder = tmp_path / f"a.CSV{ending}", tmp_path / str(number)
        folder.mkdir()
        path.write_bytes(data)
        assert ("10100", "Acme 10100") == texts(path, folder)[-1]
        (copy,) = folder.glob("*-unpacked")
        assert (CSV, 0o600) == (copy.read_bytes(), copy.stat().st_mode & 0o777)
        copy.unlink()
        found = open_input(str(path), folder)
        assert (hashlib.sha256(CSV).hexdigest(), f"a.CSV{ending}") == (found.sha256, found.name)


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a"])
def test_cut(ending: str, name: str, tmp_path: Path) -> None:
    """A stream that breaks off anywhere is cut, not shorter."""
    data, path = PACK[ending](CSV), tmp_path / f"{name}{ending}"
    for size in range(6, len(data), 7):
        path.write_bytes(data[:size])
        assert f"{path.name} is cut off: its end is missing. Copy or download it again." == refusal(path, tmp_path)


@pytest.mark.parametrize("ending", PACK)
def test_damaged(ending: str, tmp_path: Path) -> None:
    """A stream with a wrong byte, or with something behind it, is damaged; nothing of it is read."""
    data, path = PACK[ending](CSV), tmp_path / f"a.csv{ending}"
    for wrong in (data[:-6] + bytes([data[-6] ^ 1]) + data[-5:], data + b"something else"):
        path.write_bytes(wrong)
        if ending == ".zst" and wrong[-1] == data[-1]:
            continue  # zstd of Python writes no checksum
        assert refusal(path, tmp_path).startswith(f"{path.name} is damaged (")


@pytest.mark.parametrize("ending", PACK)
def test_bomb(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that would fill the disk ends long before it does."""
    monkeypatch.setattr(copies, "ALWAYS", 2 << 20)
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(PACK[ending](b"id,name\n" + b"\n" * (20 << 20)))
    written: list[int] = []
    unlink = Path.unlink

    def look(path: Path, missing_ok: bool = False) -> None:
        written.append(path.stat().st_size)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", look)
    limit = max(2 << 20, 200 * path.stat().st_size)
    assert refusal(path, tmp_path) == (
        f"{path.name} unpacks to more than {limit >> 20} MB, and few tables do: is it damaged, or made to fill the "
        "disk? If not, unpack it yourself, and give the file that is in it."
    )
    assert written[0] <= limit


def test_window_is_bounded(tmp_path: Path) -> None:
    """A zstd stream that needs gigabytes of memory to be unpacked is refused."""
    path = tmp_path / "a.csv.zst"
    options = {zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    path.write_bytes(packer.compress(CSV) + packer.flush())
    assert "Frame requires too much memory" in refusal(path, tmp_path)


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk of the copies is nearly full it is not filled, and the variable that names another is told."""
    monkeypatch.setattr(machine, "LOOK_EVERY", 1)
    monkeypatch.setattr(copies, "PIECE", 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=63 << 20))
    path = tmp_path / "a.csv.gz"
    path.write_bytes(PACK[".gz"](CSV))
    assert refusal(path, tmp_path) == (
        f"a.csv.gz cannot be copied into {tmp_path}: less than 64 MB are free there. Make room, or name another place "
        "with the variable TMPDIR."
    )


def written_to(path: Path, data: bytes) -> threading.Thread:
    """Write to a pipe once, as another process does."""
    thread = threading.Thread(target=path.write_bytes, args=(data,))
    thread.start()
    return thread


@pytest.mark.parametrize("data", [CSV, PACK[".gz"](CSV), PACK[".zst"](CSV)])
def test_pipe(data: bytes, tmp_path: Path) -> None:
    """A named pipe is read once, whatever comes through it."""
    pipe = tmp_path / "customers.fifo"
    os.mkfifo(pipe)
    writer = written_to(pipe, data)
    assert ("10100", "Acme 10100") == texts(pipe, tmp_path)[-1]
    writer.join()


def test_parquet_through_a_pipe(tmp_path: Path) -> None:
    """Parquet is known by its first bytes; an end of a pipe that a shell made is called as it is."""
    pl.DataFrame({"id": [1], "name": ["Acme"]}).write_parquet(tmp_path / "x")
    reading, writing = os.pipe()
    os.write(writing, (tmp_path / "x").read_bytes())
    os.close(writing)
    try:
        found = open_input(f"/dev/fd/{reading}", tmp_path)
    finally:
        os.close(reading)
    assert (f"/dev/fd/{reading}", "parquet") == (found.name, found.format)
    assert [("1", "Acme")] == [row[1:3] for row in pl.read_parquet(stage(found, tmp_path, ReadOptions()).path).rows()]


def test_empty_pipe(tmp_path: Path) -> None:
    """A pipe through which nothing comes is an input that is not there."""
    pipe = tmp_path / "p"
    os.mkfifo(pipe)
    writer = written_to(pipe, b"")
    assert "p is empty (zero bytes): check the command that was to write to it." == refusal(pipe, tmp_path)
    writer.join()


@pytest.mark.skipif(not hasattr(signal, "siginterrupt"), reason="signals of POSIX")
def test_a_signal_before_the_pipe_is_read(tmp_path: Path) -> None:
    """A signal that does not break off a read, as one that comes just before it, ends the wait all the same."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    reading, writing = os.pipe()
    before = signal.signal(signal.SIGUSR1, interrupt)
    signal.siginterrupt(signal.SIGUSR1, False)
    me = threading.get_ident()
    timers = [
        threading.Timer(0.05, lambda: signal.pthread_kill(me, signal.SIGUSR1)),
        threading.Timer(5, lambda: os.close(writing)),  # so that a wait that goes on ends, and this fails
    ]
    try:
        for one in timers:
            one.start()
        with os.fdopen(reading, "rb") as stream, pytest.raises(KeyboardInterrupt):
            copies.copy(stream, tmp_path / "copy", "a pipe")
        assert timers[1].is_alive()
    finally:
        signal.signal(signal.SIGUSR1, before)
        timers[1].cancel()
        timers[1].join()
        with suppress(OSError):
            os.close(writing)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_arrow(compression: str, tmp_path: Path) -> None:
    """An Arrow file is read with its types."""
    table = pl.DataFrame(
        {"id": ["007"], "since": [1.0], "tier": pl.Series(["A"], dtype=pl.Categorical), "big": [2**63]}
    )
    for name in ("a.arrow", "a.feather", "a.ipc"):
        table.write_ipc(tmp_path / name, compression=compression)  # type: ignore[arg-type] # a parameter of the test
        folder = tmp_path / name.removeprefix("a.")
        folder.mkdir()
        assert [("007", "1", "A", "9223372036854775808")] == texts(tmp_path / name, folder)


def test_damaged_arrow(tmp_path: Path) -> None:
    """An Arrow file that breaks off is damaged."""
    path = tmp_path / "a.arrow"
    pl.DataFrame({"id": ["1"] * 999}).write_ipc(path)
    path.write_bytes(path.read_bytes()[:-50])
    assert refusal(path, tmp_path).startswith("a.arrow is damaged or not complete, or uses what cannot be read (")
