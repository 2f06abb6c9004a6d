"""A real redis-server on a free loopback port, with nothing on any disk."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


def find_redis() -> str | None:
    """Return where redis-server is, None where it is not installed."""
    return shutil.which("redis-server") or shutil.which("redis-server", path="/usr/sbin:/usr/local/bin")


class RedisServer:
    """A server that a test starts, stops, freezes and kills."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty, on the port that it had before."""
        program = find_redis()
        assert program is not None
        plain = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [program, *plain, "--dir", str(self.folder), *self.options], stdout=subprocess.DEVNULL
        )
        for _ in range(400):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.025)
        raise TimeoutError("redis-server did not start")

    def kill(self) -> None:
        """Kill it: what it knew is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def keys(self) -> int:
        """How many keys it has."""
        import redis

        with redis.Redis.from_url(self.url) as client:
            return int(client.dbsize())

    def freeze(self) -> None:
        """Let it answer nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


def set_back(url: str, seconds: float) -> None:
    """Have the clock of a server be behind what it was until now, as far as what is kept there tells."""
    import redis

    with redis.Redis.from_url(url) as client:
        client.incrby("batch:2:began", int(seconds))
        for name in client.scan_iter("batch:2:*", _type="hash"):
            if clock := client.hget(name, "clock"):
                base, last = map(int, clock.split())
                client.hset(name, "clock", f"{base} {last + int(seconds * 1e6)}")


def require_redis() -> None:
    """Skip, and say so, without redis-server or the extra."""
    pytest.importorskip("redis", reason="NOT CHECKED: the extra redis is not there: ./run.sh extra redis")
    if find_redis() is None:
        sys.stderr.write("\nNOT CHECKED: redis-server is not installed, so no limits were shared by it.\n")
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
