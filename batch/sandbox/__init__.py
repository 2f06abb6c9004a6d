"""The sandbox: both APIs imitated on a loopback port, for trying and testing without an account.

It shares no code with the client (nothing of `batch` but its errors), so that a mistake of the client cannot agree with
itself. What it answers follows the makers' descriptions; what nobody documents is a switch.

Importing this package is cheap: aiohttp and pydantic are imported only by `serve`.
"""

from batch.sandbox.options import (
    DUALENTRY_API_KEY,
    VAYU_API_TOKEN,
    VAYU_CLIENT_ID,
    SandboxOptions,
    arguments_of,
)
from batch.sandbox.process import SandboxError, SandboxProcess, start

__all__ = [
    "DUALENTRY_API_KEY",
    "VAYU_API_TOKEN",
    "VAYU_CLIENT_ID",
    "SandboxError",
    "SandboxOptions",
    "SandboxProcess",
    "arguments_of",
    "serve",
    "start",
]


def serve(options: SandboxOptions) -> None:
    """Serve both APIs until SIGINT, SIGTERM or, when asked for, the end of standard input."""
    from batch.sandbox.server import run

    run(options)
