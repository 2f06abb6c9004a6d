"""The sandbox that stays: `sandbox start` begins it, `--sandbox` sends to it, and `sandbox stop` ends it.

Promises: its records and its key lie in the state folder, and are the same after a stop or a restart of the computer,
until `sandbox start --new` (where it is killed, what was written in the last seconds is lost); one that has ended by
itself is told from one that runs; `sandbox stop` asks the sandbox itself, which knows its own key, and ends no process
by a number.
"""

import dataclasses
import http.client
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from batch.errors import UsageError
from batch.files import unusable_folder, write_private
from batch.model import command
from batch.run.locks import state_folder
from batch.sandbox.options import OptionError, SandboxOptions, lock_of
from batch.sandbox.process import SandboxError, credentials_in, start_detached

STOP_SECONDS: Final = 10.0
RECORDS, ADDRESS, KEPT, LOG = "records.json", "address.json", "kept.json", "errors.txt"
"""What was written; where the sandbox is, which it removes at its end; its key and port; and its last words."""


@dataclass(frozen=True, slots=True)
class StandingSandbox:
    """One that runs."""

    url: str
    key: str = field(repr=False)
    credentials: Mapping[str, str] = field(repr=False)
    """By the names of their variables, of both APIs."""
    is_fast: bool
    """Whether more than the documented limits are granted."""


def standing_sandbox() -> StandingSandbox | None:
    """Return the sandbox that runs, None where there is none; raises UsageError where it has ended by itself."""
    found = _address()
    if found is not None and not _is_running():
        raise UsageError(
            "Your sandbox does not run any more: it ended by itself, or the computer was restarted. Its records are "
            f"kept.\nTo go on with it:  {command()} sandbox start\nTo do without it:  {command()} sandbox stop"
        )
    return found


def is_stopped() -> bool:
    """Whether there is one that was stopped, whose records are kept."""
    return _address() is None and bool(_kept())


FAST_LIMITS: Final = SandboxOptions(limits="fast")


def start_standing(options: SandboxOptions = FAST_LIMITS, *, new: bool) -> tuple[StandingSandbox, bool]:
    """Start it, or find the one that runs; gives it, and whether it was started now. Raises UsageError."""
    if options.state is not None or len(options.keys) > 1:
        raise OptionError("start: it keeps the records of one company by itself. Leave out --state, name one --key")
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unusable_folder(folder, error) from None
    found = _address()
    if found is not None and _is_running():
        return found, False
    if new:
        for name in (RECORDS, KEPT):
            (folder / name).unlink(missing_ok=True)
    kept = _kept()
    key = options.keys[0] if options.keys else kept.get("key") or secrets.token_hex(16)
    chosen = dataclasses.replace(
        options, keys=(key,), state=folder / RECORDS, address=folder / ADDRESS, until_stdin_closes=False
    )
    ports = [options.port] if options.port else [int(kept.get("port", 0)), 0]
    for port in dict.fromkeys(ports):  # that of last time, where nobody else has it by now
        try:
            url = start_detached(dataclasses.replace(chosen, port=port), folder / LOG)["url"]
            break
        except SandboxError:
            if port == ports[-1]:
                raise
    write_private(folder / KEPT, json.dumps({"key": key, "port": str(urlsplit(url).port)}))
    started = _address()
    if started is None:
        raise SandboxError("The sandbox started, and ended at once.")
    return started, True


def stop_standing() -> bool:
    """End it, and wait until it has ended; False for one that had ended by itself. Raises UsageError."""
    found = _address()
    if found is None:
        raise UsageError(f"No sandbox was started. To start one:  {command()} sandbox start")
    if not _is_running():
        (_folder() / ADDRESS).unlink(missing_ok=True)
        return False
    _ask_to_stop(found)
    until = time.monotonic() + STOP_SECONDS
    while _is_running():
        if time.monotonic() > until:
            raise UsageError(f"The sandbox at {found.url} was told to stop, and has not ended. Nothing else was done.")
        time.sleep(0.05)
    return True


def _ask_to_stop(found: StandingSandbox) -> None:
    address = urlsplit(found.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=STOP_SECONDS)
    try:
        connection.request("POST", "/_sandbox/stop", json.dumps({"key": found.key}))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        status = 0
    finally:
        connection.close()
    if status != http.client.OK:
        raise UsageError(
            f"What answers at {found.url} is not the sandbox that was started, or hangs. It was left alone."
        )


def _folder() -> Path:
    return state_folder() / "sandbox"


def _address() -> StandingSandbox | None:
    """Read where it is, as it wrote that down; None where it has not begun, or is over."""
    try:
        found = json.loads((_folder() / ADDRESS).read_bytes())
        return StandingSandbox(found["url"], found["key"], credentials_in(found), found["limits"] != "documented")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_running() -> bool:
    """Whether a process holds the lock of the sandbox, which ends with the process however it ends."""
    lock = FileLock(lock_of(_folder() / ADDRESS), mode=0o600)
    for _ in range(3):  # another one may be looking, too
        try:
            with lock.acquire(timeout=0):
                return False
        except Timeout:
            time.sleep(0.02)
    return True


def _kept() -> dict[str, str]:
    try:
        found = json.loads((_folder() / KEPT).read_bytes())
        return {"key": str(found["key"]), "port": str(int(found["port"]))}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
