"""Write the reports anew.

python -m tests.simulation                 report.md: one key, many kinds of servers (half a minute)
python -m tests.simulation hosts           hosts.md: 1,000 keys, 50 hosts, 20 million rows (10 min on two free cores)
python -m tests.simulation hosts --rows N  the same with fewer rows, keys or hosts
"""

import argparse
import os
import sys

from .hosts import REPORT as HOSTS
from .hosts import WHOLE, render_hosts, simulate_all
from .report import REPORT, render


def main() -> None:
    """Write the report that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    hosts = commands.add_parser("hosts")
    for name, value in WHOLE.items():
        hosts.add_argument(f"--{name}", type=int, default=value)
    hosts.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes to simulate in")
    options = parser.parse_args()
    if options.command is None:
        REPORT.write_text(render(), encoding="utf-8")
        return
    asked = {name: getattr(options, name) for name in WHOLE}
    text = render_hosts(simulate_all(**asked, workers=options.workers), **asked)
    sys.stdout.write(text)
    HOSTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
