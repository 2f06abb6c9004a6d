"""Files and screens as plain text that can be read in a diff, without what differs from time to time."""

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import openpyxl
import polars as pl

from tests.shell import Ended

SILENT = re.compile(r"journal\.sqlite.*|report\.html|\.lock.*|\..*\.part.*")
"""Files that are listed, and not looked into."""
Rules = Sequence[tuple[str, str]]
FINISHED: Rules = ((r'("finished": )"[^"]+"', r'\1"{moment}"'),)
"""When a run of 0.1 ended it did not write down."""
SECONDS: Rules = (
    (r"(?m)( in )[\d.]+ (s|min)$", r"\1{seconds}"),
    (r'("seconds": )[\d.e-]+', r"\1{seconds}"),
    (r'(fingerprint"+:"+)[0-9a-f]{32}', r"\1{fingerprint}"),
    (r"\b[0-9a-f]{32}\b", "{run}"),
    (r'("seal": "sha256:)[0-9a-f]{64}', r"\1{checksum}"),
    *FINISHED,
)
TIMES: Rules = (
    *SECONDS,
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "{moment}"),
    (r"\d{8}-\d{6}(-\d{1,3}\b)?", "{time}"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)", "{moment}"),
)
LOOKS: Rules = ((r'("(requests|attempts)": )\d+,', r"\1{some},"),)
"""How many records one list serves that are read once more depends on the moment."""
NEW_TIMES: Rules = (
    *SECONDS,
    (r"(?!2026-11-26 02:32)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "{moment}"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "{moment}"),
    (r"(?<!\d)(?!20261126-0232)\d{8}-\d{6}(-\d{1,3}\b)?", "{time}"),
    (r"(?!2026-11-26T02:32)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)", "{moment}"),
)
"""All times but those at which the work folders were made."""
UNDO_TIMES: Rules = (*SECONDS, (r"undo-\d{8}-\d{6}(-\d+)?", "undo-{time}"), (r'("started": )"[^"]+"', r"\1{moment}"))


def normal(text: str, places: Mapping[str, str], rules: Rules) -> str:
    """Replace places (texts) and what `rules` (patterns) name."""
    for place, name in places.items():
        text = text.replace(place, name)
    for pattern, name in rules:
        text = re.sub(pattern, name, text)
    return text


def screen(arguments: Sequence[str], ended: Ended) -> Iterator[str]:
    """Give a command and what it said."""
    yield f"$ batch {' '.join(one if re.fullmatch(r'[^ <>=;]+', one) else repr(one) for one in arguments)}"
    yield f"exit code {ended.code}"
    for name, text in (("stdout", ended.out), ("stderr", ended.err)):
        if text:
            yield from (f"-- {name}", _lines(text))


def read_files(folder: Path) -> dict[str, str]:
    """Give all files below a folder as text, "" for those that are not looked into."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {str(path.relative_to(folder)): "" if SILENT.fullmatch(path.name) else _text(path) for path in found}


def renamed(files: Mapping[str, str], rules: Rules) -> dict[str, str]:
    """Give files under names without times; those of two folders that differ in their time stay apart."""
    made: dict[str, str] = {}
    for name, text in files.items():
        plain = normal(name, {}, rules)
        made[f"{plain} (the next)" if plain in made else plain] = text
    return made


def files(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Tell what became of the files: what is new or other than before is shown whole."""
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"-- {name}: is gone"
        elif not after[name]:
            yield f"-- {name}"
        elif before.get(name) == after[name]:
            yield f"-- {name}: as it was"
        else:
            yield f"-- {name}{': is another' if name in before else ''}"
            yield _lines(after[name])


def _lines(text: str) -> str:
    return text.removesuffix("\n") if text.endswith("\n") else text + "␄"


def _text(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}\n"
    match path.suffix:
        case ".xlsx" if zipfile.is_zipfile(path):
            return "".join(f"{line}\n" for line in _cells(path))
        case ".parquet":
            frame = pl.read_parquet(path)
            types = ", ".join(f"{name}: {kind}" for name, kind in frame.schema.items())
            return f"{types}\n{frame.cast(pl.String, strict=False).write_csv()}"
    return path.read_bytes().decode(errors="backslashreplace").replace("\r", "␍").replace("\ufeff", "⟨BOM⟩")


def _cells(path: Path) -> Iterator[str]:
    for sheet in openpyxl.load_workbook(path):
        frozen = f", frozen at {sheet.freeze_panes}" if sheet.freeze_panes else ""
        yield f"[{sheet.title}] {sheet.dimensions}, {sheet.sheet_state}{frozen}"
        for rule in sheet.data_validations.dataValidation:
            yield f"{rule.sqref} {rule.type} {rule.formula1}"
        for cell in (cell for row in sheet.iter_rows() for cell in row):
            form = "" if cell.number_format == "General" else f"  {cell.number_format}"
            fill = f"  filled {cell.fill.fgColor.rgb}" if cell.fill.fill_type else ""
            note = f"  note {cell.comment.text!r}" if cell.comment else ""
            if cell.value is not None or fill or note:
                yield f"{cell.coordinate} {cell.value!r}{form}{fill}{note}"
