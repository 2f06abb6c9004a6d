"""Go the walks, and write down their screens anew: `python -m tests.walks.record [WALK…] && git diff tests/walks`."""

import sys

from tests.walks.walks import SCREENS, SIZES, WALKS, screen_file, walk


def main() -> None:
    """Record the walks that are named, or all."""
    SCREENS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or WALKS:
        for size in SIZES:
            screen_file(name, size).write_text(walk(name, *size), encoding="utf-8")


if __name__ == "__main__":
    main()
