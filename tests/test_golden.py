"""What 0.1 wrote is read, gone on with and taken back as it was, and every screen says what it said.

What is expected is recorded in `tests/golden/`; its README says how to record it anew.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests.golden.cases import CASES, Step, play, steps
from tests.golden.program import SharedSandbox, run, run_as_process, start_sandbox
from tests.golden.showing import SCREENS, Screen, screens, show


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Callable[[], SharedSandbox]]:
    """Give the one sandbox for all screens, which is started when the first of them needs it."""
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(start_sandbox()))


@pytest.mark.parametrize("step", steps(), ids=lambda step: f"{step.case}-{step.name}")
def test_work_folder(step: Step, tmp_path: Path) -> None:
    """A command on a work folder of 0.1 says, writes and leaves what it did when it was recorded."""
    assert step.expected.read_text(encoding="utf-8") == play(step, tmp_path)


@pytest.mark.parametrize("screen", screens(), ids=lambda screen: screen.name)
def test_screen(screen: Screen, tmp_path: Path, sandbox: Callable[[], SharedSandbox]) -> None:
    """Commands say and write what they did when it was recorded."""
    assert screen.expected.read_text(encoding="utf-8") == show(screen, tmp_path, sandbox)


@pytest.mark.parametrize("words", [("--help",), ("check", "nothing.csv", "-e", "dualentry.customers")])
def test_process(words: tuple[str, ...], tmp_path: Path) -> None:
    """As a process of its own the program says the same, so that the screens stand for it."""
    work = tmp_path / "work"
    work.mkdir()
    assert run(work, *words) == run_as_process(work, *words)


def test_nothing_is_left_over() -> None:
    """There is no record of a step or a screen that is gone, and no two have the same."""
    expected = sorted([one.expected for one in steps()] + [one.expected for one in screens()])
    assert expected == sorted([*CASES.glob("*/expected/*"), *SCREENS.iterdir()])
