"""The marks that spreadsheet programs lay beside a file while it is open."""

from pathlib import Path

import pytest

from batch.errors import InputError
from batch.sources import ReadOptions, open_input, stage

MARKS = [("Excel", "~$customers.csv"), ("LibreOffice", ".~lock.customers.csv#")]


@pytest.mark.parametrize(("program", "name"), MARKS)
def test_mark_is_named_for_what_it_is(program: str, name: str, tmp_path: Path) -> None:
    """Whether it is there or not, it is no spreadsheet, and the file that is meant is named."""
    (tmp_path / name).write_bytes(b"Ana")
    for folder in (tmp_path, tmp_path / "elsewhere"):
        with pytest.raises(InputError) as caught:
            open_input(str(folder / name), tmp_path)
        assert str(caught.value) == (
            f"{name} is the mark that {program} leaves while customers.csv is open: give customers.csv."
        )


@pytest.mark.parametrize(("program", "name"), MARKS)
def test_open_file_is_told(program: str, name: str, tmp_path: Path) -> None:
    """What was not saved is not read, which is said as long as the mark lies beside the file."""
    path = tmp_path / "customers.csv"
    path.write_text("id,name\n10001,Acme\n")
    (tmp_path / name).write_bytes(b"Ana")
    note = (
        f"customers.csv seems to be open in {program} ({name} lies beside it): what was edited and not saved there "
        "is not read."
    )
    assert (note,) == stage(open_input(str(path), tmp_path), tmp_path, ReadOptions()).notes
    (tmp_path / name).unlink()
    assert () == stage(open_input(str(path), tmp_path), tmp_path, ReadOptions()).notes
