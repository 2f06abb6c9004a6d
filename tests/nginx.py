"""A real nginx on a free loopback port: the static server of the benchmarks, and a limiter that nobody here wrote."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIGURATION = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {http}
  server {{ listen 127.0.0.1:{port}; default_type application/json; {server} }}
}}
"""


def find_nginx() -> str | None:
    """Return where nginx is, None where it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def nginx(server: str, *, http: str = "", last_core: bool = False) -> Iterator[str]:
    """Run nginx with this in its `server` and `http` blocks, on the last core alone if asked; yield its URL."""
    program = find_nginx()
    if program is None:
        raise FileNotFoundError("nginx is not installed")
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        path = Path(folder, "nginx.conf")
        path.write_text(CONFIGURATION.format(folder=folder, port=port, server=server, http=http))
        process = subprocess.Popen([program, "-p", folder, "-c", str(path)], stderr=subprocess.DEVNULL)
        try:
            if last_core:
                os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("nginx did not start")
