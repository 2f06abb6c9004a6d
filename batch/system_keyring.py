"""The system's keyring, asked in a process of its own, which has 5 s.

Promises: a keyring that hangs, or opens a window that nobody sees, costs 5 s and never the run; a key goes through
pipes only, never through arguments or the environment; what went wrong is told without any of it.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from batch.errors import CredentialError

LIMIT: Final = 5.0
"""Seconds."""
SERVICE: Final = "batch"
"""Under which the keyring shows our keys."""
BACKEND: Final = "PYTHON_KEYRING_BACKEND"
"""The variable with which a user names a keyring; without it only those that guard their keys are used."""
Action = Literal["get", "set", "delete"]


class KeyringError(CredentialError):
    """The keyring did not do what it was asked to; the message is a clause: "the system's keyring is locked"."""


def may_be_there(variables: Mapping[str, str]) -> bool:
    """Tell whether it is worth asking for a keyring: elsewhere nobody could unlock it."""
    named = any(variables.get(one) for one in (BACKEND, "DISPLAY", "WAYLAND_DISPLAY"))
    return named or sys.platform in ("darwin", "win32")


def ask_keyring(action: Action, entry: str, secret: str = "") -> str:
    """Get, set (and read back) or delete what is kept under `entry`; raises KeyringError, after 5 s at the latest."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "batch.system_keyring"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        env=_environment(),
    )  # fmt: skip
    try:
        question = json.dumps({"action": action, "entry": entry, "secret": secret}).encode()
        out, _ = process.communicate(question, timeout=LIMIT)
        answer = json.loads(out or b"{}")
    except subprocess.TimeoutExpired:
        raise KeyringError(f"the system's keyring did not answer within {LIMIT:g} s: it may be locked") from None
    finally:
        _end(process)
    if "secret" not in answer:
        raise KeyringError(answer.get("why", "the system's keyring did not work"))
    return str(answer["secret"])


def _environment() -> dict[str, str]:
    """Ours, with this package importable."""
    own = str(Path(__file__).resolve().parents[1])
    paths = [own, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process with whatever it started, and wait for nothing that these hold open."""
    with suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def main() -> None:
    """Answer one question, in the process of its own."""
    if hasattr(signal, "alarm"):
        signal.alarm(int(LIMIT) + 1)  # ends it also where whoever asked was killed
    question = json.load(sys.stdin)
    answer = _answer(question["action"], question["entry"], question["secret"])
    os.write(1, json.dumps(answer).encode())


def _answer(action: Action, entry: str, secret: str) -> dict[str, str]:
    import keyring  # an extra: loaded in this process only
    from keyring import errors

    try:
        backend = keyring.get_keyring()
        if not os.environ.get(BACKEND) and backend.priority < 1:  # it keeps them in a plain file, or not at all
            return {"why": "this system has no keyring"}
        if action == "delete":
            keyring.delete_password(SERVICE, entry)
            return {"secret": ""}
        if action == "set":
            keyring.set_password(SERVICE, entry, secret)
        found = keyring.get_password(SERVICE, entry)
    except errors.NoKeyringError:
        return {"why": "this system has no keyring"}
    except errors.KeyringLocked:
        return {"why": "the system's keyring is locked"}
    except Exception:  # whatever a keyring raises, its words may hold the key
        return {}
    if action == "set" and found != secret:
        return {"why": "the system's keyring did not keep the key"}
    return {"why": "the system's keyring has no such key any more"} if found is None else {"secret": found}


if __name__ == "__main__":
    main()
