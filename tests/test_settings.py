"""Options, environment and batch.toml -> one frozen value; credentials from the environment or a file only."""

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from batch.credentials import read_credentials
from batch.errors import CredentialError, ExitCode, SettingsError
from batch.settings import (
    COMMAND_LINE,
    ENVIRONMENT,
    MAP_IN_FILE,
    SETTINGS,
    Layer,
    Settings,
    SettingsFiles,
    merge_layers,
    read_files,
)

OPTIONS = {"vayu.customers": {"sparse": bool}, "dualentry.customers": {}}
RATES = {"vayu.customers": 500.0, "dualentry.customers": 1.0, "": 0.0}
NAMES = {"VAYU_API_TOKEN": True, "VAYU_CLIENT_ID": False}


def make_settings(values: dict[str, Any]) -> Settings:
    return merge_layers([Layer(COMMAND_LINE, values)])


def refused(**values: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        make_settings(values)
    assert ExitCode.COULD_NOT_START == caught.value.exit_code
    return str(caught.value)


def test_defaults() -> None:
    """The defaults are the contract's."""
    made = make_settings({})
    expected = ("<clear>", 6, 300.0, "skip", True, False, {})
    assert expected == (
        made.clear_token, made.max_attempts, made.max_wait, made.invalid, made.compare, made.new, made.endpoint_options
    )  # fmt: skip


def test_frozen() -> None:
    """Nobody changes the settings of a job."""
    with pytest.raises(FrozenInstanceError):
        make_settings({}).yes = True  # type: ignore[misc]  # that is what is tested


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"clear_token": " "}, "--clear-token ' ': it must not be blank, or every blank cell would clear its field."),
        ({"clear_token": ""}, "--clear-token '': String should have at least 1 character."),
        ({"delimiter": ";;"}, "--delimiter ';;': it must be one character, such as ; or , or \"tab\"."),
        ({"delimiter": '"'}, '--delimiter \'"\': it must be one character, such as ; or , or "tab".'),
        ({"limit": 0}, "--limit 0: it should be greater than or equal to 1."),
        ({"max_at_once": 0}, "--max-at-once 0: it should be greater than or equal to 1."),
        ({"max_per_second": 0}, "--max-per-second 0: it should be greater than 0."),
        ({"max_per_second": float("inf")}, "--max-per-second inf: it should be a finite number."),
        ({"max_wait": float("nan")}, "--max-wait nan: it should be a finite number."),
        ({"max_wait": -1}, "--max-wait -1: it should be greater than or equal to 0."),
        ({"max_attempts": 0}, "--max-attempts 0: it should be greater than or equal to 1."),
        (
            {"max_failures": "many"},
            "--max-failures 'many': it should be a number of rows (50) or a share of them (5%).",
        ),
        (
            {"max_failures": "101%"},
            "--max-failures '101%': it should be a number of rows (50) or a share of them (5%).",
        ),
        ({"decimal": ";"}, "--decimal ';': it should be '.' or ','."),
        ({"invalid": "x"}, "--invalid 'x': it should be 'skip' or 'abort'."),
        ({"json_output": "x"}, "--json 'x': it should be true or false."),
        (
            {"input": "{a.csv,https://a.example/b.csv?SECRET}"},
            (
                "{a.csv,https://a.example/b.csv?…: an address is an input of its own. Of several objects name the "
                "folder that they are in, or a pattern."
            ),
        ),
    ],
)
def test_values_that_make_no_sense(values: dict[str, Any], expected: str) -> None:
    """A value that makes no sense is named with its option, and with what would."""
    assert expected == refused(**values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"storage_option": {"region": 7411}}, "--storage-option.region …: it should be a valid string."),
        ({"storage_option": "7411"}, "--storage-option …: it should be a valid dictionary."),
        ({"limiter": "7411"},
         ("--limiter …: it should be an address such as redis://host:6379/0, or rediss:// with encryption.")),
    ],
)  # fmt: skip
def test_values_that_are_never_shown(values: dict[str, Any], expected: str) -> None:
    """What may hold a password is not in the message of what is wrong with it."""
    with pytest.raises(SettingsError) as caught:
        make_settings(values)
    assert expected == str(caught.value)


def test_all_at_once() -> None:
    """Every value that makes no sense is told, one a line."""
    assert ["--limit", "--max-wait"] == [line.split()[0] for line in refused(limit=0, max_wait=-1).splitlines()]


@pytest.mark.parametrize(("given", "expected"), [("tab", "\t"), ("\\t", "\t"), (";", ";"), ("\t", "\t"), (None, None)])
def test_delimiter(given: str | None, expected: str | None) -> None:
    """A tab can be spelt."""
    assert expected == make_settings({"delimiter": given}).delimiter


@pytest.mark.parametrize(("given", "expected"), [(50, "50"), ("5%", "5%"), ("0.5 %", "0.5 %"), (None, None)])
def test_max_failures(given: Any, expected: str | None) -> None:
    """A limit of failures is a number of rows or a share of them."""
    assert expected == make_settings({"max_failures": given}).max_failures


def test_clear_token_is_trimmed() -> None:
    """Cells are compared without spaces around them, and so is the token."""
    assert "NULL" == make_settings({"clear_token": " NULL "}).clear_token


# -- layers and the table -------------------------------------------------------------------------------------------


def test_layers() -> None:
    """Of any number of layers the first that has a value wins, and every value keeps where it came from."""
    layers = [
        Layer(COMMAND_LINE, {"limit": 1, "map": {"A": "name"}}),
        Layer(ENVIRONMENT, {"limit": 2, "sheet": "S", "map": {"A": "id", "B": "phone"}}),
        Layer("near/batch.toml", {"limit": 3, "max_wait": 4}),
        Layer("far/batch.toml", {"max_wait": 5, "decimal": ","}),
    ]
    made = merge_layers(layers)
    assert (1, "S", 4.0, ",") == (made.limit, made.sheet, made.max_wait, made.decimal)
    assert {"A": "name", "B": "phone"} == made.map
    expected = {"limit": 0, "sheet": 1, "max_wait": 2, "decimal": 3, "map": 0}
    assert {name: layers[number].source for name, number in expected.items()} == made.sources


def test_errors_name_the_layer() -> None:
    """Values that make no sense are told with where they stand, all at once."""
    layers = [Layer(COMMAND_LINE, {"limit": 0}), Layer("a.toml", {"limit": -1, "max_wait": -2})]
    with pytest.raises(SettingsError) as caught:
        merge_layers(layers)
    assert [
        "--limit 0: it should be greater than or equal to 1.",
        "a.toml: max-wait -2: it should be greater than or equal to 0.",
    ] == str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"A": 3}, 'a.toml: [map] "A" = 3: it should be "field".'),
        (["A=name"], f"a.toml: map ['A=name']: {MAP_IN_FILE}."),
    ],
)
def test_errors_of_a_mapping(mapping: Any, expected: str) -> None:
    """A mapping of headers that makes no sense is told with its own layer, although the mappings are merged."""
    with pytest.raises(SettingsError) as caught:
        merge_layers([Layer(COMMAND_LINE, {"map": {"B": "phone"}}), Layer("a.toml", {"map": mapping})])
    assert expected == str(caught.value)


def test_found_files() -> None:
    """Whether a file that was found may set a setting is said where it is defined; unless it is said, it may not."""
    may = {kind: {one.name for one in SETTINGS.values() if one.found_file == kind} for kind in ("yes", "if careful")}
    layout = {"sheet", "header_row", "delimiter", "encoding", "hidden", "decimal", "date_format"}
    assert {"endpoint", "map", "columns", "key", *layout} == may["yes"]
    limits = {"max_per_second", "max_at_once", "max_attempts", "max_failures", "max_clears", "canary", "invalid"}
    assert limits == may["if careful"]


def test_every_setting_is_defined() -> None:
    """Every setting has a help text but the input; a place among what is repeated is one setting's alone."""
    assert ["input"] == [one.name for one in SETTINGS.values() if not one.help]
    places = [one.repeat for one in SETTINGS.values() if one.repeat]
    assert list(range(1, len(places) + 1)) == sorted(places)


# -- batch.toml -----------------------------------------------------------------------------------------------------


def toml(folder: Path, text: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    (folder / "batch.toml").write_text(text, encoding="utf-8")
    return [folder]


def read_named(folders: list[Path], endpoint: str | None = None) -> Layer:
    """Read the file in the folder, as --config names it."""
    files = SettingsFiles(folders[0] / "batch.toml", [], None)
    (layer,) = read_files(files, endpoint, OPTIONS, RATES.__getitem__)
    return layer


def read_found(folders: list[Path], own: Path | None = None, named: Path | None = None) -> list[Layer]:
    """Read a file that is in one of the folders, as it is found there, with the others beside it."""
    return read_files(SettingsFiles(named, folders, own), "dualentry.customers", OPTIONS, RATES.__getitem__)


def test_file(tmp_path: Path) -> None:
    """A file spells options as the command line does, with - or _."""
    text = 'endpoint = "vayu.customers"\nmax-wait = 60\nmax_at_once = 4\njson = true\n[map]\nNotes = ""\n'
    expected = {
        "endpoint": "vayu.customers",
        "max_wait": 60,
        "max_at_once": 4,
        "json_output": True,
        "map": {"Notes": ""},
    }
    assert expected == read_named(toml(tmp_path, text)).values


def test_nearest_file(tmp_path: Path) -> None:
    """The file beside the input goes before the one in the current folder, and no file is no problem."""
    first, second = tmp_path / "a", tmp_path / "b"
    toml(second, "sheet = '2'")
    assert [Layer(str(second / "batch.toml"), {"sheet": "2"}, is_found=True)] == read_found([first, second])
    assert [] == read_found([first])
    toml(first, "sheet = '1'")
    assert [Layer(str(first / "batch.toml"), {"sheet": "1"}, is_found=True)] == read_found([first, second])


def test_order_of_files(tmp_path: Path) -> None:
    """The file that is named goes before the one that is found, and that before the user's own."""
    (folder,) = toml(tmp_path / "a", "sheet = 'found'")
    (named, own) = (toml(tmp_path / name, f"sheet = '{name}'")[0] / "batch.toml" for name in ("named", "own"))
    assert ["named", "found", "own"] == [one.values["sheet"] for one in read_found([folder], own, named)]
    assert [False, True, False] == [one.is_found for one in read_found([folder], own, named)]
    assert [False] == [one.is_found for one in read_found([folder], None, folder / "batch.toml")]
    with pytest.raises(SettingsError, match=r"--config nowhere: there is no such file\."):
        read_found([folder], own, Path("nowhere"))


CAREFUL = {
    "max_per_second": (["1", "0.5"], ["1.1", "50"]),
    "max_at_once": (["16", "1"], ["17"]),
    "max_attempts": (["6", "1"], ["7"]),
    "max_failures": (["3", "'50%'"], []),
    "max_clears": (["9", "'20%'", "'0.5%'"], ["10", "'21%'"]),
    "canary": (["1", "50"], ["0"]),
    "invalid": (["'abort'"], ["'skip'"]),
}


@pytest.mark.parametrize("name", CAREFUL)
def test_found_file_that_makes_a_run_more_careful(tmp_path: Path, name: str) -> None:
    """A file that was found may make a run slower and more careful than it is by default, and nothing else."""
    good, bad = CAREFUL[name]
    for value in good:
        assert name in read_found(toml(tmp_path, f"{name} = {value}"))[0].values
    for value in bad:
        with pytest.raises(SettingsError, match=f"{name.replace('_', '-')}: .* only towards more care"):
            read_found(toml(tmp_path, f"{name} = {value}"))


def test_found_file_that_may_set_it() -> None:
    """Every setting that a found file may set towards more care is tested."""
    assert CAREFUL.keys() == {one.name for one in SETTINGS.values() if one.found_file == "if careful"}


VALUES = {
    "resume_within": "'2d'",
    "out": "'x'", "clear_token": "'-'", "limit": "1", "compare": "false", "json": "true", "quiet": "true",
    "base_url": "'https://evil.example'", "sandbox": "true", "token_file": "'/home/me/.ssh/id'", "max_wait": "9",
    "new": "true", "yes": "true", "company": "'Acme'", "read_timeout": "9", "verify_within": "9", "as_shown": "['A']",
    "only_empty": "true", "overwrite": "true", "other_company": "true", "none_found": "true", "as": "'Acme'",
    "results_xlsx": "true",
    "excel_csv": "true", "token_command": "'op read x'",
    "require_rows": "true", "allow_http": "'mock'", "max_age": "'2d'", "detailed_exitcode": "true", "output": "'md'",
    "keep_data": "false",
    "log_format": "'json'", "metrics_file": "'x.prom'", "on_finish": "'true'", "grace": "5",
    "mapping": "'kunden'", "keep": "['A']", "work_dir": "'x'", "storage_option": "{ region = 'x' }",
    "limiter": "'redis://host'", "report": "false", "shard": "'1/2'",
    "store": "'x'",
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_found_file_that_sets_what_it_may_not(tmp_path: Path, name: str) -> None:
    """Whatever else it sets stops the run: the message names the setting and where it may stand."""
    path = toml(tmp_path, f"{name} = {VALUES[name]}")[0] / "batch.toml"
    with pytest.raises(SettingsError) as caught:
        read_found([tmp_path], tmp_path / "own.toml")
    key = name.replace("_", "-")
    assert (
        f"{path}: {key}: a file that was found, not named, may not set this. It may stand on the command line "
        f"(--{key}), in the environment (BATCH_{name.upper()}), in your own settings ({tmp_path / 'own.toml'}), "
        f"or in this file when you name it:  --config {path}"
    ) == str(caught.value)
    assert read_named([tmp_path]).values


def test_every_setting_may_or_may_not() -> None:
    """Every setting that files may set is in one of these tables."""
    free = {one.name for one in SETTINGS.values() if one.found_file == "yes"}
    named = {one.key.replace("-", "_") for one in SETTINGS.values() if one.is_layered and one.name not in free}
    assert named == CAREFUL.keys() | VALUES.keys()


def test_found_file_and_own_settings(tmp_path: Path) -> None:
    """Of a limit in a found file and one in the user's own settings the more careful one counts."""
    own = toml(tmp_path / "own", "max_at_once = 4\nmax_failures = '5%'\nsheet = 'X'\n")[0] / "batch.toml"
    near = toml(tmp_path / "near", "max_at_once = 8\nmax_failures = '1%'\nsheet = 'A'\n")
    made = merge_layers(read_found(near, own))
    assert (4, "1%", "A") == (made.max_at_once, made.max_failures, made.sheet)


def test_endpoint_of_another_file(tmp_path: Path) -> None:
    """The user's own settings of an endpoint hold for the endpoint that a found file names."""
    own = toml(tmp_path / "own", "[vayu.customers]\nsparse = true\n")[0] / "batch.toml"
    near = toml(tmp_path / "near", 'endpoint = "vayu.customers"\n')
    layers = read_files(SettingsFiles(None, near, own), None, OPTIONS, RATES.__getitem__)
    assert {"sparse": True} == merge_layers(layers).endpoint_options


def test_file_with_a_mark(tmp_path: Path) -> None:
    """A byte order mark, as editors on Windows write it, does no harm."""
    assert {"limit": 1} == read_named(toml(tmp_path, "\ufefflimit = 1")).values


@pytest.mark.parametrize("table", ["[vayu.customers]", '["vayu.customers"]'])
@pytest.mark.parametrize(
    ("option", "in_file", "is_sparse"),
    [
        ("vayu.customers", "", True), ("dualentry.customers", "", False), (None, "vayu.customers", True),
        ("vayu.customers", "dualentry.customers", True), ("dualentry.customers", "vayu.customers", False),
    ],
)  # fmt: skip
def test_settings_of_an_endpoint(tmp_path: Path, table: str, option: str | None, in_file: str, is_sparse: bool) -> None:
    """An endpoint's own settings hold for it alone, and the option names it before the file does."""
    line = f'endpoint = "{in_file}"\n' if in_file else ""
    found = read_named(toml(tmp_path, f"{line}{table}\nsparse = true\n"), option).values
    assert ({"sparse": True} if is_sparse else None) == found.get("endpoint_options")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_waits = 1", 'there is no setting "max_waits"; did you mean max-wait?'),
        ("zzz = 1", 'there is no setting "zzz".'),
        ("sparse = true", '"sparse" belongs under [vayu.customers].'),
        ("plan = 'x'", 'there is no setting "plan".'),
        ("[vayu.customers]\nsparce = true", 'there is no setting "sparce"; did you mean sparse?'),
        ("[vayu.customer]\nsparse = true", 'there is no setting "vayu.customer"; did you mean vayu.customers?'),
        ("[vayu]\nsparse = true", 'there is no setting "vayu.sparse"; did you mean vayu.customers?'),
        ("[dualentry.customers]\nsparse = true", 'there is no setting "sparse".'),
        ('endpoint = "vayu.customers"\n[vayu.customers]\nsparse = 3', "sparse 3: it should be true or false."),
        ("[vayu]\ncustomers = 1", "[vayu.customers] must be a table."),
        ("limit = ", "it cannot be read: Invalid value (at end of document)"),
    ],
)
def test_file_that_makes_no_sense(tmp_path: Path, text: str, expected: str) -> None:
    """A misspelt key or table is never passed over: the message names the file, and the nearest key."""
    with pytest.raises(SettingsError) as caught:
        read_named(toml(tmp_path, text))
    assert f"{tmp_path / 'batch.toml'}: {expected}" == str(caught.value)


# -- credentials ----------------------------------------------------------------------------------------------------


def test_credentials_of_the_environment() -> None:
    """Credentials come from the environment, without spaces around them; others are left alone."""
    environment = {"VAYU_API_TOKEN": " t \n", "VAYU_CLIENT_ID": "", "DUALENTRY_API_KEY": "k"}
    assert ({"VAYU_API_TOKEN": "t"}, []) == read_credentials(NAMES, None, None, environment, "batch login")


def token_file(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc=\n", {"VAYU_API_TOKEN": "abc="}),
        ("# mine\n\nabc\n", {"VAYU_API_TOKEN": "abc"}),
        ("\ufeffVAYU_API_TOKEN = 'a=b'\nVAYU_CLIENT_ID=c\nOTHER=x\n", {"VAYU_API_TOKEN": "a=b", "VAYU_CLIENT_ID": "c"}),
        ("VAYU_API_TOKEN=a\nVAYU_CLIENT_ID=\n", {"VAYU_API_TOKEN": "a", "VAYU_CLIENT_ID": "e"}),
    ],
)
def test_token_file(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    """A token file holds the token alone or NAME=value lines, and goes before the environment."""
    environment = {"VAYU_CLIENT_ID": "e"} if expected.get("VAYU_CLIENT_ID") == "e" else {}
    assert (expected, []) == read_credentials(NAMES, token_file(tmp_path, text), None, environment, "batch login")


def test_open_token_file(tmp_path: Path) -> None:
    """A token file that others can read is used, with a warning and the way to close it."""
    path = token_file(tmp_path, "abc", 0o644)
    expected = [f"{path} can be read by other users of this machine. Close it:  chmod 600 {path}"]
    assert expected == read_credentials(NAMES, path, None, {}, "batch login")[1]


def no_credential(file: Path | None, environment: dict[str, str]) -> str:
    with pytest.raises(CredentialError) as caught:
        read_credentials(NAMES, file, None, environment, "batch login")
    return str(caught.value)


def test_no_credential(tmp_path: Path) -> None:
    """Without a credential, the message names the variable, the file, and the way to try things out."""
    expected = (
        "There is no key yet. To set one up:  batch login\n"
        "(Or set the environment variable VAYU_API_TOKEN, or name a file that holds it: --token-file.)\n"
        "To try things out without one:  --sandbox"
    )
    assert expected == no_credential(None, {"VAYU_API_TOKEN": " ", "VAYU_CLIENT_ID": "c"})
    assert expected == no_credential(token_file(tmp_path, "VAYU_API_TOKEN=\n"), {})


@pytest.mark.parametrize("value", ["a b", "a\nb", "sëcret", "“quoted”", "a\u200bb", "a\x00b"])
def test_credential_that_cannot_be_sent(value: str) -> None:
    """A credential that no header can carry is refused before anything begins, and is not shown."""
    message = no_credential(None, {"VAYU_API_TOKEN": value})
    expected = "it has a space, a line break or a character outside of plain ASCII in it. Copy it again."
    assert f"VAYU_API_TOKEN: {expected}" == message


@pytest.mark.parametrize("text", ["", "a\nb\n", "OTHER=x\nANOTHER=y\n"])
def test_token_file_of_another_kind(tmp_path: Path, text: str) -> None:
    """A file that is no token file is refused, without what is in it."""
    path = token_file(tmp_path, text)
    expected = f"--token-file {path}: it should hold the token alone, or lines such as VAYU_API_TOKEN=…."
    assert expected == no_credential(path, {})


def test_token_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A token file that is missing, a folder or binary is refused."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    whys = {"missing": "no such file or directory", ".": "is a directory", "binary": "it is not a text file"}
    for name, why in whys.items():
        assert f"--token-file {tmp_path / name}: {why}." == no_credential(tmp_path / name, {})
