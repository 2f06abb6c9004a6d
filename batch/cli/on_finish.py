"""`--on-finish`: a command that gets the summary of a run when it has ended.

Promises: what goes wrong is said, and changes neither the run nor its exit code.
"""

import json
import shlex
import subprocess
from collections.abc import Callable

from batch.files import os_reason
from batch.summary import Summary

SECONDS = 60.0
"""What the command may take."""


def run_on_finish(command: str, summary: Summary, say: Callable[[str], None]) -> None:
    """Run a command, without a shell, with the summary as one line of JSON on its standard input."""
    line = json.dumps(summary.as_dict()) + "\n"
    try:
        words = shlex.split(command)
        done = subprocess.run(words, input=line.encode(), timeout=SECONDS, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - that is what was asked for, without a shell
    except (OSError, ValueError, IndexError) as error:
        said = os_reason(error).lower() if isinstance(error, OSError) else str(error)
        say(f"--on-finish {command}: it cannot be run ({said}).")
    except KeyboardInterrupt:
        say(f"--on-finish {command}: it was cut off.")
    except subprocess.TimeoutExpired:
        say(f"--on-finish {command}: it did not end within {SECONDS:.0f} s.")
    else:
        if done.returncode:
            say(f"--on-finish {command}: it ended with exit code {done.returncode}.")
