"""Option > environment > batch.toml > default, for every option."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from batch.cli.options import ENDPOINT_FLAGS
from batch.endpoints import ENDPOINTS
from batch.errors import BatchError
from batch.settings import MAP_IN_FILE, SETTINGS, Settings
from tests.shell import DUALENTRY, VAYU, Api, Ended, Shell


@dataclass(frozen=True)
class Case:
    """One option: what settings make of it, by default, from the file, from the environment, and as an option."""

    name: str
    default: Any
    file: tuple[str, Any]
    environment: tuple[str, Any]
    option: tuple[list[str], Any]


def case(option: str, default: Any, *values: Any) -> Case:
    """An option with a value: three values, each as it is written and as it is meant where that differs."""
    pairs = [value if isinstance(value, tuple) else (str(value), value) for value in values]
    name = option.lstrip("-").replace("-", "_")
    file = f"'{pairs[0][0]}'" if isinstance(pairs[0][1], str | Path) else pairs[0][0]
    return Case(name, default, (file, pairs[0][1]), pairs[1], ([option, pairs[2][0]], pairs[2][1]))


def flag(option: str, setting: str = "") -> Case:
    """A flag: on in the file, off in the environment, on as an option."""
    name = setting or option.lstrip("-").replace("-", "_")
    return Case(name, False, ("true", True), ("false", False), ([option], True))


CASES = [
    case("--endpoint", "", DUALENTRY, VAYU, DUALENTRY),
    case("--base-url", None, "https://a.example", "https://b.example", "https://c.example"),
    flag("--sandbox"),
    case("--out", None, "s3://a/b", "b", "c"),
    case("--work-dir", None, ("a", Path("a")), ("b", Path("b")), ("c", Path("c"))),
    Case(
        "storage_option",
        {},
        ("{ a = 'b=c' }", {"a": "b=c"}),
        ("a=d\n", {"a": "d"}),
        (["--storage-option", "a=e=f"], {"a": "e=f"}),
    ),
    case("--mapping", None, "a", "b", "c"),
    case("--sheet", None, "A", "B", "C"),
    case("--token-command", None, "a", "b", "c"),
    flag("--require-rows"),
    case("--shard", None, "1/2", "2/3", "3/16"),
    case("--allow-http", None, "a", "b", "c"),
    case("--max-age", None, ("'1d'", 86_400.0), ("2h", 7_200.0), ("3m", 180.0)),
    case("--log-format", "text", "json", "json", "json"),
    case("--metrics-file", None, ("a", Path("a")), ("b", Path("b")), ("c", Path("c"))),
    case("--on-finish", None, "a", "b", "c"),
    case("--grace", 20.0, 1.0, 2.0, 3.0),
    case("--header-row", None, 1, 2, 3),
    case("--delimiter", None, ";", "|", ("tab", "\t")),
    case("--encoding", None, "cp1252", "utf-8", "latin-1"),
    case("--hidden", None, "skip", "include", "skip"),
    case("--decimal", None, ",", ".", ","),
    case("--date-format", None, "dmy", "mdy", "iso"),
    case("--clear-token", "<clear>", "-", "NULL", "#"),
    case("--limit", None, 1, 2, 3),
    case("--key", None, "unique_id", "email", "name"),
    case("--max-at-once", 16, 1, 2, 3),
    case("--max-per-second", None, 0.5, 2.5, 3.5),
    case("--store", None, "a", "s3://b/c", "d"),
    case("--limiter", None, "redis://a", "redis://:secret@b:6380/1", "rediss://c"),
    case("--max-attempts", 6, 1, 2, 3),
    case("--max-wait", 300.0, 1.0, 2.0, 3.0),
    case("--read-timeout", 60.0, 1.0, 2.0, 3.0),
    case("--verify-within", 60.0, 1.0, 2.0, 3.0),
    case("--max-failures", None, "1", "2%", "3"),
    case("--max-clears", None, "1%", "2", "3%"),
    case("--canary", None, 1, 2, 3),
    Case("keep_data", True, ("false", False), ("true", True), (["--no-keep-data"], False)),
    Case("compare", True, ("false", False), ("true", True), (["--no-compare"], False)),
    Case("report", True, ("false", False), ("true", True), (["--no-report"], False)),
    case("--invalid", "skip", "abort", "skip", "abort"),
    Case("columns", (), ('["A"]', ("A",)), ("B\nC, d", ("B", "C, d")), (["--columns", "D"], ("D",))),
    Case("keep", (), ('["A"]', ("A",)), ("B\nC d", ("B", "C d")), (["--keep", "D"], ("D",))),
    Case("as_shown", (), ('["A"]', ("A",)), ("B\nC d", ("B", "C d")), (["--as-shown", "D"], ("D",))),
    case("--company", None, "A", "B", "C"),
    Case("as_login", None, ("'A'", "A"), ("B", "B"), (["--as", "C"], "C")),
    flag("--new"),
    case("--resume-within", 86_400.0, ("'2d'", 172_800.0), ("90s", 90.0), ("1h", 3_600.0)),
    flag("--only-empty"),
    flag("--overwrite"),
    flag("--other-company"),
    flag("--none-found"),
    flag("--results-xlsx"),
    flag("--excel-csv"),
    flag("--yes"),
    flag("--json", "json_output"),
    flag("--quiet"),
    case("--token-file", None, ("a", Path("a")), ("b", Path("b")), ("c", Path("c"))),
]


@pytest.fixture
def told(offline: Shell, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `update` up to the point at which its settings are known, and gives them."""

    class Reached(BatchError):
        pass

    kept: list[Settings] = []

    def update(settings: Settings, *_: Any) -> NoReturn:
        kept.append(settings)
        raise Reached

    def tell(*options: str, env: Mapping[str, str] = {}, file: str = "") -> Settings:
        offline.sheet("id,name\n1,2\n")
        (offline.folder / "settings.toml").write_text(file)
        endpoint = [] if "endpoint" in file or "BATCH_ENDPOINT" in env or "--endpoint" in options else ["-e", DUALENTRY]
        ended = offline.here("update", "sheet.csv", *endpoint, *options, "--config", "settings.toml", env=env)
        assert kept, ended.err
        return kept.pop()

    monkeypatch.setattr("batch.commands.update.update", update)
    return tell


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_precedence(told: Any, one: Case) -> None:
    """An option wins over the environment, that over a settings file, that over the default."""
    key = one.name.removesuffix("_output").removesuffix("_login")
    file = f"{key.replace('_', '-')} = {one.file[0]}\n"
    env = {f"BATCH_{key.upper()}": one.environment[0]}
    default = getattr(told(), one.name) if one.name != "endpoint" else ""
    assert one.default == default
    assert one.file[1] == getattr(told(file=file), one.name)
    assert one.environment[1] == getattr(told(file=file, env=env), one.name)
    assert one.option[1] == getattr(told(*one.option[0], file=file, env=env), one.name)


def test_every_option_is_tested() -> None:
    """Every setting is in the table above, but for those that are no option of the contract."""
    others = {"detailed_exitcode", "input", "map", "output", "plan", "trust_folder"}
    assert {one.name for one in CASES} == set(SETTINGS) - others


def test_mapping(told: Any) -> None:
    """Mappings of headers add up; for one header the option wins, then the environment, then the file."""
    file = 'map = { A = "name", B = "name", C = "name" }\n'
    env = {"BATCH_MAP": "B=phone\nC=phone"}
    assert {"A": "name", "B": "name", "C": "name"} == told(file=file).map
    assert {"A": "name", "B": "phone", "C": "email"} == told("--map", "C=email", env=env, file=file).map


def test_mapping_with_equals_signs(told: Any) -> None:
    """A header may have an equals sign in it: the last one counts."""
    assert {"a=b": "name", "Notes": ""} == told("--map", "a=b=name", "--map", "Notes=").map


def test_underscores_in_the_file(told: Any) -> None:
    """Keys may be written with underscores, too."""
    assert 3 == told(file="max_at_once = 3\n").max_at_once


def test_numbers_for_texts(told: Any) -> None:
    """A number of rows may be a number."""
    assert ("5", "7") == (told(file="max-failures = 5\n").max_failures, told(file="max-clears = 7\n").max_clears)


def test_table_of_an_endpoint(told: Any) -> None:
    """`sparse` is a setting of Vayu's endpoint alone."""
    file = "[vayu.customers]\nsparse = true\n"
    assert {"sparse": True} == told("-e", VAYU, file=file).endpoint_options
    assert {} == told(file=file).endpoint_options


def test_flag_of_an_endpoint(told: Any) -> None:
    """`--sparse` is an option, too, and a variable; they win over the file."""
    file = "[vayu.customers]\nsparse = true\n"
    assert {"sparse": True} == told("-e", VAYU, "--sparse").endpoint_options
    assert {"sparse": True} == told("-e", VAYU, env={"BATCH_SPARSE": "1"}).endpoint_options
    assert {"sparse": False} == told("-e", VAYU, env={"BATCH_SPARSE": "0"}, file=file).endpoint_options


def test_flags_of_endpoints() -> None:
    """Every flag that an endpoint has of its own is an option."""
    flags = {one.name for kind in ENDPOINTS.values() for one in kind.options if one.type is bool}
    assert flags == set(ENDPOINT_FLAGS)


@pytest.mark.parametrize("command", ["check", "plan", "update"])
def test_flag_of_another_endpoint(offline: Shell, command: str) -> None:
    """With an endpoint that has no such option it is refused."""
    ended = offline.here(command, offline.sheet("id,name\n1,2\n"), "-e", DUALENTRY, "--sparse")
    assert Ended(2, "", "--sparse: dualentry.customers has no such option. Leave it out.\n") == ended


def test_found_file(shell: Shell, api: Api) -> None:
    """A batch.toml beside the input may say what the sheet means, and what it set is said before the question."""
    shell.sheet(f"Cust#,name\n{api.ids(1)[0]},New\n")
    (shell.folder / "batch.toml").write_text(
        'endpoint = "dualentry.customers"\ninvalid = "abort"\nmap = {"Cust#" = "id"}\n'
    )
    said = 'batch.toml was found, and sets: endpoint dualentry.customers, invalid abort, "Cust#" = "id"'
    ended = shell.here("update", "sheet.csv", *api.options)
    assert (0, said) == (ended.code, ended.err.splitlines()[0])
    own = shell.here("check", "sheet.csv", "--invalid", "skip")
    assert said.replace("invalid abort, ", "") == own.err.splitlines()[0]
    assert "" == shell.here("check", "sheet.csv", "--quiet").err


@pytest.mark.parametrize("text", ["yes = true", "base_url = 'http://127.0.0.1:9'", "token-file = 'sheet.csv'"])
@pytest.mark.parametrize(
    "command", [["update", "sheet.csv"], ["plan", "sheet.csv"], ["undo", "run"], ["pull", "-o", "x.csv"]]
)
def test_found_file_that_is_refused(shell: Shell, command: list[str], text: str) -> None:
    """No file that only lies there sends the key elsewhere, sends another file as the key, or answers the question."""
    shell.sheet("id,name\n10001,New\n")
    (shell.folder / "run").mkdir()
    (shell.folder / "batch.toml").write_text(text + "\n")
    ended = shell.here(*command, *(["-e", DUALENTRY] if command[0] != "undo" else []))
    key = text.partition(" ")[0].replace("_", "-")
    assert (2, "") == (ended.code, ended.out)
    assert ended.err.startswith(f"batch.toml: {key}: a file that was found, not named, may not set this.")


def test_own_settings(shell: Shell, api: Api) -> None:
    """What stands in the user's own settings is as good as said on the command line."""
    own = shell.folder.parent / "home" / ".config" / "batch"
    own.mkdir(parents=True)
    (own / "config.toml").write_text(f"yes = true\nbase_url = '{api.url}'\nmax-per-second = 2000\n")
    ended = shell.here("update", shell.sheet(api.names(1)), "-e", DUALENTRY)
    assert (0, 1) == (ended.code, len(api.written()))
    assert not ended.err.startswith("batch.toml")


def test_file_beside_the_input_wins(offline: Shell, told: Any) -> None:
    """batch.toml beside the input is read; else the one in the current folder."""
    (offline.folder / "batch.toml").write_text("max-at-once = 1\n")
    (offline.folder / "there").mkdir()
    (offline.folder / "there" / "sheet.csv").write_text("id,name\n1,2\n")
    first = offline.here("check", "there/sheet.csv", "-e", DUALENTRY, "--json")
    (offline.folder / "there" / "batch.toml").write_text("max-at-once = 0\n")
    second = offline.here("check", "there/sheet.csv", "-e", DUALENTRY)
    assert (0, 2) == (first.code, second.code)
    assert "there/batch.toml: max-at-once 0: it should be greater than or equal to 1.\n" == second.err


WRONG = {
    "a field that is none": ("[map]\nName = 3\n", 'batch.toml: [map] "Name" = 3: it should be "field".\n'),
    "no table of headers": (
        'map = ["Name=name"]\n',
        f"batch.toml: map ['Name=name']: {MAP_IN_FILE}.\n",
    ),
    "a word for a number": ('max-wait = "soon"\n', "batch.toml: max-wait 'soon': it should be a number.\n"),
    "a wrong key": ("max-at-onec = 3\n", 'batch.toml: there is no setting "max-at-onec"; did you mean max-at-once?\n'),
    "a wrong value": ("max-at-once = 0\n", "batch.toml: max-at-once 0: it should be greater than or equal to 1.\n"),
    "a wrong choice": ("invalid = 'stop'\n", "batch.toml: invalid 'stop': it should be 'skip' or 'abort'.\n"),
    "a wrong delimiter": (
        "delimiter = ';;'\n",
        "batch.toml: delimiter ';;': it must be one character, such as ; or , or \"tab\".\n",
    ),
    "a credential": ("dualentry-api-key = 'x'\n", 'batch.toml: there is no setting "dualentry-api-key".\n'),
    "a wrong table": (
        "[vayu.customers]\nspares = true\n",
        'batch.toml: there is no setting "spares"; did you mean sparse?\n',
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_file(offline: Shell, wrong: str) -> None:
    """A key that there is not, or a value that makes no sense, is told with what was seen."""
    text, message = WRONG[wrong]
    (offline.folder / "batch.toml").write_text(text)
    ended = offline.here("check", offline.sheet("id,name\n1,2\n"), "-e", DUALENTRY)
    assert Ended(2, "", message) == ended


def test_broken_file(offline: Shell) -> None:
    """A file that is no TOML is told with the place."""
    (offline.folder / "batch.toml").write_text("limit = \n")
    ended = offline.here("check", offline.sheet("id,name\n1,2\n"), "-e", DUALENTRY)
    assert (2, "") == (ended.code, ended.out)
    assert ended.err.startswith("batch.toml: it cannot be read: Invalid value (at line 1, column")


def test_wrong_environment(offline: Shell) -> None:
    """A variable that makes no sense is told with its option."""
    ended = offline.here("check", offline.sheet("id,name\n1,2\n"), "-e", DUALENTRY, env={"BATCH_LIMIT": "few"})
    assert (2, "") == (ended.code, ended.out)
    expected = "'--limit' (environment variable BATCH_LIMIT): 'few' is not a valid integer."
    assert f"Error: Invalid value for {expected}" == ended.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "env"), [(["--base-url", ""], {}), (["--base-url", " "], {}), ([], {"BATCH_BASE_URL": ""})]
)
def test_address_that_is_empty(offline: Shell, options: list[str], env: dict[str, str]) -> None:
    """An address that somebody forgot to fill in does not mean the maker's own API."""
    ended = offline.here("update", offline.sheet("id,name\n1,2\n"), "-e", DUALENTRY, *options, env=env)
    given = repr((options or ["", ""])[1])
    said = f"--base-url {given}: it is empty, and would mean the maker's own API. Name an address, or unset it.\n"
    assert Ended(2, "", said) == ended


@pytest.mark.parametrize("command", ["check", "plan", "update"])
def test_same_options(offline: Shell, command: str) -> None:
    """check, plan and update take the same options, so that one word changes what is done."""
    options = [word for one in CASES if one.name != "endpoint" for word in one.option[0]]
    ended = offline.here(command, "nobody.csv", "-e", DUALENTRY, "--map", "a=b", *options)
    assert 2 == ended.code
    assert "No such option" not in ended.err
