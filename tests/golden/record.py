"""Write down anew what is expected of the work folders and screens: `python -m tests.golden.record`."""

import os
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tests.golden.cases import play, steps
from tests.golden.program import SharedSandbox, start_sandbox
from tests.golden.showing import SCREENS, screens, show


def main() -> None:
    """Play every step and show every screen; records of screens that are gone are removed."""
    os.umask(0o022)
    with ExitStack() as stack:

        @cache
        def sandbox() -> SharedSandbox:
            return stack.enter_context(start_sandbox())

        def top() -> Path:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="golden-")))

        made = {step.expected: play(step, top()) for step in steps()}
        made |= {screen.expected: show(screen, top(), sandbox) for screen in screens()}
        for path in {*SCREENS.glob("*.txt"), *SCREENS.parent.glob("0.1/*/expected/*.txt")} - made.keys():
            path.unlink()
        for path, text in made.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
