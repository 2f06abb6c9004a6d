"""`python -m batch.sandbox`: the switches on a command line.

Prints one line of JSON (where it is and what opens it) and serves until it is stopped.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from batch.sandbox.options import FAULT_KINDS, OptionError, SandboxOptions

_WHAT = """Imitate both APIs on 127.0.0.1, until stopped.

`sandbox start`, with the same switches, starts one that stays: --sandbox sends
to it until `sandbox stop`. Its records and its key are kept; with --new it
begins with new ones.
"""
_WHEN = """when a fault strikes:
  0.01            by chance, from 0 to 1
  nth:3,7         the third and the seventh request (of writes, for a fault of writes)
  id:10001,10002  every request for these records
  once:10001      the first request for each of these records

which requests it is for, and counts: writes, reads, lists (all reads but of one record by its id), logins or all, as in
404@lists=nth:1; without, all for a status, else writes
"""


def main(argv: list[str] | None = None) -> int:
    """Run a sandbox; returns the exit code, 2 when a switch is wrong or the port is taken."""
    port = 0
    try:
        options = options_of(argv)
        port = options.port
        serve(options)
    except SystemExit as done:
        return int(done.code or 0)
    except (OptionError, OSError) as error:
        sys.stderr.write(f"batch sandbox: {_explained(error, port)}\n")
        return 2
    return 0


def options_of(argv: list[str] | None) -> SandboxOptions:
    """Read the switches; raises OptionError, and SystemExit where argparse has said what is wrong, or the help."""
    values = vars(_parser().parse_args(argv))
    return SandboxOptions(**values | {name: tuple(values[name]) for name in ("faults", "keys")})


def serve(options: SandboxOptions) -> None:
    """Serve both APIs until SIGINT, SIGTERM or, when asked for, the end of standard input."""
    from batch.sandbox.server import run  # slow to import, and a wrong switch needs none of it

    run(options)


def _explained(error: Exception, port: int) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else str(error)
        return f"cannot listen on port {port}: {reason}. Choose another, or --port 0 for a free one."
    return str(error)


def _parser() -> argparse.ArgumentParser:
    defaults = {field.name: field.default for field in dataclasses.fields(SandboxOptions)}
    statuses = {
        "400 to 599": "answered with this status, not applied; for every request",
        "500-after, …": "applied, then answered with this status",
    }
    kinds = "\n".join(f"  {kind:15} {meaning}" for kind, meaning in (statuses | FAULT_KINDS).items())
    parser = argparse.ArgumentParser(
        prog=f"{os.environ.get('BATCH_COMMAND', 'batch')} sandbox",
        description=_WHAT,
        epilog=f"{_WHEN}\nkinds of faults:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(**defaults)
    add = parser.add_argument
    add("--port", type=int, help="0 takes a free one (default)")
    add(
        "--key", dest="keys", action="append", default=[], metavar="KEY",
        help="opens both APIs; may be repeated, each key has records of its own (default: one, random at each start)",
    )  # fmt: skip
    add("--records", type=int, metavar="N", help="how many sample records each API has (default 1000)")
    add("--limits", metavar="MODE", help="documented (default), fast (20 times that) or off")
    add("--put", metavar="MODE", help="what a Vayu PUT does with fields left out: merge (default) or replace")
    add("--replay", metavar="MODE", help="what a repeated Idempotency-Key gets: the stored answer, or too-large (409)")
    add("--bare-lists", action="store_true", help="DualEntry lists as a bare array, as its guide shows them")
    add(
        "--normalize", metavar="MODE",
        help="whether e-mails are stored in lower case, phones without punctuation and texts trimmed: no (default), "
        "shown (the answer to the write shows it) or hidden (reads show it, the answer shows what was sent)",
    )  # fmt: skip
    add("--read-lag", type=float, metavar="SECONDS", help="reads show each write so much later (default 0)")
    add("--max-page", type=int, metavar="N", help="lists are cut to N, whatever was asked for (default as documented)")
    add(
        "--filters", metavar="MODE",
        help="of DualEntry's lists: work (default), last (all but the last are ignored) or ignored",
    )  # fmt: skip
    add(
        "--pending", metavar="MODE",
        help="whether reads say that a change waits for approval (see the fault): hidden (default) or shown",
    )  # fmt: skip
    add(
        "--rate-headers", metavar="MODE",
        help="true (default), none, full (all is left), empty (nothing is left for a day) or garbled; of Vayu, too, "
        "which has none by itself",
    )  # fmt: skip
    add("--retry-after", metavar="TEXT", help="what Retry-After says on each fault with a status but 429-bare")
    add("--token-lifetime", type=float, metavar="SECONDS", help="of Vayu's access tokens (default 3600)")
    add("--latency", type=float, metavar="SECONDS", help="before each answer (default 0)")
    add(
        "--fault", dest="faults", action="append", default=[], metavar="KIND[@REQUESTS]=WHEN",
        help="see below; may be repeated",
    )  # fmt: skip
    add("--seed", type=int, help="of the faults by chance (default 0)")
    add("--stale-reads", type=int, metavar="N", help="how many reads lag after a stale-read fault (default 2)")
    add("--ledger", type=Path, metavar="FILE", help="append one JSON line per request")
    add("--ledger-writes-only", action="store_true", help="no lines for reads")
    add("--ledger-no-bodies", action="store_true", help="lines without the bodies")
    add("--state", type=Path, metavar="FILE", help="keep the records here from one sandbox to the next")
    add(
        "--address", type=Path, metavar="FILE",
        help="say in FILE where it is and what opens it, while it serves; one sandbox a FILE",
    )  # fmt: skip
    add("--until-stdin-closes", action="store_true", help="stop when standard input ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
