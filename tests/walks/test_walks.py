"""The ways of an accountant, in a real terminal of two sizes, with workbooks that LibreOffice wrote."""

import pytest

from tests.libreoffice import SOFFICE
from tests.walks.terminal import TMUX
from tests.walks.walks import NEEDS_LIBREOFFICE, SCREENS, SIZES, WALKS, screen_file, walk

LONGER = pytest.mark.long


def walks() -> list[object]:
    """Every walk at every size; the suite goes one of them, the long tests all."""
    return [
        pytest.param(name, size, marks=[] if (name, size) == ("few-differ", SIZES[0]) else LONGER)
        for name in WALKS
        for size in SIZES
    ]


@pytest.mark.skipif(TMUX is None, reason="tmux is not installed: no screen was looked at in a real terminal")
@pytest.mark.parametrize(("name", "size"), walks())
def test_walk(name: str, size: tuple[int, int]) -> None:
    """Each screen is what was recorded, and was read by us; none is longer than the terminal."""
    if name in NEEDS_LIBREOFFICE and SOFFICE is None:
        pytest.skip("LibreOffice is not installed: the failures workbook was NOT mended in it")
    assert screen_file(name, size).read_text(encoding="utf-8") == walk(name, *size)


def test_nothing_else_is_recorded() -> None:
    """The recorded screens are those of the walks."""
    assert sorted(screen_file(name, size) for name in WALKS for size in SIZES) == sorted(SCREENS.glob("*.txt"))
