"""What README.md and its pages say is what the program does. `python -m tests.test_readme` writes help blocks anew."""

import re
import shutil
import tomllib
from pathlib import Path

import click
import pytest

from batch.cli import batch
from batch.endpoints import ENDPOINTS
from batch.errors import ExitCode
from batch.model import Outcome
from batch.outputs.failures import ADDED_COLUMNS
from batch.outputs.results import SCHEMA
from batch.run.target import Environment
from batch.settings import SettingsFiles, merge_layers, read_files
from tests.shell import ROOT, Shell

README = ROOT / "README.md"
OPTIONS = ROOT / "batch" / "cli" / "README.md"
"""The page of all commands and options."""
PAGES = [README, OPTIONS, *(ROOT / "batch" / name / "README.md" for name in ("sources", "engine", "run"))]
"""What is written for the person who runs it."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HELP = re.compile(r"\$ \./run\.sh ((?:\w+ )?)--help\n(.*)", re.DOTALL)
OF_RUN_SH = {"test", "lock", "extra"}
OPTIONS_OF_OTHERS = {"--long"}
VARIABLES_OF_OTHERS = {"BATCH_PYTHON", "BATCH_DEBUG", "BATCH_WINDOW"}


def text() -> str:
    return README.read_text(encoding="utf-8")


def all_text() -> str:
    return "".join(page.read_text(encoding="utf-8") for page in PAGES)


def help_of(command: str) -> str:
    """The help of a command, as wide as it gets (100 less a margin of 2)."""
    context = click.Context(batch, info_name="./run.sh", terminal_width=98, **batch.context_settings)
    if not command:
        return batch.get_help(context) + "\n"
    found = batch.commands[command]
    return found.get_help(click.Context(found, parent=context, info_name=command, terminal_width=98)) + "\n"


def refreshed(readme: str) -> str:
    """The README with its help blocks as they should be."""

    def fresh(block: re.Match[str]) -> str:
        shown = HELP.fullmatch(block[2])
        return block[0].replace(shown[2], help_of(shown[1].strip())) if shown else block[0]

    return BLOCK.sub(fresh, readme)


def options(command: click.Command) -> set[str]:
    return {
        name
        for one in command.params
        if isinstance(one, click.Option) and not one.hidden
        for name in (*one.opts, *one.secondary_opts)
        if name.startswith("--")
    }


def all_options() -> set[str]:
    return {name for command in batch.commands.values() for name in options(command)} | {"--help", "--version"}


def table(heading: str) -> list[str]:
    """The first cells of the table below the line that begins with `heading`."""
    lines = iter(text().splitlines())
    assert any(line.startswith(heading) for line in lines), heading
    assert next(lines).startswith("|---")
    rows = []
    while (line := next(lines)).startswith("|"):
        rows.append(line.split("|")[1].strip().strip("`"))
    return rows


def test_help_blocks() -> None:
    """The help shown is the program's, of all commands: `python -m tests.test_readme` writes it anew."""
    shown: set[str] = set()
    for page in (text(), OPTIONS.read_text(encoding="utf-8")):
        assert page == refreshed(page)
        shown |= {found[1].strip() for block in BLOCK.finditer(page) if (found := HELP.fullmatch(block[2]))}
    assert {"", *batch.commands} == shown


def test_every_option() -> None:
    """Every option of the program is on one of the pages, and no other."""
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", all_text()))
    assert all_options() - mentioned == set()
    assert mentioned - all_options() == OPTIONS_OF_OTHERS


def test_every_command() -> None:
    """Every command is in it, and no other."""
    mentioned = set(re.findall(r"\./run\.sh ([a-z]+)", text()))
    named = mentioned | set(re.findall(r"`([a-z]+)[ `]", text()))
    assert set(batch.commands) - named == set()
    assert mentioned - set(batch.commands) == OF_RUN_SH & mentioned


def test_every_variable() -> None:
    """Every environment variable on the pages is one, and every credential is there."""
    mentioned = set(re.findall(r"\bBATCH_[A-Z_]+[A-Z]\b", all_text()))
    known = {"BATCH_" + name.lstrip("-").replace("-", "_").upper() for name in all_options()}
    assert mentioned - known == VARIABLES_OF_OTHERS
    credentials = {one.name for endpoint in ENDPOINTS.values() for one in endpoint.variables}
    named = set(re.findall(r"\b(?:DUALENTRY|VAYU)_[A-Z_]+[A-Z]\b", all_text()))
    assert credentials == {one.removesuffix("_FILE") for one in named}


def test_exit_codes() -> None:
    """The exit codes are those of the program, each with its next step."""
    listed = [int(code) for row in table("| code | means | next step |") for code in row.split(" / ")]
    assert sorted(map(int, ExitCode)) == sorted(listed)


def test_outcomes() -> None:
    """The outcomes are those of the program, in their order."""
    assert list(Outcome) == table("| outcome | means | next step |")


def test_columns() -> None:
    """The columns of results and failures are those that are written."""
    assert f"`{','.join(SCHEMA)}`" in text()
    assert f"`{','.join(ADDED_COLUMNS)}`" in text()


def test_samples_and_links() -> None:
    """Every sample and every linked file is there."""
    samples = set(re.findall(r"samples/[\w.-]+\.(?:csv|xlsx|parquet)", text()))
    links = set(re.findall(r"\]\(([^)#:]+)\)", text()))
    assert samples
    assert [] == [path for path in sorted(samples | links) if not (ROOT / path).exists()]


def test_endpoints() -> None:
    """Every endpoint is in it."""
    assert set(ENDPOINTS) == set(re.findall(r"`((?:dualentry|vayu)\.[a-z]+)`", text()))


def test_batch_toml(tmp_path: Path) -> None:
    """The example of a batch.toml is one."""
    (example,) = [block[2] for block in BLOCK.finditer(all_text()) if block[1] == "toml"]
    (tmp_path / "batch.toml").write_text(example, encoding="utf-8")
    known = Environment({})
    files = SettingsFiles(None, [tmp_path], None)
    assert merge_layers(read_files(files, None, known.endpoint_options, known.documented_rates.__getitem__)).sources
    assert tomllib.loads(example)


def test_length() -> None:
    """It can be read in one go."""
    assert len(text().splitlines()) < 260
    assert len(text()) < 20_000


def test_session(offline: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first session is a real one; … stands for what was left out."""
    block = next(BLOCK.finditer(text()))[2]
    command, *shown = block.splitlines()
    words = re.findall(r'"[^"]*"|\S+', command.removeprefix("$ ./run.sh "))
    shutil.copytree(ROOT / "samples", offline.folder / "samples", ignore=shutil.ignore_patterns("*.batch"))
    ended = offline.here(*(word.strip('"') for word in words), env={"BATCH_COMMAND": "./run.sh"})
    said = [plain(line) for line in ended.err.splitlines()]
    for line in map(plain, shown):
        start = line.partition("…")[0] if line.endswith("…") else line
        left_out = [] if line.strip() == "…" else [other for other in said if other.startswith(start.rstrip())]
        assert line.strip() == "…" or left_out, (line, said)


def plain(line: str) -> str:
    line = re.sub(r"127\.0\.0\.1:\d+", "{host}", line)
    line = re.sub(r"key …\w{4}$", "{key}", line)
    line = re.sub(r"samples/\w+\.batch/[\d-]+", "{run}", line)
    return re.sub(r"\d+\.\d s$", "{seconds}", line)


if __name__ == "__main__":
    for page in (README, OPTIONS):
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
