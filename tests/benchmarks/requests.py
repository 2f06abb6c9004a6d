"""How many requests 1,000 rows take, and how long at the documented limits, on the virtual clock.

Run it with `python -m tests.benchmarks.requests`.
"""

import os
import sys
import tempfile
from pathlib import Path

from batch.commands.update import update
from tests.commands.test_by_pages import ADDRESS, OWN, names
from tests.engine.test_estimate import Documented, Job
from tests.job_fixture import DUALENTRY, VAYU

ROWS = 1_000


def _addresses(api: Documented, differing: int) -> str:
    """A sheet of addresses, of which so many are not the record's."""
    lines = [",".join(("id", *ADDRESS))]
    for at, one in enumerate(api.ids(ROWS)):
        known = (api.api.true_record(one) or {}).get("full_address") or {}
        parts = [str(known.get(name.partition(".")[2]) or "1") for name in ADDRESS]
        lines.append(
            ",".join([one, f'"Street {at}"' if at < differing else f'"{parts[0]}"', *(f'"{p}"' for p in parts[1:])])
        )
    return "\n".join([*lines, ""])


def _measure(endpoint: str, what: str, differing: int) -> tuple[int, float]:
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_STATE_HOME"] = name
        api = Documented(endpoint, ROWS)
        job = Job(Path(name), api)
        text = _addresses(api, differing) if what == "addresses" else names(api, ROWS, differing, what == "key")
        settings = job.settings(text, **({"key": OWN[endpoint]} if what == "key" else {}))
        update(settings, job.reporter, api.environment)
        return len(api.asked), api.seconds()


def main() -> None:
    """Print the table."""
    sys.stdout.write(f"{'':32}{'3 % differ':>22}{'all differ':>22}" + "\n")
    for endpoint, what in [
        (DUALENTRY, "id"),
        (DUALENTRY, "key"),
        (DUALENTRY, "addresses"),
        (VAYU, "id"),
        (VAYU, "key"),
    ]:
        figures = [_measure(endpoint, what, differing) for differing in (ROWS * 3 // 100, ROWS)]
        told = "".join(f"{requests:>12,} {seconds:>7,.1f} s" for requests, seconds in figures)
        sys.stdout.write(f"{f'{endpoint}, {what}':32}{told}" + "\n")


if __name__ == "__main__":
    main()
