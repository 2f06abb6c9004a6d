"""The samples for pipelines say what the program does: commands that it takes, functions that are there, exit codes."""

import ast
import configparser
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest
import yaml

from batch.cli import batch as program
from batch.errors import ExitCode
from batch.library import options
from batch.summary import Summary
from tests.shell import ROOT

SAMPLES = ROOT / "samples" / "pipelines"
PYTHON = sorted(SAMPLES.glob("*.py"))
NEEDS_PERSON, NEEDS_RETRY = {1, 2, 4, 6}, {3, 5, 130, 143}
"""How pipelines take the exit codes; 10 is that of `plan --detailed-exitcode` alone."""


def manifests() -> list[dict[str, Any]]:
    """The objects for Kubernetes."""
    found = yaml.safe_load((SAMPLES / "kubernetes.yaml").read_text(encoding="utf-8"))
    return list(found["items"])


def job(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a Job or a CronJob says of the job."""
    found = manifest["spec"]
    return dict(found["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else found)


def unit(name: str) -> configparser.ConfigParser:
    """A unit of systemd; of a key that is there twice the last value."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as the documentation of configparser does it
    parser.read(SAMPLES / name, encoding="utf-8")
    return parser


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile, each with its text on one line."""
    lines = [line for line in (SAMPLES / "Containerfile").read_text().splitlines() if line and line[0] != "#"]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def iter_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the words of every command in the samples, and where it stands."""
    for line in (SAMPLES / "crontab").read_text().splitlines():
        if line[:1].isdigit():
            yield "crontab", shlex.split(line.partition(">")[0])[6:]
    yield "service", shlex.split(unit("batch-customers.service")["Service"]["ExecStart"])[1:]
    for one in manifests():
        yield one["kind"], job(one)["template"]["spec"]["containers"][0]["args"]
    for node in ast.walk(ast.parse((SAMPLES / "airflow_pod_dag.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "arguments":
            yield "pod", ast.literal_eval(node.value)
    text = (SAMPLES / "Containerfile").read_text()
    yield "Containerfile", re.findall(r"^# +batch:0\.1\.0 (.+)$", text, re.MULTILINE)[0].split()


@pytest.mark.parametrize(("where", "words"), list(iter_commands()))
def test_commands(where: str, words: list[str]) -> None:
    """Every command in them is one."""
    name, *rest = words
    parent = click.Context(program, **program.context_settings)  # click keeps the option of the first one that asks
    with program.commands[name].make_context(name, rest, parent) as context:
        assert "/data/customers.csv" == context.params["input"]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda one: str(one["kind"]))
def test_exit_codes_in_kubernetes(manifest: dict[str, Any]) -> None:
    """A Job ends for good where a person is needed, and begins another pod where the same command helps."""
    rules = {
        rule["action"]: set(rule["onExitCodes"]["values"])
        for rule in job(manifest)["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
    }
    assert {"FailJob": NEEDS_PERSON, "Count": NEEDS_RETRY} == rules
    assert {0, 10} == set(map(int, ExitCode)) - NEEDS_PERSON - NEEDS_RETRY
    pod = job(manifest)["template"]["spec"]
    (container,) = pod["containers"]
    assert "Never" == pod["restartPolicy"]  # what a podFailurePolicy needs
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert 0o440 == pod["volumes"][-1]["secret"]["defaultMode"]


def test_exit_codes_in_systemd() -> None:
    """A unit is begun again where the same command helps, and not where a person is needed."""
    service = unit("batch-customers.service")["Service"]
    stays = set(map(int, service["RestartPreventExitStatus"].split()))
    assert NEEDS_PERSON == stays | set(map(int, service["SuccessExitStatus"].split()))
    assert unit("batch-customers.timer")["Timer"]["OnCalendar"]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.stem)
def test_python(path: Path) -> None:
    """What they take from the library is there: functions, options, and what summaries say."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    taken = {*get_type_hints(options.UpdateOptions), "endpoint"}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="update") as called) if ast.unparse(called).startswith("batch."):
                assert set() == {one.arg for one in node.keywords} - taken
            case ast.Attribute(value=ast.Name(id="batch"), attr=name):
                assert hasattr(__import__("batch"), name)
            case ast.Attribute(value=ast.Name(id="summary"), attr=name):
                assert hasattr(Summary, name) or name in Summary.__dataclass_fields__
            case ast.Assign(targets=[ast.Name(id="RETRY")], value=value):
                assert ast.literal_eval(value) == tuple(sorted(NEEDS_RETRY & set(range(10))))


def test_containerfile() -> None:
    """It has two stages; what runs is no shell, and nobody's root; what is copied is there."""
    found = instructions()
    names = [name for name, _ in found]
    assert set(names) <= {
        "ARG",
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "ENV",
        "USER",
        "VOLUME",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    }
    assert (2, "ARG") == (names.count("FROM"), names[0])
    last = found[max(at for at, name in enumerate(names) if name == "FROM") :]
    said = dict(last)
    assert ["/opt/batch/bin/batch"] == json.loads(said["ENTRYPOINT"])
    assert 0 != int(said["USER"].partition(":")[0])
    copied = [word for name, rest in found if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]]
    assert [] == [one for one in copied if not (ROOT / one).exists()]


def test_readme() -> None:
    """Its page names every file of the folder, and whatever it links to is there."""
    text = (SAMPLES / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in SAMPLES.iterdir() if path.is_file()} - {"README.md"}
    assert set() == {name for name in files if name not in text}
    assert [] == [link for link in re.findall(r"\]\(([^)#:]+)", text) if not (SAMPLES / link).exists()]


def test_versions() -> None:
    """The versions that its page names are those of the long tests."""
    text = (SAMPLES / "README.md").read_text(encoding="utf-8")
    lock = dict(
        re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "tests" / "requirements-pipelines.lock").read_text(), re.MULTILINE)
    )
    named = {
        "apache-airflow": "Airflow", "apache-airflow-providers-cncf-kubernetes": "provider", "dagster": "Dagster",
        "prefect": "Prefect",
    }  # fmt: skip
    assert [] == [lock[package] for package, name in named.items() if f"{name} {lock[package]}" not in text]
