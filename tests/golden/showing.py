"""The screens that people see: commands in a folder of their own, and all that they say and write."""

import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.golden import plain, program
from tests.shell import ROOT

SAMPLES = ROOT / "samples"
SCREENS = Path(__file__).parent / "screens"
EXPECTED = ".expected.toml"
SERVED: plain.Rules = (
    *plain.TIMES,
    (r'("run_id": "[^"]*?-)[0-9a-f]{8}\b', r"\1{identity}"),
    (r"sha256:[0-9a-f]{64}", "{seal}"),
)
"""What differs where a port is part of a run's identity."""
STARTED: plain.Rules = ((r"http://127\.0\.0\.1:\d+", "{sandbox}"), (r"(\(sandbox\), key …)\w{4}", r"\1"))
"""What differs from one --sandbox to the next."""
DUALENTRY, VAYU = ("-e", "dualentry.customers"), ("-e", "vayu.customers")
SANDBOX = (*DUALENTRY, "--sandbox")
TWO = {"two.csv": "id,name,phone\n10001,Acme Renamed,\n10002,,<clear>\n"}
COMMANDS = (
    "check",
    "endpoints",
    "login",
    "logins",
    "logout",
    "mappings",
    "plan",
    "pull",
    "purge",
    "results",
    "resume",
    "sandbox",
    "template",
    "undo",
    "update",
)

Files = Mapping[str, str]


@dataclass(frozen=True)
class Screen:
    """Commands that are run one after the other.

    Among their words `{url}` is a sandbox that all screens share, and `{first}` the first run in the folder `runs`.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    files: Files = field(default_factory=dict)
    samples: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> Path:
        """The file that says what is to be seen."""
        return SCREENS / f"{self.name}.txt"

    @property
    def looks(self) -> bool:
        """Whether several records are looked at once more beside each other: DualEntry's sample changes addresses."""
        return any(name.startswith("customers.") for name in self.samples)

    @property
    def is_served(self) -> bool:
        """Whether it asks the shared sandbox."""
        return any("{url}" in words for words in self.commands)


def show(screen: Screen, top: Path, sandbox: Callable[[], Any]) -> str:
    """Run the commands of a screen below `top`, and tell all that there is to see; `sandbox` gives the shared one."""
    work = top / "work"
    work.mkdir()
    for name in screen.samples:
        shutil.copy(SAMPLES / name, work)
    for name, text in screen.files.items():
        (work / name).write_text(text, encoding="utf-8")
        (work / name).chmod(0o600)
    env, url = dict(screen.env), "{url}"
    if screen.is_served:
        served = sandbox()
        served.reset()
        env, url = env | served.environment(), served.url
    before, lines = plain.read_files(work), []
    for words in screen.commands:
        first = next((path.name for path in sorted(work.glob("runs/2*"))), "")
        ended = program.run(work, *(word.replace("{url}", url).replace("{first}", first) for word in words), env=env)
        lines += plain.screen(words, ended)
    rules = (*(SERVED if screen.is_served else plain.TIMES), *(plain.LOOKS if screen.looks else ()))
    named = {str(work): "{here}", str(top): "{top}", url: "{url}"}
    lines += plain.files(before, plain.renamed(plain.read_files(work), rules))
    return plain.normal("\n".join(lines) + "\n", named, (*rules, *STARTED))


def screens() -> list[Screen]:
    """All of them."""
    return [*_helps(), *_samples(), *_others(), *_mistakes()]


def _helps() -> Iterator[Screen]:
    yield Screen("help", (("--help",),))
    yield Screen("help-version", (("--version",),))
    yield Screen("help-nothing", ((),))
    for name in COMMANDS:
        yield Screen(f"help-{name}", ((name, "--help"),))


def _samples() -> Iterator[Screen]:
    for path in sorted(SAMPLES.glob(f"*{EXPECTED}")):
        name = path.name.removesuffix(EXPECTED)
        about = tomllib.loads(path.read_text(encoding="utf-8"))
        given = (name, "-e", about["endpoint"], *about["options"])
        yield Screen(f"check-{name}", (("check", *given),), samples=(name,))
        yield Screen(f"plan-{name}", (("plan", *given, "--sandbox"),), samples=(name,))
        yield Screen(f"update-{name}", (("update", *given, "--sandbox"),), samples=(name,))


def _others() -> Iterator[Screen]:
    served = ("--base-url", "{url}")
    given = ("customers.csv", *DUALENTRY, *served, "--out", "runs")
    sample: Any = {"samples": ("customers.csv",)}
    yield Screen("endpoints", (("endpoints",), ("endpoints", "--json")))
    yield Screen("endpoints-dualentry", (("endpoints", "dualentry.customers"),))
    yield Screen("endpoints-vayu", (("endpoints", "vayu.customers"),))
    yield Screen("endpoints-json", (("endpoints", "dualentry.customers", "--json"),))
    yield Screen("template-csv", (("template", *DUALENTRY, "-o", "new.csv"), ("template", *VAYU, "-o", "vayu.csv")))
    yield Screen("template-xlsx", (("template", *SANDBOX, "-o", "new.xlsx"),))
    ids: Files = {"ids.csv": "id\n10002\n10003\n99999\n"}
    yield Screen("pull-ids-csv", (("pull", *SANDBOX, "-o", "now.csv", "--ids", "ids.csv"),), ids)
    yield Screen("pull-ids-xlsx", (("pull", *DUALENTRY, *served, "-o", "now.xlsx", "--ids", "ids.csv"),), ids)
    where = ("--where", "externalId=V-3")
    yield Screen("pull-where-vayu", (("pull", *VAYU, *served, "-o", "now.parquet", *where, "--json"),))
    yield Screen(
        "undo",
        (
            ("update", *given),
            ("undo", "runs/latest", *served),
            ("undo", "runs/{first}", *served),
            ("undo", "runs"),
        ),
        **sample,
    )
    vayu = ("vayu-customers.csv", *VAYU, *served, "--out", "runs")
    yield Screen(
        "undo-vayu", (("update", *vayu), ("undo", "runs/latest", *served, "--json")), samples=("vayu-customers.csv",)
    )
    again = ("results", "runs/latest")
    yield Screen("results", (("update", *given, "--quiet"), again, (*again, "--json"), ("results", "runs")), **sample)
    yield Screen("again", (("update", *given, "--json"), ("update", *given)), **sample)
    gone = ("purge", "runs/latest")
    yield Screen("purge", (("update", *given, "--quiet"), gone, (*gone, "--yes"), (*gone, "--yes")), **sample)
    yield Screen("update-plan", (("plan", *given), ("update", *given, "--plan", "runs/latest")), **sample)
    yield Screen("no-compare", (("update", "two.csv", *SANDBOX, "--no-compare", "--out", "runs"),), TWO)
    yield Screen("canary", (("update", *given, "--canary", "2"),), **sample)
    yield Screen("max-failures", (("update", "lost.csv", *SANDBOX, "--max-failures", "2", "--max-at-once", "1"),), LOST)
    key: Files = {"key.csv": "unique_id,name\nC-10001,Acme Renamed\nC-99999,Nobody\n"}
    yield Screen(
        "key", (("update", "key.csv", *SANDBOX, "--key", "unique_id", "--max-at-once", "1", "--out", "runs"),), key
    )


LOST: Files = {"lost.csv": "id,name\n" + "".join(f"9999{number},Nobody\n" for number in range(5))}


def _mistakes() -> Iterator[Screen]:
    check, two = ("check", "two.csv", *DUALENTRY), ("update", "two.csv", *DUALENTRY)
    dates = {"dates.csv": "id,custom_fields.Since:date\n10001,03/04/2026\n10002,05/06/2026\n"}
    numbers = {"numbers.csv": "id,custom_fields.Seats:number\n10001,1.000\n10002,2.000\n"}
    wrong = {"wrong.csv": "id,nmae,Colour\n10001,Acme,red\n"}
    twice = {"twice.csv": "id,name,Name\n10001,Acme,Acme\n"}
    made: dict[str, tuple[tuple[str, ...], Files]] = {
        "missing-file": (("check", "nothing.csv", *DUALENTRY), {}),
        "unknown-header": (("check", "wrong.csv", *DUALENTRY), wrong),
        "header-twice": (("check", "twice.csv", *DUALENTRY), twice),
        "no-id": (("check", "no.csv", *DUALENTRY), {"no.csv": "name\nAcme\n"}),
        "ambiguous-date": (("check", "dates.csv", *DUALENTRY), dates),
        "ambiguous-number": (("check", "numbers.csv", *DUALENTRY), numbers),
        "empty-file": (("check", "empty.csv", *DUALENTRY), {"empty.csv": ""}),
        "not-a-workbook": (("check", "text.xlsx", *DUALENTRY), {"text.xlsx": "id,name\n"}),
        "missing-key": (two, TWO),
        "missing-key-vayu": (("update", "two.csv", *VAYU), {"two.csv": "id,name\n65f000000000000000000001,Acme\n"}),
        "bad-at-once": ((*two, "--max-at-once", "0"), TWO),
        "bad-limit": ((*check, "--limit", "many"), TWO),
        "bad-date-format": ((*check, "--date-format", "ymd"), TWO),
        "bad-map": ((*check, "--map", "name"), TWO),
        "bad-where": (("pull", *DUALENTRY, "-o", "now.csv", "--where", "name"), {}),
        "bad-max-failures": ((*two, "--max-failures", "some"), TWO),
        "bad-delimiter": ((*check, "--delimiter", "ab"), TWO),
        "bad-address": ((*two, "--base-url", "http://api.example.com"), TWO),
        "two-addresses": ((*two, "--sandbox", "--base-url", "https://api.example.com"), TWO),
        "plan-without-compare": ((*two, "--sandbox", "--plan", "plan", "--no-compare"), TWO),
        "no-endpoint": (("check", "two.csv"), TWO),
        "wrong-endpoint": (("check", "two.csv", "-e", "dualentry.customer"), TWO),
        "wrong-endpoints-name": (("endpoints", "vayu.customer"), {}),
        "unknown-command": (("updaet", "two.csv"), TWO),
        "unknown-option": ((*two, "--max-at-onec", "3"), TWO),
        "unknown-setting": (check, TWO | {"batch.toml": 'endpoint = "vayu.customers"\nmax_at_onec = 3\n'}),
        "bad-setting": (two, TWO | {"batch.toml": 'max_at_once = "three"\nmap = 3\n'}),
        "bad-toml": (check, TWO | {"batch.toml": "max_at_once = \n"}),
        "results-without-run": (("results", "two.batch"), {}),
        "undo-without-run": (("undo", "two.batch"), {}),
        "purge-without-run": (("purge", "two.batch", "--yes"), {}),
        "template-of-another-kind": (("template", *DUALENTRY, "-o", "new.parquet"), {}),
        "template-is-there": (("template", *DUALENTRY, "-o", "two.csv"), TWO),
        "sandbox-option": (("sandbox", "--fault", "nonsense=1"), {}),
    }
    for name, (words, files) in made.items():
        key = {"DUALENTRY_API_KEY": "a-key-for-tests-1234"} if name in ("bad-address", "bad-where") else {}
        yield Screen(f"error-{name}", (words,), files, env=key)
    yield Screen("error-variable", (two,), TWO, env={"BATCH_MAX_AT_ONCE": "0", "DUALENTRY_API_KEY": "a-key"})
    yield Screen("error-empty-address", (two,), TWO, env={"BATCH_BASE_URL": "", "DUALENTRY_API_KEY": "a-key"})
    refused = ("update", "two.csv", *DUALENTRY, "--base-url", "{url}")
    yield Screen("error-undo-sandbox", (("update", "two.csv", *SANDBOX, "--out", "runs"), ("undo", "runs/latest")), TWO)
    token = TWO | {"key.txt": "not-the-key-1234\n"}
    yield Screen("error-wrong-key", ((*refused, "--token-file", "key.txt"),), token)
    many = {"many.csv": "id,phone\n" + "".join(f"{10001 + number},<clear>\n" for number in range(12))}
    yield Screen("error-many-clears", (("update", "many.csv", *SANDBOX),), many)
    yield Screen("error-invalid-abort", (("update", "bad.csv", *SANDBOX, "--invalid", "abort"),), BAD)


BAD: Files = {"bad.csv": "id,phone\n10001,ext. 5\n10002,555-0102\n"}
